/* SPDX-License-Identifier: ISC */
/*
 * Finding free host clusters.
 *
 * The refcount of a cluster must be on the disk before an L2 entry that uses
 * it. A flush for each would be slow, so clusters are reserved: a run of free
 * ones is counted as used, one durable write makes that stable (and leaves
 * the guest's data in peace, which a flush would not), and then they are
 * handed out one write after another. What is left is given back on close; a
 * crash leaks it. Reservations double as they are used up, so that an image
 * which is hardly written to leaks hardly anything.
 *
 * The file is made long enough for them before that write too: after a
 * power failure an entry could else refer to what lies beyond its end.
 *
 * One thread at a time looks for clusters (q->is_allocating), since it pauses
 * at its barriers; others wait, but not those that find a reservation.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <string.h>

void qcow2_begin_allocating(struct qcow2 *q)
{
	while (q->is_allocating) {
		q->n_waiting++;
		pthread_cond_wait(&q->changed, &q->lock);
		q->n_waiting--;
	}
	q->is_allocating = true;
}

void qcow2_end_allocating(struct qcow2 *q)
{
	q->is_allocating = false;
	if (q->n_waiting > 0)
		pthread_cond_broadcast(&q->changed);
}

int qcow2_get_refcount_block(struct qcow2 *q, uint64_t host_index,
			     uint8_t **block, struct error *err)
{
	uint64_t i = host_index >> q->refcount_block_bits;
	uint64_t offset;
	int rc;

	*block = NULL;
	if (i >= q->refcount_table_size)
		return 0;
	offset = q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	if (offset == 0)
		return 0;
	if (offset & (q->cluster_len - 1))
		return qcow2_corruption(q, err,
					"Refblock offset %#llx unaligned "
					"(reftable index: %#llx)",
					(unsigned long long)offset,
					(unsigned long long)i);
	rc = qcow2_cache_get(&q->refcount_cache, offset, block);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read refcount block");
	return 0;
}

/*
 * The block is looked at in the pieces that the cache has it in: *from moves
 * to the first free cluster at or after it, or to the end of the piece.
 */
static uint64_t piece_end(const struct qcow2 *q, uint64_t host_index)
{
	uint64_t per_block = 1ULL << q->refcount_block_bits;

	return (host_index | (per_block - 1)) + 1;
}

int qcow2_find_free(struct qcow2 *q, uint64_t from, uint64_t n,
		    uint64_t *host_index, struct error *err)
{
	uint64_t mask = (1ULL << q->refcount_block_bits) - 1;
	uint64_t start = from, i = from;

	while (i - start < n) {
		uint64_t end = piece_end(q, i);
		uint8_t *block;
		int rc = qcow2_get_refcount_block(q, i, &block, err);

		if (rc < 0)
			return rc;
		if (block == NULL)
			i = end;
		for (; i < end && i - start < n; i++)
			if (qcow2_refcount_load(block, q->refcount_bits,
						i & mask) != 0)
				start = i + 1;
	}
	if (start + n > QCOW2_OFFSET_MASK >> q->cluster_bits)
		return error_set(err, -EFBIG,
				 "No free cluster below 64 PiB of the file");
	*host_index = start;
	return 0;
}

/* Free clusters in a row from host_index on, at most max, all counted by
 * one block that exists; 0: there is none. */
static int count_free(struct qcow2 *q, uint64_t host_index, uint64_t max,
		      uint64_t *n, struct error *err)
{
	uint64_t mask = (1ULL << q->refcount_block_bits) - 1;
	uint64_t end = piece_end(q, host_index);
	uint8_t *block;
	int rc = qcow2_get_refcount_block(q, host_index, &block, err);

	*n = 0;
	if (rc < 0 || block == NULL)
		return rc;
	while (*n < max && host_index + *n < end &&
	       qcow2_refcount_load(block, q->refcount_bits,
				   (host_index + *n) & mask) == 0)
		++*n;
	return 0;
}

static uint64_t reserve_size(struct qcow2 *q, uint64_t wanted)
{
	uint64_t n = q->reserve_next;
	uint64_t max = QCOW2_RESERVE_LEN_MAX >> q->cluster_bits;

	if (q->reserve_next < QCOW2_RESERVE_MAX)
		q->reserve_next *= 2;
	if (max > QCOW2_RESERVE_MAX)
		max = QCOW2_RESERVE_MAX;
	if (n < wanted)
		n = wanted;
	return n < max ? n : max;
}

