/* SPDX-License-Identifier: ISC */
/*
 * The terminal in raw mode, so that every key reaches the guest; restored
 * when the process exits in any way that runs exit handlers.
 */
#ifndef VM_CPU_TERMINAL_H
#define VM_CPU_TERMINAL_H

#include <stdbool.h>

enum {
	TERMINAL_ESCAPE = 'A' - '@', /* Ctrl-A; then: */
	TERMINAL_QUIT = 'x',
};

/* Is fd a terminal of which this process is in the foreground? */
bool terminal_is_ours(int fd);

/* Raw mode; one terminal at a time. 0 or -errno. */
int terminal_set_raw(int fd);
/* Again after SIGCONT, as shells reset it. */
void terminal_continue(void);
/* Idempotent, also without terminal_set_raw(). */
void terminal_restore(void);

#endif
