/* SPDX-License-Identifier: ISC */
/*
 * Everything happens in one thread and one event loop. `is_stopping` is the
 * only way to the end: from then on nothing is started, and the loop ends
 * when the last process has.
 */
#include "vm-run/supervise.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/ready.h"
#include "vm-run/child.h"
#include "vm-run/plan.h"
#include "vm-run/run_dir.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum {
	START_TIMEOUT_MS = 60000,
	/* Between asking and killing: a server may have much to flush. */
	SERVER_END_TIMEOUT_MS = 30000,
	CPU_END_TIMEOUT_MS = 5000,
	CRASH_PAUSE_MS = 1000,

	/* vm-cpu(1) */
	STATUS_RESET = 32,
	STATUS_CRASH = 33,
	STATUS_PANIC = 34,
	STATUS_WATCHDOG = 36,
	STATUS_SIGNAL = 128,
};

struct supervisor {
	const struct vmfile *vm;
	struct event_loop loop;
	struct event_signals signals;
	struct event_timer deadline; /* of the stage we are in */
	struct child servers[VMFILE_DEVICES_MAX + 1];
	struct child cpu;
	unsigned n_servers;
	bool has_started[VMFILE_DEVICES_MAX + 1]; /* was ready once */
	int ready_fd;
	unsigned n_ends_asked; /* signals that came */
	bool is_stopping;
	int status;
};

static const int end_signals[] = { SIGTERM, SIGINT, SIGHUP, 0 };

static void log_end(const struct child *child, int wait_status,
		    const char *and_then)
{
	const struct plan_process *process = child->process;

	if (WIFSIGNALED(wait_status))
		log_warn("%s: %s was killed by signal %d%s", process->name,
			 process->program, WTERMSIG(wait_status), and_then);
	else
		log_warn("%s: %s ended with status %d%s", process->name,
			 process->program, WEXITSTATUS(wait_status), and_then);
}

static void start_again(struct child *child, int wait_status, unsigned min_ms)
{
	unsigned pause_ms = child_start_again(child, min_ms);
	char and_then[48] = "; starting again";

	if (pause_ms > 0)
		snprintf(and_then, sizeof(and_then),
			 "; starting again in %u ms", pause_ms);
	log_end(child, wait_status, and_then);
}

/*
 * The end.
 */
static bool is_anybody_left(const struct supervisor *supervisor)
{
	if (supervisor->cpu.pid > 0)
		return true;
	for (unsigned i = 0; i < supervisor->n_servers; i++)
		if (supervisor->servers[i].pid > 0)
			return true;
	return false;
}

static void end_if_all_did(struct supervisor *supervisor)
{
	if (supervisor->is_stopping && !is_anybody_left(supervisor))
		event_loop_stop(&supervisor->loop, supervisor->status);
}

static void signal_servers(struct supervisor *supervisor, int number)
{
	for (unsigned i = 0; i < supervisor->n_servers; i++) {
		child_cancel_start(&supervisor->servers[i]);
		child_signal(&supervisor->servers[i], number);
	}
}

/* With vm-cpu gone, or before it came. */
static void stop(struct supervisor *supervisor, int status)
{
	if (supervisor->is_stopping)
		return;
	supervisor->is_stopping = true;
	supervisor->status = status;
	child_cancel_start(&supervisor->cpu);
	signal_servers(supervisor, SIGTERM);
	(void)event_timer_set(&supervisor->deadline, SERVER_END_TIMEOUT_MS, 0);
	end_if_all_did(supervisor);
}

static void kill_whom_we_wait_for(struct supervisor *supervisor)
{
	if (supervisor->cpu.pid > 0) {
		log_warn("cpu: does not end: killed");
		child_signal(&supervisor->cpu, SIGKILL);
		return;
	}
	for (unsigned i = 0; i < supervisor->n_servers; i++)
		if (supervisor->servers[i].pid > 0)
			log_warn("%s: does not end: killed",
				 supervisor->servers[i].process->name);
	signal_servers(supervisor, SIGKILL);
}

static void pass_deadline(struct event_timer *timer)
{
	struct supervisor *supervisor =
		container_of(timer, struct supervisor, deadline);

	if (supervisor->is_stopping || supervisor->n_ends_asked > 0) {
		kill_whom_we_wait_for(supervisor);
		return;
	}
	for (unsigned i = 0; i < supervisor->n_servers; i++)
		if (!supervisor->has_started[i])
			log_error("%s: not ready after %d s",
				  supervisor->servers[i].process->name,
				  START_TIMEOUT_MS / 1000);
	stop(supervisor, EXIT_FAILURE);
}

