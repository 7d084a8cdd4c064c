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

/* Nothing is in it but perhaps its own cluster's count. */
static int is_unused(struct qcow2 *q, uint32_t i, bool *result,
		     struct error *err)
{
	uint64_t offset =
		q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	uint64_t first = (uint64_t)i << q->refcount_block_bits;
	uint64_t own = offset >> q->cluster_bits;
	uint8_t *block;
	int rc = qcow2_get_refcount_block(q, first, &block, err);

	*result = rc == 0 && block != NULL;
	for (uint64_t j = 0; *result && j < 1ULL << q->refcount_block_bits; j++)
		if (qcow2_refcount_load(block, q->refcount_bits, j) >
		    (first + j == own))
			*result = false;
	return rc;
}

/* Of block i, which is to go, the cluster's count can go too. */
static int check_own(struct qcow2 *q, uint32_t i, struct error *err)
{
	uint64_t offset =
		q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	uint64_t own = offset >> q->cluster_bits, count;
	int rc;

	if (own >> q->refcount_block_bits == i)
		return 0;
	rc = qcow2_get_refcount(q, own, &count, err);
	if (rc == 0 && count == 0)
		rc = qcow2_corruption(q, err,
				      "Refblock at %#llx is not covered by the "
				      "refcount structures",
				      (unsigned long long)offset);
	return rc;
}

/* On the disk alone. */
static int clear_entry(struct qcow2 *q, uint32_t i, struct error *err)
{
	uint64_t nothing = 0;
	uint64_t place = q->header.refcount_table_offset + i * sizeof(nothing);
	int rc = qcow2_check_overlap(q, QCOW2_SECTION_REFCOUNT_TABLE, place,
				     sizeof(nothing), err);

	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_REFTABLE_UPDATE);
	rc = image_file_write(q->file, place, &nothing, sizeof(nothing));
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write refcount table")
		      : 0;
}

static int find_unused(struct qcow2 *q, uint32_t *found, uint32_t *n,
		       struct error *err)
{
	*n = 0;
	for (uint32_t i = q->refcount_table_size; i-- > 1;) {
		bool is_free = false;
		int rc = 0;

		if (q->refcount_table[i] != 0)
			rc = is_unused(q, i, &is_free, err);
		if (rc == 0 && is_free)
			rc = check_own(q, i, err);
		if (rc == 0 && is_free)
			rc = qcow2_verify(q, err);
		if (rc == 0 && is_free) {
			found[(*n)++] = i;
			rc = clear_entry(q, i, err);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* is_gone: from the table on the disk. If not, or if nobody knows, the block is
 * used no more and leaks. */
static int drop(struct qcow2 *q, uint32_t i, bool is_gone, struct error *err)
{
	uint64_t offset =
		q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	uint64_t own = offset >> q->cluster_bits;

	q->refcount_table[i] = 0;
	qcow2_cache_forget(&q->refcount_cache, offset, q->cluster_len);
	if (!is_gone)
		return 0;
	/* Its own count went with it. */
	if (own >> q->refcount_block_bits == i) {
		qcow2_forget_free(q, own, 1);
		return 0;
	}
	return qcow2_free_now(q, own, 1, err);
}

/* Again, as long as a block counted others that went. */
static int drop_all(struct qcow2 *q, struct error *err)
{
	_cleanup_free_ uint32_t *found =
		malloc(q->refcount_table_size * sizeof(*found) + 1);
	uint32_t n;
	int rc;

	if (found == NULL)
		return -ENOMEM;
	do {
		rc = find_unused(q, found, &n, err);
		if (rc == 0 && n > 0 && (rc = qcow2_barrier(q)) < 0)
			error_set_errno(err, rc,
					"Could not write refcount table");
		for (uint32_t i = 0; i < n; i++) {
			int drop_rc = drop(q, found[i], rc == 0, err);

			rc = rc < 0 ? rc : drop_rc;
		}
	} while (rc == 0 && n > 0);
	return rc;
}

int qcow2_drop_refcount_blocks(struct qcow2 *q, struct error *err)
{
	int rc;

	qcow2_begin_allocating(q); /* or they would be filled meanwhile */
	rc = qcow2_unreserve(q, err);
	if (rc == 0)
		rc = drop_all(q, err);
	if (rc == 0)
		rc = qcow2_filters_refill(q);
	qcow2_end_allocating(q);
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
