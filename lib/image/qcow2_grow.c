/* SPDX-License-Identifier: ISC */
/*
 * More room for refcounts: new blocks, and a larger table.
 *
 * A block is written before the table's entry for it. A larger table is built
 * in clusters that the old one cannot count, so certainly free, together with
 * the blocks that count these clusters:
 *
 *	| block | ... | block |  table                |
 *	^ the first host index beyond the old table's reach
 *
 * Then one write to the header switches to it, and the old table is freed
 * after that. All of it is on the disk when the caller goes on to count.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>

static int barrier(struct qcow2 *q, struct error *err)
{
	int rc = qcow2_barrier(q);

	return rc < 0 ? error_set_errno(err, rc, "Could not flush refcounts")
		      : 0;
}

/* Write a block at place that counts once what of [used, used + n) is its. */
static int write_block(struct qcow2 *q, uint64_t block_index, uint64_t place,
		       uint64_t used, uint64_t n, struct error *err)
{
	uint64_t first = block_index << q->refcount_block_bits;
	uint64_t end = first + (1ULL << q->refcount_block_bits);
	_cleanup_free_ uint8_t *block = calloc(1, q->cluster_len);
	uint64_t offset = place << q->cluster_bits;
	int rc;

	if (block == NULL)
		return -ENOMEM;
	for (uint64_t i = used < first ? first : used; i < used + n && i < end;
	     i++)
		qcow2_refcount_store(block, q->refcount_bits, i - first, 1);
	rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE, offset, q->cluster_len,
				 err);
	if (rc == 0)
		rc = qcow2_verify_free(q, place, 1, err);
	if (rc < 0)
		return rc;
	rc = qcow2_cache_write(&q->refcount_cache, offset, block,
			       q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write refcount block");
	if (q->fresh_from <= place)
		q->fresh_from = place + 1;
	return 0;
}

static int set_table_entry(struct qcow2 *q, uint64_t i, uint64_t offset,
			   struct error *err)
{
	uint64_t wire = htobe64(offset);
	uint64_t at = q->header.refcount_table_offset + i * sizeof(wire);
	int rc;

	rc = qcow2_check_overlap(q, QCOW2_SECTION_REFCOUNT_TABLE, at,
				 sizeof(wire), err);
	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_HOOKUP);
	rc = image_file_write(q->file, at, &wire, sizeof(wire));
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write refcount table");
	q->refcount_table[i] = offset;
	qcow2_verify_made(q, i);
	return qcow2_filter_add_refcount_block(q, offset);
}

/* Where a larger table goes, in host clusters: blocks, then the table. */
struct area {
	uint64_t start, n_blocks, n_clusters; /* n_clusters of the table */
};

static int plan_area(const struct qcow2 *q, uint64_t host_index,
		     uint64_t place_from, struct area *area, struct error *err)
{
	uint64_t per_cluster = q->cluster_len / sizeof(uint64_t);
	uint64_t max = QCOW2_REFCOUNT_TABLE_LEN_MAX >> q->cluster_bits;
	uint64_t reach = (uint64_t)q->refcount_table_size
			 << q->refcount_block_bits;
	uint64_t wanted = 2ULL * q->header.refcount_table_clusters;
	uint64_t last, blocks = 1;

	area->start = reach > place_from ? reach : place_from;
	area->n_clusters = wanted < max ? wanted : max;
	do {
		area->n_blocks = blocks;
		last = area->start + area->n_blocks + area->n_clusters - 1;
		if (last < host_index)
			last = host_index;
		last >>= q->refcount_block_bits;
		while (area->n_clusters * per_cluster <= last)
			area->n_clusters++;
		last = area->start + area->n_blocks + area->n_clusters - 1;
		blocks = (last >> q->refcount_block_bits) -
			 (area->start >> q->refcount_block_bits) + 1;
	} while (blocks > area->n_blocks);
	if (area->n_clusters > max)
		return error_set(err, -EFBIG,
				 "Refcount table would be larger than 8 MiB");
	return 0;
}

static int write_area(struct qcow2 *q, const struct area *a, uint64_t *table,
		      struct error *err)
{
	uint64_t size = a->n_clusters * (q->cluster_len / sizeof(*table));
	uint64_t first = a->start >> q->refcount_block_bits;
	uint64_t offset = (a->start + a->n_blocks) << q->cluster_bits;
	int rc;

