/* SPDX-License-Identifier: ISC */
/*
 * VHDX, Hyper-V's format: blocks of 1 to 256 MiB, and a table, the BAT, in
 * which after every chunk_ratio entries of blocks comes one of a bitmap, which
 * only differencing images have: it says which sectors are not the parent's.
 *
 * A new block: room at the end of the file, data, the changed sector of the
 * table to the log, which is flushed, and the sector itself. Who writes to a
 * disk puts new GUIDs into the header first.
 */
#include "lib/image/vhdx.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/guid.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	(void)file_size;
	return len >= 8 && memcmp(head, VHDX_SIGNATURE, 8) == 0 ? 100 : 0;
}

uint64_t vhdx_entry_place(const struct vhdx *v, uint64_t index)
{
	return v->bat.offset +
	       (index + index / v->chunk_ratio) * sizeof(uint64_t);
}

static bool is_over(uint64_t offset, uint64_t len,
		    const struct vhdx_range *range)
{
	return offset < range->offset + range->len &&
	       range->offset < offset + len;
}

bool vhdx_is_place(const struct vhdx *v, uint64_t offset, uint64_t len)
{
	return offset >= VHDX_MIB && offset <= (uint64_t)INT64_MAX - len &&
	       !is_over(offset, len, &v->bat) &&
	       !is_over(offset, len, &v->metadata) &&
	       !is_over(offset, len, &v->log);
}

static int check_place(const struct vhdx *v, uint64_t offset, uint64_t index,
		       struct error *err)
{
	if (vhdx_is_place(v, offset, v->block_len))
		return 0;
	return error_set(err, -EIO, "VHDX block %llu is not in a place for it",
			 (unsigned long long)index);
}

static int refuse_state(uint64_t index, struct error *err)
{
	return error_set(err, -EIO,
			 "VHDX block %llu is in a state that is not known",
			 (unsigned long long)index);
}

/* The block that offset is in, as a whole. */
static int find_block(struct vhdx *v, uint64_t offset, bool nowait,
		      struct block_run *run, bool *is_partial,
		      struct error *err)
{
	uint64_t index = offset / v->block_len, entry;
	int rc = table_read(&v->blocks.table, vhdx_entry_place(v, index),
			    &entry, sizeof(entry), nowait);

	*is_partial = false;
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX blocks");
	entry = le64toh(entry);
	switch (entry & VHDX_ENTRY_STATE) {
	case VHDX_BLOCK_NOT_PRESENT:
		return 0;
	case VHDX_BLOCK_UNDEFINED:
	case VHDX_BLOCK_ZERO:
	case VHDX_BLOCK_UNMAPPED:
		run->kind = BLOCK_ZERO;
		return 0;
	case VHDX_BLOCK_FULLY_PRESENT:
		break;
	case VHDX_BLOCK_PARTIALLY_PRESENT:
		if (!v->has_parent)
			return refuse_state(index, err);
		*is_partial = true;
		break;
	default:
		return refuse_state(index, err);
	}
	run->kind = BLOCK_DATA;
	run->host_offset = entry >> VHDX_ENTRY_OFFSET_BITS
					    << VHDX_ENTRY_OFFSET_BITS;
	rc = check_place(v, run->host_offset, index, err);
	run->host_offset += offset % v->block_len;
	return rc;
}

/* Up to the bitmap's entry, whatever that says. */
static uint64_t skip(struct blocks *blocks, uint64_t offset)
{
	struct vhdx *v = container_of(blocks, struct vhdx, blocks);
	uint64_t index = offset / v->block_len, len;

	len = (v->chunk_ratio - index % v->chunk_ratio) * sizeof(uint64_t);
	len = table_count_zeroes(&blocks->table, vhdx_entry_place(v, index),
				 len);
	return blocks_skipped(len / sizeof(uint64_t), v->block_len, 0);
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct vhdx *v = container_of(blocks, struct vhdx, blocks);
	bool is_partial;
	int rc = find_block(v, offset, nowait, run, &is_partial, err);

	return rc == 0 && is_partial
		       ? vhdx_find_sectors(v, offset, nowait, run, err)
		       : rc;
}

