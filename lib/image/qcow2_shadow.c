/* SPDX-License-Identifier: ISC */
/*
 * A snapshot that comes or goes changes refcounts and copied flags all over an
 * image. Done in place, a kill in the middle leaves flags that contradict the
 * counts. So the refcount blocks and their table are copied first, and the
 * change is made in the copy; tables that change are written to new places.
 * Then one write to the header (all of its offsets lie within 48 bytes of one
 * sector) switches from the old state to the new one:
 *
 *	header ---> refcount table, L1 table, snapshot table      (old)
 *	        |
 *	        +-> refcount table', L1 table', snapshot table'   (new)
 *
 * Until then a kill leaks the new places, which the old blocks count; from
 * then on the old places are free, since the new blocks do not count them.
 */
#include "lib/image/qcow2_shadow.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static uint64_t offset_in(uint64_t table_entry)
{
	return table_entry & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
}

int qcow2_shadow_add_table(struct qcow2 *q, struct qcow2_shadow *s,
			   uint64_t len, uint64_t *host_offset,
			   struct error *err)
{
	struct qcow2_range *range = &s->tables[s->n_tables];
	int rc;

	*host_offset = 0;
	if (len == 0)
		return 0;
	range->n = qcow2_n_clusters(q, len);
	rc = qcow2_alloc_all(q, range->n, &range->host_offset, err);
	if (rc < 0)
		return rc;
	s->n_tables++;
	*host_offset = range->host_offset;
	return 0;
}

/* Make a list of single clusters n long. */
static int extend(struct qcow2 *q, uint64_t **list, uint64_t *n_have,
		  uint64_t n, struct error *err)
{
	uint64_t *longer;

	if (n <= *n_have)
		return 0;
	longer = realloc(*list, n * sizeof(**list));
	if (longer == NULL)
		return -ENOMEM;
	*list = longer;
	while (*n_have < n) {
		uint64_t got = n - *n_have, offset;
		bool is_fresh;
		int rc = qcow2_alloc(q, &got, &offset, &is_fresh, err);

		if (rc < 0)
			return rc;
		for (; got > 0; got--, offset += q->cluster_len)
			longer[(*n_have)++] = offset;
	}
	return 0;
}

static uint64_t count_blocks(const struct qcow2 *q)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < q->refcount_table_size; i++)
		n += offset_in(q->refcount_table[i]) != 0;
	return n;
}

static void give_back(struct qcow2 *q, struct qcow2_range *range)
{
	if (range->n > 0)
		(void)qcow2_free_now(q, range->host_offset >> q->cluster_bits,
				     range->n, NULL);
	range->n = 0;
}

/* Places for the copies; finding them may itself make blocks or a larger
 * table. */
static int find_places(struct qcow2 *q, struct qcow2_shadow *s,
		       struct error *err)
{
	do {
		uint64_t n = q->header.refcount_table_clusters;
		int rc = 0;

		if (s->table_range.n != n) {
			give_back(q, &s->table_range);
			rc = qcow2_alloc_all(q, n, &s->table_range.host_offset,
					     err);
			if (rc < 0)
				return rc;
			s->table_range.n = n;
		}
		rc = extend(q, &s->blocks, &s->n_blocks, count_blocks(q), err);
		if (rc < 0)
			return rc;
	} while (s->table_range.n != q->header.refcount_table_clusters ||
		 s->n_blocks < count_blocks(q));
	return 0;
}

static int compare_offsets(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int qcow2_shadow_check_place(const struct qcow2 *q,
			     const struct qcow2_shadow *s, uint64_t host_offset,
			     uint64_t n, struct error *err)
{
	uint64_t at = host_offset & ~(uint64_t)(q->cluster_len - 1);

	for (; n > 0; n--, at += q->cluster_len)
		if (bsearch(&at, s->old_blocks, s->n_old_blocks, sizeof(at),
			    compare_offsets) != NULL)
			return error_set(err, -EIO,
					 "Refcount block at %#llx is used for "
					 "something else, too: the image must "
					 "be checked and repaired first",
					 (unsigned long long)at);
	return 0;
}

static int copy_block(struct qcow2 *q, uint64_t from, uint64_t to,
		      uint8_t *block, struct error *err)
{
	int rc;

	if (from & (q->cluster_len - 1))
		return qcow2_corruption(q, err,
					"Refblock offset %#llx unaligned",
					(unsigned long long)from);
	rc = qcow2_check_overlap(q, QCOW2_SECTION_REFCOUNT_BLOCK, from,
				 q->cluster_len, err);
	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_REFBLOCK_LOAD);
	rc = image_file_read(q->file, from, block, q->cluster_len);
	if (rc == 0)
		rc = qcow2_cache_write(&q->refcount_cache, to, block,
				       q->cluster_len);
	return rc < 0 ? error_set_errno(err, rc, "Could not copy refcounts")
		      : 0;
}

