/* SPDX-License-Identifier: ISC */
/*
 * Reading compressed clusters: raw deflate with a window of 12 bits, or zstd
 * (section "Compressed Clusters Descriptor"). The length in the entry is in
 * sectors, so that what follows the stream may be anything; decompression
 * stops after a cluster.
 *
 * The last few clusters are kept: a guest reads a cluster in small pieces.
 * Since a compressed cluster's data never changes while an entry points to
 * it, and the entry is the key, only freeing would make one stale; every
 * change of entries drops what is kept of the old ones (qcow2_raw_forget).
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <libdeflate.h>
#include <string.h>
#include <zstd.h>

static struct qcow2_raw *find_raw(struct qcow2 *q, uint64_t entry)
{
	for (unsigned i = 0; i < QCOW2_RAW_KEPT; i++)
		if (q->raw[i].entry == entry)
			return &q->raw[i];
	return NULL;
}

/* Takes data over. */
static void keep_raw(struct qcow2 *q, uint64_t entry, uint8_t *data)
{
	struct qcow2_raw *oldest = &q->raw[0];

	for (unsigned i = 1; i < QCOW2_RAW_KEPT; i++)
		if (q->raw[i].used < oldest->used)
			oldest = &q->raw[i];
	free(oldest->data);
	oldest->data = data;
	oldest->entry = entry;
	oldest->used = ++q->raw_clock;
}

void qcow2_raw_forget(struct qcow2 *q, uint64_t entry)
{
	struct qcow2_raw *raw = find_raw(q, entry);

	if (raw != NULL)
		raw->entry = 0;
}

static int inflate_raw(struct libdeflate_decompressor *d, const void *in,
		       size_t in_len, void *out, size_t out_len)
{
	size_t n;

	if (libdeflate_deflate_decompress(d, in, in_len, out, out_len, &n) !=
		    LIBDEFLATE_SUCCESS ||
	    n != out_len)
		return -EIO;
	return 0;
}

/* Frames may follow one another; padding follows the last. */
static int inflate_zstd(const void *in, size_t in_len, void *out,
			size_t out_len)
{
	ZSTD_inBuffer from = { .src = in, .size = in_len };
	ZSTD_outBuffer to = { .dst = out, .size = out_len };
	ZSTD_DCtx *d = ZSTD_createDCtx();
	size_t rc = 0;

	if (d == NULL)
		return -ENOMEM;
	while (to.pos < to.size && !ZSTD_isError(rc)) {
		size_t before = from.pos + to.pos;

		rc = ZSTD_decompressStream(d, &to, &from);
		if (from.pos + to.pos == before)
			break;
	}
	ZSTD_freeDCtx(d);
	return ZSTD_isError(rc) || to.pos < to.size ? -EIO : 0;
}

/* Without the lock; inflater is this thread's, made if it is not there. */
static int inflate_cluster(struct qcow2 *q, uint64_t entry, void **inflater,
			   uint8_t *out, struct error *err)
{
	_cleanup_free_ uint8_t *in = NULL;
	uint64_t offset, len;
	int rc;

	qcow2_compressed_range(q, entry, &offset, &len);
	in = malloc(len);
	if (in == NULL)
		return -ENOMEM;
	image_file_tell(q->file, IMAGE_EVENT_READ_COMPRESSED);
	rc = image_file_read(q->file, offset, in, len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read compressed cluster");
	if (q->header.compression_type == QCOW2_COMPRESSION_ZSTD) {
		rc = inflate_zstd(in, len, out, q->cluster_len);
	} else {
		if (*inflater == NULL)
			*inflater = libdeflate_alloc_decompressor();
		rc = *inflater == NULL ? -ENOMEM
				       : inflate_raw(*inflater, in, len, out,
						     q->cluster_len);
	}
	if (rc == -EIO)
		return error_set(err, rc,
				 "Compressed cluster at offset %#llx cannot "
				 "be decompressed",
				 (unsigned long long)offset);
	return rc;
}

int qcow2_decompress(struct qcow2 *q, uint64_t entry, size_t skip, void *buf,
		     size_t len, struct error *err)
{
	struct qcow2_raw *raw = find_raw(q, entry);
	_cleanup_free_ uint8_t *out = NULL;
	void *inflater;
	bool is_whole;
	int rc;

	if (raw != NULL) {
		raw->used = ++q->raw_clock;
		memcpy(buf, raw->data + skip, len);
		return 0;
	}
	/* A whole one is not asked for again. */
	is_whole = len == q->cluster_len;
	if (!is_whole && (out = malloc(q->cluster_len)) == NULL)
		return -ENOMEM;
	inflater = q->inflater;
	q->inflater = NULL;
	pthread_mutex_unlock(&q->lock);
	rc = inflate_cluster(q, entry, &inflater, is_whole ? buf : out, err);
	if (rc == 0 && !is_whole)
		memcpy(buf, out + skip, len);
	pthread_mutex_lock(&q->lock);
	if (q->inflater == NULL) {
		q->inflater = inflater;
		inflater = NULL;
	}
	libdeflate_free_decompressor(inflater);
	if (rc == 0 && !is_whole && find_raw(q, entry) == NULL)
		keep_raw(q, entry, steal_ptr(&out));
	return rc;
}

void qcow2_compress_deinit(struct qcow2 *q)
{
	for (unsigned i = 0; i < QCOW2_RAW_KEPT; i++) {
		free(q->raw[i].data);
		q->raw[i] = (struct qcow2_raw){ 0 };
	}
	libdeflate_free_decompressor(q->inflater);
	q->inflater = NULL;
}
