/* SPDX-License-Identifier: ISC */
/*
 * The part of a check that looks at the snapshot table itself. What is too
 * much of it - entries, bytes, extra data of an entry - was left out when a
 * check opened the image (qcow2_snapshot.c): a repair says so, and writes the
 * table anew.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2_check.h"

#include <errno.h>

static bool is_too_much(const struct qcow2_snapshot *s)
{
	return s->is_extra_wrong &&
	       s->extra_len_read > QCOW2_SNAPSHOT_EXTRA_MAX;
}

/* The first of what a normal open is refused for. */
static int refuse(const struct qcow2 *q, struct error *err)
{
	const struct qcow2_snapshot_faults *f = &q->snapshot_faults;
	uint32_t i = 0;

	if (f->n_overhanging > 0 && !f->is_too_long)
		return error_set(err, -EFBIG,
				 "ERROR snapshot table too large: You can "
				 "force-remove all %u overhanging snapshots "
				 "with qemu-img check -r all",
				 f->n_overhanging);
	if (f->n_too_much == 0)
		return error_set(err, -EFBIG,
				 "ERROR failed to read the snapshot table: "
				 "Snapshot table is too big: You can "
				 "force-remove all %u overhanging snapshots "
				 "with qemu-img check -r all",
				 f->n_overhanging);
	while (!is_too_much(&q->snapshots[i]))
		i++;
	return error_set(err, -EFBIG,
			 "ERROR failed to read the snapshot table: Too much "
			 "extra metadata in snapshot table entry %u: You can "
			 "force-remove this extra metadata with qemu-img "
			 "check -r all",
			 i);
}

static void tell(struct qcow2_checker *c)
{
	const struct qcow2 *q = c->q;
	const struct qcow2_snapshot_faults *f = &q->snapshot_faults;

	if (f->n_overhanging > 0 && !f->is_too_long)
		qcow2_found(c, "Discarding %u overhanging snapshots",
			    f->n_overhanging);
	for (uint32_t i = 0; i < q->header.n_snapshots; i++)
		if (is_too_much(&q->snapshots[i]))
			qcow2_found(c,
				    "Discarding too much extra metadata in "
				    "snapshot table entry %u (%u > %u)",
				    i, q->snapshots[i].extra_len_read,
				    (unsigned)QCOW2_SNAPSHOT_EXTRA_MAX);
		else if (q->snapshots[i].is_extra_wrong)
			qcow2_found(c,
				    "%s snapshot table entry %u is incomplete",
				    c->fix & IMAGE_REPAIR_ERRORS ? "Repairing"
								 : "ERROR",
				    i);
	if (f->is_too_long)
		qcow2_found(c,
			    "Discarding %u overhanging snapshots (snapshot "
			    "table is too big)",
			    f->n_overhanging);
}

int qcow2_check_snapshots(struct qcow2_checker *c, struct error *err)
{
	struct qcow2 *q = c->q;
	const struct qcow2_snapshot_faults *f = &q->snapshot_faults;
	int rc;

	if (f->n_too_much + f->n_overhanging > 0 &&
	    !(c->fix & IMAGE_REPAIR_ERRORS))
		return refuse(q, err);
	c->is_first = true;
	tell(c);
	if (f->n_overhanging == 0)
		return 0;
	/* Before anything that they hold is freed. */
	rc = qcow2_set_n_snapshots(q);
	if (rc == 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc, "Could not write header") : 0;
}

int qcow2_fix_snapshots(struct qcow2_checker *c, struct error *err)
{
	struct qcow2_snapshot_faults *f = &c->q->snapshot_faults;
	struct image_check *r = c->result;
	uint64_t n = (uint64_t)f->n_too_much + f->n_incomplete;
	int rc = 0;

	if (n + f->n_overhanging == 0)
		return 0;
	if (!(c->fix & IMAGE_REPAIR_ERRORS)) {
		r->n_corruptions += n;
		return 0;
	}
	/* A table goes where refcounts say that nothing is. */
	if (n > 0 && (r->n_corruptions > 0 || r->n_check_errors > 0)) {
		r->n_corruptions += n;
		return 0;
	}
	if (n > 0)
		rc = qcow2_snapshots_rewrite(c->q, err);
	if (rc < 0)
		return rc;
	r->n_corruptions_fixed += n + f->n_overhanging;
	*f = (struct qcow2_snapshot_faults){ 0 };
	return 0;
}