	for (uint64_t i = 0; i < q->refcount_table_size; i++)
		table[i] = q->refcount_table[i];
	for (uint64_t i = 0; i < a->n_blocks; i++) {
		table[first + i] = (a->start + i) << q->cluster_bits;
		qcow2_verify_made(q, first + i);
		image_file_tell(q->file,
				IMAGE_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
		rc = write_block(q, first + i, a->start + i, a->start,
				 a->n_blocks + a->n_clusters, err);
		if (rc < 0)
			return rc;
	}
	rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE, offset,
				 a->n_clusters << q->cluster_bits, err);
	if (rc < 0)
		return rc;
	for (uint64_t i = 0; i < size; i++)
		table[i] = htobe64(table[i]);
	image_file_tell(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_WRITE_TABLE);
	rc = image_file_write(q->file, offset, table, size * sizeof(*table));
	for (uint64_t i = 0; i < size; i++)
		table[i] = be64toh(table[i]);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write refcount table");
	if (q->fresh_from < a->start + a->n_blocks + a->n_clusters)
		q->fresh_from = a->start + a->n_blocks + a->n_clusters;
	return 0;
}

static int grow_table(struct qcow2 *q, uint64_t host_index, uint64_t place_from,
		      struct error *err)
{
	uint64_t old_offset = q->header.refcount_table_offset;
	uint32_t old_clusters = q->header.refcount_table_clusters;
	_cleanup_free_ uint64_t *table = NULL;
	struct area area;
	uint64_t size;
	int rc;

	image_file_tell(q->file, IMAGE_EVENT_REFTABLE_GROW);
	rc = plan_area(q, host_index, place_from, &area, err);
	if (rc < 0)
		return rc;
	size = area.n_clusters * (q->cluster_len / sizeof(*table));
	table = calloc(size, sizeof(*table));
	if (table == NULL)
		return -ENOMEM;
	rc = write_area(q, &area, table, err);
	if (rc == 0)
		rc = barrier(q, err);
	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE);
	rc = qcow2_set_refcount_table(
		q, (area.start + area.n_blocks) << q->cluster_bits,
		(uint32_t)area.n_clusters);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write header");
	free(q->refcount_table);
	q->refcount_table = steal_ptr(&table);
	q->refcount_table_size = (uint32_t)size;
	for (uint64_t i = 0; i < area.n_blocks; i++) {
		rc = qcow2_filter_add_refcount_block(
			q, (area.start + i) << q->cluster_bits);
		if (rc < 0)
			return rc;
	}
	rc = barrier(q, err);
	return rc < 0 ? rc : qcow2_free_later(q, old_offset, old_clusters, err);
}

static bool has_block(const struct qcow2 *q, uint64_t host_index)
{
	uint64_t i = host_index >> q->refcount_block_bits;

	return i < q->refcount_table_size &&
	       (q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK) != 0;
}

/* A free cluster that is itself counted, or would be by the new block. */
static int find_place(struct qcow2 *q, uint64_t block_index,
		      uint64_t place_from, uint64_t *place, struct error *err)
{
	int rc = qcow2_find_free(q, place_from, 1, place, err);

	if (rc < 0 || *place >> q->refcount_block_bits == block_index ||
	    has_block(q, *place))
		return rc;
	/* There is nothing in the way of that one counting itself. */
	rc = qcow2_make_refcount_block(q, *place, *place, err);
	return rc < 0 ? rc : qcow2_find_free(q, *place, 1, place, err);
}

int qcow2_make_refcount_block(struct qcow2 *q, uint64_t host_index,
			      uint64_t place_from, struct error *err)
{
	uint64_t i = host_index >> q->refcount_block_bits;
	bool counts_itself;
	uint64_t place;
	int rc;

	if (i >= q->refcount_table_size) {
		rc = grow_table(q, host_index, place_from, err);
		if (rc < 0 || has_block(q, host_index))
			return rc;
	}
	rc = find_place(q, i, place_from, &place, err);
	if (rc < 0 || has_block(q, host_index))
		return rc;
	counts_itself = place >> q->refcount_block_bits == i;
	if (!counts_itself) {
		rc = qcow2_add_refcount(q, place, 1, 1, err);
		if (rc < 0)
			return rc;
	}
	image_file_tell(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_WRITE);
	rc = write_block(q, i, place, place, 1, err);
	if (rc == 0)
		rc = barrier(q, err);
	if (rc < 0) {
		if (!counts_itself)
			(void)qcow2_free_now(q, place, 1, NULL);
		return rc;
	}
	rc = set_table_entry(q, i, place << q->cluster_bits, err);
	return rc < 0 ? rc : barrier(q, err);
}
