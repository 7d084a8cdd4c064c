/* SPDX-License-Identifier: ISC */
/*
 * Bochs' growing images, for reading. An extent has a bitmap of the sectors
 * that were written; others are zeroes.
 */
#include "protocols/bochs.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks.h"
#include "lib/image/format.h"
#include "lib/image/sector_bits.h"

#include <endian.h>
#include <string.h>

struct bochs {
	struct blocks blocks; /* first */
	uint64_t catalog_offset, data_offset;
	uint32_t n_catalog, bitmap_len, extent_len;
};

static bool has_text(const char *field, const char *text)
{
	return memcmp(field, text, strlen(text) + 1) == 0;
}

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	struct bochs_wire_header w;

	(void)file_size;
	if (len < sizeof(w))
		return 0;
	memcpy(&w, head, sizeof(w));
	return has_text(w.magic, BOCHS_MAGIC) && has_text(w.type, BOCHS_TYPE) &&
			       has_text(w.subtype, BOCHS_SUBTYPE)
		       ? 100
		       : 0;
}

/* The sectors from there on that are as the one at offset is, of an extent at
 * that place. */
static int find_sectors(struct bochs *b, uint64_t offset, uint64_t place,
			bool nowait, struct block_run *run)
{
	uint64_t sector = offset % b->extent_len / IMAGE_SECTOR;
	uint64_t n = b->extent_len / IMAGE_SECTOR - sector;
	uint64_t first = sector % 8; /* bit in what is read */
	uint8_t bits[BOCHS_EXTENT_MAX / IMAGE_SECTOR / 8];
	bool is_there;
	int rc = table_read(&b->blocks.table, place + sector / 8, bits,
			    (first + n + 7) / 8, nowait);

	if (rc < 0)
		return rc;
	run->len = sector_bits_run(bits, first, n, SECTOR_BITS_LOWEST_FIRST,
				   &is_there) *
			   IMAGE_SECTOR -
		   offset % IMAGE_SECTOR;
	if (!is_there)
		return 0;
	run->kind = BLOCK_DATA;
	run->host_offset = place + b->bitmap_len + offset % b->extent_len;
	return 0;
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct bochs *b = container_of(blocks, struct bochs, blocks);
	uint64_t index = offset / b->extent_len, place;
	uint32_t entry = BOCHS_NOWHERE;
	int rc = 0;

	if (index < b->n_catalog)
		rc = table_read(&blocks->table,
				b->catalog_offset + index * sizeof(entry),
				&entry, sizeof(entry), nowait);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the catalog");
	entry = le32toh(entry);
	if (entry == BOCHS_NOWHERE)
		return 0;
	place = b->data_offset +
		(uint64_t)entry * (b->bitmap_len + b->extent_len);
	if (!blocks_reaches(blocks, place + b->bitmap_len))
		return error_set(err, -EIO,
				 "Bitmap at offset %llu is beyond the file's "
				 "end",
				 (unsigned long long)place);
	rc = find_sectors(b, offset, place, nowait, run);
	return rc < 0 ? error_set_errno(err, rc, "Could not read a bitmap") : 0;
}

static const struct blocks_ops ops = {
	.find = find,
};

static uint64_t round_up(uint64_t n)
{
	return (n + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
}

/* QEMU's checks, in its words. */
static int take_header(struct bochs *b, struct image *image,
		       const struct bochs_wire_header *w, struct error *err)
{
	uint32_t version = le32toh(w->version);
	uint64_t n_sectors, n_needed;

	if (!has_text(w->magic, BOCHS_MAGIC) ||
	    !has_text(w->type, BOCHS_TYPE) ||
	    !has_text(w->subtype, BOCHS_SUBTYPE) ||
	    (version != BOCHS_VERSION_1 && version != BOCHS_VERSION_2))
		return error_set(err, -EINVAL, "Image not in Bochs format");
	n_sectors =
		le64toh(version == BOCHS_VERSION_1 ? w->v1.size : w->v2.size) /
		IMAGE_SECTOR;
	b->n_catalog = le32toh(w->n_catalog);
	if (b->n_catalog > BOCHS_CATALOG_MAX)
		return error_set(err, -EFBIG, "Catalog size is too large");
	b->extent_len = le32toh(w->extent_len);
	if (b->extent_len < BOCHS_EXTENT_MIN)
		return error_set(err, -EINVAL,
				 "Extent size must be at least 512");
	if ((b->extent_len & (b->extent_len - 1)) != 0)
		return error_set(err, -EINVAL,
				 "Extent size %u is not a power of two",
				 b->extent_len);
	if (b->extent_len > BOCHS_EXTENT_MAX)
		return error_set(err, -EINVAL, "Extent size %u is too large",
				 b->extent_len);
	n_needed = n_sectors / (b->extent_len / IMAGE_SECTOR) +
		   (n_sectors % (b->extent_len / IMAGE_SECTOR) != 0);
	if (b->n_catalog < n_needed)
		return error_set(err, -EINVAL,
				 "Catalog size is too small for this disk "
				 "size");
	b->bitmap_len = (uint32_t)round_up(le32toh(w->bitmap_len));
	if (le32toh(w->bitmap_len) > INT32_MAX ||
	    b->bitmap_len * UINT64_C(8) < b->extent_len / IMAGE_SECTOR)
		return error_set(err, -EINVAL,
				 "Bitmap size %u does not fit the extents",
				 le32toh(w->bitmap_len));
	b->catalog_offset = le32toh(w->header_len);
	/* Behind the catalog at once, sectors or not. */
	b->data_offset =
		b->catalog_offset + (uint64_t)b->n_catalog * sizeof(uint32_t);
	image->size = n_sectors * IMAGE_SECTOR;
	return 0;
}

static int bochs_open(struct image *image, struct error *err)
{
	_cleanup_free_ struct bochs *b = calloc(1, sizeof(*b));
	struct bochs_wire_header w;
	int rc;

	if (b == NULL)
		return -ENOMEM;
	rc = image_file_read(image->file, 0, &w, sizeof(w));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the header");
	rc = take_header(b, image, &w, err);
	if (rc < 0)
		return rc;
	image->cluster_size = b->extent_len;
	blocks_image_attach(image, &b->blocks, &ops, b->extent_len);
	b->blocks.is_whole = true;
	/* An image without its catalog is not an empty one. */
	if (!blocks_reaches(&b->blocks, b->data_offset))
		rc = error_set(err, -EINVAL,
			       "The catalog is beyond the file's end");
	b = NULL; /* the image has it */
	return rc;
}

const struct image_format image_format_bochs = {
	.name = "bochs",
	.has_no_dirty_flag = true,
	.is_in_sectors = true,
	.probe = probe,
	.open = bochs_open,
	.close = blocks_image_close,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
};
