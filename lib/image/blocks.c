/* SPDX-License-Identifier: ISC */
/* Blocks behind a table: looking them up, and reading. */
#include "lib/image/blocks.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks_internal.h"
#include "lib/image/crypt.h"
#include "lib/image/format.h"

#include <string.h>

enum {
	LOOKED_AT = 1 << 16, /* blocks, for one answer */
};

void blocks_init(struct blocks *blocks)
{
	pthread_mutex_init(&blocks->lock, NULL);
	table_init(&blocks->table, blocks->file);
	blocks->is_writing = blocks->is_damaged = false;
	blocks->is_unsure = false;
	blocks_forget_len(blocks);
	blocks->unit = NULL;
}

void blocks_deinit(struct blocks *blocks)
{
	table_deinit(&blocks->table);
	free(blocks->unit);
	blocks->unit = NULL;
	crypt_free(blocks->crypt);
	blocks->crypt = NULL;
	pthread_mutex_destroy(&blocks->lock);
}

bool blocks_reaches(struct blocks *blocks, uint64_t end)
{
	uint64_t len;

	if (end > blocks->known_len && image_file_size(blocks->file, &len) == 0)
		blocks->known_len = len;
	return end <= blocks->known_len;
}

int blocks_check_end(struct blocks *blocks, uint64_t host_offset, uint64_t len,
		     struct error *err)
{
	if (blocks_reaches(blocks, host_offset + len))
		return 0;
	return error_set(err, -EIO, "byte %llu is beyond the file's end",
			 (unsigned long long)(host_offset > blocks->known_len
						      ? host_offset
						      : blocks->known_len));
}

void blocks_forget_len(struct blocks *blocks)
{
	blocks->known_len = 0;
	blocks->used_len = blocks->stable_len = 0;
}

/* The run at offset, to its block's end at most. */
static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	uint64_t left = blocks->block_len - offset % blocks->block_len;

	*run = (struct block_run){ .kind = BLOCK_HOLE, .len = left };
	return blocks->ops->find(blocks, offset, nowait, run, err);
}

int blocks_find_anywhere(struct blocks *blocks, uint64_t offset, uint64_t len,
			 struct block_run *run, struct error *err)
{
	int rc = find(blocks, offset, false, run, err);

	if (rc == 0 && run->len > len)
		run->len = len;
	return rc;
}

static int check_run(struct blocks *blocks, uint64_t offset,
		     const struct block_run *run, struct error *err)
{
	uint64_t left = blocks->size - offset;

	switch (blocks->is_whole ? run->kind : BLOCK_HOLE) {
	case BLOCK_DATA:
		return blocks_check_end(blocks, run->host_offset,
					run->len < left ? run->len : left, err);
	case BLOCK_COMPRESSED:
		return blocks_check_end(blocks, run->host_offset, run->host_len,
					err);
	case BLOCK_HOLE:
	case BLOCK_ZERO:
		break;
	}
	return 0;
}

int blocks_find(struct blocks *blocks, uint64_t offset, uint64_t len,
		bool nowait, struct block_run *run, struct error *err)
{
	int rc = find(blocks, offset, nowait, run, err);

	if (rc == 0)
		rc = check_run(blocks, offset, run, err);
	if (rc == 0 && run->len > len)
		run->len = len;
	return rc;
}

uint64_t blocks_skip(struct blocks *blocks, uint64_t offset)
{
	uint64_t left, len;

	if (blocks->ops->skip == NULL || offset >= blocks->size)
		return 0;
	left = blocks->size - offset;
	len = blocks->ops->skip(blocks, offset);
	return len < left ? len : left;
}

/* Runs that follow each other in the disk and in the file are one. */
static bool is_continued(const struct block_run *run,
			 const struct block_run *next)
{
	if (run->kind != next->kind || run->kind == BLOCK_COMPRESSED)
		return false;
	return run->kind != BLOCK_DATA ||
	       next->host_offset == run->host_offset + run->len;
}

int blocks_find_long(struct blocks *blocks, uint64_t offset, uint64_t len,
		     bool nowait, struct block_run *run, struct error *err)
{
	int rc = blocks_find(blocks, offset, len, nowait, run, err);

	/* A disk may have more blocks than there is time for. */
	for (unsigned n = 0; rc == 0 && run->len < len && n < LOOKED_AT; n++) {
		struct block_run next;

		/* What cannot be known is the next caller's matter. */
		if (blocks_find(blocks, offset + run->len, len - run->len,
				nowait, &next, NULL) < 0 ||
		    !is_continued(run, &next))
			break;
		run->len += next.len;
		if (run->kind == BLOCK_HOLE && !nowait && run->len < len) {
			run->len += blocks_skip(blocks, offset + run->len);
			if (run->len > len)
				run->len = len;
		}
	}
	return rc;
}

int blocks_inflate(struct blocks *blocks, const struct block_run *run,
		   struct error *err)
{
	uint8_t *unit;
	int rc;

