/* SPDX-License-Identifier: ISC */
/*
 * Writing compressed clusters. They are packed one behind the other, across
 * host clusters that follow one another; each host cluster is counted once for
 * every compressed one that touches it, so that it is given back with the last.
 *
 *	host:    |  cluster  |  cluster  |  cluster  |
 *	packed:  |aaaabbbbbbb|bbcccdddd..|eeeeee^....
 *	                                        pack_next
 *
 * A stream may not be read unless all of it is there, and a cluster that was
 * safe before would be lost with it: a barrier comes between data and counts
 * on one side and the L2 entry on the other.
 *
 * Compression itself is done without the lock, so that threads share it out.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <string.h>

static void *take_deflater(struct qcow2 *q)
{
	return q->n_deflaters > 0 ? q->deflaters[--q->n_deflaters] : NULL;
}

static void give_deflater(struct qcow2 *q, void *deflater)
{
	if (deflater != NULL && q->n_deflaters < QCOW2_DEFLATERS_KEPT)
		q->deflaters[q->n_deflaters++] = deflater;
	else
		qcow2_pack_free(deflater);
}

void qcow2_deflate_deinit(struct qcow2 *q)
{
	while (q->n_deflaters > 0)
		qcow2_pack_free(take_deflater(q));
}

/* What is left of the host cluster that was packed last, if its count can
 * rise. */
static int find_room(struct qcow2 *q, uint64_t *room, struct error *err)
{
	uint64_t count;
	int rc;

	*room = 0;
	if ((q->pack_next & (q->cluster_len - 1)) == 0)
		return 0;
	rc = qcow2_get_refcount(q, q->pack_next >> q->cluster_bits, &count,
				err);
	if (rc == 0 && count > 0 && count < qcow2_refcount_max(q))
		*room = qcow2_round_up(q, q->pack_next) - q->pack_next;
	return rc;
}

/* A place for len bytes, less than a cluster, counted but not yet on the
 * disk. Pauses. */
static int place(struct qcow2 *q, size_t len, uint64_t *host_offset,
		 struct error *err)
{
	uint64_t fresh = 0, room, n = 1;
	bool is_fresh;
	int rc;

	image_file_tell(q->file, IMAGE_EVENT_CLUSTER_ALLOC_BYTES);
	rc = find_room(q, &room, err);
	if (rc == 0 && room < len) {
		rc = qcow2_alloc(q, &n, &fresh, &is_fresh, err);
		if (rc == 0) /* others may have packed meanwhile */
			rc = find_room(q, &room, err);
	}
	if (rc < 0)
		return rc;
	if (room >= len && fresh != 0) {
		qcow2_alloc_undo(q, fresh, 1);
		fresh = 0;
	}
	*host_offset = q->pack_next;
	if (fresh != 0 && (room == 0 || q->pack_next + room != fresh))
		*host_offset = fresh;
	else
		rc = qcow2_add_refcount(q, q->pack_next >> q->cluster_bits, 1,
					1, err);
	if (rc < 0 && fresh != 0)
		qcow2_alloc_undo(q, fresh, 1);
	if (rc == 0)
		q->pack_next = *host_offset + len;
	return rc;
}

static void unplace(struct qcow2 *q, uint64_t host_offset, size_t len)
{
	uint64_t first = host_offset >> q->cluster_bits;
	uint64_t last = (host_offset + len - 1) >> q->cluster_bits;

	(void)qcow2_free_now(q, first, last - first + 1, NULL);
}

/* The flight over the cluster is this thread's. */
static int store(struct qcow2 *q, uint64_t index, const void *data, size_t len,
		 struct error *err)
{
	uint64_t host_offset = 0, entry;
	int rc = qcow2_own_l2(q, index, err);

	if (rc == 0)
		rc = place(q, len, &host_offset, err);
	if (rc < 0)
		return rc;
	entry = qcow2_packed_entry(q->cluster_bits, host_offset, len);
	if (entry == 0)
		rc = error_set(err, -EFBIG,
			       "The file is too large for compressed clusters");
	if (rc == 0)
		rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE, host_offset,
					 len, err);
	if (rc == 0) {
		pthread_mutex_unlock(&q->lock);
		image_file_tell(q->file, IMAGE_EVENT_WRITE_COMPRESSED);
		rc = image_file_write(q->file, host_offset, data, len);
		pthread_mutex_lock(&q->lock);
		if (rc == 0)
			rc = qcow2_data_barrier(q);
		if (rc < 0)
			error_set_errno(err, rc, "Could not write data");
	}
	if (rc < 0) {
		unplace(q, host_offset, len);
		return rc;
	}
	image_file_tell(q->file, IMAGE_EVENT_L2_UPDATE_COMPRESSED);
	return qcow2_set_entries(q, index, 1, entry, 0, 0, err);
}

static int store_cluster(struct qcow2 *q, uint64_t index, const void *data,
			 size_t len, struct error *err)
{
	struct qcow2_flight flight;
	int rc;

	qcow2_flight_wait(q, index, index, true);
	qcow2_flight_begin(q, &flight, index, index, true);
	rc = store(q, index, data, len, err);
	qcow2_flight_end(q, &flight);
	return rc;
}

int qcow2_write_compressed(struct image *image, uint64_t offset,
			   const void *buf, size_t len,
			   const struct image_turn *turn, struct error *err)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
			     .iov_len = len };
	struct qcow2 *q = image->state;
	_cleanup_free_ uint8_t *out = malloc(q->cluster_len);
	_cleanup_free_ uint8_t *padded = NULL;
	void *deflater;
	size_t n = 0;
	int rc;

	if (q->has_data_file)
		return error_set(err, -ENOTSUP, "%s", strerror(ENOTSUP));
	if (q->header.crypt_method != QCOW2_CRYPT_NONE)
		return error_set(err, -ENOTSUP,
				 "Compression and encryption not supported at "
				 "the same time");
	if (out == NULL)
		return -ENOMEM;
	if (len < q->cluster_len) {
		padded = calloc(1, q->cluster_len);
		if (padded == NULL)
			return -ENOMEM;
		memcpy(padded, buf, len);
		buf = padded;
	}
	pthread_mutex_lock(&q->lock);
	deflater = take_deflater(q);
	pthread_mutex_unlock(&q->lock);
	rc = qcow2_pack(q->header.compression_type == QCOW2_COMPRESSION_ZSTD,
			&deflater, buf, q->cluster_len, out, &n);
	if (rc == 0)
		rc = image_turn_await(turn);
	pthread_mutex_lock(&q->lock);
	give_deflater(q, deflater);
	if (rc == 0)
		rc = qcow2_check_writable(q, err);
	if (rc == 0 && n > 0)
		rc = qcow2_bitmaps_touch(q, offset, len, err);
	if (rc == 0 && n > 0)
		rc = store_cluster(q, offset >> q->cluster_bits, out, n, err);
	pthread_mutex_unlock(&q->lock);
	if (rc < 0 || n > 0)
		return rc;
	return qcow2_writev(image, offset, &iov, 1, err);
}
