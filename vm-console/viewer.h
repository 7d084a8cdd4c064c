/* SPDX-License-Identifier: ISC */
/*
 * A viewer: one connection on --attach. It is shown the history from some
 * position on, at its own pace, and what it sends is typed.
 */
#ifndef VM_CONSOLE_VIEWER_H
#define VM_CONSOLE_VIEWER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct console;
struct listener;
struct viewer;

/* fd is taken over, also on failure; listener_release(listener) is said when
 * it is over. */
int viewer_new(struct console *console, struct listener *listener, int fd);
/* Close it. */
void viewer_free(struct viewer *viewer);
struct viewer *viewer_next(const struct viewer *viewer);

/* There is more to see. */
void viewer_show(struct viewer *viewer);
/* There is room for what it types again. */
void viewer_resume(struct viewer *viewer);
/*
 * The guest waited so long for it to read. Returns the microseconds that the
 * guest is still to wait: 0 if it need not, as the viewer is near enough, or
 * as its credit is spent.
 */
unsigned viewer_charge(struct viewer *viewer, uint64_t waited_us);
/* Has it been shown everything? */
bool viewer_is_done(const struct viewer *viewer);

/* For control. */
struct viewer_facts {
	uint64_t id, n_behind, n_lost, n_typed;
	pid_t pid; /* of who connected */
};
void viewer_facts(const struct viewer *viewer, struct viewer_facts *facts);

#endif
