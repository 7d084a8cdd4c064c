/* SPDX-License-Identifier: ISC */
/*
 * Apple's disk images, for reading: chunks of the disk, each stored as it is,
 * compressed by zlib or bzip2, or not at all (zeroes). The chunk that was
 * unpacked last is kept.
 */
#include "lib/image/dmg.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/iov.h"
#include "protocols/dmg.h"

#include <bzlib.h>
#include <libdeflate.h>
#include <pthread.h>
#include <string.h>

enum {
	PACKED_SLACK = 1024,
};

struct dmg {
	struct dmg_table table;
	pthread_mutex_t lock; /* of what follows */
	const struct dmg_chunk *unpacked;
	uint8_t *data; /* of that chunk */
};

/* It has no head: QEMU goes by the name, and so does image.c. */
static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	(void)head;
	(void)len;
	(void)file_size;
	return 0;
}

static int dmg_open(struct image *image, struct error *err)
{
	struct dmg *d;
	int rc;

	if (!image->file->is_read_only)
		return error_set(err, -EROFS, "Image is read-only");
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	pthread_mutex_init(&d->lock, NULL);
	image->state = d;
	rc = dmg_table_read(&d->table, image->file, err);
	image->size = d->table.size;
	image->cluster_size = DMG_SECTOR;
	return rc;
}

static int dmg_close(struct image *image, struct error *err)
{
	struct dmg *d = image->state;

	(void)err;
	if (d == NULL)
		return 0;
	dmg_table_deinit(&d->table);
	pthread_mutex_destroy(&d->lock);
	free(d->data);
	free(d);
	image->state = NULL;
	return 0;
}

