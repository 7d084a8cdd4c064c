/* SPDX-License-Identifier: ISC */
/*
 * Zeroes and discards: whole clusters by their L2 entry alone, the rest of a
 * range of zeroes by writing them. Version 2 has no zero clusters: there a
 * cluster may only be dropped if nothing shows through from below, and is
 * written otherwise.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>

enum action {
	LEAVE,	   /* it is as it should be */
	DROP,	   /* unallocated */
	ZERO,	   /* a zero cluster without a host cluster */
	ZERO_KEEP, /* a zero cluster that keeps its own */
	WRITE,	   /* zeroes as data */
	RAW,	   /* zeroes in a raw data file, and no change but that */
};

struct range {
	uint64_t offset, len;
	bool is_discard, may_unmap, is_explicit, is_marked;
};

static bool has_backing_at(const struct qcow2 *q, uint64_t index)
{
	return q->image->backing != NULL &&
	       index << q->cluster_bits < image_size(q->image->backing);
}

/* A cluster of the disk alone stays where it is if the caller wants it so. */
static bool keeps_place(const struct qcow2 *q, const struct qcow2_run *run)
{
	return q->image->flags & IMAGE_DISCARD_NO_UNREF &&
	       q->header.version >= 3 && run->is_copied &&
	       run->kind != QCOW2_KIND_COMPRESSED;
}

static enum action choose_discard(const struct qcow2 *q,
				  const struct qcow2_run *run)
{
	switch (run->kind) {
	case QCOW2_KIND_UNALLOCATED:
	case QCOW2_KIND_ZERO:
		return LEAVE;
	case QCOW2_KIND_PLACED:
	case QCOW2_KIND_ZERO_ALLOCATED:
	case QCOW2_KIND_DATA:
	case QCOW2_KIND_COMPRESSED:
		break;
	}
	if (keeps_place(q, run))
		return run->kind == QCOW2_KIND_DATA ? ZERO_KEEP : LEAVE;
	if (q->header.version >= 3)
		return ZERO;
	/* What is below would show, not zeroes and not what was here. */
	return q->image->backing_name != NULL ? LEAVE : DROP;
}

static enum action choose_zero(const struct qcow2 *q, uint64_t index,
			       const struct qcow2_run *run,
			       const struct range *r)
{
	switch (run->kind) {
	case QCOW2_KIND_UNALLOCATED:
	case QCOW2_KIND_PLACED:
		if (!has_backing_at(q, index) && !r->is_explicit &&
		    !(r->is_marked && q->header.version >= 3))
			return LEAVE;
		break;
	case QCOW2_KIND_ZERO:
		return LEAVE;
	case QCOW2_KIND_ZERO_ALLOCATED:
		return r->may_unmap && !keeps_place(q, run) ? ZERO : LEAVE;
	case QCOW2_KIND_DATA:
		if (q->header.version >= 3 && run->is_copied &&
		    (!r->may_unmap || keeps_place(q, run)))
			return ZERO_KEEP;
		break;
	case QCOW2_KIND_COMPRESSED:
		break;
	}
	if (q->header.version >= 3)
		return ZERO;
	return q->image->backing_name != NULL || r->is_explicit ? WRITE : DROP;
}

static enum action choose(const struct qcow2 *q, uint64_t index,
			  const struct qcow2_run *run, const struct range *r)
{
	/* What is not data there is zero in the file too, and stays so. */
	if (qcow2_is_data_twin(q))
		return run->kind == QCOW2_KIND_DATA ? RAW : LEAVE;
	return r->is_discard ? choose_discard(q, run)
			     : choose_zero(q, index, run, r);
}

static int write_zero_data(struct qcow2 *q, uint64_t offset, uint64_t len,
			   struct error *err)
{
	struct iovec iov[QCOW2_CLUSTER_LEN_MAX / IOV_ZEROES_LEN];
	int rc = 0;

	for (unsigned i = 0; i < array_size(iov); i++)
		iov[i] = (struct iovec){ (void *)(uintptr_t)iov_zeroes,
					 IOV_ZEROES_LEN };
	while (rc == 0 && len > 0) {
		struct iov_cursor cursor = { .iov = iov,
					     .n_iov = array_size(iov) };
		size_t n = len < q->cluster_len ? len : q->cluster_len;

		rc = qcow2_write_locked(q, offset, n, &cursor, err);
		offset += n;
		len -= n;
	}
	return rc;
}

