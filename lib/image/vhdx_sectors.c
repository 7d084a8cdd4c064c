/* SPDX-License-Identifier: ISC */
/*
 * Differencing VHDX images: the bitmap blocks (§ 2.4), one for each chunk of
 * the disk, with a bit for each logical sector, the first one in a byte's
 * lowest. It is set where the sector of a partially present block is the
 * image's own. All that is changed here goes through the log, whose flush
 * makes the sectors stable before their bits are.
 *
 * A block is partially present, with none of its bits set, before anything is
 * written to it.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/sector_bits.h"
#include "lib/image/vhdx.h"

#include <endian.h>
#include <string.h>

enum {
	LOOKED_AT = 4096, /* bytes of a bitmap for one answer */
	LOOKED_AT_BITS = LOOKED_AT * 8,
};

/* The entry of the bitmap of offset's chunk: behind its blocks'. */
static uint64_t bitmap_entry_place(const struct vhdx *v, uint64_t offset)
{
	uint64_t chunk = offset / v->block_len / v->chunk_ratio;

	return v->bat.offset +
	       ((chunk + 1) * (v->chunk_ratio + 1) - 1) * sizeof(uint64_t);
}

/* Where the byte with offset's bit is; 0: there is no bitmap. */
static int find_bits(struct vhdx *v, uint64_t offset, bool nowait,
		     uint64_t *place, struct error *err)
{
	uint64_t sector = offset / v->logical_sector % VHDX_CHUNK_SECTORS;
	uint64_t entry, at;
	int rc = table_read(&v->blocks.table, bitmap_entry_place(v, offset),
			    &entry, sizeof(entry), nowait);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX blocks");
	entry = le64toh(entry);
	*place = 0;
	if ((entry & VHDX_ENTRY_STATE) != VHDX_BLOCK_FULLY_PRESENT)
		return 0;
	at = entry >> VHDX_ENTRY_OFFSET_BITS << VHDX_ENTRY_OFFSET_BITS;
	if (!vhdx_is_place(v, at, VHDX_BITMAP_LEN))
		return error_set(err, -EIO,
				 "VHDX bitmap is not in a place for it");
	if (!blocks_reaches(&v->blocks, at + VHDX_BITMAP_LEN))
		return error_set(err, -EIO,
				 "VHDX bitmap is beyond the file's end");
	*place = at + sector / 8;
	return 0;
}

static int need_bits(struct vhdx *v, uint64_t offset, bool nowait,
		     uint64_t *place, struct error *err)
{
	int rc;

	*place = 0;
	rc = find_bits(v, offset, nowait, place, err);
	if (rc == 0 && *place == 0)
		return error_set(err, -EIO, "VHDX block %llu has no bitmap",
				 (unsigned long long)(offset / v->block_len));
	return rc;
}

/* n bits from bit first of the byte at place on: as many as are alike. */
static int count_bits(struct vhdx *v, uint64_t place, uint64_t first,
		      uint64_t n, bool nowait, uint64_t *n_alike, bool *is_own)
{
	uint8_t bits[LOOKED_AT];
	uint64_t zeroes = 0;
	int rc;

	/* A bitmap may be as good as empty, and a hole. */
	if (!nowait)
		zeroes = table_count_zeroes(&v->blocks.table, place,
					    (first + n + 7) / 8) *
			 8;
	if (zeroes > first) {
		*n_alike = zeroes - first < n ? zeroes - first : n;
		*is_own = false;
		return 0;
	}
	if (n > LOOKED_AT_BITS - first)
		n = LOOKED_AT_BITS - first;
	rc = table_read(&v->blocks.table, place, bits, (first + n + 7) / 8,
			nowait);
	if (rc == 0)
		*n_alike = sector_bits_run(bits, first, n,
					   SECTOR_BITS_LOWEST_FIRST, is_own);
	return rc;
}

int vhdx_find_sectors(struct vhdx *v, uint64_t offset, bool nowait,
		      struct block_run *run, struct error *err)
{
	uint64_t sector = offset / v->logical_sector, place, n_alike = 0;
	uint64_t n =
		(v->block_len - offset % v->block_len + v->logical_sector - 1) /
		v->logical_sector;
	bool is_own = false;
	int rc = need_bits(v, offset, nowait, &place, err);

	if (rc < 0)
		return rc;
	rc = count_bits(v, place, sector % 8, n, nowait, &n_alike, &is_own);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX bitmap");
	run->kind = is_own ? BLOCK_DATA : BLOCK_HOLE;
	run->len = n_alike * v->logical_sector - offset % v->logical_sector;
	return 0;
}

/* Bits of [offset, offset + len), whole sectors of one block. */
static int set_bits(struct vhdx *v, uint64_t offset, uint64_t len, bool value,
		    struct error *err)
{
	uint64_t sector = offset / v->logical_sector % VHDX_CHUNK_SECTORS;
	uint64_t end = sector + len / v->logical_sector, place;
	int rc = need_bits(v, offset, false, &place, err);

