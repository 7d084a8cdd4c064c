/* SPDX-License-Identifier: ISC */
/*
 * Escapes that a viewer types for vm-console itself, as in ssh: after a line
 * end `~.` leaves, `~?` helps, `~~` sends one `~`.
 */
#ifndef VM_CONSOLE_ESCAPE_H
#define VM_CONSOLE_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum escape_action {
	ESCAPE_NOTHING,
	ESCAPE_LEAVE,
	ESCAPE_HELP,
};

struct escape {
	int character; /* -1: there are no escapes */
	bool is_line_start, is_pending;
};

void escape_init(struct escape *escape, int character);

/*
 * Filter one byte typed: *n bytes, at most 2, are to be sent, and the action
 * is to be done.
 */
enum escape_action escape_filter(struct escape *escape, uint8_t typed,
				 uint8_t send[2], size_t *n);

#endif
