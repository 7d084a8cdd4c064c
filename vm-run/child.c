/* SPDX-License-Identifier: ISC */
#include "vm-run/child.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "vm-run/program.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum {
	FIRST_FD = 3, /* SD_LISTEN_FDS_START */
	/* Where descriptors wait while the low ones are put in place. */
	PARKED_FD = FIRST_FD + PLAN_LISTENERS_MAX + 1,
	LONG_LIFE_MS = 2000,
	PAUSE_FIRST_MS = 50,
	PAUSE_LAST_MS = 5000,
	SOCKET_MODE = 0600,
	EXIT_CANNOT_EXECUTE = 126,
};

static uint64_t now_ms(void)
{
	return clock_ns() / 1000000;
}

/*
 * Set-up.
 */
static int open_listener(struct child *child, unsigned i, const char *run_dir,
			 struct error *err)
{
	const struct plan_listener *listener = &child->process->listeners[i];
	_cleanup_free_ char *path = plan_word_text(&listener->path, run_dir);
	int ret;

	if (path == NULL)
		return -ENOMEM;
	ret = socket_listen(path, SOCKET_MODE, err);
	if (ret < 0)
		return ret;
	child->listeners[i] = ret;
	return socket_file_init(&child->files[i], path);
}

/* The program's name, the descriptor for readiness, the plan's words. */
static int make_argv(struct child *child, const char *run_dir)
{
	const struct plan_process *process = child->process;
	unsigned n = 0;

	child->argv = calloc(process->n_arguments + 3, sizeof(*child->argv));
	if (child->argv == NULL)
		return -ENOMEM;
	child->argv[n++] = strdup(process->program);
	if (asprintf(&child->argv[n++], "--ready-fd=%u",
		     FIRST_FD + process->n_listeners) < 0)
		child->argv[n - 1] = NULL;
	for (unsigned i = 0; i < process->n_arguments; i++)
		child->argv[n++] =
			plan_word_text(&process->arguments[i], run_dir);
	for (unsigned i = 0; i < n; i++)
		if (child->argv[i] == NULL)
			return -ENOMEM;
	return 0;
}

static void start_now(struct event_timer *timer)
{
	struct child *child = container_of(timer, struct child, restart);
	struct error err = ERROR_INIT;
	int ret = child_start(child, &err);

	if (ret < 0)
		log_warn("%s: %s; trying again in %u ms", child->process->name,
			 error_text(&err, ret), child_start_again(child, 0));
}

int child_init(struct child *child, struct event_loop *loop,
	       const struct plan_process *process, const char *run_dir,
	       struct error *err)
{
	int ret;

	child->loop = loop;
	child->process = process;
	ret = program_find(&child->path, process->program, err);
	for (unsigned i = 0; i < process->n_listeners && ret >= 0; i++)
		ret = open_listener(child, i, run_dir, err);
	if (ret >= 0)
		ret = make_argv(child, run_dir);
	if (ret >= 0)
		ret = event_timer_init(loop, &child->restart, start_now);
	return ret;
}

static void forget_process(struct child *child)
{
	event_source_remove(&child->ended_source);
	event_source_remove(&child->ready_source);
	close_fd(&child->pidfd);
	close_fd(&child->ready_fd);
	child->pid = 0;
}

void child_deinit(struct child *child)
{
	forget_process(child);
	event_timer_deinit(&child->restart);
	for (unsigned i = 0; i < PLAN_LISTENERS_MAX; i++) {
		socket_file_deinit(&child->files[i]);
		close_fd(&child->listeners[i]);
	}
	for (char **arg = child->argv; arg != NULL && *arg != NULL; arg++)
		free(*arg);
	free(steal_ptr(&child->argv));
	free(steal_ptr(&child->path));
}

/*
 * In the new process.
 */
static int park(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, PARKED_FD);
}

