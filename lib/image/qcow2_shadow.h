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

struct qcow2_shadow {
	/* Clusters in a row, for tables that the caller writes. */
	struct qcow2_range {
		uint64_t host_offset, n; /* clusters */
	} tables[QCOW2_SHADOW_TABLES_MAX];
	unsigned n_tables;
	/* Single clusters; the first n_taken of them are used. */
	uint64_t *pool;
	uint64_t n_pool, n_taken;
	/* The copies of refcount blocks and their table. */
	uint64_t *blocks;
	uint64_t n_blocks;
	struct qcow2_range table_range;
	uint64_t *table, *old_table;
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
/* All that was written is there: switch, and give back what became free. */
int qcow2_shadow_commit(struct qcow2 *q, struct qcow2_shadow *s,
			const struct qcow2_switch *to, struct error *err);
/* As if nothing had been; after a commit too, when it frees memory only. */
void qcow2_shadow_deinit(struct qcow2 *q, struct qcow2_shadow *s);

#endif