/* The entries of a run change; the flight is this thread's. */
static int change_entries(struct qcow2 *q, uint64_t index,
			  const struct qcow2_run *run, enum action action,
			  struct error *err)
{
	uint64_t first = 0, step = 0, bitmap = 0;
	int rc = qcow2_own_l2(q, index, err);

	if (rc < 0)
		return rc;
	if (action == ZERO_KEEP) {
		first = run->entry;
		step = q->cluster_len;
	}
	if (action != DROP && q->has_subclusters)
		bitmap = QCOW2_SUBCLUSTERS_ZERO;
	else if (action != DROP)
		first |= QCOW2_ZERO;
	return qcow2_set_entries(q, index, run->n, first, step, bitmap, err);
}

/*
 * A raw data file reads as the disk does. An entry that says zero would be on
 * the disk before or after the file's zeroes are, and after a power failure
 * one without the other: entries stay as they are.
 */
static int zero_raw(struct qcow2 *q, uint64_t index, uint64_t n,
		    const struct range *r, struct error *err)
{
	uint64_t offset = index << q->cluster_bits;
	uint64_t end = (index + n) << q->cluster_bits;
	int rc;

	if (end > q->header.size)
		end = q->header.size;
	rc = image_file_zero(q->data_file, offset, end - offset,
			     !r->is_discard && !r->may_unmap);
	return rc < 0 ? error_set_errno(err, rc, "Could not write data") : 0;
}

/* One run of whole clusters from index on, of at most n. */
static int change_run(struct qcow2 *q, uint64_t index, uint64_t n,
		      const struct range *r, uint64_t *done, struct error *err)
{
	struct qcow2_flight flight;
	enum action action;
	struct qcow2_run run;
	int rc;

	if (n > qcow2_l2_left(q, index))
		n = qcow2_l2_left(q, index);
	do {
		rc = qcow2_map_clusters(q, index, n, &run, err);
		if (rc < 0)
			return rc;
		*done = run.n;
		action = choose(q, index, &run, r);
		if (action == LEAVE)
			return 0;
		if (action == WRITE)
			return write_zero_data(q, index << q->cluster_bits,
					       run.n << q->cluster_bits, err);
	} while (qcow2_flight_wait(q, index, index + run.n - 1, true));
	qcow2_flight_begin(q, &flight, index, index + run.n - 1, true);
	rc = q->is_data_raw ? zero_raw(q, index, run.n, r, err) : 0;
	if (rc == 0 && action != RAW)
		rc = change_entries(q, index, &run, action, err);
	qcow2_flight_end(q, &flight);
	return rc;
}

static int change_clusters(struct qcow2 *q, uint64_t index, uint64_t end,
			   const struct range *r, struct error *err)
{
	while (index < end) {
		uint64_t done = 0;
		int rc = qcow2_check_writable(q, err);

		if (rc == 0)
			rc = change_run(q, index, end - index, r, &done, err);
		if (rc < 0)
			return rc;
		index += done;
	}
	return 0;
}

/* Part of a subcluster, or zero ones of a compressed cluster. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t len,
		     const struct range *r, struct error *err)
{
	struct qcow2_run run;
	int rc;

	if (len == 0)
		return 0;
	rc = qcow2_map_run(q, offset >> q->unit_bits, 1, false, &run, err);
	if (rc < 0)
		return rc;
	if (choose_zero(q, offset >> q->cluster_bits, &run, r) == LEAVE)
		return 0;
	return write_zero_data(q, offset, len, err);
}

/* Part of one cluster: its whole subclusters by their bits. The disk's last
 * one is whole, at its end or, while it grows, at the end to come. */
static int zero_units(struct qcow2 *q, const struct range *r, struct error *err)
{
	uint64_t mask = q->unit_len - 1, end = r->offset + r->len;
	uint64_t first = (r->offset + mask) & ~mask;
	uint64_t last =
		end >= q->image->size ? (end + mask) & ~mask : end & ~mask;
	bool is_done = false;
	int rc;

	if (first >= last) {
		uint64_t middle = first < end ? first : end;

		rc = zero_part(q, r->offset, middle - r->offset, r, err);
		return rc < 0 ? rc : zero_part(q, middle, end - middle, r, err);
	}
	rc = zero_part(q, r->offset, first - r->offset, r, err);
	if (rc == 0)
		rc = qcow2_zero_subclusters(q, first >> q->unit_bits,
					    (last - first) >> q->unit_bits,
					    &is_done, err);
	if (rc == 0 && !is_done)
		rc = write_zero_data(q, first,
				     (last < end ? last : end) - first, err);
	if (rc == 0 && last < end)
		rc = zero_part(q, last, end - last, r, err);
	return rc;
}

