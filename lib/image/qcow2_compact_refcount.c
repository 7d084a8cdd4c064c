/* SPDX-License-Identifier: ISC */
/*
 * What the header refers to, and refcount blocks. A block that counts nothing,
 * or itself alone, holds the end of the file in its place: the table forgets it
 * by one write, and then its cluster is free. The refcount table and the L1
 * table are copied further down and switched to by one write to the header. A
 * kill between leaves a leak.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

/* Nothing but perhaps the block's own cluster. */
static int is_unused(struct qcow2 *q, uint32_t i, void *block, bool *result,
		     struct error *err)
{
	uint64_t offset =
		q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	uint64_t first = (uint64_t)i << q->refcount_block_bits;
	uint64_t own = offset >> q->cluster_bits;
	int rc = image_file_read(q->file, offset, block, q->cluster_len);

	*result = true;
	for (uint64_t j = 0; *result && j < 1ULL << q->refcount_block_bits; j++)
		if (first + j != own &&
		    qcow2_refcount_load(block, q->refcount_bits, j) != 0)
			*result = false;
	return rc < 0 ? error_set_errno(err, rc,
					"Could not read refcount block")
		      : 0;
}

static int drop(struct qcow2 *q, uint32_t i, struct error *err)
{
	uint64_t offset =
		q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	uint64_t own = offset >> q->cluster_bits, nothing = 0;
	uint64_t place = q->header.refcount_table_offset + i * sizeof(nothing);
	int rc = qcow2_check_overlap(q, QCOW2_SECTION_REFCOUNT_TABLE, place,
				     sizeof(nothing), err);

	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_REFTABLE_UPDATE);
	rc = image_file_write(q->file, place, &nothing, sizeof(nothing));
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write refcount table");
	q->refcount_table[i] = 0;
	qcow2_cache_forget(&q->refcount_cache, offset, q->cluster_len);
	rc = qcow2_filters_refill(q);
	if (rc < 0)
		return rc;
	/* Its own count went with it. */
	if (own >> q->refcount_block_bits == i) {
		qcow2_forget_free(q, own, 1);
		return 0;
	}
	return qcow2_free_now(q, own, 1, err);
}

int qcow2_drop_refcount_blocks(struct qcow2 *q, struct error *err)
{
	_cleanup_free_ uint8_t *block = malloc(q->cluster_len);
	int rc = 0;

	if (block == NULL)
		return -ENOMEM;
	for (uint32_t i = q->refcount_table_size; rc == 0 && i-- > 1;) {
		bool is_free = false;

		if (q->refcount_table[i] != 0)
			rc = is_unused(q, i, block, &is_free, err);
		if (rc == 0 && is_free)
			rc = drop(q, i, err);
	}
	return rc;
}

/* n clusters in a row below old, counted by blocks that are there; 0: none. */
static int find_place(struct qcow2 *q, uint64_t old, uint64_t n,
		      uint64_t *host_index, struct error *err)
{
	int rc = qcow2_find_free(q, 0, n, host_index, err);
	uint64_t end = *host_index + n;

	if (rc < 0)
		return rc;
	if (end > old)
		*host_index = 0;
	for (uint64_t i = *host_index; *host_index != 0 && i < end; i++)
		if (i >> q->refcount_block_bits >= q->refcount_table_size ||
		    q->refcount_table[i >> q->refcount_block_bits] == 0)
			*host_index = 0;
	return 0;
}

static int switch_to(struct qcow2 *q, bool is_l1, uint64_t offset)
{
	const struct qcow2_header *h = &q->header;

	if (is_l1)
		return qcow2_set_size(q, h->size, h->l1_size, offset);
	return qcow2_set_refcount_table(q, offset, h->refcount_table_clusters);
}

/* Copy n clusters of a table and let the header refer to the copy. */
static int move_table(struct qcow2 *q, bool is_l1, uint64_t old, uint64_t n,
		      struct error *err)
{
	uint64_t len = n << q->cluster_bits, place = 0;
	_cleanup_free_ uint8_t *table = malloc(len + 1);
	int rc;

	if (n == 0)
		return 0;
	if (table == NULL)
		return -ENOMEM;
	rc = find_place(q, old, n, &place, err);
	if (rc < 0 || place == 0)
		return rc;
	rc = qcow2_add_refcount(q, place, n, 1, err);
	if (rc < 0)
		return rc;
	rc = image_file_read(q->file, old << q->cluster_bits, table, len);
	image_file_tell(q->file, is_l1 ? IMAGE_EVENT_L1_UPDATE
				       : IMAGE_EVENT_REFTABLE_UPDATE);
	if (rc == 0)
		rc = image_file_write(q->file, place << q->cluster_bits, table,
				      len);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc == 0)
		rc = switch_to(q, is_l1, place << q->cluster_bits);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not move a table");
	return qcow2_free_now(q, old, n, err);
}

int qcow2_move_tables(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	int rc;

	rc = move_table(q, false, h->refcount_table_offset >> q->cluster_bits,
			h->refcount_table_clusters, err);
	if (rc < 0)
		return rc;
	return move_table(q, true, h->l1_offset >> q->cluster_bits,
			  qcow2_n_clusters(q, h->l1_size * 8ULL), err);
}
