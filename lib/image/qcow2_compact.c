/* SPDX-License-Identifier: ISC */
/*
 * Space given back in place. What is leaked is freed; clusters that hold zeroes
 * alone become holes or zero by a flag; then what stands at the file's end
 * moves into free places further down, and the file is cut:
 *
 *	before: | h | t | a |   | b |   |   | c | d |
 *	after:  | h | t | a | c | b | d |
 *
 * Only what the disk's own tables refer to, and nothing else does, is touched:
 * what is shared with a snapshot, packed (compressed) or counts clusters stays
 * where it is.
 *
 * The order, for the clusters of one L2 table at a time: the copies and their
 * counts, then the table's entries, then the counts of the old ones; the same
 * for the tables of the L1 table. A kill leaves leaks alone, and each entry as
 * it was or as it is to be. At the end holes are made of what is still free.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct compaction {
	struct qcow2 *q;
	uint64_t limit;	    /* host clusters from here on should move */
	uint64_t free_from; /* below: nothing free */
	uint8_t *data;	    /* one cluster */
	uint64_t *table;    /* the L1 or an L2 table, as in the file */
	uint64_t *old;	    /* host clusters that are given up */
	uint64_t n_old;
	bool can_zero;
};

static int barrier(struct qcow2 *q, struct error *err)
{
	int rc = qcow2_barrier(q);

	return rc < 0 ? error_set_errno(err, rc, "Could not flush") : 0;
}

/* The lowest free cluster, below the limit and counted by a block that is
 * there; 0: none. */
static int find_place(struct compaction *c, uint64_t *host_index,
		      struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t block;
	int rc = qcow2_find_free(q, c->free_from, 1, host_index, err);

	if (rc < 0)
		return rc;
	c->free_from = *host_index;
	block = *host_index >> q->refcount_block_bits;
	if (*host_index >= c->limit || block >= q->refcount_table_size ||
	    q->refcount_table[block] == 0)
		*host_index = 0;
	return 0;
}

static int write_copy(struct compaction *c, uint64_t host_index,
		      struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t offset = host_index << q->cluster_bits;
	int rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE, offset,
				     q->cluster_len, err);

	if (rc == 0)
		rc = qcow2_add_refcount(q, host_index, 1, 1, err);
	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_WRITE_AIO);
	rc = image_file_write(q->file, offset, c->data, q->cluster_len);
	return rc < 0 ? error_set_errno(err, rc, "Could not write a cluster")
		      : 0;
}

static int read_cluster(struct compaction *c, uint64_t offset,
			struct error *err)
{
	int rc =
		image_file_read(c->q->file, offset, c->data, c->q->cluster_len);

	return rc < 0 ? error_set_errno(err, rc, "Could not read a cluster")
		      : 0;
}

/* What the disk reads there is zeroes: no cluster is needed for them. */
static void put_zero(struct compaction *c, uint64_t *entry, uint64_t old)
{
	c->old[c->n_old++] = old;
	*entry =
		c->q->header.backing_name_offset != 0 ? htobe64(QCOW2_ZERO) : 0;
}

/* The cluster that entry refers to, in this image alone. One that is only kept
 * under the flag for zeroes goes. */
static int move_one(struct compaction *c, uint64_t *entry, bool is_data,
		    struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t offset = be64toh(*entry) & QCOW2_OFFSET_MASK, place = 0;
	bool should_move = offset >> q->cluster_bits >= c->limit;
	int rc;

	if (!should_move && !(is_data && c->can_zero))
		return 0;
	if (is_data && c->can_zero && (be64toh(*entry) & QCOW2_ZERO)) {
		put_zero(c, entry, offset >> q->cluster_bits);
		return 0;
	}
	rc = read_cluster(c, offset, err);
	if (rc < 0)
		return rc;
	if (is_data && c->can_zero && is_zero(c->data, q->cluster_len)) {
		put_zero(c, entry, offset >> q->cluster_bits);
		return 0;
	}
	if (should_move)
		rc = find_place(c, &place, err);
	if (rc < 0 || place == 0)
		return rc;
	rc = write_copy(c, place, err);
	if (rc < 0)
		return rc;
	c->old[c->n_old++] = offset >> q->cluster_bits;
	*entry = htobe64(place << q->cluster_bits | QCOW2_COPIED);
	return 0;
}

/* The table is on disk with other entries, safely, before the old go. */
static int free_old(struct compaction *c, struct error *err)
{
	int rc = barrier(c->q, err);

	for (uint64_t i = 0; rc == 0 && i < c->n_old; i++)
		rc = qcow2_free_now(c->q, c->old[i], 1, err);
	for (uint64_t i = 0; i < c->n_old; i++)
		if (c->old[i] < c->free_from)
			c->free_from = c->old[i];
	c->n_old = 0;
	return rc;
}

static bool is_own_data(uint64_t entry)
{
	return (entry & QCOW2_COPIED) && !(entry & QCOW2_COMPRESSED) &&
	       (entry & QCOW2_OFFSET_MASK) != 0;
}