/* The chunk that offset is in; or NULL, and how far that goes. */
static const struct dmg_chunk *find(const struct dmg *d, uint64_t offset,
				    uint64_t *left)
{
	const struct dmg_table *t = &d->table;
	uint64_t low = 0, high = t->n_chunks;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (t->chunks[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	*left = (low < t->n_chunks ? t->chunks[low].offset : t->size) - offset;
	if (low == 0 ||
	    offset - t->chunks[low - 1].offset >= t->chunks[low - 1].len)
		return NULL;
	/* The next one counts where two overlap. */
	if (*left > t->chunks[low - 1].offset + t->chunks[low - 1].len - offset)
		*left = t->chunks[low - 1].offset + t->chunks[low - 1].len -
			offset;
	return &t->chunks[low - 1];
}

/* What neither method exceeds, whatever it is given: more is not read. */
static uint64_t packed_len(const struct dmg_chunk *c)
{
	uint64_t most = 2 * c->len + PACKED_SLACK;

	return c->host_len < most ? c->host_len : most;
}

static bool inflate(const uint8_t *packed, const struct dmg_chunk *c,
		    uint8_t *data)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	enum libdeflate_result result = LIBDEFLATE_BAD_DATA;
	size_t n = 0;

	if (d != NULL)
		result = libdeflate_zlib_decompress(d, packed, packed_len(c),
						    data, c->len, &n);
	libdeflate_free_decompressor(d);
	return result == LIBDEFLATE_SUCCESS && n == c->len;
}

static bool unpack_bzip2(uint8_t *packed, const struct dmg_chunk *c,
			 uint8_t *data)
{
	unsigned n = (unsigned)c->len;

	return BZ2_bzBuffToBuffDecompress((char *)data, &n, (char *)packed,
					  (unsigned)packed_len(c), 0,
					  0) == BZ_OK &&
	       n == c->len;
}

/* With the lock: d->data becomes the chunk's. */
static int unpack(struct dmg *d, const struct image_file *file,
		  const struct dmg_chunk *c, struct error *err)
{
	_cleanup_free_ uint8_t *packed = NULL;
	bool is_good;
	int rc;

	if (d->unpacked == c)
		return 0;
	d->unpacked = NULL;
	free(d->data);
	d->data = malloc(c->len);
	packed = malloc(packed_len(c) + 1);
	if (d->data == NULL || packed == NULL)
		return error_set(err, -ENOMEM,
				 "Chunk of %llu bytes does not fit in memory",
				 (unsigned long long)c->len);
	rc = image_file_read(file, c->host_offset, packed, packed_len(c));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a chunk");
	is_good = c->type == DMG_BZIP2 ? unpack_bzip2(packed, c, d->data)
				       : inflate(packed, c, d->data);
	if (!is_good)
		return error_set(err, -EIO,
				 "Chunk at offset %llu cannot be decompressed",
				 (unsigned long long)c->host_offset);
	d->unpacked = c;
	return 0;
}

static int read_raw(const struct image_file *file, uint64_t host_offset,
		    uint64_t len, struct iov_cursor *cursor, struct error *err)
{
	while (len > 0) {
		struct iovec parts[IOV_PARTS_MAX];
		unsigned n_parts;
		size_t n = iov_take(cursor, (size_t)len, parts, IOV_PARTS_MAX,
				    &n_parts);
		int rc = image_file_readv(file, host_offset, parts, n_parts);

		if (rc < 0)
			return error_set_errno(err, rc, "Could not read data");
		host_offset += n;
		len -= n;
	}
	return 0;
}

static int read_chunk(struct image *image, const struct dmg_chunk *c,
		      uint64_t skip, uint64_t len, struct iov_cursor *cursor,
		      struct error *err)
{
	struct dmg *d = image->state;
	int rc;

	if (c->type == DMG_ZERO || c->type == DMG_IGNORE) {
		iov_take_zero(cursor, (size_t)len);
		return 0;
	}
	if (c->type == DMG_RAW)
		return read_raw(image->file, c->host_offset + skip, len, cursor,
				err);
	pthread_mutex_lock(&d->lock);
	rc = unpack(d, image->file, c, err);
	if (rc == 0)
		iov_copy_in(cursor, d->data + skip, (size_t)len);
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static int dmg_readv(struct image *image, uint64_t offset,
		     const struct iovec *iov, unsigned n_iov, struct error *err)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };
	uint64_t len = iov_total(iov, n_iov);
	int rc = 0;

	while (rc == 0 && len > 0) {
		uint64_t left = 0;
		const struct dmg_chunk *c = find(image->state, offset, &left);

		if (c == NULL)
			return error_set(err, -EIO,
					 "No chunk has the sector at offset "
					 "%llu",
					 (unsigned long long)offset);
		if (left > len)
			left = len;
		rc = read_chunk(image, c, offset - c->offset, left, &cursor,
				err);
		offset += left;
		len -= left;
	}
	return rc;
}

static int dmg_map(struct image *image, uint64_t offset, uint64_t len,
		   unsigned flags, struct image_extent *extent,
		   struct error *err)
{
	uint64_t left = 0;
	const struct dmg_chunk *c = find(image->state, offset, &left);

	(void)flags;
	(void)err;
	*extent = (struct image_extent){
		.kind = IMAGE_EXTENT_DATA,
		.offset = offset,
		.len = left < len ? left : len,
	};
	if (c == NULL)
		return 0;
	if (c->type == DMG_ZERO || c->type == DMG_IGNORE) {
		extent->kind = IMAGE_EXTENT_ZERO;
		return 0;
	}
	if (c->type != DMG_RAW) {
		extent->kind = IMAGE_EXTENT_COMPRESSED;
		return 0;
	}
	extent->has_host_offset = true;
	extent->host_offset = c->host_offset + (offset - c->offset);
	return 0;
}

static int dmg_flush(struct image *image, struct error *err)
{
	(void)image;
	(void)err;
	return 0;
}

/* Nothing is written: it never is opened for that. */
const struct image_format image_format_dmg = {
	.name = "dmg",
	.has_no_dirty_flag = true,
	.is_in_sectors = true,
	.probe = probe,
	.open = dmg_open,
	.close = dmg_close,
	.readv = dmg_readv,
	.flush = dmg_flush,
	.map = dmg_map,
};
