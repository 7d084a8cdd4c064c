/* SPDX-License-Identifier: ISC */
/*
 * VDI, VirtualBox's format: blocks of 1 MiB, and a map of 32-bit numbers of
 * theirs in the file's data area.
 *
 * A new block: room, data, the header's count, and the map's entry. A crash
 * before the last one leaves a number that nobody uses; the first write after
 * the next opening looks through the map and gives it out again.
 */
#include "protocols/vdi.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks.h"
#include "lib/image/companions.h"
#include "lib/image/format.h"
#include "lib/image/guid.h"

#include <endian.h>
#include <string.h>

struct vdi {
	struct blocks blocks; /* first */
	struct vdi_wire_header header;
	uint64_t map_offset, data_offset;
	uint32_t n_blocks;
	uint32_t next; /* block of the file to be given out */
};

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	uint32_t signature;

	(void)file_size;
	if (len < sizeof(struct vdi_wire_header))
		return 0;
	memcpy(&signature, head + VDI_SIGNATURE_OFFSET, sizeof(signature));
	return le32toh(signature) == VDI_SIGNATURE ? 100 : 0;
}

static bool is_null(const uint8_t *uuid)
{
	static const uint8_t null[16];

	return memcmp(uuid, null, sizeof(null)) == 0;
}

/* What a reader of version 1.1 can know, and no more (QEMU's words). */
static int check_layout(const struct vdi_wire_header *w, struct error *err)
{
	uint32_t version = le32toh(w->version);

	if (le32toh(w->signature) != VDI_SIGNATURE)
		return error_set(err, -EINVAL,
				 "Image not in VDI format (bad signature %08x)",
				 le32toh(w->signature));
	if (version != VDI_VERSION_1_1)
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (version %u.%u)",
				 version >> 16, version & 0xffff);
	if (le32toh(w->map_offset) % IMAGE_SECTOR != 0)
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (unaligned block map "
				 "offset 0x%x)",
				 le32toh(w->map_offset));
	if (le32toh(w->data_offset) % IMAGE_SECTOR != 0)
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (unaligned data offset "
				 "0x%x)",
				 le32toh(w->data_offset));
	if (le32toh(w->sector_len) != IMAGE_SECTOR)
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (sector size %u is not "
				 "512)",
				 le32toh(w->sector_len));
	if (le32toh(w->block_len) != VDI_BLOCK_LEN)
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (block size %u is not "
				 "%d)",
				 le32toh(w->block_len), VDI_BLOCK_LEN);
	return 0;
}

static int check_sizes(const struct vdi_wire_header *w, uint64_t size,
		       struct error *err)
{
	uint64_t room = (uint64_t)le32toh(w->n_blocks) * VDI_BLOCK_LEN;

	if (size > room)
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (disk size %llu, image "
				 "bitmap has room for %llu)",
				 (unsigned long long)size,
				 (unsigned long long)room);
	if (!is_null(w->link_uuid))
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (non-NULL link UUID)");
	if (!is_null(w->parent_uuid))
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (non-NULL parent "
				 "UUID)");
	if (le32toh(w->n_blocks) > VDI_BLOCKS_MAX)
		return error_set(err, -ENOTSUP,
				 "unsupported VDI image (too many blocks %u, "
				 "max is %u)",
				 le32toh(w->n_blocks), VDI_BLOCKS_MAX);
	return 0;
}

static int check_header(const struct vdi_wire_header *w, uint64_t *size,
			struct error *err)
{
	const uint64_t max = (uint64_t)VDI_BLOCKS_MAX * VDI_BLOCK_LEN;
	int rc;

