/* SPDX-License-Identifier: ISC */
/*
 * One process of the plan: started with its listening sockets, watched by
 * pidfd, started again after a pause. The sockets belong to us and outlive
 * the process, so its peers never find nobody there.
 */
#ifndef VM_RUN_CHILD_H
#define VM_RUN_CHILD_H

#include "lib/base/event.h"
#include "lib/base/socket.h"
#include "vm-run/plan.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct error;

struct child {
	struct event_loop *loop;
	const struct plan_process *process;
	char *path; /* of the program */
	char **argv;
	int listeners[PLAN_LISTENERS_MAX];
	struct socket_file files[PLAN_LISTENERS_MAX];
	bool has_own_group; /* out of the terminal's reach */
	bool has_stdio;	    /* ours; otherwise none, and errors' */
	int death_signal;   /* when we die */

	pid_t pid; /* 0: not running */
	int pidfd, ready_fd;
	struct event_source ended_source, ready_source;
	struct event_timer restart;
	uint64_t started_ms;
	unsigned pause_ms; /* before the next start */

	/* It wrote its newline. */
	void (*ready)(struct child *child);
	/* wait_status as of waitpid(2). */
	void (*ended)(struct child *child, int wait_status);
	void *context;
};

#define CHILD_INIT \
	{ \
		.listeners = { -1, -1, -1 }, .pidfd = -1, .ready_fd = -1, \
		.ended_source = EVENT_SOURCE_INIT, \
		.ready_source = EVENT_SOURCE_INIT, .restart = EVENT_TIMER_INIT \
	}

/*
 * Find the program, open the listeners, make the arguments. The callbacks
 * and what is between them and `argv` are the caller's to set before.
 */
int child_init(struct child *child, struct event_loop *loop,
	       const struct plan_process *process, const char *run_dir,
	       struct error *err);
/* The process has ended by then. Sockets are removed. Idempotent. */
void child_deinit(struct child *child);

int child_start(struct child *child, struct error *err);

/*
 * Start it in a while: at once after a long life, later and later after
 * short ones, but in min_ms at the soonest. Returns the pause in ms.
 */
unsigned child_start_again(struct child *child, unsigned min_ms);
/* Not a word to the process: only no new one. */
void child_cancel_start(struct child *child);
/* Nothing happens where there is no process. */
void child_signal(struct child *child, int number);

#endif
