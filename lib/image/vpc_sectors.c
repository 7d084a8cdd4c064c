/* SPDX-License-Identifier: ISC */
/*
 * Differencing VHD images (§§ "Implementing a Differencing Hard Disk"): the
 * bitmap in front of a block has a bit for each of its sectors, the first one
 * in a byte's highest. It is set where the sector is the image's own.
 *
 * A new block has none of its sectors, and is in the table before anything is
 * written to it; bits are set when their sectors are written.
 */
#include "lib/image/vpc.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/sector_bits.h"

#include <endian.h>
#include <string.h>

enum {
	LOOKED_AT = 4096, /* bytes of a bitmap for one answer */
	FORGOTTEN = 4096, /* entries of the table at a time */
};

int vpc_find_sectors(struct vpc *vpc, uint64_t offset, bool nowait,
		     struct block_run *run, struct error *err)
{
	uint32_t sector = (uint32_t)(offset % vpc->block_len / IMAGE_SECTOR);
	uint32_t n = vpc->block_len / IMAGE_SECTOR - sector;
	uint64_t bitmap =
		run->host_offset - offset % vpc->block_len - vpc->bitmap_len;
	uint32_t first = sector % 8; /* bit in what is read */
	uint8_t bits[LOOKED_AT];
	bool is_own;
	int rc;

	if (n > LOOKED_AT * 8 - first)
		n = LOOKED_AT * 8 - first;
	rc = table_read(&vpc->blocks.table, bitmap + sector / 8, bits,
			(first + n + 7) / 8, nowait);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read a block's bitmap");
	run->len = sector_bits_run(bits, first, n, SECTOR_BITS_HIGHEST_FIRST,
				   &is_own) *
			   IMAGE_SECTOR -
		   offset % IMAGE_SECTOR;
	run->kind = is_own ? BLOCK_DATA : BLOCK_HOLE;
	return 0;
}

static int read_entry(struct vpc *vpc, uint64_t index, uint32_t *entry,
		      struct error *err)
{
	int rc = table_read(&vpc->blocks.table,
			    vpc->table_offset + index * sizeof(*entry), entry,
			    sizeof(*entry), false);

	*entry = be32toh(*entry);
	return rc < 0 ? error_set_errno(err, rc, "Could not read the table")
		      : 0;
}

/* The old footer, which may lie where the bitmap will be, must not be taken
 * for one. */
static int add_block(struct vpc *vpc, uint64_t index, struct block_place *place,
		     struct error *err)
{
	uint64_t at = vpc->end;
	int rc;

	place->host_offset = at + vpc->bitmap_len;
	rc = vpc_make_room(vpc, (uint64_t)vpc->bitmap_len + vpc->block_len,
			   err);
	if (rc < 0)
		return rc;
	rc = table_clear(&vpc->blocks.table, at, vpc->bitmap_len);
	if (rc == 0)
		rc = image_file_flush(vpc->blocks.file);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write a block's bitmap");
	return vpc_enter(&vpc->blocks, index, place, err);
}

int vpc_locate(struct blocks *blocks, uint64_t index, struct block_place *place,
	       struct error *err)
{
	struct vpc *vpc = container_of(blocks, struct vpc, blocks);
	uint32_t entry = VHD_NOWHERE;
	int rc = read_entry(vpc, index, &entry, err);

	if (rc < 0)
		return rc;
	if (entry == VHD_NOWHERE)
		return add_block(vpc, index, place, err);
	rc = vpc_check_place(vpc, index, entry, err);
	if (rc < 0)
		return rc;
	place->host_offset = (uint64_t)entry * IMAGE_SECTOR + vpc->bitmap_len;
	return 0;
}

int vpc_own(struct blocks *blocks, uint64_t offset, uint64_t len,
	    struct error *err)
{
	struct vpc *vpc = container_of(blocks, struct vpc, blocks);
	uint32_t first = (uint32_t)(offset % vpc->block_len / IMAGE_SECTOR);
	uint32_t end = first + (uint32_t)(len / IMAGE_SECTOR);
	uint32_t from = first / 8, n = (end + 7) / 8 - from, entry = 0;
	_cleanup_free_ uint8_t *bits = malloc(n);
	uint64_t at;
	int rc = read_entry(vpc, offset / vpc->block_len, &entry, err);

	if (bits == NULL)
		return -ENOMEM;
	if (rc < 0)
		return rc;
	at = (uint64_t)entry * IMAGE_SECTOR + from;
	rc = table_read(&blocks->table, at, bits, n, false);
	for (uint32_t i = first; rc == 0 && i < end; i++)
		bits[i / 8 - from] |= (uint8_t)(0x80 >> i % 8);
	if (rc == 0)
		rc = table_write(&blocks->table, at, bits, n);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write a block's bitmap")
		      : 0;
}

/* n entries, unless they say nothing as it is. */
static int forget_part(struct vpc *vpc, uint64_t at, size_t n)
{
	uint32_t entries[FORGOTTEN], nowhere[FORGOTTEN];
	size_t len = n * sizeof(entries[0]);
	int rc = table_read(&vpc->blocks.table, at, entries, len, false);

	memset(nowhere, 0xff, len);
	if (rc < 0 || memcmp(entries, nowhere, len) == 0)
		return rc;
	return table_write(&vpc->blocks.table, at, nowhere, len);
}

static int forget_blocks(struct vpc *vpc, struct error *err)
{
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < vpc->n_entries; i += FORGOTTEN) {
		uint64_t left = vpc->n_entries - i;

		rc = forget_part(vpc, vpc->table_offset + i * sizeof(uint32_t),
				 left < FORGOTTEN ? (size_t)left : FORGOTTEN);
	}
	if (rc == 0)
		rc = image_file_flush(vpc->blocks.file);
	return rc < 0 ? error_set_errno(err, rc, "Could not change the table")
		      : 0;
}

/* There is a footer at the file's end whenever it is killed. */
static int give_back(struct vpc *vpc, struct error *err)
{
	const struct image_file *file = vpc->blocks.file;
	uint64_t end = vpc_metadata_end(vpc);
	int rc = image_file_write(file, end, &vpc->footer, sizeof(vpc->footer));

	if (rc == 0)
		rc = image_file_flush(file);
	if (rc == 0 && !file->is_block_device)
		rc = image_file_truncate(file, end + sizeof(vpc->footer));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not move the footer");
	table_forget(&vpc->blocks.table);
	vpc->end = end;
	return 0;
}

int vpc_make_empty(struct image *image, struct error *err)
{
	struct vpc *vpc = image->state;
	int rc;

	if (!vpc->is_differencing)
		return error_set(err, -ENOTSUP,
				 "This image format cannot be emptied");
	pthread_mutex_lock(&vpc->blocks.lock);
	rc = forget_blocks(vpc, err);
	if (rc == 0)
		rc = give_back(vpc, err);
	pthread_mutex_unlock(&vpc->blocks.lock);
	return rc;
}