	if (blocks->unit != NULL && blocks->unit_start == run->unit_start &&
	    blocks->unit_host_offset == run->host_offset)
		return 0;
	unit = realloc(blocks->unit, run->unit_len);
	if (unit == NULL)
		return -ENOMEM;
	blocks->unit = unit;
	blocks->unit_start = run->unit_start;
	blocks->unit_host_offset = run->host_offset;
	rc = blocks->ops->inflate(blocks, run, unit, err);
	if (rc < 0) {
		free(blocks->unit);
		blocks->unit = NULL;
	}
	return rc;
}

int blocks_data_readv(struct blocks *blocks, uint64_t offset,
		      uint64_t host_offset, const struct iovec *iov,
		      unsigned n_iov)
{
	if (!blocks->is_encrypted)
		return image_file_readv(blocks->file, host_offset, iov, n_iov);
	if (blocks->crypt == NULL)
		return -EACCES;
	return crypt_readv(blocks->crypt, blocks->file, offset, host_offset,
			   iov, n_iov);
}

int blocks_data_writev(struct blocks *blocks, uint64_t offset,
		       uint64_t host_offset, const struct iovec *iov,
		       unsigned n_iov)
{
	if (!blocks->is_encrypted)
		return image_file_writev(blocks->file, host_offset, iov, n_iov);
	if (blocks->crypt == NULL)
		return -EACCES;
	return crypt_writev(blocks->crypt, blocks->file, offset, host_offset,
			    iov, n_iov);
}

static int read_file(struct blocks *blocks, uint64_t offset,
		     uint64_t host_offset, uint64_t len,
		     struct iov_cursor *cursor, struct error *err)
{
	while (len > 0) {
		struct iovec parts[IOV_READ_PARTS_MAX];
		unsigned n_parts;
		size_t n = iov_take(cursor, (size_t)len, parts,
				    IOV_READ_PARTS_MAX, &n_parts);
		int rc = blocks_data_readv(blocks, offset, host_offset, parts,
					   n_parts);

		if (rc < 0)
			return error_set_errno(err, rc, "Could not read data");
		offset += n;
		host_offset += n;
		len -= n;
	}
	return 0;
}

static int read_backing(struct blocks *blocks, uint64_t offset, uint64_t len,
			struct iov_cursor *cursor, struct error *err)
{
	while (len > 0) {
		struct iovec parts[IOV_READ_PARTS_MAX];
		unsigned n_parts;
		size_t n = iov_take(cursor, (size_t)len, parts,
				    IOV_READ_PARTS_MAX, &n_parts);
		int rc = image_backing_readv(blocks->image,
					     blocks->disk_offset + offset,
					     parts, n_parts, err);

		if (rc < 0)
			return rc;
		offset += n;
		len -= n;
	}
	return 0;
}

/* All of a unit that was asked for is inflated without the lock, so that
 * several threads can do it at once. */
static int read_whole_unit(struct blocks *blocks, const struct block_run *run,
			   struct iov_cursor *cursor, struct error *err)
{
	_cleanup_free_ uint8_t *unit = malloc(run->unit_len);
	int rc;

	if (unit == NULL)
		return -ENOMEM;
	rc = blocks->ops->inflate(blocks, run, unit, err);
	if (rc == 0)
		iov_copy_in(cursor, unit, run->len);
	return rc;
}

static int read_part_of_unit(struct blocks *blocks, uint64_t offset,
			     const struct block_run *run,
			     struct iov_cursor *cursor, struct error *err)
{
	int rc;

	pthread_mutex_lock(&blocks->lock);
	rc = blocks_inflate(blocks, run, err);
	if (rc == 0)
		iov_copy_in(cursor, blocks->unit + (offset - run->unit_start),
			    run->len);
	pthread_mutex_unlock(&blocks->lock);
	return rc;
}

static int read_run(struct blocks *blocks, uint64_t offset,
		    const struct block_run *run, struct iov_cursor *cursor,
		    struct error *err)
{
	switch (run->kind) {
	case BLOCK_HOLE:
		return read_backing(blocks, offset, run->len, cursor, err);
	case BLOCK_ZERO:
		iov_take_zero(cursor, run->len);
		return 0;
	case BLOCK_DATA:
		return read_file(blocks, offset, run->host_offset, run->len,
				 cursor, err);
	case BLOCK_COMPRESSED:
		break;
	}
	if (run->len == run->unit_len)
		return read_whole_unit(blocks, run, cursor, err);
	return read_part_of_unit(blocks, offset, run, cursor, err);
}

int blocks_read(struct blocks *blocks, uint64_t offset, uint64_t len,
		struct iov_cursor *cursor, struct error *err)
{
	while (len > 0) {
		struct block_run run;
		int rc;

		pthread_mutex_lock(&blocks->lock);
		rc = blocks_find_long(blocks, offset, len, false, &run, err);
		pthread_mutex_unlock(&blocks->lock);
		if (rc == 0)
			rc = read_run(blocks, offset, &run, cursor, err);
		if (rc < 0)
			return rc;
		offset += run.len;
		len -= run.len;
	}
	return 0;
}