/* Listeners from descriptor 3 on, then the one for readiness; no others. */
static int place_fds(const struct child *child, int ready_fd)
{
	unsigned n = child->process->n_listeners;
	int parked[PLAN_LISTENERS_MAX + 1];

	for (unsigned i = 0; i < n; i++)
		parked[i] = park(child->listeners[i]);
	parked[n] = park(ready_fd);
	for (unsigned i = 0; i <= n; i++)
		if (parked[i] < 0 || dup2(parked[i], FIRST_FD + (int)i) < 0)
			return -1;
	return close_range(FIRST_FD + n + 1, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int set_environment(const struct child *child)
{
	const struct plan_process *process = child->process;
	char names[PLAN_LISTENERS_MAX * SOCKET_NAME_MAX] = "";
	char number[16];
	size_t len = 0;

	unsetenv("NOTIFY_SOCKET");
	unsetenv("VM_DEVICES");
	unsetenv("LISTEN_FDS");
	if (process->n_listeners == 0)
		return 0;
	for (unsigned i = 0; i < process->n_listeners; i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len,
					"%s%s", i > 0 ? ":" : "",
					process->listeners[i].name);
	snprintf(number, sizeof(number), "%u", process->n_listeners);
	if (setenv("LISTEN_FDS", number, 1) < 0 ||
	    setenv("LISTEN_FDNAMES", names, 1) < 0)
		return -1;
	snprintf(number, sizeof(number), "%d", (int)getpid());
	return setenv("LISTEN_PID", number, 1);
}

static int set_standard_streams(const struct child *child)
{
	int fd;

	if (child->has_stdio)
		return 0;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
		return -1;
	return dup2(STDERR_FILENO, STDOUT_FILENO);
}

static _Noreturn void become_program(const struct child *child, int ready_fd,
				     pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	/* Our parent may have died before we could ask to be told. */
	if (prctl(PR_SET_PDEATHSIG, child->death_signal) < 0 ||
	    getppid() != parent ||
	    (child->has_own_group && setpgid(0, 0) < 0) ||
	    set_environment(child) < 0 || set_standard_streams(child) < 0 ||
	    place_fds(child, ready_fd) < 0 ||
	    sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		_exit(EXIT_FAILURE);
	execv(child->path, child->argv);
	log_error("%s: %s", child->path, strerror(errno));
	_exit(EXIT_CANNOT_EXECUTE);
}

/*
 * Its life, seen from here.
 */
static void see_ready(struct event_source *source, uint32_t events)
{
	struct child *child = container_of(source, struct child, ready_source);
	char byte;
	ssize_t n = read(child->ready_fd, &byte, 1);

	(void)events;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	event_source_remove(&child->ready_source);
	close_fd(&child->ready_fd);
	if (n > 0)
		child->ready(child);
}

static void see_end(struct event_source *source, uint32_t events)
{
	struct child *child = container_of(source, struct child, ended_source);
	int wait_status;

	(void)events;
	if (waitpid(child->pid, &wait_status, WNOHANG) != child->pid)
		return;
	forget_process(child);
	child->ended(child, wait_status);
}

static int watch(struct child *child, int ready_fd)
{
	int ret;

	child->ready_fd = ready_fd;
	child->pidfd = pidfd_open(child->pid, 0);
	if (child->pidfd < 0)
		return -errno;
	ret = event_source_add(child->loop, &child->ended_source, child->pidfd,
			       EPOLLIN, see_end);
	if (ret == 0)
		ret = event_source_add(child->loop, &child->ready_source,
				       child->ready_fd, EPOLLIN, see_ready);
	return ret;
}

int child_start(struct child *child, struct error *err)
{
	_cleanup_fd_ int ready_ours = -1, ready_its = -1;
	pid_t parent = getpid();
	int fds[2], ret;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set_errno(err, -errno, "pipe");
	ready_ours = fds[0];
	ready_its = fds[1];
	child->started_ms = now_ms();
	child->pid = fork();
	if (child->pid < 0) {
		ret = -errno;
		child->pid = 0;
		return error_set_errno(err, ret, "fork");
	}
	if (child->pid == 0)
		become_program(child, ready_its, parent);
	ret = watch(child, steal_fd(&ready_ours));
	if (ret < 0) {
		/* One that cannot be watched is not to be. */
		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
		forget_process(child);
		return error_set_errno(err, ret, "cannot watch a process");
	}
	return 0;
}

unsigned child_start_again(struct child *child, unsigned min_ms)
{
	unsigned pause_ms;

	if (now_ms() - child->started_ms >= LONG_LIFE_MS)
		child->pause_ms = 0;
	pause_ms = child->pause_ms > min_ms ? child->pause_ms : min_ms;
	child->pause_ms =
		child->pause_ms == 0 ? PAUSE_FIRST_MS : child->pause_ms * 2;
	if (child->pause_ms > PAUSE_LAST_MS)
		child->pause_ms = PAUSE_LAST_MS;
	/* A timer of 0 is none. */
	(void)event_timer_set(&child->restart, pause_ms > 0 ? pause_ms : 1, 0);
	return pause_ms;
}

void child_cancel_start(struct child *child)
{
	(void)event_timer_set(&child->restart, 0, 0);
}

void child_signal(struct child *child, int number)
{
	if (child->pid > 0)
		kill(child->pid, number);
}
