/* SPDX-License-Identifier: ISC */
/*
 * The way down to version 2, which has none of the features, and no clusters
 * that are zero by a flag. Where nothing is under the image these become
 * unallocated; else each gets a cluster of zeroes. An L2 table that the disk
 * and snapshots share is changed for all of them at once, and its new clusters
 * are counted as often as it is.
 *
 * The order: the new clusters' counts and zeroes, then the table, then the
 * counts of what the table referred to. A kill leaves leaks alone.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

enum {
	SEEN_MAX = 1 << 16,
};

struct expansion {
	struct qcow2 *q;
	uint64_t *l2;  /* one table, as in the file */
	uint64_t *old; /* host clusters that it no longer refers to */
	uint64_t n_old;
	uint64_t offset, count; /* of the table */
	/* Tables that have been looked at, each in the place that its cluster's
	 * number gives it: snapshots share most of theirs. Of two with one
	 * place the first is looked at again, which does no harm. */
	uint64_t *seen;
	bool is_changed, has_compressed;
	uint64_t first; /* cluster of the disk */

	const struct image_progress *progress;
	uint64_t done, total; /* entries of L1 tables */
};

static int barrier(struct qcow2 *q, struct error *err)
{
	int rc = qcow2_barrier(q);

	return rc < 0 ? error_set_errno(err, rc, "Could not flush") : 0;
}

/* A cluster of zeroes that is counted as often as the table. */
static int make_zeroes(struct expansion *x, uint64_t offset, uint64_t *entry,
		       struct error *err)
{
	struct qcow2 *q = x->q;
	uint64_t n = 1, host_offset;
	bool is_fresh;
	int rc = qcow2_alloc(q, &n, &host_offset, &is_fresh, err);

	if (rc < 0)
		return rc;
	rc = qcow2_data_zero(q, offset, host_offset, q->cluster_len);
	if (rc < 0)
		error_set_errno(err, rc, "Could not write zeroes");
	for (uint64_t i = 1; rc == 0 && i < x->count; i++)
		rc = qcow2_add_refcount(q, host_offset >> q->cluster_bits, 1, 1,
					err);
	*entry = host_offset | (x->count == 1 ? QCOW2_COPIED : 0);
	return rc;
}

static int expand_entry(struct expansion *x, uint64_t i, struct error *err)
{
	struct qcow2 *q = x->q;
	uint64_t old = be64toh(x->l2[i]), new = 0;
	enum qcow2_kind kind = qcow2_entry_kind(q, old);
	int rc = 0;

	x->has_compressed |= kind == QCOW2_KIND_COMPRESSED;
	if (kind != QCOW2_KIND_ZERO && kind != QCOW2_KIND_ZERO_ALLOCATED)
		return 0;
	/* What it shares a cluster with is not to be freed. */
	if (old & QCOW2_OFFSET_MASK & (q->cluster_len - 1))
		return qcow2_corruption(
			q, err,
			"Cluster allocation offset %#llx unaligned (L2 "
			"offset: %#llx, L2 index: %#llx)",
			(unsigned long long)(old & QCOW2_OFFSET_MASK),
			(unsigned long long)x->offset, (unsigned long long)i);
	if (q->header.backing_name_offset != 0)
		rc = make_zeroes(x, (x->first + i) << q->cluster_bits, &new,
				 err);
	if (rc < 0)
		return rc;
	if (kind == QCOW2_KIND_ZERO_ALLOCATED)
		x->old[x->n_old++] = old & QCOW2_OFFSET_MASK;
	x->l2[i] = htobe64(new);
	x->is_changed = true;
	return 0;
}

static int free_old(struct expansion *x, struct error *err)
{
	int rc = 0;

	for (uint64_t i = 0; i < x->n_old; i++)
		for (uint64_t n = 0; rc == 0 && n < x->count; n++)
			rc = qcow2_free_now(
				x->q, x->old[i] >> x->q->cluster_bits, 1, err);
	return rc;
}

