/* SPDX-License-Identifier: ISC */
/*
 * Inside the qcow2 engine: a change of what the disk's L1 table and those of
 * snapshots refer to. With the lock, and nobody else at work.
 */
#ifndef LIB_IMAGE_QCOW2_CHANGE_H
#define LIB_IMAGE_QCOW2_CHANGE_H

#include "lib/image/qcow2_shadow.h"

struct qcow2_change {
	struct qcow2_shadow shadow;
	struct qcow2_return back;
	struct qcow2_switch to;
	uint64_t *l1;	/* the disk's, to.l1_size entries */
	uint64_t *twin; /* of a snapshot that shares the L2 tables, or NULL */
	uint64_t twin_offset;
	/* Counted up and down: L1 tables and how long they are. */
	const uint64_t *up, *down;
	uint64_t up_size, down_size;
	struct qcow2_range gone; /* an L1 table */
	bool keeps_snapshots;	 /* their table stays as it is */
	/* What there will be; texts belong to q and, of a new one, to it. */
	struct qcow2_snapshot *snapshots;
	struct image_snapshot_info *infos;
};

/* Nothing changes so far; there is room for one more snapshot. */
int qcow2_change_init(struct qcow2 *q, struct qcow2_change *c);
/* Undoes what has not come to its end. */
void qcow2_change_deinit(struct qcow2 *q, struct qcow2_change *c);
/* An L1 table's first n entries, without their flags, as one of size; NULL: no
 * memory. */
uint64_t *qcow2_change_copy_l1(const uint64_t *l1, uint64_t n, uint64_t size);
/* All of it, or nothing. Pauses. */
int qcow2_change_run(struct qcow2 *q, struct qcow2_change *c,
		     struct error *err);

#endif
