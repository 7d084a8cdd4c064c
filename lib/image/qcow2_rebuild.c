/* SPDX-License-Identifier: ISC */
/*
 * New refcount blocks and a new table, behind all that is in use if the file
 * has room there already, as a block device has, or else behind the end of the
 * file, from what a walk counts:
 *
 *	| ... what there is ... | block | ... | block |  table  |
 *	                        ^ start               ^ blocks  ^ end
 *
 * The blocks count themselves and the table too. Nothing refers to any of it
 * until all is on the disk and one write to the header switches over; the old
 * structure, counted like the rest, is then leaked and given back as such.
 *
 * Where no more is wrong than that a block lies beyond the end of the file, the
 * file is made longer instead.
 */
#include "lib/image/qcow2_check.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

struct layout {
	uint64_t start, n_blocks, n_table, end;
};

static int lay_out_at(const struct qcow2_checker *c, uint64_t start,
		      struct layout *l, struct error *err)
{
	const struct qcow2 *q = c->q;
	uint64_t per_block = 1ULL << q->refcount_block_bits;
	uint64_t per_cluster = q->cluster_len / sizeof(uint64_t), before;

	*l = (struct layout){ .start = start, .n_blocks = 1, .n_table = 1 };
	do {
		before = l->n_blocks + l->n_table;
		l->end = l->start + before;
		l->n_blocks = (l->end + per_block - 1) / per_block;
		l->n_table = (l->n_blocks + per_cluster - 1) / per_cluster;
	} while (l->n_blocks + l->n_table != before);
	if (l->n_table << q->cluster_bits > QCOW2_REFCOUNT_TABLE_LEN_MAX)
		return error_set(err, -EFBIG,
				 "Refcount table would be larger than 8 MiB");
	return 0;
}

static int lay_out(const struct qcow2_checker *c, struct layout *l,
		   struct error *err)
{
	uint64_t end = c->n_file > c->n_host ? c->n_file : c->n_host;
	int rc;

	if (c->n_used > 0 && c->n_used < end) {
		rc = lay_out_at(c, c->n_used, l, err);
		if (rc < 0 || l->end <= c->n_file)
			return rc;
	}
	return lay_out_at(c, end, l, err);
}

static int write_block(struct qcow2_checker *c, const struct layout *l,
		       uint64_t i, uint8_t *block, struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t first = i << q->refcount_block_bits;
	uint64_t next = first + (1ULL << q->refcount_block_bits);
	int rc;

	memset(block, 0, q->cluster_len);
	for (uint64_t j = first; j < next && j < l->end; j++)
		qcow2_refcount_store(block, q->refcount_bits, j - first,
				     j < l->start ? qcow2_counted(c, j) : 1);
	rc = qcow2_cache_write(&q->refcount_cache,
			       (l->start + i) << q->cluster_bits, block,
			       q->cluster_len);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write refcount block")
		      : 0;
}

/* A window begins where a block begins: both are powers of two, and windows
 * the larger ones, unless there is one window alone. */
static int write_window(struct qcow2_checker *c, struct error *err)
{
	unsigned bits = c->q->refcount_block_bits;
	_cleanup_free_ uint8_t *block = malloc(c->q->cluster_len);
	uint64_t i = c->first >> bits, end = c->first + c->n;
	struct layout l;
	int rc = lay_out(c, &l, err);

	if (block == NULL)
		return -ENOMEM;
	/* Those that only count the new structure go with the last; behind it
	 * there is nothing. */
	if (end == c->n_host || end > l.end)
		end = l.end;
	for (; rc == 0 && i << bits < end; i++)
		rc = write_block(c, &l, i, block, err);
	return rc;
}

static int write_table(struct qcow2 *q, const struct layout *l, uint64_t *table,
		       struct error *err)
{
	uint64_t offset = (l->start + l->n_blocks) << q->cluster_bits;
	int rc;

	for (uint64_t i = 0; i < l->n_blocks; i++)
		table[i] = htobe64((l->start + i) << q->cluster_bits);
	image_file_tell(q->file, IMAGE_EVENT_REFTABLE_UPDATE);
	rc = image_file_write(q->file, offset, table,
			      l->n_table << q->cluster_bits);
	for (uint64_t i = 0; i < l->n_blocks; i++)
		table[i] = be64toh(table[i]);
	if (rc == 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write refcount table")
		      : 0;
}

/* The width of the counts may be another one than the header says. */
static int switch_over(struct qcow2 *q, const struct layout *l,
		       struct error *err)
{
	uint64_t offset = (l->start + l->n_blocks) << q->cluster_bits;
	uint32_t order = (uint32_t)__builtin_ctz(q->refcount_bits);
	int rc;

	if (order == q->header.refcount_order)
		rc = qcow2_set_refcount_table(q, offset, (uint32_t)l->n_table);
	else
		rc = qcow2_set_refcounts(q, offset, (uint32_t)l->n_table,
					 order);
	if (rc == 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc, "Could not write header") : 0;
}

int qcow2_rebuild_refcounts(struct qcow2_checker *c, struct error *err)
{
	struct qcow2 *q = c->q;
	_cleanup_free_ uint64_t *table = NULL;
	struct layout l;
	int rc = lay_out(c, &l, err);

	if (rc < 0)
		return rc;
	table = calloc(l.n_table, q->cluster_len);
	if (table == NULL)
		return -ENOMEM;
	c->is_recount = true;
	rc = qcow2_check_windows(c, write_window, err);
	if (rc == 0)
		rc = write_table(q, &l, table, err);
	if (rc == 0)
		rc = switch_over(q, &l, err);
	if (rc < 0)
		return rc;
	free(q->refcount_table);
	q->refcount_table = steal_ptr(&table);
	q->refcount_table_size = (uint32_t)(l.n_table << (q->cluster_bits - 3));
	q->free_hint = 0;
	if (l.end >= c->n_file && !q->file->is_block_device)
		q->fresh_from = l.end;
	q->pack_next = 0;
	return qcow2_filters_refill(q);
}

static uint64_t max_block_end(const struct qcow2 *q)
{
	uint64_t max = 0;

	for (uint64_t i = 0; i < q->refcount_table_size; i++) {
		uint64_t entry = q->refcount_table[i];

		if (!(entry & ~QCOW2_REFCOUNT_TABLE_OFFSET_MASK) &&
		    !(entry & (q->cluster_len - 1)) && entry > max)
			max = entry;
	}
	return max > (uint64_t)INT64_MAX - q->cluster_len
		       ? UINT64_MAX
		       : max + q->cluster_len;
}

void qcow2_checker_grow(struct qcow2_checker *c)
{
	const struct qcow2 *q = c->q;
	uint64_t end = max_block_end(q);
	uint64_t n_max = (uint64_t)q->refcount_table_size
			 << q->refcount_block_bits;

	c->grow_rc = 0;
	if (q->refcount_table_size == 0 || end >> q->cluster_bits <= c->n_file)
		return;
	if (end == UINT64_MAX || (end >> q->cluster_bits) > n_max)
		c->grow_rc = -EINVAL;
	else
		c->grow_rc = image_file_truncate(q->file, end);
}