static int compact_l2(struct compaction *c, uint64_t offset, struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t n = q->cluster_len / sizeof(uint64_t);
	int rc = image_file_read(q->file, offset, c->table, q->cluster_len);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read L2 table");
	for (uint64_t i = 0; rc == 0 && i < n; i += q->l2_words)
		if (is_own_data(be64toh(c->table[i])))
			rc = move_one(c, &c->table[i], true, err);
	if (rc < 0 || c->n_old == 0)
		return rc;
	rc = barrier(q, err);
	if (rc == 0)
		rc = qcow2_check_overlap(q, QCOW2_SECTION_L2, offset,
					 q->cluster_len, err);
	if (rc < 0)
		return rc;
	rc = qcow2_cache_write(&q->l2_cache, offset, c->table, q->cluster_len);
	return rc < 0 ? error_set_errno(err, rc, "Could not write L2 table")
		      : free_old(c, err);
}

static int compact_clusters(struct compaction *c, struct error *err)
{
	struct qcow2 *q = c->q;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < q->header.l1_size; i++)
		if (q->l1[i] & QCOW2_COPIED)
			rc = compact_l2(c, q->l1[i] & QCOW2_OFFSET_MASK, err);
	return rc;
}

/* As many at a time as there is room to remember. */
static int compact_tables(struct compaction *c, struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t per_cluster = q->cluster_len / sizeof(uint64_t);
	int rc = 0;

	for (uint64_t first = 0; rc == 0 && first < q->header.l1_size;
	     first += per_cluster) {
		uint64_t n = q->header.l1_size - first;

		if (n > per_cluster)
			n = per_cluster;
		for (uint64_t i = 0; i < n; i++)
			c->table[i] = htobe64(q->l1[first + i]);
		for (uint64_t i = 0; rc == 0 && i < n; i++)
			if (q->l1[first + i] & QCOW2_COPIED)
				rc = move_one(c, &c->table[i], false, err);
		if (rc < 0 || c->n_old == 0)
			continue;
		rc = barrier(q, err);
		if (rc == 0)
			rc = qcow2_check_overlap(
				q, QCOW2_SECTION_L1,
				q->header.l1_offset + first * 8, n * 8, err);
		image_file_tell(q->file, IMAGE_EVENT_L1_UPDATE);
		if (rc == 0)
			rc = image_file_write(q->file,
					      q->header.l1_offset + first * 8,
					      c->table, n * 8);
		for (uint64_t i = 0; rc == 0 && i < n; i++)
			q->l1[first + i] = be64toh(c->table[i]);
		if (rc == 0)
			rc = qcow2_filters_refill(q);
		if (rc == 0)
			rc = free_old(c, err);
	}
	return rc;
}

/* So many clusters as are in use fit below the limit. */
static int find_limit(struct compaction *c, struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t size, n, count;
	int rc = image_file_size(q->file, &size);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	n = qcow2_n_clusters(q, size);
	c->limit = 0;
	for (uint64_t i = 0; rc == 0 && i < n; i++) {
		rc = qcow2_get_refcount(q, i, &count, err);
		c->limit += count != 0;
	}
	return rc;
}

static int give_back_leaks(struct qcow2 *q, struct error *err)
{
	struct image_check result = { .found = NULL };
	int rc = qcow2_repair_locked(q, IMAGE_REPAIR_LEAKS, &result, err);

	if (result.n_corruptions + result.n_check_errors > 0)
		rc = error_set(err, -EIO,
			       "The image has errors: it must be checked and "
			       "repaired first");
	return rc;
}

/* Zeroes first, so that the limit is as low as it can be. */
static int move_all(struct compaction *c, struct error *err)
{
	const struct qcow2_header *h = &c->q->header;
	int rc = 0;

	c->limit = UINT64_MAX;
	c->can_zero = !c->q->has_subclusters &&
		      (h->version >= 3 || h->backing_name_offset == 0);
	if (c->can_zero)
		rc = compact_clusters(c, err);
	c->can_zero = false;
	c->free_from = 0;
	if (rc == 0)
		rc = find_limit(c, err);
	if (rc == 0)
		rc = compact_clusters(c, err);
	return rc == 0 ? compact_tables(c, err) : rc;
}

/* An encrypted cluster's place is part of what it was encrypted with; and
 * clusters of a data file have the place that they have on the disk. */
static bool may_move(const struct qcow2 *q)
{
	return q->header.crypt_method == QCOW2_CRYPT_NONE &&
	       !(q->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE);
}

static int compact(struct qcow2 *q, struct error *err)
{
	_cleanup_free_ uint8_t *data = malloc(q->cluster_len);
	_cleanup_free_ uint64_t *table = malloc(q->cluster_len);
	_cleanup_free_ uint64_t *old = malloc(q->cluster_len);
	struct compaction c = {
		.q = q, .data = data, .table = table, .old = old
	};
	int rc;

	if (data == NULL || table == NULL || old == NULL)
		return -ENOMEM;
	rc = give_back_leaks(q, err);
	if (rc == 0 && may_move(q))
		rc = move_all(&c, err);
	q->free_hint = 0;
	q->pack_next = 0;
	if (rc == 0 && may_move(q))
		rc = qcow2_move_tables(q, err);
	if (rc == 0)
		rc = qcow2_drop_refcount_blocks(q, err);
	if (rc == 0)
		rc = qcow2_cut_file(q, err);
	if (rc == 0)
		rc = barrier(q, err);
	return rc == 0 ? qcow2_punch_free(q, err) : rc;
}

int qcow2_compact(struct image *image, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	if (rc == 0)
		rc = compact(q, err);
	qcow2_end_alone(q, &flight);
	return rc;
}
