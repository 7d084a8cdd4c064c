/* SPDX-License-Identifier: ISC */
/*
 * VHD: new blocks, and the bitmaps of dynamic images, which are full. A new
 * block stands where the footer stood, behind which there is one already.
 */
#include "lib/image/vpc.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <endian.h>
#include <string.h>

uint64_t vpc_metadata_end(const struct vpc *vpc)
{
	uint64_t end = vpc->table_offset + (uint64_t)vpc->n_entries * 4;
	uint64_t header_end =
		be64toh(vpc->footer.data_offset) + sizeof(vpc->dynamic);

	if (end < header_end)
		end = header_end;
	for (unsigned i = 0; vpc->is_differencing && i < VHD_LOCATORS; i++) {
		const struct vhd_wire_locator *w = &vpc->dynamic.locators[i];
		uint64_t at = be64toh(w->offset) + be32toh(w->len);

		/* What is out of reach is no name's place. */
		if (w->platform != 0 && at > end && at <= INT64_MAX)
			end = at;
	}
	return (end + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
}

static int look_for_end(void *context, const struct table_part *part)
{
	struct vpc *vpc = context;
	const uint32_t *entries = part->entries;

	for (uint64_t i = 0; i < part->n; i++) {
		uint32_t entry = be32toh(entries[i]);
		uint64_t end = (uint64_t)entry * IMAGE_SECTOR +
			       vpc->bitmap_len + vpc->block_len;

		if (entry != VHD_NOWHERE && end > vpc->end)
			vpc->end = end;
	}
	return 0;
}

/* From start on: the whole table is looked through. */
static int find_end(struct vpc *vpc, uint64_t start, struct error *err)
{
	int rc;

	vpc->end = start;
	rc = table_walk(&vpc->blocks.table, vpc->table_offset, vpc->n_entries,
			sizeof(uint32_t), look_for_end, vpc);
	return rc < 0 ? error_set_errno(err, rc, "Could not read the table")
		      : 0;
}

/* A table that is beyond the end itself has not to be read. */
int vpc_check_file_end(struct vpc *vpc, struct error *err)
{
	uint64_t end = vpc->table_offset + (uint64_t)vpc->n_entries * 4;
	int rc = 0;

	end = (end + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
	if (blocks_reaches(&vpc->blocks, end)) {
		rc = find_end(vpc, end, err);
		end = vpc->end;
	}
	if (rc < 0 || blocks_reaches(&vpc->blocks, end))
		return rc;
	return error_set(err, -EINVAL,
			 "block-vpc: free_data_block_offset points after the "
			 "end of file. The image has been truncated.");
}

/* The footer that was good is about to move: then there is to be another. */
static int restore_copy(struct vpc *vpc, struct error *err)
{
	int rc = image_file_write_durable(vpc->blocks.file, 0, &vpc->footer,
					  sizeof(vpc->footer));

	if (rc < 0)
		return error_set_errno(err, rc, "Could not write the footer");
	vpc->is_copy_bad = false;
	return 0;
}

/* Where the last block ends. */
int vpc_begin_writing(struct blocks *blocks, struct error *err)
{
	struct vpc *vpc = container_of(blocks, struct vpc, blocks);
	int rc = vpc->is_copy_bad ? restore_copy(vpc, err) : 0;

	if (rc < 0 || vpc->is_fixed)
		return rc;
	return find_end(vpc, vpc_metadata_end(vpc), err);
}

static uint64_t *full_slot(struct vpc *vpc, uint64_t host_offset)
{
	uint64_t len = (uint64_t)vpc->bitmap_len + vpc->block_len;

	return &vpc->full[host_offset / len % VPC_FULL_BITMAPS];
}

static int fill_bitmap(struct vpc *vpc, uint64_t host_offset, struct error *err)
{
	_cleanup_free_ uint8_t *ones = malloc(vpc->bitmap_len);
	int rc;

	if (ones == NULL)
		return -ENOMEM;
	memset(ones, 0xff, vpc->bitmap_len);
	rc = image_file_write(vpc->blocks.file, host_offset, ones,
			      vpc->bitmap_len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write a block's bitmap");
	*full_slot(vpc, host_offset) = host_offset;
	return 0;
}

int vpc_touch(struct blocks *blocks, uint64_t offset,
	      const struct block_run *run, struct error *err)
{
	struct vpc *vpc = container_of(blocks, struct vpc, blocks);
	uint64_t block_len = vpc->block_len, at = run->host_offset;
	uint64_t done = 0;

	if (vpc->is_fixed)
		return 0;
	at -= offset % block_len + vpc->bitmap_len;
	while (done < run->len) {
		int rc = 0;

		if (*full_slot(vpc, at) != at)
			rc = fill_bitmap(vpc, at, err);
		if (rc < 0)
			return rc;
		done += block_len - (offset + done) % block_len;
		at += block_len + vpc->bitmap_len;
	}
	return 0;
}

static int grow(struct vpc *vpc, struct block_place *place, uint64_t end)
{
	const struct image_file *file = vpc->blocks.file;
	uint64_t size;
	int rc = image_file_size(file, &size);

	if (rc < 0)
		return rc;
	/* What is there is the old footer, or what a crash has left. */
	place->is_zero = size <= place->host_offset && !file->is_block_device;
	if (size < end + sizeof(vpc->footer))
		rc = image_file_truncate(file, end + sizeof(vpc->footer));
	return rc;
}

int vpc_make_room(struct vpc *vpc, uint64_t len, struct error *err)
{
	struct block_place place = { .host_offset = vpc->end };
	int rc;

	if (vpc->end / IMAGE_SECTOR >= VHD_NOWHERE)
		return error_set(err, -EFBIG, "Image file is too big");
	rc = grow(vpc, &place, vpc->end + len);
	if (rc == 0)
		rc = image_file_write(vpc->blocks.file, vpc->end + len,
				      &vpc->footer, sizeof(vpc->footer));
	if (rc == 0)
		rc = image_file_flush(vpc->blocks.file);
	return rc < 0 ? error_set_errno(err, rc, "Could not move the footer")
		      : 0;
}

int vpc_allocate(struct blocks *blocks, uint64_t index,
		 struct block_place *place, struct error *err)
{
	struct vpc *vpc = container_of(blocks, struct vpc, blocks);
	uint64_t end = vpc->end + vpc->bitmap_len + vpc->block_len;
	int rc;

	(void)index;
	if (vpc->end / IMAGE_SECTOR >= VHD_NOWHERE)
		return error_set(err, -EFBIG, "Image file is too big");
	place->host_offset = vpc->end + vpc->bitmap_len;
	rc = grow(vpc, place, end);
	/* A file that is shorter than its table says is refused: its length is
	 * stable before the entry is made. */
	if (rc == 0)
		rc = image_file_write_durable(blocks->file, end, &vpc->footer,
					      sizeof(vpc->footer));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not move the footer");
	return fill_bitmap(vpc, vpc->end, err);
}

int vpc_enter(struct blocks *blocks, uint64_t index,
	      const struct block_place *place, struct error *err)
{
	struct vpc *vpc = container_of(blocks, struct vpc, blocks);
	uint32_t entry = htobe32((uint32_t)(vpc->end / IMAGE_SECTOR));
	int rc = table_write(&blocks->table,
			     vpc->table_offset + index * sizeof(entry), &entry,
			     sizeof(entry));

	if (rc < 0)
		return error_set_errno(err, rc, "Could not write the table");
	vpc->end = place->host_offset + vpc->block_len;
	return 0;
}
