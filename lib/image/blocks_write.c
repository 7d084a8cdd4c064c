/* SPDX-License-Identifier: ISC */
/*
 * Blocks behind a table: writing.
 *
 *	block:    |                                        |
 *	request:          [==================]
 *	written:  [ head ][==================][    tail    ]
 *
 * head and tail are what was to be read there: nothing has to be written for
 * zeroes in a place that reads as zeroes.
 */
#include "lib/image/blocks.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks_internal.h"
#include "lib/image/format.h"

#include <string.h>

enum {
	COPY_CHUNK = 256 * 1024,
	GROWTH = 16 << 20, /* of a file whose length is to be stable */
};

/* A first write to a block, or one that the format stores its own way. */
struct first_write {
	uint64_t index, start; /* the block, and where it begins */
	uint64_t offset, len;  /* the request's part in it */
	struct block_place place;
	bool is_copied; /* something else than the request was written */
};

int blocks_begin_writing(struct blocks *blocks, struct error *err)
{
	int rc = 0;

	if (blocks->is_writing && !blocks->is_unsure)
		return 0;
	if (blocks->ops->allocate == NULL && blocks->ops->store == NULL)
		return error_set(err, -EROFS,
				 "Image format '%s' is for reading only",
				 blocks->image->format->name);
	if (blocks->ops->begin_writing != NULL)
		rc = blocks->ops->begin_writing(blocks, err);
	if (rc < 0)
		return rc;
	blocks->is_writing = true;
	blocks->is_unsure = false;
	return 0;
}

int blocks_used_len(struct blocks *blocks, uint64_t *len)
{
	*len = blocks->used_len;
	return *len > 0 ? 0 : image_file_size(blocks->file, len);
}

/* Flushes are dear, and sparse bytes at the end cost nothing. */
static int grow_stably(struct blocks *blocks, uint64_t end)
{
	uint64_t len = end < INT64_MAX - GROWTH ? end + GROWTH : end;
	int rc = 0;

	if (end > blocks->stable_len) {
		rc = image_file_truncate(blocks->file, len);
		if (rc < 0) {
			len = end;
			rc = image_file_truncate(blocks->file, len);
		}
		if (rc == 0)
			rc = image_file_flush(blocks->file);
		if (rc < 0)
			return rc;
		blocks->stable_len = len;
	}
	blocks->used_len = end;
	return 0;
}

int blocks_grow(struct blocks *blocks, uint64_t end)
{
	if (blocks->is_len_stable && !blocks->file->is_block_device)
		return grow_stably(blocks, end);
	return image_file_truncate(blocks->file, end);
}

int blocks_append(struct blocks *blocks, uint64_t alignment, uint64_t len,
		  struct block_place *place, struct error *err)
{
	uint64_t used, at, end;
	int rc = blocks_used_len(blocks, &used);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	at = place->host_offset > used ? place->host_offset : used;
	if (at % alignment != 0)
		at += alignment - at % alignment;
	end = at + len;
	if (end > INT64_MAX)
		return error_set(err, -EFBIG, "Image file is too big");
	rc = blocks_grow(blocks, end);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not grow the file");
	place->host_offset = at;
	place->is_zero = !blocks->file->is_block_device;
	return 0;
}

int blocks_end_append(struct blocks *blocks, struct error *err)
{
	int rc = 0;

	if (blocks->used_len < blocks->stable_len)
		rc = image_file_truncate(blocks->file, blocks->used_len);
	blocks->used_len = blocks->stable_len = 0;
	return rc < 0 ? error_set_errno(err, rc, "Could not shorten the file")
		      : 0;
}

int blocks_write_file(struct blocks *blocks, uint64_t offset,
		      uint64_t host_offset, uint64_t len,
		      struct iov_cursor *cursor, struct error *err)
{
	image_file_tell(blocks->file, IMAGE_EVENT_WRITE_AIO);
	while (len > 0) {
		struct iovec parts[IOV_PARTS_MAX];
		unsigned n_parts;
		size_t n = iov_take(cursor, (size_t)len, parts, IOV_PARTS_MAX,
				    &n_parts);
		int rc = blocks_data_writev(blocks, offset, host_offset, parts,
					    n_parts);

		if (rc < 0)
			return error_set_errno(err, rc, "Could not write data");
		offset += n;
		host_offset += n;
		len -= n;
	}
	return 0;
}

/* Is what the disk has from offset on zero, as far as the tables know? */
static bool is_zero(const struct blocks *blocks, uint64_t offset,
		    const struct block_run *run)
{
	const struct image *backing = blocks->image->backing;

	return run->kind == BLOCK_ZERO ||
	       (run->kind == BLOCK_HOLE &&
		(backing == NULL ||
		 blocks->disk_offset + offset >= backing->size));
}