	*size = le64toh(w->disk_size);
	if (*size > max)
		return error_set(err, -ENOTSUP,
				 "Unsupported VDI image size (size is 0x%llx, "
				 "max supported is 0x%llx)",
				 (unsigned long long)*size,
				 (unsigned long long)max);
	/* VirtualBox once made sizes that are no whole sectors. */
	*size = (*size + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
	rc = check_layout(w, err);
	return rc < 0 ? rc : check_sizes(w, *size, err);
}

static uint64_t place_of(const struct vdi *vdi, uint32_t entry)
{
	return vdi->data_offset + (uint64_t)entry * VDI_BLOCK_LEN;
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct vdi *vdi = container_of(blocks, struct vdi, blocks);
	uint64_t index = offset / VDI_BLOCK_LEN;
	uint32_t entry;
	int rc = table_read(&blocks->table,
			    vdi->map_offset + index * sizeof(entry), &entry,
			    sizeof(entry), nowait);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the block map");
	entry = le32toh(entry);
	/* There is never a backing file. */
	run->kind = BLOCK_ZERO;
	if (entry >= VDI_ENTRY_DISCARDED)
		return 0;
	run->kind = BLOCK_DATA;
	run->host_offset = place_of(vdi, entry) + offset % VDI_BLOCK_LEN;
	return 0;
}

/* The numbers in a part of the map: the one after the last is next. */
static int look_for_last(void *context, const struct table_part *part)
{
	struct vdi *vdi = context;
	const uint32_t *entries = part->entries;

	for (uint64_t i = 0; i < part->n; i++) {
		uint32_t entry = le32toh(entries[i]);

		if (entry < VDI_ENTRY_DISCARDED && entry >= vdi->next)
			vdi->next = entry + 1;
	}
	return 0;
}

/* The number after the last one in use. */
static int begin_writing(struct blocks *blocks, struct error *err)
{
	struct vdi *vdi = container_of(blocks, struct vdi, blocks);
	int rc;

	vdi->next = 0;
	rc = table_walk(&blocks->table, vdi->map_offset, vdi->n_blocks,
			sizeof(uint32_t), look_for_last, vdi);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the block map");
	/* What is new would bring back what was lost, as zeroes. */
	if (vdi->next > 0 && !blocks_reaches(blocks, place_of(vdi, vdi->next)))
		return error_set(err, -EIO,
				 "The block map leads beyond the file's end: "
				 "nothing can be written");
	return 0;
}

static int allocate(struct blocks *blocks, uint64_t index,
		    struct block_place *place, struct error *err)
{
	struct vdi *vdi = container_of(blocks, struct vdi, blocks);
	uint64_t used, end;
	int rc;

	(void)index;
	if (vdi->next >= VDI_BLOCKS_MAX)
		return error_set(err, -ENOSPC, "No number of a block is left");
	place->host_offset = place_of(vdi, vdi->next);
	end = place->host_offset + VDI_BLOCK_LEN;
	rc = blocks_used_len(blocks, &used);
	/* What a crash left there belongs to nobody, but is not zero. */
	place->is_zero = rc == 0 && used <= place->host_offset &&
			 !blocks->file->is_block_device;
	/* A file that is shorter than its map says has lost something. */
	if (rc == 0 && used < end)
		rc = blocks_grow(blocks, end);
	return rc < 0 ? error_set_errno(err, rc, "Could not grow the file") : 0;
}

static int enter(struct blocks *blocks, uint64_t index,
		 const struct block_place *place, struct error *err)
{
	struct vdi *vdi = container_of(blocks, struct vdi, blocks);
	uint32_t entry = htole32(vdi->next), count = htole32(vdi->next + 1);
	int rc;

	(void)place;
	rc = image_file_write(blocks->file,
			      offsetof(struct vdi_wire_header, n_allocated),
			      &count, sizeof(count));
	if (rc == 0)
		rc = table_write(&blocks->table,
				 vdi->map_offset + index * sizeof(entry),
				 &entry, sizeof(entry));
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write the block map");
	vdi->header.n_allocated = count;
	vdi->next++;
	return 0;
}

static const struct blocks_ops ops = {
	.find = find,
	.begin_writing = begin_writing,
	.allocate = allocate,
	.enter = enter,
};

/* Zeroes are the number of a block. */
static int check_map(struct vdi *vdi, struct error *err)
{
	uint64_t len = (uint64_t)vdi->n_blocks * sizeof(uint32_t);

	return blocks_reaches(&vdi->blocks, vdi->map_offset + len)
		       ? 0
		       : error_set(err, -EINVAL,
				   "The block map is beyond the file's end");
}

static int vdi_open(struct image *image, struct error *err)
{
	_cleanup_free_ struct vdi *vdi = calloc(1, sizeof(*vdi));
	struct vdi_wire_header *w;
	int rc;

	if (vdi == NULL)
		return -ENOMEM;
	w = &vdi->header;
	rc = image_file_read(image->file, 0, w, sizeof(*w));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the header");
	rc = check_header(w, &image->size, err);
	if (rc < 0)
		return rc;
	image->cluster_size = VDI_BLOCK_LEN;
	vdi->map_offset = le32toh(w->map_offset);
	vdi->data_offset = le32toh(w->data_offset);
	vdi->n_blocks = le32toh(w->n_blocks);
	blocks_image_attach(image, &vdi->blocks, &ops, VDI_BLOCK_LEN);
	vdi->blocks.has_file_holes = le32toh(w->type) == VDI_STATIC;
	vdi->blocks.is_whole = vdi->blocks.is_len_stable = true;
	/* What is in the header can be told without. */
	if (!(image->flags & IMAGE_METADATA_ONLY))
		rc = check_map(vdi, err);
	vdi = NULL; /* the image has it */
	return rc;
}

static int vdi_get_info(struct image *image, struct image_info *info,
			struct error *err)
{
	(void)image;
	(void)err;
	info->cluster_size = VDI_BLOCK_LEN;
	return 0;
}

static const struct image_option_spec create_specs[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "static", "bool (on/off)", "VDI static (pre-allocated) image",
	  "off" },
	{ NULL, NULL, NULL, NULL },
};