/* Preallocated blocks are data to the table; the file may know better. */
static int look_for_file_holes(struct blocks *blocks,
			       struct image_extent *extent, struct error *err)
{
	bool is_data = true;
	uint64_t len = extent->len;
	int rc = image_file_extent(blocks->file, extent->host_offset, len,
				   &is_data, &len);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not look for holes");
	extent->len = len;
	if (!is_data)
		extent->kind = IMAGE_EXTENT_ZERO;
	return 0;
}

static enum image_extent_kind kind_of(enum block_kind kind)
{
	static const enum image_extent_kind kinds[] = {
		[BLOCK_HOLE] = IMAGE_EXTENT_HOLE,
		[BLOCK_ZERO] = IMAGE_EXTENT_ZERO,
		[BLOCK_DATA] = IMAGE_EXTENT_DATA,
		[BLOCK_COMPRESSED] = IMAGE_EXTENT_COMPRESSED,
	};

	return kinds[kind];
}

int blocks_map(struct blocks *blocks, uint64_t offset, uint64_t len,
	       unsigned flags, struct image_extent *extent, struct error *err)
{
	bool nowait = flags & IMAGE_MAP_NOWAIT, is_writing;
	struct block_run run;
	int rc;

	if (!nowait)
		pthread_mutex_lock(&blocks->lock);
	else if (pthread_mutex_trylock(&blocks->lock) != 0)
		return -EAGAIN;
	rc = blocks_find_long(blocks, offset, len, nowait, &run, err);
	is_writing = blocks->is_writing;
	pthread_mutex_unlock(&blocks->lock);
	if (rc < 0)
		return rc;
	*extent = (struct image_extent){
		.kind = kind_of(run.kind),
		.offset = offset,
		.len = run.len,
		.has_host_offset =
			run.kind == BLOCK_DATA || run.kind == BLOCK_COMPRESSED,
		.host_offset = run.host_offset,
		.is_writable_in_place = run.kind == BLOCK_DATA && is_writing &&
					blocks->ops->touch == NULL,
	};
	if (run.kind == BLOCK_DATA && blocks->is_encrypted)
		extent->has_host_offset = extent->is_writable_in_place = false;
	if (run.kind == BLOCK_DATA && blocks->has_file_holes && !nowait)
		return look_for_file_holes(blocks, extent, err);
	return 0;
}

int blocks_image_readv(struct image *image, uint64_t offset,
		       const struct iovec *iov, unsigned n_iov,
		       struct error *err)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };

	return blocks_read(image->state, offset, iov_total(iov, n_iov), &cursor,
			   err);
}

int blocks_image_writev(struct image *image, uint64_t offset,
			const struct iovec *iov, unsigned n_iov,
			struct error *err)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };

	return blocks_write(image->state, offset, iov_total(iov, n_iov),
			    &cursor, err);
}

int blocks_image_write_zeroes(struct image *image, uint64_t offset,
			      uint64_t len, unsigned flags, struct error *err)
{
	return blocks_zero(image->state, offset, len, flags, err);
}

int blocks_image_discard(struct image *image, uint64_t offset, uint64_t len,
			 struct error *err)
{
	return blocks_discard(image->state, offset, len, err);
}

int blocks_image_write_compressed(struct image *image, uint64_t offset,
				  const void *buf, size_t len,
				  const struct image_turn *turn,
				  struct error *err)
{
	return blocks_write_compressed(image->state, offset, buf, len, turn,
				       err);
}

void blocks_image_attach(struct image *image, struct blocks *blocks,
			 const struct blocks_ops *ops, uint64_t block_len)
{
	blocks->ops = ops;
	blocks->image = image;
	blocks->file = image->file;
	blocks->size = image->size;
	blocks->block_len = block_len;
	blocks_init(blocks);
	image->state = blocks;
}

int blocks_image_close(struct image *image, struct error *err)
{
	struct blocks *blocks = image->state;
	int rc = 0;

	if (blocks == NULL)
		return 0;
	if (!image->file->is_read_only)
		rc = blocks_image_flush(image, err);
	if (rc == 0 && blocks->is_writing && !blocks->is_damaged &&
	    blocks->ops->end_writing != NULL)
		rc = blocks->ops->end_writing(blocks, err);
	if (rc == 0)
		rc = blocks_end_append(blocks, err);
	blocks_deinit(blocks);
	free(blocks);
	image->state = NULL;
	return rc;
}

int blocks_image_flush(struct image *image, struct error *err)
{
	const struct blocks *blocks = image->state;
	int rc = image_file_flush(blocks->file);

	return rc < 0 ? error_set_errno(err, rc, "Could not flush") : 0;
}

int blocks_image_map(struct image *image, uint64_t offset, uint64_t len,
		     unsigned flags, struct image_extent *extent,
		     struct error *err)
{
	return blocks_map(image->state, offset, len, flags, extent, err);
}