/* What the disk has there, before the write. */
static int read_old(struct blocks *blocks, uint64_t offset, uint8_t *buf,
		    const struct block_run *run, struct error *err)
{
	const struct iovec iov = { .iov_base = buf,
				   .iov_len = (size_t)run->len };
	int rc = 0;

	switch (run->kind) {
	case BLOCK_HOLE:
		return image_backing_readv(blocks->image,
					   blocks->disk_offset + offset, &iov,
					   1, err);
	case BLOCK_ZERO:
		memset(buf, 0, run->len);
		return 0;
	case BLOCK_DATA:
		rc = blocks_data_readv(blocks, offset, run->host_offset, &iov,
				       1);
		return rc < 0 ? error_set_errno(err, rc, "Could not read data")
			      : 0;
	case BLOCK_COMPRESSED:
		break;
	}
	rc = blocks_inflate(blocks, run, err);
	if (rc == 0)
		memcpy(buf, blocks->unit + (offset - run->unit_start),
		       run->len);
	return rc;
}

/* Bytes beyond the end of the disk are zeroes. */
static int find_old(struct blocks *blocks, uint64_t offset, uint64_t len,
		    struct block_run *run, struct error *err)
{
	if (offset < blocks->size)
		return blocks_find(blocks, offset,
				   len < blocks->size - offset
					   ? len
					   : blocks->size - offset,
				   false, run, err);
	*run = (struct block_run){ .kind = BLOCK_ZERO, .len = len };
	return 0;
}

static int write_old(struct blocks *blocks, uint64_t offset,
		     uint64_t host_offset, uint8_t *buf, uint64_t len)
{
	const struct iovec iov = { .iov_base = buf, .iov_len = (size_t)len };

	return blocks_data_writev(blocks, offset, host_offset, &iov, 1);
}

/* The head or the tail to its new place. */
static int copy_old(struct blocks *blocks, struct first_write *w,
		    uint64_t offset, uint64_t len, struct error *err)
{
	uint64_t to = w->place.host_offset + (offset - w->start);
	_cleanup_free_ uint8_t *buf = NULL;

	while (len > 0) {
		struct block_run run;
		int rc = find_old(blocks, offset,
				  len < COPY_CHUNK ? len : COPY_CHUNK, &run,
				  err);

		if (rc < 0)
			return rc;
		if (buf == NULL &&
		    !(is_zero(blocks, offset, &run) && w->place.is_zero))
			buf = malloc(COPY_CHUNK);
		if (!(is_zero(blocks, offset, &run) && w->place.is_zero)) {
			if (buf == NULL)
				return -ENOMEM;
			rc = read_old(blocks, offset, buf, &run, err);
			if (rc < 0)
				return rc;
			rc = write_old(blocks, offset, to, buf, run.len);
			if (rc < 0)
				return error_set_errno(err, rc,
						       "Could not write data");
			w->is_copied |= !is_zero(blocks, offset, &run);
		}
		offset += run.len;
		to += run.len;
		len -= run.len;
	}
	return 0;
}

static int write_new(struct blocks *blocks, struct first_write *w,
		     struct iov_cursor *cursor, struct error *err)
{
	uint64_t end = w->offset + w->len;
	int rc = blocks_begin_writing(blocks, err);

	if (rc == 0)
		rc = blocks->ops->allocate(blocks, w->index, &w->place, err);
	/* What nobody has encrypted is no zeroes. */
	w->place.is_zero &= !blocks->is_encrypted;
	if (rc == 0)
		rc = copy_old(blocks, w, w->start, w->offset - w->start, err);
	if (rc == 0)
		rc = blocks_write_file(blocks, w->offset,
				       w->place.host_offset +
					       (w->offset - w->start),
				       w->len, cursor, err);
	if (rc == 0)
		rc = copy_old(blocks, w, end,
			      w->start + blocks->block_len - end, err);
	/* An entry must not be on the disk before what it promises. */
	if (rc == 0 && w->is_copied) {
		rc = image_file_flush(blocks->file);
		if (rc < 0)
			error_set_errno(err, rc, "Could not flush data");
	}
	if (rc < 0)
		return rc;
	rc = blocks->ops->enter(blocks, w->index, &w->place, err);
	blocks->is_unsure |= rc < 0;
	return rc;
}

/* A whole one, of a request or made of one, where it is to be found. */
static int store(struct blocks *blocks, uint64_t start, const uint8_t *packed,
		 size_t len, bool is_whole, struct error *err)
{
	struct block_run run;
	int rc = blocks_find(blocks, start, 1, false, &run, err);

	return rc < 0 ? rc
		      : blocks->ops->store(blocks, start / blocks->block_len,
					   packed, len,
					   is_whole && run.kind == BLOCK_HOLE,
					   err);
}