/* Grow the file up to host_index. */
static int extend_file(struct qcow2 *q, uint64_t host_index, struct error *err)
{
	uint64_t size, end = host_index << q->cluster_bits;
	int rc = image_file_size(q->file, &size);

	image_file_tell(q->file, IMAGE_EVENT_CLUSTER_ALLOC_SPACE);
	if (rc == 0 && size < end && !q->file->is_block_device)
		rc = image_file_truncate(q->file, end);
	return rc < 0 ? error_set_errno(err, rc, "Could not extend file") : 0;
}

/* What was reserved and not used need not be in the file. */
static void cut_file(struct qcow2 *q, uint64_t host_index, uint64_t n)
{
	uint64_t size;

	if (image_file_size(q->file, &size) == 0 && !q->file->is_block_device &&
	    size == (host_index + n) << q->cluster_bits)
		(void)image_file_truncate(q->file,
					  host_index << q->cluster_bits);
}

/*
 * The refcounts of a reservation, in one block. Without the lock nobody else
 * writes them, but what shares a byte with them somebody may.
 */
static int make_durable(struct qcow2 *q, uint64_t start, uint64_t n)
{
	uint64_t first = start & ((1ULL << q->refcount_block_bits) - 1);
	uint64_t at = first * q->refcount_bits / 8;
	size_t len = n * q->refcount_bits / 8;
	_cleanup_free_ uint8_t *counts = NULL;
	uint8_t *block;
	int rc;

	if (q->is_unsafe || q->refcount_bits < 8)
		return qcow2_barrier(q);
	counts = malloc(len);
	if (counts == NULL)
		return -ENOMEM;
	rc = qcow2_get_refcount_block(q, start, &block, NULL);
	if (rc < 0 || block == NULL)
		return rc < 0 ? rc : -EIO;
	memcpy(counts, block + at, len);
	at += q->refcount_table[start >> q->refcount_block_bits] &
	      QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	pthread_mutex_unlock(&q->lock);
	rc = image_file_write_durable(q->file, at, counts, len);
	pthread_mutex_lock(&q->lock);
	return rc;
}

static int reserve(struct qcow2 *q, uint64_t wanted, struct error *err)
{
	uint64_t max = reserve_size(q, wanted), start, n;
	int rc;

	for (;;) {
		rc = qcow2_find_free(q, q->free_hint, 1, &start, err);
		if (rc < 0)
			return rc;
		q->free_hint = start;
		rc = count_free(q, start, max, &n, err);
		if (rc < 0)
			return rc;
		if (n > 0)
			break;
		rc = qcow2_make_refcount_block(q, start, start, err);
		if (rc < 0)
			return rc;
	}
	rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE,
				 start << q->cluster_bits, n << q->cluster_bits,
				 err);
	if (rc == 0)
		rc = qcow2_verify_free(q, start, n, err);
	if (rc == 0)
		rc = extend_file(q, start + n, err);
	if (rc == 0)
		rc = qcow2_add_refcount(q, start, n, 1, err);
	if (rc < 0)
		return rc;
	q->free_hint = start + n;
	rc = make_durable(q, start, n);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not flush refcounts");
	q->reserved = start;
	q->n_reserved = n;
	return 0;
}

int qcow2_alloc(struct qcow2 *q, uint64_t *n, uint64_t *host_offset,
		bool *is_fresh, struct error *err)
{
	image_file_tell(q->file, IMAGE_EVENT_CLUSTER_ALLOC);
	while (q->n_reserved == 0) {
		int rc = 0;

		qcow2_begin_allocating(q);
		if (q->n_reserved == 0)
			rc = reserve(q, *n, err);
		qcow2_end_allocating(q);
		if (rc < 0)
			return rc;
	}
	if (*n > q->n_reserved)
		*n = q->n_reserved;
	*host_offset = q->reserved << q->cluster_bits;
	*is_fresh = q->reserved >= q->fresh_from;
	q->reserved += *n;
	q->n_reserved -= *n;
	if (q->fresh_from < q->reserved)
		q->fresh_from = q->reserved;
	return 0;
}

/* Blocks for all of [start, start + n) that lack one, behind it. */
static int make_blocks(struct qcow2 *q, uint64_t start, uint64_t n,
		       struct error *err)
{
	uint64_t end = start + n;