static int expand_table(struct expansion *x, struct error *err)
{
	struct qcow2 *q = x->q;
	int rc;

	x->is_changed = false;
	x->n_old = 0;
	image_file_tell(q->file, IMAGE_EVENT_L2_LOAD);
	rc = image_file_read(q->file, x->offset, x->l2, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read L2 table");
	rc = qcow2_get_refcount(q, x->offset >> q->cluster_bits, &x->count,
				err);
	for (uint64_t i = 0; rc == 0 && i < 1ULL << q->l2_bits; i++)
		rc = expand_entry(x, i, err);
	if (rc < 0 || !x->is_changed)
		return rc;
	rc = barrier(q, err);
	if (rc == 0)
		rc = qcow2_check_overlap(q, QCOW2_SECTION_L2, x->offset,
					 q->cluster_len, err);
	if (rc < 0)
		return rc;
	rc = qcow2_cache_write(&q->l2_cache, x->offset, x->l2, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write L2 table");
	if (x->n_old > 0)
		rc = barrier(q, err);
	return rc == 0 ? free_old(x, err) : rc;
}

static bool was_seen(const struct expansion *x)
{
	uint64_t *seen = &x->seen[(x->offset >> x->q->cluster_bits) % SEEN_MAX];
	bool is_same = *seen == x->offset;

	*seen = x->offset;
	return is_same;
}

static int expand_tables(struct expansion *x, const uint64_t *l1,
			 uint64_t l1_size, struct error *err)
{
	int rc = qcow2_check_room(x->q, l1, l1_size, err);

	for (uint64_t i = 0; rc == 0 && i < l1_size; i++) {
		x->offset = l1[i] & QCOW2_OFFSET_MASK;
		if (x->offset & (x->q->cluster_len - 1))
			return qcow2_corruption(
				x->q, err,
				"L2 table offset %#llx unaligned (L1 index: "
				"%#llx)",
				(unsigned long long)x->offset,
				(unsigned long long)i);
		x->first = i << x->q->l2_bits;
		if (x->offset != 0 && !was_seen(x))
			rc = expand_table(x, err);
		x->done++;
		if (rc == 0 && x->progress->show != NULL)
			x->progress->show(x->progress->context, x->done,
					  x->total);
	}
	return rc;
}

static int expand_snapshot(struct expansion *x, const struct qcow2_snapshot *s,
			   struct error *err)
{
	_cleanup_free_ uint64_t *l1 = NULL;
	int rc = qcow2_snapshot_read_l1(x->q, s, 0, &l1, err);

	return rc == 0 ? expand_tables(x, l1, s->l1_size, err) : rc;
}

int qcow2_expand_zeroes(struct qcow2 *q, const struct image_progress *progress,
			bool *has_compressed, struct error *err)
{
	_cleanup_free_ uint64_t *l2 = malloc(q->cluster_len);
	_cleanup_free_ uint64_t *old = malloc(q->cluster_len);
	_cleanup_free_ uint64_t *seen = calloc(SEEN_MAX, sizeof(*seen));
	struct expansion x = {
		.q = q,
		.l2 = l2,
		.old = old,
		.seen = seen,
		.progress = progress,
		.total = q->header.l1_size,
	};
	int rc;

	if (l2 == NULL || old == NULL || seen == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < q->header.n_snapshots; i++)
		x.total += q->snapshots[i].l1_size;
	rc = expand_tables(&x, q->l1, q->header.l1_size, err);
	for (uint32_t i = 0; rc == 0 && i < q->header.n_snapshots; i++)
		rc = expand_snapshot(&x, &q->snapshots[i], err);
	*has_compressed = x.has_compressed;
	return rc == 0 ? barrier(q, err) : rc;
}

int qcow2_check_down_snapshots(const struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *h = &q->header;

	for (uint32_t i = 0; i < h->n_snapshots; i++)
		if (q->snapshot_infos[i].vm_state_size > UINT32_MAX ||
		    q->snapshot_infos[i].disk_size != h->size)
			return error_set(err, -ENOTSUP,
					 "Internal snapshots prevent downgrade "
					 "of image");
	return 0;
}

int qcow2_check_down(const struct qcow2 *q, uint32_t refcount_order,
		     bool keeps_size, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	/* Another compression matters where something is compressed. */
	uint64_t others =
		h->incompatible & ~(uint64_t)(QCOW2_INCOMPATIBLE_DIRTY |
					      QCOW2_INCOMPATIBLE_COMPRESSION);

	if (refcount_order != QCOW2_REFCOUNT_ORDER_V2)
		return error_set(err, -ENOTSUP,
				 "compat=0.10 requires refcount_bits=16");
	if (h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
		return error_set(err, -ENOTSUP,
				 "Cannot downgrade an image with a data file");
	if (keeps_size && qcow2_check_down_snapshots(q, err) < 0)
		return -ENOTSUP;
	if (others != 0)
		return error_set(err, -ENOTSUP,
				 "Cannot downgrade an image with incompatible "
				 "features %#llx set",
				 (unsigned long long)others);
	if (h->has_bitmaps && h->n_bitmaps > 0)
		return error_set(err, -ENOTSUP,
				 "Bitmaps prevent downgrade of image");
	return 0;
}