static int copy_blocks(struct qcow2 *q, struct qcow2_shadow *s,
		       struct error *err)
{
	_cleanup_free_ uint8_t *block = malloc(q->cluster_len);
	uint64_t n = 0;

	s->table = calloc(q->refcount_table_size, sizeof(*s->table));
	s->old_blocks = calloc(s->n_blocks + 1, sizeof(*s->old_blocks));
	if (block == NULL || s->table == NULL || s->old_blocks == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < q->refcount_table_size; i++) {
		uint64_t from = offset_in(q->refcount_table[i]);
		int rc;

		if (from == 0)
			continue;
		s->old_blocks[n] = from;
		s->table[i] = s->blocks[n++];
		rc = qcow2_verify_block(q, i, err);
		if (rc == 0)
			rc = copy_block(q, from, s->table[i], block, err);
		if (rc < 0)
			return rc;
	}
	s->n_old_blocks = n;
	qsort(s->old_blocks, n, sizeof(*s->old_blocks), compare_offsets);
	return 0;
}

/* In the copy: the old structure and what is left of the new places go. */
static int uncount_old(struct qcow2 *q, struct qcow2_shadow *s,
		       struct error *err)
{
	uint64_t n = 0;
	int rc;

	rc = qcow2_add_refcount(
		q, q->header.refcount_table_offset >> q->cluster_bits,
		q->header.refcount_table_clusters, -1, err);
	for (uint64_t i = 0; rc == 0 && i < q->refcount_table_size; i++) {
		uint64_t offset = offset_in(s->old_table[i]);

		if (offset == 0)
			continue;
		n++;
		rc = qcow2_add_refcount(q, offset >> q->cluster_bits, 1, -1,
					err);
	}
	for (; rc == 0 && n < s->n_blocks; n++)
		rc = qcow2_add_refcount(q, s->blocks[n] >> q->cluster_bits, 1,
					-1, err);
	return rc;
}

static int begin(struct qcow2 *q, struct qcow2_shadow *s, struct error *err)
{
	int rc = copy_blocks(q, s, err);

	if (rc < 0)
		return rc;
	s->old_table = q->refcount_table;
	q->refcount_table = s->table;
	s->table = NULL;
	q->is_shadowed = true;
	rc = qcow2_filters_refill(q);
	return rc < 0 ? rc : uncount_old(q, s, err);
}

int qcow2_shadow_begin(struct qcow2 *q, struct qcow2_shadow *s, uint64_t n_pool,
		       struct error *err)
{
	int rc = extend(q, &s->pool, &s->n_pool, n_pool, err);

	if (rc == 0)
		rc = find_places(q, s, err);
	return rc < 0 ? rc : begin(q, s, err);
}

int qcow2_shadow_claim(struct qcow2 *q, uint64_t host_offset, uint64_t n,
		       struct error *err)
{
	uint64_t first = host_offset >> q->cluster_bits;

	for (uint64_t i = first; i < first + n; i++) {
		uint64_t count;
		int rc = qcow2_get_refcount(q, i, &count, err);

		if (rc == 0 && count > 0)
			rc = error_set(err, -EBUSY, "Cluster is in use");
		if (rc < 0)
			return rc;
	}
	return qcow2_add_refcount(q, first, n, 1, err);
}

int qcow2_shadow_begin_at(struct qcow2 *q, struct qcow2_shadow *s,
			  const struct qcow2_range *table, uint64_t **blocks,
			  uint64_t n_blocks, struct error *err)
{
	int rc;

	if (table->n != q->header.refcount_table_clusters ||
	    n_blocks != count_blocks(q))
		return error_set(err, -EBUSY, "Refcount structure has grown");
	rc = qcow2_shadow_claim(q, table->host_offset, table->n, err);
	if (rc < 0)
		return rc;
	s->table_range = *table;
	s->blocks = steal_ptr(blocks);
	for (; s->n_blocks < n_blocks; s->n_blocks++) {
		rc = qcow2_shadow_claim(q, s->blocks[s->n_blocks], 1, err);
		if (rc < 0)
			return rc;
	}
	return begin(q, s, err);
}

static int write_table(struct qcow2 *q, const struct qcow2_shadow *s,
		       struct error *err)
{
	size_t len = q->refcount_table_size * sizeof(uint64_t);
	_cleanup_free_ uint64_t *wire = malloc(len);
	int rc;

