/* SPDX-License-Identifier: ISC */
/*
 * Writing. Clusters that are this image's alone are overwritten in place;
 * others get new ones, in runs:
 *
 *	guest:      |  cluster  |  cluster  |  cluster  |
 *	request:         [=====================]
 *	written:    [head][====================][ tail ]
 *
 * head and tail are what the guest saw there before. If any of it had to be
 * copied, a barrier comes between the data and the L2 entries: otherwise a
 * power failure could leave the entry without what it promises, and lose data
 * that was safe before. Zeroes in clusters that were never written need not
 * be copied at all. With extended L2 entries head and tail end where their
 * subclusters do, or where those do that the old cluster had.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdlib.h>

/* What is left of it; the cursor gives parts until it is empty. */
struct request {
	uint64_t offset;
	size_t len;
	struct iov_cursor *cursor;
	const struct image_turn *turn; /* or NULL */
};

/* New clusters for a part of a request. */
struct allocation {
	struct qcow2_part part;
	bool is_fresh;			/* reads as zeroes */
	uint8_t *head_data, *tail_data; /* NULL: need not be written */
	bool needs_barrier;
};

int qcow2_check_writable(struct qcow2 *q, struct error *err)
{
	if (q->is_read_only || q->image->flags & IMAGE_CHECK)
		return error_set(err, -EROFS, "Image is read-only");
	if (q->is_corrupt)
		return error_set(err, -EIO,
				 "Image is corrupt; nothing is written to it");
	if (q->is_header_unsure)
		return error_set(err, -EIO,
				 "Writing the header failed; nothing is "
				 "written until the image is opened again");
	return 0;
}

static bool is_in_place(const struct qcow2_run *run)
{
	return run->kind == QCOW2_KIND_DATA && run->is_copied;
}

static bool is_reusable(const struct qcow2_run *run)
{
	return run->kind == QCOW2_KIND_ZERO_ALLOCATED && run->is_copied;
}

/* Without the lock. */
static int write_data(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		      size_t len, struct iov_cursor *cursor, struct error *err)
{
	while (len > 0) {
		struct iovec parts[IOV_PARTS_MAX];
		unsigned n_parts;
		size_t n;
		int rc;

		n = iov_take(cursor, len, parts, IOV_PARTS_MAX, &n_parts);
		image_file_tell(q->file, IMAGE_EVENT_WRITE_AIO);
		rc = qcow2_data_writev(q, offset, host_offset, parts, n_parts);
		if (rc < 0)
			return error_set_errno(err, rc, "Could not write data");
		offset += n;
		host_offset += n;
		len -= n;
	}
	return 0;
}

/* Guest data may not go over metadata, which a data file has none of. */
static int check_place(struct qcow2 *q, uint64_t host_offset, uint64_t len,
		       struct error *err)
{
	return q->has_data_file ? 0
				: qcow2_check_overlap(q, QCOW2_SECTION_NONE,
						      host_offset, len, err);
}

/* Without the lock: the next part of it, of len bytes, has its place. */
static void pass_turn(const struct request *r, size_t len)
{
	if (r->turn != NULL && len == r->len)
		r->turn->pass(r->turn->context);
}

/* The first len bytes of what is left. */
static int overwrite(struct qcow2 *q, const struct request *r,
		     uint64_t host_offset, size_t len, struct error *err)
{
	int rc = check_place(q, host_offset, len, err);

	if (rc < 0)
		return rc;
	pthread_mutex_unlock(&q->lock);
	pass_turn(r, len);
	rc = write_data(q, r->offset, host_offset, len, r->cursor, err);
	pthread_mutex_lock(&q->lock);
	return rc;
}

/* What stood before or behind the request in its first or last cluster. */
static int read_edge(struct qcow2 *q, struct allocation *a, uint64_t offset,
		     size_t len, uint8_t **data, struct error *err)
{
	bool is_zero;
	int rc;

	if (len == 0)
		return 0;
	*data = aligned_alloc(4096, (len + 4095) & ~(size_t)4095);
	if (*data == NULL)
		return -ENOMEM;
	image_file_tell(q->file, IMAGE_EVENT_COW_READ);
	rc = qcow2_read_old(q, offset, *data, len, &is_zero, err);
	if (rc < 0)
		return rc;
	if (is_zero && a->is_fresh) {
		free(*data);
		*data = NULL;
	} else {
		a->needs_barrier = true;
	}
	return 0;
}

/* Without the lock: head, data and tail in as few writes as there can be. */
static int write_clusters(struct qcow2 *q, const struct allocation *a,
			  struct iov_cursor *cursor, struct error *err)
{
	uint64_t skip =
		a->part.host_offset - (a->part.index << q->cluster_bits);
	uint64_t at = a->part.offset; /* of the disk; + skip: of the file */
	struct iovec parts[IOV_PARTS_MAX];
	unsigned n_parts, n_head = 0;
	size_t len = a->part.len, n;
	int rc;

