/* SPDX-License-Identifier: ISC */
/*
 * Only the edges of ranges are kept, and those at one place are one: a table
 * that a million entries refer to takes as much as any other.
 */
#include "lib/image/qcow2_spans.h"

#include <errno.h>
#include <stdlib.h>

enum {
	ROOM_MIN = 1024,
	ROOM_MAX = 256 << 10, /* 4 MiB */
};

static int compare(const void *a, const void *b)
{
	const struct qcow2_edge *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void sort(struct qcow2_spans *s)
{
	size_t n = 0;

	if (s->n > 0)
		qsort(s->edges, s->n, sizeof(*s->edges), compare);
	for (size_t i = 0; i < s->n; i++) {
		if (n > 0 && s->edges[n - 1].offset == s->edges[i].offset)
			s->edges[n - 1].change += s->edges[i].change;
		else
			s->edges[n++] = s->edges[i];
		if (s->edges[n - 1].change == 0)
			n--;
	}
	s->n = n;
}

/* Room for two more. It is sorted again only when half of it has come. */
static int make_room(struct qcow2_spans *s)
{
	size_t room = s->room == 0 ? ROOM_MIN : 2 * s->room;
	struct qcow2_edge *edges;

	if (s->n + 2 <= s->room)
		return 0;
	sort(s);
	if (s->room > 0 && s->n <= s->room / 2)
		return 0;
	if (room > ROOM_MAX)
		return QCOW2_SPANS_FULL;
	edges = realloc(s->edges, room * sizeof(*edges));
	if (edges == NULL)
		return -ENOMEM;
	s->edges = edges;
	s->room = room;
	return 0;
}

int qcow2_spans_add(struct qcow2_spans *s, uint64_t offset, uint64_t len,
		    uint64_t n)
{
	int rc = make_room(s);

	if (rc != 0)
		return rc;
	s->edges[s->n++] = (struct qcow2_edge){ offset, n };
	s->edges[s->n++] = (struct qcow2_edge){ offset + len, -n };
	return 0;
}

int qcow2_spans_walk(struct qcow2_spans *s,
		     int (*visit)(void *context, uint64_t offset, uint64_t len,
				  uint64_t n),
		     void *context)
{
	uint64_t n = 0;
	int rc = 0;

	sort(s);
	for (size_t i = 0; rc == 0 && i + 1 < s->n; i++) {
		n += s->edges[i].change;
		if (n > 0)
			rc = visit(context, s->edges[i].offset,
				   s->edges[i + 1].offset - s->edges[i].offset,
				   n);
	}
	s->n = 0;
	return rc;
}

void qcow2_spans_deinit(struct qcow2_spans *s)
{
	free(s->edges);
	*s = (struct qcow2_spans){ .edges = NULL };
}
