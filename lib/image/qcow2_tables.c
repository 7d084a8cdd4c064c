/* SPDX-License-Identifier: ISC */
/*
 * All that one L1 table refers to, counted up or down: what a snapshot takes
 * a share in, and what nobody needs any more.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>

/* Host clusters in a row, not yet counted. */
struct span {
	uint64_t first, n;
};

/*
 * Clusters far beyond the file's end, of a damaged table: no block counts
 * them, or can. Nothing has changed yet, so that the image need not be marked;
 * the statuses are QEMU's, which tries to make the block.
 */
static int check_blocks(const struct qcow2 *q, const struct span *span)
{
	unsigned bits = q->refcount_block_bits;
	uint64_t last = (span->first + span->n - 1) >> bits;

	if (last >= QCOW2_REFCOUNT_TABLE_LEN_MAX / sizeof(uint64_t))
		return -EFBIG;
	for (uint64_t i = span->first >> bits; i <= last; i++)
		if (i >= q->refcount_table_size || q->refcount_table[i] == 0)
			return -EAGAIN;
	return 0;
}

static int count(struct qcow2 *q, const struct span *span, int delta,
		 struct error *err)
{
	int rc = 0;

	if (span->n == 0)
		return 0;
	if (delta > 0)
		rc = check_blocks(q, span);
	if (rc < 0)
		return rc;
	return delta < 0 ? qcow2_free_now(q, span->first, span->n, err)
			 : qcow2_add_refcount(q, span->first, span->n, delta,
					      err);
}

static int add(struct qcow2 *q, struct span *span, uint64_t first, uint64_t n,
	       int delta, struct error *err)
{
	int rc;

	if (span->n > 0 && first == span->first + span->n) {
		span->n += n;
		return 0;
	}
	rc = count(q, span, delta, err);
	*span = (struct span){ .first = first, .n = n };
	return rc;
}

static int count_entry(struct qcow2 *q, struct span *span, uint64_t entry,
		       int delta, struct error *err)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK, n = 1, len;

	if (q->has_data_file) {
		if (delta < 0 && qcow2_entry_has_host(q, entry))
			qcow2_external_punch(q, offset, q->cluster_len);
		return 0;
	}
	if (entry & QCOW2_COMPRESSED) {
		qcow2_compressed_range(q, entry, &offset, &len);
		n = ((offset + len - 1) >> q->cluster_bits) -
		    (offset >> q->cluster_bits) + 1;
		if (delta < 0)
			qcow2_raw_forget(q, entry);
	} else if (offset == 0) {
		return 0;
	} else if (offset & (q->cluster_len - 1)) {
		return qcow2_corruption(q, err,
					"Cluster allocation offset %#llx "
					"unaligned",
					(unsigned long long)offset);
	}
	return add(q, span, offset >> q->cluster_bits, n, delta, err);
}

static int count_l2(struct qcow2 *q, uint64_t offset, uint64_t *l2, int delta,
		    struct error *err)
{
	struct span span = { .n = 0 }, table;
	int rc;

	if (offset & (q->cluster_len - 1))
		return qcow2_corruption(q, err,
					"L2 table offset %#llx unaligned",
					(unsigned long long)offset);
	image_file_tell(q->file, IMAGE_EVENT_L2_LOAD);
	rc = image_file_read(q->file, offset, l2, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read L2 table");
	for (uint64_t i = 0; rc == 0 && i < 1ULL << q->l2_bits; i++)
		rc = count_entry(q, &span, be64toh(l2[i * q->l2_words]), delta,
				 err);
	if (rc == 0)
		rc = count(q, &span, delta, err);
	/* Going down, a table goes after what it refers to. */
	table = (struct span){ .first = offset >> q->cluster_bits, .n = 1 };
	return rc < 0 ? rc : count(q, &table, delta, err);
}

int qcow2_check_room(struct qcow2 *q, const uint64_t *l1, uint64_t l1_size,
		     struct error *err)
{
	uint64_t file_len, n = 0;
	int rc = image_file_size(q->file, &file_len);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	for (uint64_t i = 0; i < l1_size; i++)
		n += (l1[i] & QCOW2_OFFSET_MASK) != 0;
	if (n > qcow2_n_clusters(q, file_len))
		return qcow2_corruption(q, err,
					"L1 table refers to more L2 tables "
					"than there can be");
	return 0;
}

int qcow2_count_tables(struct qcow2 *q, const uint64_t *l1, uint64_t l1_size,
		       int delta, struct error *err)
{
	_cleanup_free_ uint64_t *l2 = malloc(q->cluster_len);
	int rc;

	if (l2 == NULL)
		return -ENOMEM;
	rc = qcow2_check_room(q, l1, l1_size, err);
	for (uint64_t i = 0; rc == 0 && i < l1_size; i++)
		if (l1[i] & QCOW2_OFFSET_MASK)
			rc = count_l2(q, l1[i] & QCOW2_OFFSET_MASK, l2, delta,
				      err);
	return rc;
}