/* Part of one cluster: nothing to do if it is zero already. */
static int zero_edge(struct qcow2 *q, uint64_t offset, uint64_t len,
		     bool is_explicit, struct error *err)
{
	uint64_t index = offset >> q->cluster_bits;
	const struct range edge = { .offset = offset,
				    .len = len,
				    .is_explicit = is_explicit };
	struct qcow2_run run;
	int rc;

	if (len == 0)
		return 0;
	if (q->has_subclusters && !qcow2_is_data_twin(q))
		return zero_units(q, &edge, err);
	rc = qcow2_map_clusters(q, index, 1, &run, err);
	if (rc < 0)
		return rc;
	if (choose_zero(q, index, &run, &edge) == LEAVE)
		return 0;
	return write_zero_data(q, offset, len, err);
}

/* The last cluster of the disk is whole where the disk ends. */
static uint64_t end_of(const struct qcow2 *q, const struct range *r)
{
	uint64_t end = r->offset + r->len;

	return end == q->image->size ? qcow2_round_up(q, end) : end;
}

static int change_range(struct qcow2 *q, const struct range *r, uint64_t end,
			struct error *err)
{
	uint64_t first = qcow2_round_up(q, r->offset) >> q->cluster_bits;
	uint64_t last = end >> q->cluster_bits; /* exclusive */
	uint64_t head = (first << q->cluster_bits) - r->offset;
	int rc = 0;

	if (first > last || (first == last && head > 0 && head >= r->len))
		return r->is_discard ? 0
				     : zero_edge(q, r->offset, r->len,
						 r->is_explicit, err);
	if (!r->is_discard)
		rc = zero_edge(q, r->offset, head, r->is_explicit, err);
	if (rc == 0)
		rc = change_clusters(q, first, last, r, err);
	if (rc == 0 && !r->is_discard && end > last << q->cluster_bits)
		rc = zero_edge(q, last << q->cluster_bits,
			       end - (last << q->cluster_bits), r->is_explicit,
			       err);
	return rc;
}

static int change(struct qcow2 *q, const struct range *r, struct error *err)
{
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_check_writable(q, err);
	if (rc == 0)
		rc = qcow2_bitmaps_touch(q, r->offset, r->len, err);
	if (rc == 0)
		rc = change_range(q, r, end_of(q, r), err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

int qcow2_zero_grown(struct qcow2 *q, uint64_t offset, uint64_t end,
		     bool is_all, struct error *err)
{
	struct range r = { .offset = offset,
			   .len = end - offset,
			   .may_unmap = !is_all,
			   .is_explicit = is_all };

	return change_range(q, &r, qcow2_round_up(q, end), err);
}

int qcow2_drop(struct qcow2 *q, uint64_t first, uint64_t end, struct error *err)
{
	while (first < end) {
		uint64_t n = qcow2_l2_left(q, first);
		struct qcow2_run run;
		int rc;

		if (n > end - first)
			n = end - first;
		rc = qcow2_map_clusters(q, first, n, &run, err);
		if (rc == 0 && run.kind != QCOW2_KIND_UNALLOCATED)
			rc = change_entries(q, first, &run, DROP, err);
		if (rc < 0)
			return rc;
		first += run.n;
	}
	return 0;
}

int qcow2_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
		       unsigned flags, struct error *err)
{
	struct range r = { .offset = offset,
			   .len = len,
			   .may_unmap = flags & IMAGE_ZERO_MAY_UNMAP,
			   .is_explicit = flags & IMAGE_ZERO_EXPLICIT,
			   .is_marked = flags & IMAGE_ZERO_MARK };

	return change(image->state, &r, err);
}

int qcow2_discard(struct image *image, uint64_t offset, uint64_t len,
		  struct error *err)
{
	struct range r = { .offset = offset, .len = len, .is_discard = true };

	return change(image->state, &r, err);
}
