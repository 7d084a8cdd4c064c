/* SPDX-License-Identifier: ISC */
/*
 * cloop, the compressed loop device of Knoppix, for reading: a shell script
 * of 128 bytes, the size and number of blocks, the offset of each block and
 * of the end, all big-endian, and blocks that zlib has compressed.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks.h"
#include "lib/image/format.h"

#include <endian.h>
#include <libdeflate.h>
#include <string.h>

enum {
	HEADER_OFFSET = 128,
	OFFSETS_AT = HEADER_OFFSET + 8,
	/* QEMU's limits, and ours. */
	BLOCK_MAX = 64 << 20,
	OFFSETS_LEN_MAX = 512 << 20,
	PACKED_SLACK = 64,
};

struct cloop {
	struct blocks blocks; /* first */
	uint32_t block_len, n_blocks;
};

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	static const char script[] = "#!/bin/sh\n"
				     "#V2.0 Format\n"
				     "modprobe cloop file=$0 && mount -r -t "
				     "iso9660 /dev/cloop $1\n";

	(void)file_size;
	return len >= sizeof(script) - 1 &&
			       memcmp(head, script, sizeof(script) - 1) == 0
		       ? 2
		       : 0;
}

/* What zlib does not exceed, whatever it is given: more is not read, however
 * far the next block is. */
static uint64_t packed_max(const struct cloop *c)
{
	return 2 * (uint64_t)c->block_len + PACKED_SLACK;
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct cloop *c = container_of(blocks, struct cloop, blocks);
	uint64_t index = offset / c->block_len, ends[2], len;
	int rc = table_read(&blocks->table,
			    OFFSETS_AT + index * sizeof(uint64_t), ends,
			    sizeof(ends), nowait);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read offsets");
	run->kind = BLOCK_COMPRESSED;
	run->host_offset = be64toh(ends[0]);
	run->unit_start = index * c->block_len;
	run->unit_len = c->block_len;
	len = be64toh(ends[1]) - run->host_offset;
	run->host_len = len < packed_max(c) ? len : packed_max(c);
	if (be64toh(ends[1]) < run->host_offset)
		return error_set(err, -EINVAL,
				 "offsets not monotonically increasing at "
				 "index %llu, image file is corrupt",
				 (unsigned long long)index + 1);
	if (len == 0 || len > 2 * (uint64_t)BLOCK_MAX)
		return error_set(err, -EINVAL,
				 "invalid compressed block size at index %llu, "
				 "image file is corrupt",
				 (unsigned long long)index + 1);
	return 0;
}

static int inflate(struct blocks *blocks, const struct block_run *run,
		   uint8_t *buf, struct error *err)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	_cleanup_free_ uint8_t *packed = malloc(run->host_len + 1);
	enum libdeflate_result result = LIBDEFLATE_BAD_DATA;
	size_t n = 0;
	int rc = -ENOMEM;

	if (d != NULL && packed != NULL)
		rc = image_file_read(blocks->file, run->host_offset, packed,
				     run->host_len);
	if (rc == 0)
		result = libdeflate_zlib_decompress(d, packed, run->host_len,
						    buf, run->unit_len, &n);
	libdeflate_free_decompressor(d);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a block");
	if (result != LIBDEFLATE_SUCCESS || n != run->unit_len)
		return error_set(err, -EIO,
				 "Block at offset %llu cannot be decompressed",
				 (unsigned long long)run->host_offset);
	return 0;
}

static const struct blocks_ops ops = {
	.find = find,
	.inflate = inflate,
};

/* QEMU's checks, in its words. */
static int check_header(const struct cloop *c, struct error *err)
{
	if (c->block_len == 0)
		return error_set(err, -EINVAL, "block_size cannot be zero");
	if (c->block_len % IMAGE_SECTOR != 0)
		return error_set(err, -EINVAL,
				 "block_size %u must be a multiple of 512",
				 c->block_len);
	if (c->block_len > BLOCK_MAX)
		return error_set(err, -EINVAL,
				 "block_size %u must be %d MB or less",
				 c->block_len, BLOCK_MAX >> 20);
	if (c->n_blocks > UINT32_MAX / sizeof(uint64_t))
		return error_set(err, -EINVAL,
				 "n_blocks %u must be %zu or less", c->n_blocks,
				 UINT32_MAX / sizeof(uint64_t));
	if ((c->n_blocks + UINT64_C(1)) * sizeof(uint64_t) > OFFSETS_LEN_MAX)
		return error_set(err, -EINVAL,
				 "image requires too many offsets, try "
				 "increasing block size");
	return 0;
}

/* An image without its offsets is not one of empty blocks. */
static int check_offsets(struct cloop *c, struct error *err)
{
	uint64_t len = (c->n_blocks + UINT64_C(1)) * sizeof(uint64_t);

	return blocks_reaches(&c->blocks, OFFSETS_AT + len)
		       ? 0
		       : error_set(err, -EINVAL,
				   "The offsets are beyond the file's end");
}

static int cloop_open(struct image *image, struct error *err)
{
	_cleanup_free_ struct cloop *c = calloc(1, sizeof(*c));
	uint32_t numbers[2];
	int rc;

	if (c == NULL)
		return -ENOMEM;
	rc = image_file_read(image->file, HEADER_OFFSET, numbers,
			     sizeof(numbers));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the header");
	c->block_len = be32toh(numbers[0]);
	c->n_blocks = be32toh(numbers[1]);
	rc = check_header(c, err);
	if (rc < 0)
		return rc;
	image->size = (uint64_t)c->n_blocks * c->block_len;
	image->cluster_size = c->block_len;
	blocks_image_attach(image, &c->blocks, &ops, c->block_len);
	c->blocks.is_whole = true;
	rc = check_offsets(c, err);
	c = NULL; /* the image has it */
	return rc;
}

const struct image_format image_format_cloop = {
	.name = "cloop",
	.has_no_dirty_flag = true,
	.is_in_sectors = true,
	.probe = probe,
	.open = cloop_open,
	.close = blocks_image_close,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
};