	if (a->head_data != NULL) {
		parts[0].iov_base = a->head_data;
		parts[0].iov_len = a->part.head;
		at -= a->part.head;
		n_head = 1;
	}
	n = iov_take(cursor, len, parts + n_head, IOV_PARTS_MAX - 2, &n_parts);
	n_parts += n_head;
	if (n == len && a->tail_data != NULL) {
		parts[n_parts].iov_base = a->tail_data;
		parts[n_parts++].iov_len = a->part.tail;
	}
	if (n_head > 0 || a->tail_data != NULL)
		image_file_tell(q->file, IMAGE_EVENT_COW_WRITE);
	image_file_tell(q->file, IMAGE_EVENT_WRITE_AIO);
	rc = qcow2_data_writev(q, at, at + skip, parts, n_parts);
	at = a->part.offset + n;
	if (rc == 0 && n < len) {
		rc = write_data(q, at, at + skip, len - n, cursor, err);
		at = a->part.offset + len;
		parts[0].iov_base = a->tail_data;
		parts[0].iov_len = a->part.tail;
		if (rc == 0 && a->tail_data != NULL)
			rc = qcow2_data_writev(q, at, at + skip, parts, 1);
	}
	return rc < 0 ? error_set_errno(err, rc, "Could not write data") : 0;
}

static int fill(struct qcow2 *q, const struct request *r, struct allocation *a,
		struct error *err)
{
	int rc;

	rc = read_edge(q, a, a->part.offset - a->part.head, a->part.head,
		       &a->head_data, err);
	if (rc == 0)
		rc = read_edge(q, a, a->part.offset + a->part.len, a->part.tail,
			       &a->tail_data, err);
	if (rc == 0) {
		pthread_mutex_unlock(&q->lock);
		pass_turn(r, a->part.len);
		rc = write_clusters(q, a, r->cursor, err);
		pthread_mutex_lock(&q->lock);
	}
	if (rc == 0 && a->needs_barrier) {
		rc = qcow2_data_barrier(q);
		if (rc < 0)
			error_set_errno(err, rc, "Could not flush data");
	}
	free(a->head_data);
	free(a->tail_data);
	return rc;
}

/* There, each guest cluster has a place of its own. */
static void use_data_file(const struct qcow2 *q, struct allocation *a)
{
	a->part.is_reused = true;
	a->part.host_offset = a->part.index << q->cluster_bits;
	a->is_fresh = qcow2_external_is_fresh(q, a->part.host_offset,
					      a->part.n << q->cluster_bits);
}

/* As far as there are places; what is around it comes along. */
static void set_edges(const struct qcow2 *q, struct qcow2_part *p)
{
	uint64_t end = (p->index + p->n) << q->cluster_bits;

	if (p->len > end - p->offset)
		p->len = end - p->offset;
	if (!q->has_subclusters) {
		p->head = p->offset & (q->cluster_len - 1);
		p->tail = end - p->offset - p->len;
	}
	end = p->offset + p->len;
	/* A data file ends where the disk ends. */
	if (q->has_data_file && end + p->tail > q->header.size)
		p->tail = q->header.size > end ? q->header.size - end : 0;
}

/* Clusters of a are this thread's (a flight says so). */
static int write_new(struct qcow2 *q, const struct request *r,
		     struct allocation *a, struct error *err)
{
	int rc;

	rc = qcow2_own_l2(q, a->part.index, err);
	if (rc == 0 && q->has_data_file)
		use_data_file(q, a);
	else if (rc == 0 && !a->part.is_reused)
		rc = qcow2_alloc(q, &a->part.n, &a->part.host_offset,
				 &a->is_fresh, err);
	if (rc < 0)
		return rc;
	if (q->header.crypt_method != QCOW2_CRYPT_NONE)
		a->is_fresh = false; /* a hole is no zeroes */
	set_edges(q, &a->part);
	rc = check_place(q, a->part.host_offset, a->part.n << q->cluster_bits,
			 err);
	if (rc == 0)
		rc = fill(q, r, a, err);
	if (rc < 0) {
		if (!a->part.is_reused)
			qcow2_alloc_undo(q, a->part.host_offset, a->part.n);
		return rc;
	}
	return qcow2_set_entries(q, a->part.index, a->part.n,
				 a->part.host_offset | QCOW2_COPIED,
				 q->cluster_len, a->part.bitmap, err);
}

/*
 * A raw data file reads as the disk does, whenever the power fails: where it
 * holds zeroes and nothing refers to it, it is referred to before data comes.
 * Then what is written is in both or in neither.
 */
static int map_raw(struct qcow2 *q, const struct qcow2_part *p,
		   struct error *err)
{
	uint64_t host_offset = p->index << q->cluster_bits;
	uint64_t len = p->n << q->cluster_bits;
	uint64_t bitmap = q->has_subclusters ? QCOW2_SUBCLUSTERS_ALLOCATED : 0;
	int rc = qcow2_own_l2(q, p->index, err);