	place -= sector / 8; /* the bitmap's own */
	while (rc == 0 && sector < end) {
		uint64_t at = sector / 8 / VHDX_LOG_SECTOR * VHDX_LOG_SECTOR;
		uint8_t bits[VHDX_LOG_SECTOR];
		bool is_changed = false;

		rc = table_read(&v->blocks.table, place + at, bits,
				sizeof(bits), false);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read VHDX bitmap");
		for (; sector < end && sector / 8 < at + sizeof(bits);
		     sector++) {
			uint8_t bit = (uint8_t)(1U << sector % 8);
			uint8_t *byte = &bits[sector / 8 - at];

			is_changed |= !(*byte & bit) == value;
			*byte = value ? *byte | bit : *byte & (uint8_t)~bit;
		}
		if (is_changed)
			rc = vhdx_change(v, place + at, bits, sizeof(bits),
					 err);
	}
	return rc;
}

int vhdx_own(struct blocks *blocks, uint64_t offset, uint64_t len,
	     struct error *err)
{
	return set_bits(container_of(blocks, struct vhdx, blocks), offset, len,
			true, err);
}

static int add_bitmap(struct vhdx *v, uint64_t offset, struct error *err)
{
	struct block_place place = { .host_offset = 0 };
	uint64_t entry;
	int rc = vhdx_append(v, VHDX_BITMAP_LEN, &place, err);

	if (rc < 0)
		return rc;
	if (!place.is_zero)
		rc = table_clear(&v->blocks.table, place.host_offset,
				 VHDX_BITMAP_LEN);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write VHDX bitmap");
	entry = htole64(place.host_offset | VHDX_BLOCK_FULLY_PRESENT);
	return vhdx_change(v, bitmap_entry_place(v, offset), &entry,
			   sizeof(entry), err);
}

/* Its bits may be what they were when it was there before. */
static int add_block(struct vhdx *v, uint64_t index, struct block_place *place,
		     struct error *err)
{
	uint64_t offset = index * v->block_len, entry, bits = 0;
	int rc = find_bits(v, offset, false, &bits, err);

	if (rc == 0 && bits == 0)
		rc = add_bitmap(v, offset, err);
	else if (rc == 0)
		rc = set_bits(v, offset, v->block_len, false, err);
	if (rc == 0)
		rc = vhdx_append(v, v->block_len, place, err);
	if (rc < 0)
		return rc;
	entry = htole64(place->host_offset | VHDX_BLOCK_PARTIALLY_PRESENT);
	return vhdx_change(v, vhdx_entry_place(v, index), &entry, sizeof(entry),
			   err);
}

int vhdx_locate(struct blocks *blocks, uint64_t index,
		struct block_place *place, struct error *err)
{
	struct vhdx *v = container_of(blocks, struct vhdx, blocks);
	struct block_run run = { .kind = BLOCK_HOLE };
	int rc = blocks->ops->find_whole(blocks, index * v->block_len, &run,
					 err);

	if (rc < 0)
		return rc;
	if (run.kind != BLOCK_DATA)
		return add_block(v, index, place, err);
	place->host_offset = run.host_offset;
	return 0;
}

/* A chunk's bitmap is in the table behind its blocks: it never goes first. */
static int forget_blocks(struct vhdx *v, struct error *err)
{
	static const uint8_t zeroes[VHDX_LOG_SECTOR];

	for (uint64_t at = 0; at < v->bat.len; at += VHDX_LOG_SECTOR) {
		uint8_t sector[VHDX_LOG_SECTOR];
		int rc = table_read(&v->blocks.table, v->bat.offset + at,
				    sector, sizeof(sector), false);

		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read VHDX blocks");
		if (memcmp(sector, zeroes, sizeof(sector)) == 0)
			continue;
		rc = vhdx_change(v, v->bat.offset + at, zeroes, sizeof(zeroes),
				 err);
		if (rc < 0)
			return rc;
	}
	return vhdx_log_close(v, err);
}

static int give_back(struct vhdx *v, struct error *err)
{
	const struct vhdx_range *regions[] = { &v->bat, &v->metadata, &v->log };
	uint64_t end = 0;
	int rc;

	for (unsigned i = 0; i < array_size(regions); i++)
		if (end < regions[i]->offset + regions[i]->len)
			end = regions[i]->offset + regions[i]->len;
	if (v->blocks.file->is_block_device)
		return 0;
	rc = image_file_truncate(v->blocks.file, end);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not shorten the file");
	v->flushed_size = end;
	blocks_forget_len(&v->blocks);
	table_forget(&v->blocks.table);
	return 0;
}

/* An empty image reads as its parent does, whatever that holds by now. */
int vhdx_make_empty(struct image *image, struct error *err)
{
	struct vhdx *v = image->state;
	int rc;

	if (!v->has_parent)
		return error_set(err, -ENOTSUP,
				 "This image format cannot be emptied");
	pthread_mutex_lock(&v->blocks.lock);
	rc = blocks_begin_writing(&v->blocks, err);
	if (rc == 0)
		rc = forget_blocks(v, err);
	if (rc == 0)
		rc = give_back(v, err);
	if (rc == 0)
		rc = vhdx_write_parent(v, image->path, image->backing_name,
				       image->backing_format, err);
	pthread_mutex_unlock(&v->blocks.lock);
	return rc;
}
