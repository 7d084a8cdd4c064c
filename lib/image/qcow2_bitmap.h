/* SPDX-License-Identifier: ISC */
/* Inside the qcow2 engine: a change of bitmaps. With the lock, and nobody else
 * at work. */
#ifndef LIB_IMAGE_QCOW2_BITMAP_H
#define LIB_IMAGE_QCOW2_BITMAP_H

#include "lib/image/qcow2.h"

/* The bitmaps as they are to be; names, extra data, bits and tables are those of
 * q's, but for bits that are_new, which get a table of their own. */
struct qcow2_bitmaps_change {
	struct qcow2_bitmap *bitmaps; /* room for one more */
	struct qcow2_bitmap_move *moves;
	uint32_t n;
};

/* b->table, unless it is there; nothing is said of what is in it. */
int qcow2_bitmap_read_table(struct qcow2 *q, struct qcow2_bitmap *b,
			    struct error *err);
/* As they are; what is in memory goes to the disk. */
int qcow2_bitmaps_change(struct qcow2 *q, struct qcow2_bitmaps_change *c,
			 struct error *err);
/* The new directory takes over, q->bitmaps becomes c's, and tables that are
 * no longer theirs are given back. The first time all bitmaps move, if there
 * is room: images look as QEMU's do. */
int qcow2_bitmaps_commit(struct qcow2 *q, struct qcow2_bitmaps_change *c,
			 struct error *err);
/* In any case. */
void qcow2_bitmaps_change_deinit(struct qcow2_bitmaps_change *c);
/* To its entry in the directory, in place; b stays as it is. */
int qcow2_bitmap_write_flags(struct qcow2 *q, const struct qcow2_bitmap *b,
			     uint32_t flags, struct error *err);
/* The clusters of a table, and it. */
void qcow2_bitmap_free_bits(struct qcow2 *q, uint64_t table_offset,
			    const uint64_t *table, uint32_t size);

#endif
