/* SPDX-License-Identifier: ISC */
/*
 * Reading, and telling where data is. A reader shares its clusters (one
 * flight for the whole request) and holds the lock only to look at the
 * mapping.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Without the lock. */
static int read_backing(struct qcow2 *q, uint64_t offset, size_t len,
			struct iov_cursor *cursor, struct error *err)
{
	while (len > 0) {
		struct iovec parts[IOV_READ_PARTS_MAX];
		unsigned n_parts;
		size_t n;
		int rc;

		n = iov_take(cursor, len, parts, IOV_READ_PARTS_MAX, &n_parts);
		image_file_tell(q->file, IMAGE_EVENT_READ_BACKING_AIO);
		rc = image_backing_readv(q->image, offset, parts, n_parts, err);
		if (rc < 0)
			return rc;
		offset += n;
		len -= n;
	}
	return 0;
}

/* Without the lock. */
static int read_data(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		     size_t len, struct iov_cursor *cursor, struct error *err)
{
	while (len > 0) {
		struct iovec parts[IOV_READ_PARTS_MAX];
		unsigned n_parts;
		size_t n;
		int rc;

		n = iov_take(cursor, len, parts, IOV_READ_PARTS_MAX, &n_parts);
		image_file_tell(q->file, IMAGE_EVENT_READ_AIO);
		rc = qcow2_data_readv(q, offset, host_offset, parts, n_parts);
		if (rc < 0)
			return error_set_errno(err, rc, "Could not read data");
		offset += n;
		host_offset += n;
		len -= n;
	}
	return 0;
}

/* len bytes of one compressed cluster. */
static int read_compressed(struct qcow2 *q, uint64_t entry, size_t skip,
			   size_t len, struct iov_cursor *cursor,
			   struct error *err)
{
	struct iovec part;
	unsigned n_parts;
	struct iov_cursor saved = *cursor;
	uint8_t *buf;
	int rc;

	if (iov_take(cursor, len, &part, 1, &n_parts) == len)
		return qcow2_decompress(q, entry, skip, part.iov_base, len,
					err);
	*cursor = saved;
	buf = malloc(len);
	if (buf == NULL)
		return -ENOMEM;
	rc = qcow2_decompress(q, entry, skip, buf, len, err);
	if (rc == 0)
		iov_copy_in(cursor, buf, len);
	free(buf);
	return rc;
}

/* As much of len bytes as is in one run; *done says how much. Pauses. */
static int read_run(struct qcow2 *q, uint64_t offset, size_t len,
		    struct iov_cursor *cursor, size_t *done, struct error *err)
{
	uint64_t skip = offset & (q->unit_len - 1);
	struct qcow2_run run;
	int rc;

	rc = qcow2_map_run(q, offset >> q->unit_bits,
			   qcow2_n_units(q, skip + len), false, &run, err);
	if (rc < 0)
		return rc;
	if (len > (run.n << q->unit_bits) - skip)
		len = (run.n << q->unit_bits) - skip;
	*done = len;
	switch (run.kind) {
	case QCOW2_KIND_ZERO:
	case QCOW2_KIND_ZERO_ALLOCATED:
		iov_take_zero(cursor, len);
		return 0;
	case QCOW2_KIND_COMPRESSED:
		return read_compressed(q, run.entry,
				       offset & (q->cluster_len - 1), len,
				       cursor, err);
	case QCOW2_KIND_UNALLOCATED:
	case QCOW2_KIND_PLACED:
		pthread_mutex_unlock(&q->lock);
		rc = read_backing(q, offset, len, cursor, err);
		pthread_mutex_lock(&q->lock);
		return rc;
	case QCOW2_KIND_DATA:
		break;
	}
	pthread_mutex_unlock(&q->lock);
	rc = read_data(q, offset, run.host_offset + skip, len, cursor, err);
	pthread_mutex_lock(&q->lock);
	return rc;
}

int qcow2_readv(struct image *image, uint64_t offset, const struct iovec *iov,
		unsigned n_iov, struct error *err)
{
	struct qcow2 *q = image->state;
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };
	size_t len = iov_total(iov, n_iov), done;
	uint64_t first = offset >> q->cluster_bits;
	uint64_t last = (offset + len - 1) >> q->cluster_bits;
	struct qcow2_flight flight;
	int rc = 0;

	if (q->has_data_file && q->own_data_file == NULL)
		return error_set(err, -EINVAL, "Data file is not open");
	pthread_mutex_lock(&q->lock);
	qcow2_flight_wait(q, first, last, false);
	qcow2_flight_begin(q, &flight, first, last, false);
	for (; rc == 0 && len > 0; offset += done, len -= done) {
		rc = read_run(q, offset, len, &cursor, &done, err);
		if (rc < 0)
			break;
	}
	qcow2_flight_end(q, &flight);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static bool is_zero_without_looking(const struct qcow2 *q, uint64_t offset,
				    enum qcow2_kind kind)
{
	switch (kind) {
	case QCOW2_KIND_ZERO:
	case QCOW2_KIND_ZERO_ALLOCATED:
		return true;
	case QCOW2_KIND_UNALLOCATED:
	case QCOW2_KIND_PLACED:
		return q->image->backing == NULL ||
		       offset >= image_size(q->image->backing);
	case QCOW2_KIND_DATA:
	case QCOW2_KIND_COMPRESSED:
		break;
	}
	return false;
}

