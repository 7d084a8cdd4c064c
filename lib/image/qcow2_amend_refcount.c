/* SPDX-License-Identifier: ISC */
/*
 * Refcounts of another width: counted anew from what there is, put where
 * nothing is in use with new blocks and a new table, and switched to by one
 * write to the header (qcow2_rebuild.c). The old structure is leaked then, and
 * given back as a leak; a kill on the way leaves it, or the new one, leaked.
 *
 * A count that is not the number of references would be lost on the way, so
 * the image must be sound, but for counts that only the new width can hold;
 * leaks go.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2_check.h"

#include <errno.h>
#include <stdlib.h>

/* is_wider: it will be, or is by now. */
static int check(struct qcow2 *q, bool is_wider, struct image_check *result,
		 struct error *err)
{
	int rc = qcow2_repair_locked(q, IMAGE_REPAIR_LEAKS, result, err);

	if (is_wider && rc == 0 && result->n_check_errors == 0 &&
	    result->n_corruptions == result->n_overflows)
		return 0;
	if (result->n_corruptions + result->n_check_errors > 0)
		rc = error_set(err, -EIO,
			       "The image has errors: it must be checked and "
			       "repaired first");
	return rc;
}

/* The counts are right: the first one that is too high for the new width. */
static int check_counts(struct qcow2 *q, uint32_t order, struct error *err)
{
	uint64_t n = (uint64_t)q->refcount_table_size << q->refcount_block_bits;
	uint64_t max = order < 6 ? (1ULL << (1U << order)) - 1 : UINT64_MAX;
	uint64_t block = 1ULL << q->refcount_block_bits, count;

	for (uint64_t i = 0; i < n; i++) {
		int rc;

		if (q->refcount_table[i / block] == 0) {
			i += block - 1;
			continue;
		}
		rc = qcow2_get_refcount(q, i, &count, err);
		if (rc < 0)
			return rc;
		if (count > max)
			return error_set(
				err, -EINVAL,
				"Cannot decrease refcount entry width to %u "
				"bits: Cluster at offset %#llx has a refcount "
				"of %llu",
				1U << order,
				(unsigned long long)i << q->cluster_bits,
				(unsigned long long)count);
	}
	return 0;
}

static void set_width(struct qcow2 *q, uint32_t order)
{
	q->refcount_bits = 1U << order;
	q->refcount_block_bits = q->cluster_bits + 3 - order;
}

/* The width is set. */
static int rebuild(struct qcow2 *q, struct error *err)
{
	struct image_check result = { .found = NULL };
	struct qcow2_checker c = { .q = q, .result = &result };
	int rc = qcow2_checker_look(&c, err);

	if (rc == 0)
		rc = qcow2_rebuild_refcounts(&c, err);
	qcow2_checker_deinit(&c);
	return rc;
}

int qcow2_amend_refcounts(struct qcow2 *q, uint32_t order, struct error *err)
{
	struct image_check before = { .found = NULL };
	struct image_check after = { .found = NULL };
	bool is_wider = order > q->header.refcount_order;
	int rc = check(q, is_wider, &before, err);

	if (rc == 0 && order < q->header.refcount_order)
		rc = check_counts(q, order, err);
	if (rc < 0)
		return rc;
	set_width(q, order);
	rc = rebuild(q, err);
	/* Whichever the header says now. */
	set_width(q, q->header.refcount_order);
	if (rc < 0)
		return rc;
	rc = check(q, false, &after, err);
	/* What shared a cluster still does: that is for a repair, which can
	 * be done now. */
	return before.n_overflows > 0 && rc == -EIO ? 0 : rc;
}