/* What the disk has in the whole of w's block. */
static int read_block(struct blocks *blocks, const struct first_write *w,
		      uint8_t *block, struct error *err)
{
	uint64_t at = 0;

	while (at < blocks->block_len) {
		struct block_run run;
		int rc = find_old(blocks, w->start + at, blocks->block_len - at,
				  &run, err);

		if (rc == 0)
			rc = read_old(blocks, w->start + at, block + at, &run,
				      err);
		if (rc < 0)
			return rc;
		at += run.len;
	}
	return 0;
}

/*
 * A block that the format stores its own way. One that is written as a whole
 * is packed without the lock, so that several threads can do it at once; else
 * nobody may come between reading what was there and storing it again.
 */
static int write_packed(struct blocks *blocks, const struct first_write *w,
			struct iov_cursor *cursor, struct error *err)
{
	_cleanup_free_ uint8_t *block = malloc(blocks->block_len);
	_cleanup_free_ uint8_t *packed = NULL;
	bool is_whole = w->len == blocks->block_len;
	size_t len = 0;
	int rc = 0;

	if (block == NULL)
		return -ENOMEM;
	if (!is_whole)
		rc = read_block(blocks, w, block, err);
	if (rc < 0)
		return rc;
	iov_copy_out(cursor, block + (w->offset - w->start), w->len);
	if (is_whole)
		pthread_mutex_unlock(&blocks->lock);
	rc = blocks->ops->deflate(blocks, w->index, block, &packed, &len, err);
	if (is_whole)
		pthread_mutex_lock(&blocks->lock);
	return rc < 0 ? rc
		      : store(blocks, w->start, packed, len, is_whole, err);
}

static int write_first(struct blocks *blocks, uint64_t offset, uint64_t len,
		       struct iov_cursor *cursor, uint64_t *done,
		       struct error *err)
{
	struct first_write w = {
		.index = offset / blocks->block_len,
		.start = offset - offset % blocks->block_len,
		.offset = offset,
		.len = blocks->block_len - offset % blocks->block_len,
	};

	if (w.len > len)
		w.len = len;
	*done = w.len;
	if (blocks->ops->allocate == NULL)
		return write_packed(blocks, &w, cursor, err);
	return write_new(blocks, &w, cursor, err);
}

static int touch(struct blocks *blocks, uint64_t offset,
		 const struct block_run *run, struct error *err)
{
	if (blocks->ops->touch == NULL)
		return 0;
	return blocks->ops->touch(blocks, offset, run, err);
}

/* With the lock, which is let go of while data is written in place. */
static int write_part(struct blocks *blocks, uint64_t offset, uint64_t len,
		      struct iov_cursor *cursor, uint64_t *done,
		      struct error *err)
{
	struct block_run run;
	int rc = blocks_find_long(blocks, offset, len, false, &run, err);

	if (rc < 0)
		return rc;
	if (run.kind == BLOCK_HOLE && blocks->part_len > 0) {
		uint64_t left = blocks->block_len - offset % blocks->block_len;

		*done = run.len < left ? run.len : left;
		return blocks_write_parts(blocks, offset, *done, cursor, err);
	}
	if (run.kind != BLOCK_DATA)
		return write_first(blocks, offset, len, cursor, done, err);
	*done = run.len;
	rc = touch(blocks, offset, &run, err);
	if (rc < 0)
		return rc;
	pthread_mutex_unlock(&blocks->lock);
	rc = blocks_write_file(blocks, offset, run.host_offset, run.len, cursor,
			       err);
	pthread_mutex_lock(&blocks->lock);
	return rc;
}

int blocks_write(struct blocks *blocks, uint64_t offset, uint64_t len,
		 struct iov_cursor *cursor, struct error *err)
{
	int rc;

	pthread_mutex_lock(&blocks->lock);
	rc = blocks_begin_writing(blocks, err);
	while (rc == 0 && len > 0) {
		uint64_t done = 0;

		rc = write_part(blocks, offset, len, cursor, &done, err);
		offset += done;
		len -= done;
	}
	pthread_mutex_unlock(&blocks->lock);
	return rc;
}