static int find_whole(struct blocks *blocks, uint64_t offset,
		      struct block_run *run, struct error *err)
{
	struct vhdx *v = container_of(blocks, struct vhdx, blocks);
	bool is_partial;

	return find_block(v, offset, false, run, &is_partial, err);
}

static int begin_writing(struct blocks *blocks, struct error *err)
{
	struct vhdx *v = container_of(blocks, struct vhdx, blocks);
	int rc;

	guid_generate(v->header.file_guid);
	guid_generate(v->header.data_guid);
	rc = vhdx_write_headers(v, blocks->file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write VHDX header")
		      : 0;
}

int vhdx_append(struct vhdx *v, uint64_t len, struct block_place *place,
		struct error *err)
{
	const struct vhdx_range *regions[] = { &v->bat, &v->metadata, &v->log };

	/* A file that ends before its regions do. */
	for (unsigned i = 0; i < array_size(regions); i++)
		if (place->host_offset < regions[i]->offset + regions[i]->len)
			place->host_offset =
				regions[i]->offset + regions[i]->len;
	return blocks_append(&v->blocks, VHDX_MIB, len, place, err);
}

static int allocate(struct blocks *blocks, uint64_t index,
		    struct block_place *place, struct error *err)
{
	struct vhdx *v = container_of(blocks, struct vhdx, blocks);

	(void)index;
	return vhdx_append(v, v->block_len, place, err);
}

int vhdx_change(struct vhdx *v, uint64_t offset, const void *data, size_t len,
		struct error *err)
{
	uint64_t at = offset & ~(uint64_t)(VHDX_LOG_SECTOR - 1);
	uint8_t sector[VHDX_LOG_SECTOR];
	int rc =
		table_read(&v->blocks.table, at, sector, sizeof(sector), false);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX metadata");
	memcpy(sector + (offset - at), data, len);
	rc = vhdx_log_sector(v, at, sector, err);
	if (rc < 0)
		return rc;
	rc = table_write(&v->blocks.table, at, sector, sizeof(sector));
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write VHDX metadata")
		      : 0;
}

static int enter(struct blocks *blocks, uint64_t index,
		 const struct block_place *place, struct error *err)
{
	struct vhdx *v = container_of(blocks, struct vhdx, blocks);
	uint64_t entry = htole64(place->host_offset | VHDX_BLOCK_FULLY_PRESENT);

	return vhdx_change(v, vhdx_entry_place(v, index), &entry, sizeof(entry),
			   err);
}

static int end_writing(struct blocks *blocks, struct error *err)
{
	return vhdx_log_close(container_of(blocks, struct vhdx, blocks), err);
}

static const struct blocks_ops ops = {
	.find = find,
	.skip = skip,
	.begin_writing = begin_writing,
	.end_writing = end_writing,
	.allocate = allocate,
	.enter = enter,
};

static const struct blocks_ops differencing_ops = {
	.find = find,
	.skip = skip,
	.find_whole = find_whole,
	.begin_writing = begin_writing,
	.end_writing = end_writing,
	.allocate = allocate,
	.enter = enter,
	.locate = vhdx_locate,
	.own = vhdx_own,
};

/* In QEMU's words. */
static void refuse_truncated(const struct vhdx *v, uint64_t index,
			     uint64_t offset, uint64_t len, struct error *err)
{
	bool is_start = offset >= v->blocks.known_len;

	error_set(err, -EINVAL,
		  "VHDX BAT entry %llu %s offset %llu points after end "
		  "of file (%llu). Image has probably been truncated.",
		  (unsigned long long)index, is_start ? "start" : "end",
		  (unsigned long long)(is_start ? offset : offset + len - 1),
		  (unsigned long long)v->blocks.known_len);
}

static bool is_in_file(uint64_t state)
{
	return state == VHDX_BLOCK_FULLY_PRESENT ||
	       state == VHDX_BLOCK_PARTIALLY_PRESENT;
}

/* What an entry of the table must have in the file. The bitmap of a chunk
 * stands behind its blocks; of the disk's last block QEMU once left out what is
 * behind the disk's end. */
static uint64_t entry_len(const struct vhdx *v, uint64_t index)
{
	uint64_t per_chunk = v->chunk_ratio + 1, start;

	if (index % per_chunk == v->chunk_ratio)
		return VHDX_BITMAP_LEN;
	start = (index - index / per_chunk) * v->block_len;
	return start < v->size && v->size - start < v->block_len
		       ? v->size - start
		       : v->block_len;
}

struct walk {
	struct vhdx *v;
	struct error *err;
};

/* 1: refused. What is not in a place for it is an error where it is read. */
static int look_at_ends(void *context, const struct table_part *part)
{
	const struct walk *w = context;
	const uint64_t *entries = part->entries;

	for (uint64_t i = 0; i < part->n; i++) {
		uint64_t entry = le64toh(entries[i]), index = part->first + i;
		uint64_t place = entry >> VHDX_ENTRY_OFFSET_BITS
						  << VHDX_ENTRY_OFFSET_BITS;
		uint64_t len = entry_len(w->v, index);

		if (is_in_file(entry & VHDX_ENTRY_STATE) &&
		    vhdx_is_place(w->v, place, len) &&
		    !blocks_reaches(&w->v->blocks, place + len)) {
			refuse_truncated(w->v, index, place, len, w->err);
			return 1;
		}
	}
	return 0;
}

static int check_file_end(struct vhdx *v, struct error *err)
{
	struct walk walk = { .v = v, .err = err };
	int rc = table_walk(&v->blocks.table, v->bat.offset, v->n_entries,
			    sizeof(uint64_t), look_at_ends, &walk);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX blocks");
	return rc > 0 ? -EINVAL : 0;
}

static int vhdx_open(struct image *image, struct error *err)
{
	_cleanup_free_ struct vhdx *v = calloc(1, sizeof(*v));
	int rc;

	if (v == NULL)
		return -ENOMEM;
	rc = vhdx_read_headers(v, image->file, err);
	if (rc == 0)
		rc = vhdx_replay(v, image->file, image->path, err);
	if (rc == 0)
		rc = vhdx_read_layout(v, image->file, err);
	if (rc == 0 && v->has_parent)
		rc = vhdx_read_parent(v, image, err);
	if (rc == 0)
		rc = image_file_size(image->file, &v->flushed_size);
	if (rc < 0)
		return rc;
	image->size = v->size;
	image->cluster_size = v->block_len;
	blocks_image_attach(image, &v->blocks,
			    v->has_parent ? &differencing_ops : &ops,
			    v->block_len);
	v->blocks.has_file_holes = v->is_fixed;
	v->blocks.part_len = v->has_parent ? v->logical_sector : 0;
	v->blocks.is_whole = true;
	/* A check tells of all that is wrong. */
	if (!(image->flags & IMAGE_CHECK))
		rc = check_file_end(v, err);
	v = NULL; /* the image has it */
	return rc;
}

static int vhdx_get_info(struct image *image, struct image_info *info,
			 struct error *err)
{
	const struct vhdx *v = image->state;

	(void)err;
	info->cluster_size = v->block_len;
	return 0;
}

/* Opening did it already. */
static int vhdx_repair(struct image *image, unsigned what,
		       struct image_check *check, struct error *err)
{
	struct vhdx *v = image->state;

	(void)what;
	if (v->is_replayed)
		check->n_corruptions_fixed++;
	return blocks_image_check(image, check, err);
}

const struct image_format image_format_vhdx = {
	.name = "vhdx",
	.has_backing = true,
	.is_in_sectors = true,
	.probe = probe,
	.open = vhdx_open,
	.close = blocks_image_close,
	.create = vhdx_create,
	.create_specs = vhdx_create_specs,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
	.change_backing = vhdx_change_backing,
	.check_backing = vhdx_check_backing,
	.make_empty = vhdx_make_empty,
	.check = blocks_image_check,
	.repair = vhdx_repair,
	.get_info = vhdx_get_info,
};