/*
 * vm-cpu.
 */
static void start_cpu(struct supervisor *supervisor)
{
	struct error err = ERROR_INIT;
	int ret;

	(void)event_timer_set(&supervisor->deadline, 0, 0);
	ret = child_start(&supervisor->cpu, &err);
	if (ret < 0) {
		log_error("cpu: %s", error_text(&err, ret));
		stop(supervisor, EXIT_FAILURE);
	}
}

static void see_cpu_ready(struct child *child)
{
	struct supervisor *supervisor = child->context;

	ready_notify(steal_fd(&supervisor->ready_fd));
}

static bool is_restarted(const struct supervisor *supervisor, int status)
{
	if (supervisor->n_ends_asked > 0)
		return false;
	switch (status) {
	case STATUS_RESET:
		return supervisor->vm->is_restarted_on_reboot;
	case STATUS_CRASH:
	case STATUS_PANIC:
	case STATUS_WATCHDOG:
		return supervisor->vm->is_restarted_on_crash;
	default:
		return status >= STATUS_SIGNAL &&
		       supervisor->vm->is_restarted_on_crash;
	}
}

static void see_cpu_end(struct child *child, int wait_status)
{
	struct supervisor *supervisor = child->context;
	int status = WIFSIGNALED(wait_status)
			     ? STATUS_SIGNAL + WTERMSIG(wait_status)
			     : WEXITSTATUS(wait_status);

	if (is_restarted(supervisor, status)) {
		start_again(child, wait_status,
			    status == STATUS_RESET ? 0 : CRASH_PAUSE_MS);
		return;
	}
	if (status != 0)
		log_end(child, wait_status, "");
	stop(supervisor, status);
	end_if_all_did(supervisor);
}

/*
 * Servers.
 */
static void see_server_ready(struct child *child)
{
	struct supervisor *supervisor = child->context;
	bool is_first = false;

	for (unsigned i = 0; i < supervisor->n_servers; i++) {
		if (child != &supervisor->servers[i])
			continue;
		is_first = !supervisor->has_started[i];
		supervisor->has_started[i] = true;
	}
	for (unsigned i = 0; i < supervisor->n_servers; i++)
		if (!supervisor->has_started[i])
			return;
	if (is_first && !supervisor->is_stopping)
		start_cpu(supervisor);
}

static void see_server_end(struct child *child, int wait_status)
{
	struct supervisor *supervisor = child->context;
	bool has_started = supervisor->has_started[child - supervisor->servers];

	if (supervisor->is_stopping) {
		bool is_done =
			wait_status == 0 || (WIFSIGNALED(wait_status) &&
					     WTERMSIG(wait_status) == SIGTERM);

		/* SIGTERM may have come before it was prepared for it. */
		if (!is_done)
			log_end(child, wait_status, "");
		end_if_all_did(supervisor);
		return;
	}
	if (!has_started) {
		/* It has said why. */
		log_end(child, wait_status, " before it served");
		stop(supervisor, EXIT_FAILURE);
		return;
	}
	start_again(child, wait_status, 0);
}

/* The first asks the guest, the second does not, the third asks nobody. */
static void see_signal(struct event_signals *signals, int number)
{
	struct supervisor *supervisor =
		container_of(signals, struct supervisor, signals);
	unsigned timeout_ms = supervisor->vm->shutdown_timeout_s * 1000;

	supervisor->n_ends_asked++;
	if (supervisor->n_ends_asked > 2) {
		kill_whom_we_wait_for(supervisor);
		return;
	}
	if (supervisor->is_stopping)
		return;
	if (supervisor->cpu.pid == 0) {
		stop(supervisor, STATUS_SIGNAL + number);
		return;
	}
	if (supervisor->n_ends_asked == 1)
		log_info("cpu: asked to power off");
	else
		timeout_ms = CPU_END_TIMEOUT_MS;
	child_signal(&supervisor->cpu, SIGTERM);
	(void)event_timer_set(&supervisor->deadline, timeout_ms, 0);
}

/*
 * Set-up.
 */
