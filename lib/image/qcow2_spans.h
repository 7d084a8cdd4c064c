/* SPDX-License-Identifier: ISC */
/* Ranges of a file, of which many may be the same or overlap: what is covered,
 * and how often, a piece after the other. */
#ifndef LIB_IMAGE_QCOW2_SPANS_H
#define LIB_IMAGE_QCOW2_SPANS_H

#include <stddef.h>
#include <stdint.h>

/* From offset on there are so many ranges more than before. */
struct qcow2_edge {
	uint64_t offset;
	uint64_t change; /* modulo 2^64 */
};

struct qcow2_spans {
	struct qcow2_edge *edges;
	size_t n, room;
};

enum {
	QCOW2_SPANS_FULL = 1
};

/* n times. QCOW2_SPANS_FULL: not added, until they have been walked; -ENOMEM. */
int qcow2_spans_add(struct qcow2_spans *s, uint64_t offset, uint64_t len,
		    uint64_t n);
/* visit() for each piece, in order of offsets, with the number of ranges that
 * cover it; less than 0 stops. Then there are none any more. */
int qcow2_spans_walk(struct qcow2_spans *s,
		     int (*visit)(void *context, uint64_t offset, uint64_t len,
				  uint64_t n),
		     void *context);
void qcow2_spans_deinit(struct qcow2_spans *s);

#endif
