/* SPDX-License-Identifier: ISC */
/*
 * Inside the qcow2 engine: a change of many tables and refcounts at once, all
 * of which one header write switches to. See qcow2_shadow.c.
 */
#ifndef LIB_IMAGE_QCOW2_SHADOW_H
#define LIB_IMAGE_QCOW2_SHADOW_H

#include "lib/image/qcow2.h"

enum {
	QCOW2_SHADOW_TABLES_MAX = 4,
};

struct qcow2_range {
	uint64_t host_offset, n; /* clusters */
};

struct qcow2_shadow {
	/* Clusters in a row, for tables that the caller writes. */
	struct qcow2_range tables[QCOW2_SHADOW_TABLES_MAX];
	unsigned n_tables;
	/* Single clusters; the first n_taken of them are used. */
	uint64_t *pool;
	uint64_t n_pool, n_taken;
	/* The copies of refcount blocks and their table. */
	uint64_t *blocks;
	uint64_t n_blocks;
	struct qcow2_range table_range;
	uint64_t *table, *old_table;
	uint64_t *old_blocks; /* where the blocks were, in order */
	uint64_t n_old_blocks;
};

/* What the header says of tables: switched in one write. */
struct qcow2_switch {
	uint64_t size, l1_offset;
	uint32_t l1_size;
	uint32_t n_snapshots;
	uint64_t snapshots_offset;
};

/* Before begin: room for a table of len bytes (none: offset 0). May pause. */
int qcow2_shadow_add_table(struct qcow2 *q, struct qcow2_shadow *s,
			   uint64_t len, uint64_t *host_offset,
			   struct error *err);
/*
 * Take a pool of single clusters, and copy the refcounts: from now on changes
 * of them are seen by nobody until the switch, and what becomes free is not
 * given out. Pauses. Nobody else may be at work.
 */
int qcow2_shadow_begin(struct qcow2 *q, struct qcow2_shadow *s, uint64_t n_pool,
		       struct error *err);
/*
 * The same with given places for the copies, and the pool taken already. They
 * have to be free and as many as there are: else -EBUSY. *blocks is taken over.
 */
int qcow2_shadow_begin_at(struct qcow2 *q, struct qcow2_shadow *s,
			  const struct qcow2_range *table, uint64_t **blocks,
			  uint64_t n_blocks, struct error *err);
/* Something else refers to n clusters: -EIO if one was a refcount block before,
 * whose place is about to be given back. */
int qcow2_shadow_check_place(const struct qcow2 *q,
			     const struct qcow2_shadow *s, uint64_t host_offset,
			     uint64_t n, struct error *err);
/* Count n clusters that are free; -EBUSY: they are not. */
int qcow2_shadow_claim(struct qcow2 *q, uint64_t host_offset, uint64_t n,
		       struct error *err);
/* All that was written is there: switch, and give back what became free. */
int qcow2_shadow_commit(struct qcow2 *q, struct qcow2_shadow *s,
			const struct qcow2_switch *to, struct error *err);
/* As if nothing had been; after a commit too, when it frees memory only. */
void qcow2_shadow_deinit(struct qcow2 *q, struct qcow2_shadow *s);

/* qcow2_return.c: the way back of what a first shadow has moved. */
struct qcow2_return {
	struct qcow2_shadow shadow;
	bool is_wanted;
	/* Where things were. */
	struct qcow2_range l1, table;
	uint64_t *blocks;
	uint64_t n_blocks;
	/* L2 tables that are somewhere else now: which entry of the L1 table
	 * refers to them. */
	struct qcow2_moved {
		uint64_t index, host_offset;
	} * moved;
	uint64_t n_moved;
	/* Of a new snapshot: the L1 table, as it is now, and where it and the
	 * snapshot table will be. */
	uint64_t *twin;
	uint64_t twin_offset, snapshots_offset;
};

/* Before the first shadow begins; n_l2: how many tables it may move. */
int qcow2_return_init(struct qcow2 *q, struct qcow2_return *r, uint64_t n_l2);
/* When it has begun. */
int qcow2_return_remember(const struct qcow2 *q, struct qcow2_return *r,
			  const struct qcow2_shadow *first);
/* When it is committed. The change is done in any case: what cannot go back
 * stays where it is. */
void qcow2_return_run(struct qcow2 *q, struct qcow2_return *r);
void qcow2_return_deinit(struct qcow2 *q, struct qcow2_return *r);

#endif
