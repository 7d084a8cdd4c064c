/* SPDX-License-Identifier: ISC */
/*
 * Reference counts of host clusters (section "Host cluster management").
 *
 * A count goes up before the reference is written and down after the
 * reference is gone from the disk; so after a crash a count is right or too
 * high (a leak), and never too low. Going down therefore waits in a queue
 * until a flush is over that began after the reference was removed.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

uint64_t qcow2_refcount_max(const struct qcow2 *q)
{
	return q->refcount_bits == 64 ? UINT64_MAX
				      : (1ULL << q->refcount_bits) - 1;
}

uint64_t qcow2_refcount_load(const void *block, unsigned bits, uint64_t i)
{
	const uint8_t *b = block;

	switch (bits) {
	case 8:
		return b[i];
	case 16:
		return (uint64_t)b[2 * i] << 8 | b[2 * i + 1];
	case 32: {
		uint32_t v;

		memcpy(&v, b + 4 * i, sizeof(v));
		return be32toh(v);
	}
	case 64: {
		uint64_t v;

		memcpy(&v, b + 8 * i, sizeof(v));
		return be64toh(v);
	}
	default: /* 1, 2, 4: from a byte's least significant bits upwards */
		return b[i * bits / 8] >> i * bits % 8 & ((1U << bits) - 1);
	}
}

void qcow2_refcount_store(void *block, unsigned bits, uint64_t i,
			  uint64_t value)
{
	uint8_t *b = block;
	unsigned shift;

	switch (bits) {
	case 8:
		b[i] = (uint8_t)value;
		break;
	case 16:
		b[2 * i] = (uint8_t)(value >> 8);
		b[2 * i + 1] = (uint8_t)value;
		break;
	case 32: {
		uint32_t v = htobe32((uint32_t)value);

		memcpy(b + 4 * i, &v, sizeof(v));
		break;
	}
	case 64: {
		uint64_t v = htobe64(value);

		memcpy(b + 8 * i, &v, sizeof(v));
		break;
	}
	default:
		shift = i * bits % 8;
		b += i * bits / 8;
		*b &= (uint8_t) ~(((1U << bits) - 1) << shift);
		*b |= (uint8_t)(value << shift);
	}
}

/* Offset of the block that counts host_index; 0: there is none. */
static int find_block(struct qcow2 *q, uint64_t host_index, uint64_t *offset,
		      struct error *err)
{
	uint64_t i = host_index >> q->refcount_block_bits;

	*offset = 0;
	if (i >= q->refcount_table_size)
		return 0;
	*offset = q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	if (*offset & (q->cluster_len - 1))
		return qcow2_corruption(q, err,
					"Refblock offset %#llx unaligned "
					"(reftable index: %#llx)",
					(unsigned long long)*offset,
					(unsigned long long)i);
	return 0;
}

int qcow2_get_refcount(struct qcow2 *q, uint64_t host_index, uint64_t *value,
		       struct error *err)
{
	uint64_t within = host_index & ((1ULL << q->refcount_block_bits) - 1);
	uint64_t offset;
	uint8_t *block;
	int rc;

	*value = 0;
	rc = find_block(q, host_index, &offset, err);
	if (rc < 0 || offset == 0)
		return rc;
	rc = qcow2_cache_get(&q->refcount_cache, offset, &block);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read refcount block");
	*value = qcow2_refcount_load(block, q->refcount_bits, within);
	return 0;
}

/* n entries of one block, in memory. */
static int change_counts(struct qcow2 *q, uint8_t *block, uint64_t first,
			 uint64_t n, int delta, struct error *err)
{
	for (uint64_t i = first; i < first + n; i++) {
		uint64_t v = qcow2_refcount_load(block, q->refcount_bits, i);

		if (delta < 0 && v == 0)
			return qcow2_corruption(q, err,
						"Refcount of a cluster in use "
						"is zero");
		if (delta > 0 && v == qcow2_refcount_max(q))
			return error_set(err, -EINVAL,
					 "Refcount of a cluster would exceed "
					 "its %u bits",
					 q->refcount_bits);
		qcow2_refcount_store(block, q->refcount_bits, i,
				     delta < 0 ? v - 1 : v + 1);
	}
	return 0;
}

static int change_block(struct qcow2 *q, uint64_t offset, uint64_t first,
			uint64_t n, int delta, struct error *err)
{
	uint64_t at = first * q->refcount_bits / 8;
	uint64_t end = ((first + n) * q->refcount_bits + 7) / 8;
	uint8_t *block;
	int rc;

	rc = qcow2_check_overlap(q, QCOW2_SECTION_REFCOUNT_BLOCK, offset,
				 q->cluster_len, err);
	if (rc < 0)
		return rc;
	rc = qcow2_cache_get(&q->refcount_cache, offset, &block);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read refcount block");
	rc = change_counts(q, block, first, n, delta, err);
	if (rc < 0) {
		qcow2_cache_forget(&q->refcount_cache, offset, 1);
		return rc;
	}
	rc = qcow2_cache_write(&q->refcount_cache, offset + at, block + at,
			       end - at);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write refcount block");
	return 0;
}

