/* SPDX-License-Identifier: ISC */
/*
 * Blocks of which parts are there, and the rest is the backing image's:
 * writing to what is not there yet.
 *
 *	block:    |ooooooooo|         hole         |ooooooo|
 *	request:                [=========]
 *	parts:                |.[====|====|===].|
 *
 * What stands around the request in its first and last part comes along, and
 * must be stable before the parts are said to be there; of the request itself
 * it is enough that it is written. A kill leaves the backing image's data, and
 * perhaps a block of which nothing is there.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks_internal.h"
#include "lib/image/format.h"

static uint64_t round_up(const struct blocks *blocks, uint64_t offset)
{
	uint64_t part = blocks->part_len;

	return (offset + part - 1) / part * part;
}

/* [offset, offset + len), less than a part, from the backing image. */
static int copy_up(struct blocks *blocks, uint64_t offset, uint64_t len,
		   uint64_t host_offset, struct error *err)
{
	_cleanup_free_ uint8_t *buf = NULL;
	struct iovec iov = { .iov_len = (size_t)len };
	int rc;

	if (len == 0)
		return 0;
	iov.iov_base = buf = malloc((size_t)len);
	if (buf == NULL)
		return -ENOMEM;
	rc = image_backing_readv(blocks->image, blocks->disk_offset + offset,
				 &iov, 1, err);
	if (rc < 0)
		return rc;
	rc = blocks_data_writev(blocks, offset, host_offset, &iov, 1);
	return rc < 0 ? error_set_errno(err, rc, "Could not write data") : 0;
}

static int locate(struct blocks *blocks, uint64_t index,
		  struct block_place *place, struct error *err)
{
	int rc = blocks_begin_writing(blocks, err);

	if (rc < 0)
		return rc;
	rc = blocks->ops->locate(blocks, index, place, err);
	blocks->is_unsure |= rc < 0;
	return rc;
}

int blocks_write_parts(struct blocks *blocks, uint64_t offset, uint64_t len,
		       struct iov_cursor *cursor, struct error *err)
{
	uint64_t index = offset / blocks->block_len, end = offset + len;
	uint64_t block = index * blocks->block_len;
	uint64_t start = offset - offset % blocks->part_len;
	uint64_t stop = round_up(blocks, end);
	struct block_place place = { .host_offset = 0 };
	int rc = locate(blocks, index, &place, err);
	uint64_t base = place.host_offset;

	if (rc == 0)
		rc = copy_up(blocks, start, offset - start,
			     base + (start - block), err);
	if (rc == 0)
		rc = blocks_write_file(blocks, offset, base + (offset - block),
				       len, cursor, err);
	if (rc == 0)
		rc = copy_up(blocks, end, stop - end, base + (end - block),
			     err);
	if (rc == 0 && stop - start > len) {
		rc = image_file_flush(blocks->file);
		if (rc < 0)
			error_set_errno(err, rc, "Could not flush data");
	}
	return rc < 0 ? rc : blocks->ops->own(blocks, start, stop - start, err);
}

int blocks_zero_parts(struct blocks *blocks, uint64_t offset, uint64_t len,
		      unsigned flags, struct error *err)
{
	uint64_t index = offset / blocks->block_len;
	struct block_place place = { .host_offset = 0 };
	int rc = locate(blocks, index, &place, err);

	if (rc < 0)
		return rc;
	rc = image_file_zero(blocks->file,
			     place.host_offset + offset % blocks->block_len,
			     len, !(flags & IMAGE_ZERO_MAY_UNMAP));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write zeroes");
	return blocks->ops->own(blocks, offset, len, err);
}