static int init_children(struct supervisor *supervisor, const struct plan *plan,
			 const char *run_dir, struct error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < plan->n_servers && ret >= 0; i++) {
		struct child *server = &supervisor->servers[i];

		*server = (struct child)CHILD_INIT;
		server->context = supervisor;
		server->ready = see_server_ready;
		server->ended = see_server_end;
		server->has_own_group = true;
		/* Ours was kill -9: finish what is in flight. */
		server->death_signal = SIGTERM;
		supervisor->n_servers++;
		ret = child_init(server, &supervisor->loop, &plan->servers[i],
				 run_dir, err);
	}
	if (ret < 0)
		return ret;
	supervisor->cpu.context = supervisor;
	supervisor->cpu.ready = see_cpu_ready;
	supervisor->cpu.ended = see_cpu_end;
	supervisor->cpu.death_signal = SIGKILL;
	supervisor->cpu.has_stdio =
		supervisor->vm->serial <= VMFILE_SERIAL_STDIO;
	/* A terminal of the guest's must be vm-cpu's too. In raw mode it
	 * sends no signals; otherwise those that it sends are for us. */
	supervisor->cpu.has_own_group =
		!supervisor->cpu.has_stdio || !isatty(STDIN_FILENO);
	return child_init(&supervisor->cpu, &supervisor->loop, &plan->cpu,
			  run_dir, err);
}

static int init(struct supervisor *supervisor, const struct plan *plan,
		const char *run_dir, struct error *err)
{
	int ret = event_loop_init(&supervisor->loop);

	if (ret == 0)
		ret = event_signals_init(&supervisor->loop,
					 &supervisor->signals, end_signals,
					 see_signal);
	if (ret == 0)
		ret = event_timer_init(&supervisor->loop, &supervisor->deadline,
				       pass_deadline);
	if (ret < 0)
		return error_set_errno(err, ret, "event loop");
	return init_children(supervisor, plan, run_dir, err);
}

static void start_servers(struct supervisor *supervisor)
{
	struct error err = ERROR_INIT;
	int ret = 0;

	(void)event_timer_set(&supervisor->deadline, START_TIMEOUT_MS, 0);
	if (supervisor->n_servers == 0)
		start_cpu(supervisor);
	for (unsigned i = 0; i < supervisor->n_servers && ret >= 0; i++)
		ret = child_start(&supervisor->servers[i], &err);
	if (ret < 0) {
		log_error("%s", error_text(&err, ret));
		stop(supervisor, EXIT_FAILURE);
	}
}

/* vm-cpu removes its socket itself, unless it was killed. */
static void remove_dead_control(const char *path)
{
	struct socket_file file = { .path = NULL };
	_cleanup_fd_ int fd = -1;
	struct error err;

	if (path == NULL || access(path, F_OK) < 0)
		return;
	fd = socket_listen(path, 0600, &err);
	if (fd >= 0 && socket_file_init(&file, path) == 0)
		socket_file_deinit(&file);
}

static void deinit(struct supervisor *supervisor)
{
	if (supervisor->cpu.loop != NULL)
		remove_dead_control(supervisor->vm->control);
	child_deinit(&supervisor->cpu);
	for (unsigned i = 0; i < supervisor->n_servers; i++)
		child_deinit(&supervisor->servers[i]);
	event_timer_deinit(&supervisor->deadline);
	event_signals_deinit(&supervisor->signals);
	event_loop_deinit(&supervisor->loop);
	close_fd(&supervisor->ready_fd);
}

int supervise(const struct vmfile *vm, const struct plan *plan, int ready_fd,
	      struct error *err)
{
	struct supervisor supervisor = {
		.vm = vm,
		.loop = EVENT_LOOP_INIT,
		.signals = EVENT_SIGNALS_INIT,
		.deadline = EVENT_TIMER_INIT,
		.cpu = CHILD_INIT,
		.ready_fd = ready_fd,
	};
	char run_dir[RUN_DIR_MAX];
	int ret = run_dir_make(run_dir, err);

	if (ret < 0)
		return ret;
	ret = init(&supervisor, plan, run_dir, err);
	if (ret == 0) {
		log_debug("%s: sockets are in %s", vm->name, run_dir);
		start_servers(&supervisor);
		ret = event_loop_run(&supervisor.loop);
		if (ret < 0)
			error_set_errno(err, ret, "event loop");
	}
	deinit(&supervisor);
	run_dir_remove(run_dir);
	return ret;
}