static void fill_header(struct vdi_wire_header *w, uint64_t size,
			uint32_t n_blocks, bool is_static)
{
	uint64_t map_len = (uint64_t)n_blocks * sizeof(uint32_t);

	map_len = (map_len + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
	*w = (struct vdi_wire_header){
		.text = VDI_TEXT,
		.signature = htole32(VDI_SIGNATURE),
		.version = htole32(VDI_VERSION_1_1),
		.header_len = htole32(VDI_HEADER_LEN),
		.type = htole32(is_static ? VDI_STATIC : VDI_DYNAMIC),
		.map_offset = htole32(sizeof(*w)),
		.data_offset = htole32((uint32_t)(sizeof(*w) + map_len)),
		.sector_len = htole32(IMAGE_SECTOR),
		.disk_size = htole64(size),
		.block_len = htole32(VDI_BLOCK_LEN),
		.n_blocks = htole32(n_blocks),
		.n_allocated = htole32(is_static ? n_blocks : 0),
	};
	guid_generate(w->uuid);
	guid_generate(w->snapshot_uuid);
}

static int write_map(const struct image_file *file, uint32_t n_blocks,
		     bool is_static)
{
	uint32_t entries[4096];
	uint64_t at = sizeof(struct vdi_wire_header);
	uint32_t done = 0;

	while (done < n_blocks) {
		uint32_t n = n_blocks - done;
		int rc;

		if (n > array_size(entries))
			n = array_size(entries);
		for (uint32_t i = 0; i < n; i++)
			entries[i] = htole32(is_static ? done + i
						       : VDI_ENTRY_UNALLOCATED);
		rc = image_file_write(file, at, entries, n * sizeof(uint32_t));
		if (rc < 0)
			return rc;
		at += n * sizeof(uint32_t);
		done += n;
	}
	return 0;
}

/* The header comes last: half an image is none. */
static int write_all(const struct image_file *file,
		     const struct vdi_wire_header *w)
{
	uint32_t n_blocks = le32toh(w->n_blocks);
	bool is_static = le32toh(w->type) == VDI_STATIC;
	uint64_t end = le32toh(w->data_offset);
	int rc;

	if (is_static)
		end += (uint64_t)n_blocks * VDI_BLOCK_LEN;
	rc = image_file_truncate(file, end);
	if (rc == 0)
		rc = write_map(file, n_blocks, is_static);
	if (rc == 0)
		rc = image_file_write(file, 0, w, sizeof(*w));
	return rc < 0 ? rc : image_file_flush(file);
}

static int vdi_create(const char *path, const struct image_create_options *o,
		      struct error *err)
{
	const uint64_t max = (uint64_t)VDI_BLOCKS_MAX * VDI_BLOCK_LEN;
	uint64_t size =
		(o->size + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
	struct vdi_wire_header w;
	struct image_file *file;
	bool is_static = false;
	int rc = image_options_check(o, create_specs, err);

	if (rc == 0)
		rc = image_option_bool(o, "static", &is_static, err);
	if (rc < 0)
		return rc;
	if (size > max)
		return error_set(err, -ENOTSUP,
				 "Unsupported VDI image size (size is 0x%llx, "
				 "max supported is 0x%llx)",
				 (unsigned long long)size,
				 (unsigned long long)max);
	fill_header(&w, size,
		    (uint32_t)((size + VDI_BLOCK_LEN - 1) / VDI_BLOCK_LEN),
		    is_static);
	rc = new_image_open(&file, path, 0, o, err);
	if (rc < 0)
		return rc;
	rc = write_all(file, &w);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write VDI image")
		      : 0;
}

const struct image_format image_format_vdi = {
	.name = "vdi",
	.probe = probe,
	.open = vdi_open,
	.close = blocks_image_close,
	.create = vdi_create,
	.create_specs = create_specs,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
	.check = blocks_image_check,
	.get_info = vdi_get_info,
};