	for (uint64_t i = start; i < end; i = piece_end(q, i)) {
		uint8_t *block;
		int rc = qcow2_get_refcount_block(q, i, &block, err);

		if (rc == 0 && block == NULL)
			rc = qcow2_make_refcount_block(q, i, end, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int alloc_all(struct qcow2 *q, uint64_t n, uint64_t *host_offset,
		     struct error *err)
{
	uint64_t start = 0;
	int rc;

	rc = qcow2_find_free(q, q->free_hint, n, &start, err);
	if (rc == 0)
		rc = make_blocks(q, start, n, err);
	if (rc == 0)
		rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE,
					 start << q->cluster_bits,
					 n << q->cluster_bits, err);
	if (rc == 0)
		rc = qcow2_verify_free(q, start, n, err);
	if (rc == 0)
		rc = qcow2_add_refcount(q, start, n, 1, err);
	if (rc < 0)
		return rc;
	if (q->fresh_from < start + n)
		q->fresh_from = start + n;
	*host_offset = start << q->cluster_bits;
	return 0;
}

int qcow2_alloc_all(struct qcow2 *q, uint64_t n, uint64_t *host_offset,
		    struct error *err)
{
	int rc;

	image_file_tell(q->file, IMAGE_EVENT_CLUSTER_ALLOC);
	qcow2_begin_allocating(q);
	rc = alloc_all(q, n, host_offset, err);
	qcow2_end_allocating(q);
	return rc;
}

int qcow2_alloc_row(struct qcow2 *q, uint64_t n, uint64_t *host_offset,
		    bool *is_fresh, struct error *err)
{
	uint64_t fresh_from, start = 0;
	int rc;

	qcow2_begin_allocating(q);
	fresh_from = q->fresh_from;
	/* Nothing between it and what was handed out last. */
	rc = qcow2_unreserve(q, err);
	if (rc == 0)
		rc = alloc_all(q, n, host_offset, err);
	if (rc == 0) {
		start = *host_offset >> q->cluster_bits;
		*is_fresh = start >= fresh_from;
		q->free_hint = start + n;
		rc = extend_file(q, start + n, err);
		if (rc == 0 && (rc = qcow2_barrier(q)) < 0)
			rc = error_set_errno(err, rc,
					     "Could not flush refcounts");
		if (rc < 0)
			qcow2_alloc_undo(q, *host_offset, n);
	}
	qcow2_end_allocating(q);
	return rc;
}

void qcow2_alloc_undo(struct qcow2 *q, uint64_t host_offset, uint64_t n)
{
	uint64_t start = host_offset >> q->cluster_bits;

	if (start + n == q->reserved && q->n_reserved > 0) {
		q->reserved = start;
		q->n_reserved += n;
		return;
	}
	/* What cannot be given back leaks; there is an error already. */
	(void)qcow2_free_now(q, start, n, NULL);
}

int qcow2_unreserve(struct qcow2 *q, struct error *err)
{
	uint64_t n = q->n_reserved;
	int rc;

	if (n == 0)
		return 0;
	q->n_reserved = 0;
	rc = qcow2_free_now(q, q->reserved, n, err);
	if (rc == 0)
		cut_file(q, q->reserved, n);
	return rc;
}

static int cut_unused(struct qcow2 *q, struct error *err)
{
	uint64_t mask = (1ULL << q->refcount_block_bits) - 1;
	uint64_t counted = (uint64_t)q->refcount_table_size
			   << q->refcount_block_bits;
	uint64_t size, end, count = 0;
	int rc = qcow2_unreserve(q, err);

	if (rc < 0 || q->file->is_block_device)
		return rc;
	rc = image_file_size(q->file, &size);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	end = qcow2_n_clusters(q, size);
	if (end > counted)
		end = counted; /* nothing is behind what can be counted */
	for (; end > 0 && count == 0; end--) {
		uint8_t *block;

		rc = qcow2_get_refcount_block(q, end - 1, &block, err);
		if (rc == 0 && block == NULL) {
			/* All that it would count is free. */
			end = ((end - 1) & ~mask) + 1;
			continue;
		}
		if (rc == 0)
			rc = qcow2_get_refcount(q, end - 1, &count, err);
		if (rc < 0)
			return rc;
	}
	end += count > 0;
	if (end << q->cluster_bits >= size)
		return 0;
	rc = image_file_truncate(q->file, end << q->cluster_bits);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not cut the file");
	q->fresh_from = end;
	return 0;
}

int qcow2_cut_file(struct qcow2 *q, struct error *err)
{
	int rc;

	qcow2_begin_allocating(q); /* or it would cut off what is being made */
	rc = cut_unused(q, err);
	qcow2_end_allocating(q);
	return rc;
}