	if (rc < 0)
		return rc;
	if (host_offset < q->header.size && len > q->header.size - host_offset)
		len = q->header.size - host_offset;
	if (!q->has_subclusters &&
	    !qcow2_external_is_fresh(q, host_offset, len))
		rc = image_file_zero(q->data_file, host_offset, len, true);
	if (rc == 0)
		rc = qcow2_barrier(q);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write data");
	rc = qcow2_set_entries(q, p->index, p->n, host_offset | QCOW2_COPIED,
			       q->cluster_len, bitmap, err);
	if (rc < 0)
		return rc;
	rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc, "Could not flush L2 table")
		      : 0;
}

/* How far, from run on, no cluster can be overwritten in place. */
static int plan(struct qcow2 *q, const struct qcow2_run *first,
		struct qcow2_part *p, struct error *err)
{
	uint64_t left = qcow2_l2_left(q, p->index), n = first->n;

	if (left > p->n)
		left = p->n;
	p->is_reused = is_reusable(first);
	p->host_offset = first->host_offset;
	while (n < left && !p->is_reused) {
		struct qcow2_run run;
		int rc = qcow2_map_run(q, p->index + n, left - n, false, &run,
				       err);

		if (rc < 0)
			return rc;
		if (is_in_place(&run) || is_reusable(&run))
			break;
		n += run.n;
	}
	p->n = n < left ? n : left;
	return 0;
}

/* What is there, and how much of the request it decides. */
static int look(struct qcow2 *q, uint64_t skip, struct qcow2_part *p,
		struct qcow2_run *run, struct error *err)
{
	uint64_t unit = p->offset >> q->unit_bits;
	int rc = qcow2_map_run(q, unit, qcow2_n_units(q, skip + p->len), false,
			       run, err);

	if (rc < 0)
		return rc;
	p->index = p->offset >> q->cluster_bits;
	if (is_in_place(run)) {
		if (p->len > (run->n << q->unit_bits) - skip)
			p->len = (run->n << q->unit_bits) - skip;
		p->n = ((p->offset + p->len - 1) >> q->cluster_bits) -
		       p->index + 1;
		return 0;
	}
	if (q->has_subclusters)
		return qcow2_plan_part(q, p, err);
	p->n = qcow2_n_clusters(q, skip + p->len);
	rc = plan(q, run, p, err);
	if (rc == 0 && p->len > (p->n << q->cluster_bits) - skip)
		p->len = (p->n << q->cluster_bits) - skip;
	return rc;
}

/* A part of the request: one run overwritten, or one of new clusters. */
static int write_part(struct qcow2 *q, struct request *r, struct error *err)
{
	struct allocation a = { .part = { .offset = r->offset,
					  .len = r->len } };
	uint64_t skip = r->offset & (q->unit_len - 1), last;
	struct qcow2_part *p = &a.part;
	struct qcow2_flight flight;
	struct qcow2_run run;
	int rc;

	do {
		rc = look(q, skip, p, &run, err);
		if (rc < 0)
			return rc;
		last = p->index + p->n - 1;
	} while (qcow2_flight_wait(q, p->index, last, !is_in_place(&run)));
	qcow2_flight_begin(q, &flight, p->index, last, !is_in_place(&run));
	if (is_in_place(&run)) {
		rc = overwrite(q, r, run.host_offset + skip, p->len, err);
	} else if (qcow2_is_data_twin(q)) {
		rc = map_raw(q, p, err);
		if (rc == 0)
			rc = overwrite(q, r, r->offset, p->len, err);
	} else {
		rc = write_new(q, r, &a, err);
	}
	qcow2_flight_end(q, &flight);
	r->offset += p->len;
	r->len -= p->len;
	return rc;
}

static int write_request(struct qcow2 *q, struct request *r, struct error *err)
{
	int rc = qcow2_check_writable(q, err);

	if (rc == 0)
		rc = qcow2_bitmaps_touch(q, r->offset, r->len, err);
	while (rc == 0 && r->len > 0) {
		rc = qcow2_check_writable(q, err);
		if (rc == 0)
			rc = write_part(q, r, err);
	}
	return rc;
}

int qcow2_write_locked(struct qcow2 *q, uint64_t offset, size_t len,
		       struct iov_cursor *cursor, struct error *err)
{
	struct request r = { .offset = offset, .len = len, .cursor = cursor };

	return write_request(q, &r, err);
}

int qcow2_write_in_turn(struct image *image, uint64_t offset,
			const struct iovec *iov, unsigned n_iov,
			const struct image_turn *turn, struct error *err)
{
	struct qcow2 *q = image->state;
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };
	struct request r = {
		.offset = offset,
		.len = iov_total(iov, n_iov),
		.cursor = &cursor,
		.turn = turn,
	};
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = write_request(q, &r, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

int qcow2_writev(struct image *image, uint64_t offset, const struct iovec *iov,
		 unsigned n_iov, struct error *err)
{
	return qcow2_write_in_turn(image, offset, iov, n_iov, NULL, err);
}