int blocks_write_compressed(struct blocks *blocks, uint64_t offset,
			    const void *buf, size_t len,
			    const struct image_turn *turn, struct error *err)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct iov_cursor cursor = { .iov = &iov, .n_iov = 1 };
	_cleanup_free_ uint8_t *block = NULL, *packed = NULL;
	size_t packed_len = 0;
	int rc;

	if (offset % blocks->block_len != 0 || len > blocks->block_len ||
	    (len < blocks->block_len && offset + len != blocks->size))
		return error_set(err, -EINVAL, "Not a whole cluster");
	if (blocks->is_encrypted)
		return error_set(err, -ENOTSUP,
				 "Compression and encryption not supported at "
				 "the same time");
	if (len < blocks->block_len) {
		block = calloc(1, blocks->block_len);
		if (block == NULL)
			return -ENOMEM;
		memcpy(block, buf, len);
	}
	rc = blocks->ops->deflate(blocks, offset / blocks->block_len,
				  block != NULL ? block : buf, &packed,
				  &packed_len, err);
	if (rc == 0)
		rc = image_turn_await(turn);
	if (rc < 0)
		return rc;
	if (packed_len == 0)
		return blocks_write(blocks, offset, len, &cursor, err);
	pthread_mutex_lock(&blocks->lock);
	rc = blocks_begin_writing(blocks, err);
	if (rc == 0)
		rc = store(blocks, offset, packed, packed_len, true, err);
	pthread_mutex_unlock(&blocks->lock);
	return rc;
}

static int write_zeroes(struct blocks *blocks, uint64_t offset, uint64_t len,
			struct error *err)
{
	while (len > 0) {
		struct iovec iov = { (void *)(uintptr_t)iov_zeroes,
				     IOV_ZEROES_LEN };
		struct iov_cursor cursor = { .iov = &iov, .n_iov = 1 };
		uint64_t done = 0;
		int rc;

		if (iov.iov_len > len)
			iov.iov_len = (size_t)len;
		rc = write_part(blocks, offset, iov.iov_len, &cursor, &done,
				err);
		if (rc < 0)
			return rc;
		offset += done;
		len -= done;
	}
	return 0;
}

/* What is not zero already, as cheaply as can be. */
static int zero_run(struct blocks *blocks, uint64_t offset,
		    const struct block_run *run, unsigned flags,
		    struct error *err)
{
	uint64_t block_len = blocks->block_len;
	int rc;

	if (is_zero(blocks, offset, run) &&
	    !(flags & IMAGE_ZERO_EXPLICIT && run->kind == BLOCK_HOLE))
		return 0;
	if (run->kind == BLOCK_DATA && !blocks->is_encrypted) {
		rc = touch(blocks, offset, run, err);
		if (rc < 0)
			return rc;
		rc = image_file_zero(blocks->file, run->host_offset, run->len,
				     !(flags & IMAGE_ZERO_MAY_UNMAP));
		return rc < 0 ? error_set_errno(err, rc,
						"Could not write zeroes")
			      : 0;
	}
	if (run->kind == BLOCK_HOLE && blocks->part_len > 0 &&
	    (offset | run->len) % blocks->part_len == 0)
		return blocks_zero_parts(blocks, offset, run->len, flags, err);
	if (blocks->ops->enter_zero != NULL && offset % block_len == 0 &&
	    (run->len == block_len || offset + run->len == blocks->size))
		return blocks->ops->enter_zero(blocks, offset / block_len, err);
	return write_zeroes(blocks, offset, run->len, err);
}

int blocks_zero(struct blocks *blocks, uint64_t offset, uint64_t len,
		unsigned flags, struct error *err)
{
	int rc;

	pthread_mutex_lock(&blocks->lock);
	rc = blocks_begin_writing(blocks, err);
	while (rc == 0 && len > 0) {
		struct block_run run;

		rc = blocks_find(blocks, offset, len, false, &run, err);
		if (rc == 0)
			rc = zero_run(blocks, offset, &run, flags, err);
		if (rc < 0)
			break;
		offset += run.len;
		len -= run.len;
	}
	pthread_mutex_unlock(&blocks->lock);
	return rc;
}

/* Blocks stay where they are, without the room that they take. */
int blocks_discard(struct blocks *blocks, uint64_t offset, uint64_t len,
		   struct error *err)
{
	int rc;

	pthread_mutex_lock(&blocks->lock);
	rc = blocks_begin_writing(blocks, err);
	while (rc == 0 && len > 0) {
		struct block_run run;

		rc = blocks_find_long(blocks, offset, len, false, &run, err);
		if (rc < 0)
			break;
		if (run.kind == BLOCK_DATA && !blocks->is_encrypted) {
			rc = image_file_punch(blocks->file, run.host_offset,
					      run.len);
			/* No more than a hint. */
			if (rc == -EOPNOTSUPP)
				rc = 0;
		}
		offset += run.len;
		len -= run.len;
	}
	pthread_mutex_unlock(&blocks->lock);
	return rc;
}
