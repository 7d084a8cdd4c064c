/* SPDX-License-Identifier: ISC */
/*
 * What the guest wrote lately: a ring of bytes in which every byte has a
 * position of its own, counted from the first that was ever written. Readers
 * keep a position; one that falls behind the ring's start has lost bytes, and
 * nobody waits for it.
 */
#ifndef VM_CONSOLE_HISTORY_H
#define VM_CONSOLE_HISTORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct history {
	uint8_t *bytes;
	size_t capacity;
	uint64_t end; /* position of the next byte */
};

#define HISTORY_INIT \
	{ \
		.bytes = NULL \
	}

/* capacity is not 0. -ENOMEM. */
int history_init(struct history *history, size_t capacity);
void history_deinit(struct history *history);

void history_append(struct history *history, const void *data, size_t len);

/* The oldest position that is still there. */
uint64_t history_start(const struct history *history);
/* The bytes from position on (not before the start), as at most two pieces;
 * their number. */
unsigned history_pieces(const struct history *history, uint64_t position,
			struct iovec pieces[2]);

#endif