int qcow2_add_refcount(struct qcow2 *q, uint64_t host_index, uint64_t n,
		       int delta, struct error *err)
{
	uint64_t per_block = 1ULL << q->refcount_block_bits;

	while (n > 0) {
		uint64_t first = host_index & (per_block - 1);
		uint64_t here = per_block - first;
		uint64_t offset;
		int rc;

		if (here > n)
			here = n;
		/* As QEMU, which makes it here if there is none. */
		image_file_tell(q->file, IMAGE_EVENT_REFBLOCK_ALLOC);
		rc = find_block(q, host_index, &offset, err);
		if (rc == 0 && offset == 0)
			rc = qcow2_corruption(
				q, err,
				"Cluster %#llx in use has no refcount block",
				(unsigned long long)host_index);
		if (rc == 0)
			rc = qcow2_verify_block(
				q, host_index >> q->refcount_block_bits, err);
		if (rc == 0)
			rc = change_block(q, offset, first, here, delta, err);
		if (rc < 0)
			return rc;
		host_index += here;
		n -= here;
	}
	return 0;
}

void qcow2_forget_free(struct qcow2 *q, uint64_t host_index, uint64_t n)
{
	uint64_t offset = host_index << q->cluster_bits;
	uint64_t len = n << q->cluster_bits;

	if (n == 0 || q->is_shadowed)
		return;
	qcow2_cache_forget(&q->l2_cache, offset, len);
	qcow2_cache_forget(&q->refcount_cache, offset, len);
	if (host_index < q->free_hint)
		q->free_hint = host_index;
	if (q->pack_next >= offset && q->pack_next < offset + len)
		q->pack_next = 0;
	/* Space is given back where the file system can. */
	(void)image_file_punch(q->file, offset, len);
}

int qcow2_free_now(struct qcow2 *q, uint64_t host_index, uint64_t n,
		   struct error *err)
{
	uint64_t run = 0;
	int rc;

	image_file_tell(q->file, IMAGE_EVENT_CLUSTER_FREE);
	rc = qcow2_add_refcount(q, host_index, n, -1, err);
	if (rc < 0)
		return rc;
	for (uint64_t i = host_index; i < host_index + n; i++) {
		uint64_t count;

		rc = qcow2_get_refcount(q, i, &count, err);
		if (rc < 0 || count > 0) {
			qcow2_forget_free(q, i - run, run);
			run = 0;
		} else {
			run++;
		}
		if (rc < 0)
			return rc;
	}
	qcow2_forget_free(q, host_index + n - run, run);
	return 0;
}

int qcow2_free_pending(struct qcow2 *q, struct error *err)
{
	while (q->n_pending > 0) {
		struct qcow2_pending p = q->pending[q->first_pending];
		int rc;

		if (!q->is_unsafe && p.flush_number > q->n_flush_ended)
			return 0;
		q->first_pending = (q->first_pending + 1) % QCOW2_PENDING_MAX;
		q->n_pending--;
		/* A write may have been lost for good: leak, to be safe. */
		if (p.flush_number <= q->n_flush_failed)
			continue;
		rc = qcow2_free_now(q, p.host_offset >> q->cluster_bits,
				    p.n_clusters, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* One more cluster in a row with the last, waiting for the same flush. */
static bool extend_last(struct qcow2 *q, uint64_t host_offset, uint64_t n)
{
	struct qcow2_pending *last;

	if (q->n_pending == 0)
		return false;
	last = &q->pending[(q->first_pending + q->n_pending - 1) %
			   QCOW2_PENDING_MAX];
	if (last->flush_number != q->n_flush_begun + 1 ||
	    last->host_offset + (last->n_clusters << q->cluster_bits) !=
		    host_offset)
		return false;
	last->n_clusters += n;
	return true;
}

int qcow2_free_later(struct qcow2 *q, uint64_t host_offset, uint64_t n,
		     struct error *err)
{
	uint64_t number = q->n_flush_begun + 1;
	int rc;

	if (extend_last(q, host_offset, n))
		return 0;
	while (q->n_pending == QCOW2_PENDING_MAX) {
		rc = qcow2_barrier(q);
		if (rc < 0)
			return error_set_errno(err, rc, "Could not flush");
		rc = qcow2_free_pending(q, err);
		if (rc < 0)
			return rc;
	}
	q->pending[(q->first_pending + q->n_pending++) % QCOW2_PENDING_MAX] =
		(struct qcow2_pending){ .host_offset = host_offset,
					.n_clusters = n,
					.flush_number = number };
	return 0;
}