int qcow2_read_old(struct qcow2 *q, uint64_t offset, void *buf, size_t len,
		   bool *is_zero, struct error *err)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct iov_cursor cursor = { .iov = &iov, .n_iov = 1 };
	struct qcow2_run run;
	size_t done;
	int rc = 0;

	*is_zero = true;
	for (uint64_t at = offset; *is_zero && at < offset + len;
	     at = (at & ~(uint64_t)(q->unit_len - 1)) + q->unit_len) {
		rc = qcow2_map_run(q, at >> q->unit_bits, 1, false, &run, err);
		if (rc < 0)
			return rc;
		*is_zero = is_zero_without_looking(q, at, run.kind);
	}
	if (*is_zero) {
		memset(buf, 0, len);
		return 0;
	}
	for (; rc == 0 && len > 0; offset += done, len -= done) {
		rc = read_run(q, offset, len, &cursor, &done, err);
		if (rc < 0)
			break;
	}
	return rc;
}

static bool follows(const struct qcow2 *q, const struct qcow2_run *run,
		    const struct qcow2_run *next)
{
	if (next->kind != run->kind || next->is_copied != run->is_copied)
		return false;
	switch (run->kind) {
	case QCOW2_KIND_DATA:
	case QCOW2_KIND_PLACED:
	case QCOW2_KIND_ZERO_ALLOCATED:
		return next->host_offset ==
		       run->host_offset + (run->n << q->unit_bits);
	case QCOW2_KIND_UNALLOCATED:
	case QCOW2_KIND_ZERO:
		return true;
	case QCOW2_KIND_COMPRESSED:
		break;
	}
	return false;
}

/* Runs that follow one another become one. */
static int map_runs(struct qcow2 *q, uint64_t index, uint64_t n, bool nowait,
		    struct qcow2_run *run, struct error *err)
{
	int rc = qcow2_map_run(q, index, n, nowait, run, err);

	while (rc == 0 && run->n < n) {
		struct qcow2_run next;

		/* What comes next is another call's trouble. */
		if (qcow2_map_run(q, index + run->n, n - run->n, nowait, &next,
				  NULL) < 0 ||
		    !follows(q, run, &next))
			break;
		run->n += next.n;
	}
	return rc;
}

static void fill_extent(struct qcow2 *q, const struct qcow2_run *run,
			uint64_t skip, struct image_extent *extent)
{
	switch (run->kind) {
	case QCOW2_KIND_UNALLOCATED:
		extent->kind = IMAGE_EXTENT_HOLE;
		return;
	case QCOW2_KIND_ZERO:
		extent->kind = IMAGE_EXTENT_ZERO;
		return;
	case QCOW2_KIND_COMPRESSED:
		extent->kind = IMAGE_EXTENT_COMPRESSED;
		extent->host_offset = run->host_offset;
		extent->has_host_offset = true;
		return;
	case QCOW2_KIND_PLACED:
		extent->kind = IMAGE_EXTENT_HOLE;
		break;
	case QCOW2_KIND_ZERO_ALLOCATED:
		extent->kind = IMAGE_EXTENT_ZERO;
		break;
	case QCOW2_KIND_DATA:
		extent->kind = IMAGE_EXTENT_DATA;
		break;
	}
	if (q->header.crypt_method != QCOW2_CRYPT_NONE)
		return; /* not to be read there */
	extent->host_offset = run->host_offset + skip;
	extent->has_host_offset = true;
	extent->is_writable_in_place =
		run->kind == QCOW2_KIND_DATA && run->is_copied &&
		!q->is_read_only && !q->is_corrupt &&
		qcow2_bitmaps_know(q, extent->offset, extent->len) &&
		(q->has_data_file ||
		 qcow2_find_overlap(q, 0, run->host_offset,
				    run->n << q->unit_bits) ==
			 QCOW2_SECTION_NONE);
}

int qcow2_map(struct image *image, uint64_t offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err)
{
	struct qcow2 *q = image->state;
	uint64_t skip = offset & (q->unit_len - 1);
	bool nowait = flags & IMAGE_MAP_NOWAIT;
	struct qcow2_run run;
	int rc;

	*extent = (struct image_extent){
		.offset = offset,
		.len = len,
		.layer = image,
		.host_fd = q->data_file->fd,
		.has_own_fd = q->has_data_file,
		.host_path = q->data_path,
	};
	if (!nowait)
		pthread_mutex_lock(&q->lock);
	else if (pthread_mutex_trylock(&q->lock) != 0)
		return -EAGAIN; /* its holder may be reading metadata */
	rc = map_runs(q, offset >> q->unit_bits, qcow2_n_units(q, skip + len),
		      nowait, &run, err);
	if (rc == 0) {
		if (len > (run.n << q->unit_bits) - skip)
			extent->len = (run.n << q->unit_bits) - skip;
		fill_extent(q, &run, skip, extent);
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}