	if (wire == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < q->refcount_table_size; i++)
		wire[i] = htobe64(q->refcount_table[i]);
	image_file_tell(q->file, IMAGE_EVENT_REFTABLE_UPDATE);
	rc = image_file_write(q->file, s->table_range.host_offset, wire, len);
	if (rc == 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write refcount table")
		      : 0;
}

/* The space of what one block counted and its copy does not; the old blocks are
 * still needed. */
static int free_space(struct qcow2 *q, const struct qcow2_shadow *s, uint64_t i,
		      uint8_t *old)
{
	uint64_t per_block = 1ULL << q->refcount_block_bits, run = 0, j;
	uint64_t first = i << q->refcount_block_bits;
	_cleanup_free_ uint8_t *new = malloc(q->cluster_len);
	int rc;

	if (new == NULL)
		return -ENOMEM;
	rc = image_file_read(q->file, offset_in(s->old_table[i]), old,
			     q->cluster_len);
	if (rc == 0)
		rc = image_file_read(q->file, offset_in(q->refcount_table[i]),
				     new, q->cluster_len);
	for (j = 0; rc == 0 && j < per_block; j++) {
		uint64_t offset = (first + j) << q->cluster_bits;

		if (qcow2_refcount_load(old, q->refcount_bits, j) > 0 &&
		    qcow2_refcount_load(new, q->refcount_bits, j) == 0 &&
		    !bsearch(&offset, s->old_blocks, s->n_old_blocks,
			     sizeof(offset), compare_offsets)) {
			run++;
			continue;
		}
		qcow2_forget_free(q, first + j - run, run);
		run = 0;
	}
	if (rc == 0)
		qcow2_forget_free(q, first + j - run, run);
	return rc;
}

/* It is done already: what fails here is space that is not given back yet. */
static void free_all_space(struct qcow2 *q, const struct qcow2_shadow *s)
{
	_cleanup_free_ uint8_t *old = malloc(q->cluster_len);

	if (old == NULL)
		return;
	for (uint64_t i = 0; i < q->refcount_table_size; i++)
		if (offset_in(s->old_table[i]) != 0 &&
		    free_space(q, s, i, old) < 0)
			return;
	for (uint64_t i = 0; i < s->n_old_blocks; i++) {
		uint64_t at = s->old_blocks[i] >> q->cluster_bits, count;

		if (qcow2_get_refcount(q, at, &count, NULL) == 0 && count == 0)
			qcow2_forget_free(q, at, 1);
	}
}

/*
 * Nobody knows which header is on the disk. Both are sound as long as nothing
 * of either is given back or written to: nothing is, from now on.
 */
static void forsake(struct qcow2 *q, struct qcow2_shadow *s)
{
	q->is_corrupt = true;
	s->n_pool = s->n_blocks = s->n_tables = 0;
	s->table_range.n = 0;
}

int qcow2_shadow_commit(struct qcow2 *q, struct qcow2_shadow *s,
			const struct qcow2_switch *to, struct error *err)
{
	const struct qcow2_header before = q->header;
	int rc = 0;

	for (uint64_t i = s->n_taken; rc == 0 && i < s->n_pool; i++)
		rc = qcow2_add_refcount(q, s->pool[i] >> q->cluster_bits, 1, -1,
					err);
	if (rc == 0)
		rc = write_table(q, s, err);
	if (rc < 0)
		return rc;
	rc = qcow2_switch_tables(q, to, s->table_range.host_offset);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0) {
		q->header = before; /* as the tables in memory are */
		forsake(q, s);
		return error_set_errno(err, rc, "Could not write header");
	}
	q->is_shadowed = false;
	free_all_space(q, s);
	/* Nothing of it is to be undone. */
	free(s->old_table);
	s->old_table = NULL;
	s->n_pool = s->n_blocks = s->n_tables = 0;
	s->table_range.n = 0;
	return 0;
}

static void free_list(struct qcow2 *q, const uint64_t *list, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		(void)qcow2_free_now(q, list[i] >> q->cluster_bits, 1, NULL);
}

void qcow2_shadow_deinit(struct qcow2 *q, struct qcow2_shadow *s)
{
	if (s->old_table != NULL) {
		free(q->refcount_table);
		q->refcount_table = s->old_table;
		q->is_shadowed = false;
		(void)qcow2_filters_refill(q);
	}
	free_list(q, s->pool, s->n_pool);
	free_list(q, s->blocks, s->n_blocks);
	for (unsigned i = 0; i < s->n_tables; i++)
		give_back(q, &s->tables[i]);
	give_back(q, &s->table_range);
	free(s->pool);
	free(s->blocks);
	free(s->table);
	free(s->old_blocks);
	*s = (struct qcow2_shadow){ .n_tables = 0 };
}
