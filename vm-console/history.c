/* SPDX-License-Identifier: ISC */
/* Position p is at p modulo the capacity. */
#include "vm-console/history.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int history_init(struct history *history, size_t capacity)
{
	history->bytes = malloc(capacity);
	if (!history->bytes)
		return -ENOMEM;
	history->capacity = capacity;
	history->end = 0;
	return 0;
}

void history_deinit(struct history *history)
{
	free(history->bytes);
	history->bytes = NULL;
}

void history_append(struct history *history, const void *data, size_t len)
{
	const uint8_t *from = data;

	if (len > history->capacity) {
		history->end += len - history->capacity;
		from += len - history->capacity;
		len = history->capacity;
	}
	while (len > 0) {
		size_t at = history->end % history->capacity;
		size_t here = history->capacity - at;

		if (here > len)
			here = len;
		memcpy(history->bytes + at, from, here);
		history->end += here;
		from += here;
		len -= here;
	}
}

uint64_t history_start(const struct history *history)
{
	return history->end > history->capacity
		       ? history->end - history->capacity
		       : 0;
}

unsigned history_pieces(const struct history *history, uint64_t position,
			struct iovec pieces[2])
{
	unsigned n = 0;

	assert(position >= history_start(history));
	while (position < history->end) {
		size_t at = position % history->capacity;
		size_t here = history->capacity - at;

		if (here > history->end - position)
			here = history->end - position;
		pieces[n].iov_base = history->bytes + at;
		pieces[n++].iov_len = here;
		position += here;
	}
	return n;
}
