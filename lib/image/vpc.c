/* SPDX-License-Identifier: ISC */
/*
 * VHD, of Virtual PC, Hyper-V and Azure; QEMU's name for it is vpc. Fixed
 * images are the disk with a footer behind it; dynamic ones have blocks:
 *
 *	... | bitmap | data of a block | bitmap | data of a block | footer |
 *
 * A new block stands where the footer stood, and the footer moves behind it;
 * its copy at the beginning of the file is there all the while. The bitmap of
 * a block that is written says that all of its sectors are in use, as QEMU
 * has it: a sector that never was is zeroes all the same.
 */
#include "lib/image/vpc.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks.h"
#include "lib/image/format.h"
#include "protocols/vhd.h"

#include <endian.h>
#include <string.h>

enum {
	ENTRIES_MAX = INT32_MAX / 4,
	FIXED_BLOCK_LEN = 1 << 30, /* of no meaning */
};

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	(void)file_size;
	return len >= VHD_COOKIE_LEN &&
			       memcmp(head, VHD_COOKIE, VHD_COOKIE_LEN) == 0
		       ? 100
		       : 0;
}

uint32_t vpc_bitmap_len(uint32_t block_len)
{
	uint32_t len = block_len / (8 * IMAGE_SECTOR);

	return (len + IMAGE_SECTOR - 1) & ~(uint32_t)(IMAGE_SECTOR - 1);
}

/* Virtual PC rounds a disk to whole cylinders and goes by them; others go by
 * the size in the footer. Who made the image tells. */
static bool goes_by_size(const struct vhd_wire_footer *f)
{
	static const char by_size[][4] = {
		{ 'w', 'i', 'n', ' ' }, { 'q', 'e', 'm', '2' },
		{ 'd', '2', 'v', ' ' }, { 't', 'a', 'p', '\0' },
		{ 'C', 'T', 'X', 'S' }, { 'w', 'a', '\0', '\0' },
	};

	for (unsigned i = 0; i < array_size(by_size); i++)
		if (memcmp(f->creator, by_size[i], sizeof(f->creator)) == 0)
			return true;
	return false;
}

/* The largest geometry means that the size is none that it could express. */
static int find_size(const struct vhd_wire_footer *f, const char *which,
		     uint64_t *sectors, struct error *err)
{
	bool is_size = goes_by_size(f);

	if (which != NULL) {
		is_size = strcmp(which, "current_size") == 0;
		if (!is_size && strcmp(which, "chs") != 0)
			return error_set(err, -EINVAL,
					 "Invalid size calculation mode: '%s'",
					 which);
	}
	*sectors = (uint64_t)be16toh(f->cylinders) * f->heads * f->sectors;
	if (is_size || *sectors == VHD_GEOMETRY_MAX)
		*sectors = be64toh(f->size) / IMAGE_SECTOR;
	return 0;
}

static bool has_cookie(const struct vhd_wire_footer *f)
{
	return memcmp(f->cookie, VHD_COOKIE, VHD_COOKIE_LEN) == 0;
}

static bool is_good(const struct vhd_wire_footer *f)
{
	struct vhd_wire_footer unsummed = *f;

	unsummed.checksum = 0;
	return has_cookie(f) &&
	       vpc_checksum(&unsummed, sizeof(unsummed)) == f->checksum;
}

static int read_end(const struct image_file *file, uint64_t file_size,
		    struct vhd_wire_footer *f, struct error *err)
{
	int rc;

	if (file_size < sizeof(*f))
		return error_set(err, -EINVAL, "invalid VPC image");
	rc = image_file_read(file, file_size - sizeof(*f), f, sizeof(*f));
	return rc < 0 ? error_set_errno(err, rc, "Could not read the footer")
		      : 0;
}

/*
 * A dynamic image's footer is at the beginning too, a fixed one's is not. That
 * copy, which others go by, is there for when one of the two is damaged
 * (§ "Dynamic Hard Disk Image"); QEMU never looks for the other.
 */
static int read_footer(struct vpc *vpc, const struct image_file *file,
		       uint64_t *file_size, struct error *err)
{
	struct vhd_wire_footer *f = &vpc->footer;
	bool is_dynamic;
	int rc = image_file_size(file, file_size);

	if (rc == 0)
		rc = image_file_read(file, 0, f, sizeof(*f));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the footer");
	if (*file_size == 0)
		return error_set(err, -EINVAL,
				 "File too small for a VHD header");
	is_dynamic = has_cookie(f) && be32toh(f->type) != VHD_FIXED;
	if (is_dynamic && is_good(f))
		return 0;
	rc = read_end(file, *file_size, f, err);
	if (rc < 0)
		return rc;
	vpc->is_fixed = be32toh(f->type) == VHD_FIXED;
	vpc->is_copy_bad = !vpc->is_fixed;
	if (is_good(f))
		return 0;
	if (is_dynamic || (has_cookie(f) && vpc->is_fixed))
		return error_set(err, -EINVAL, "Incorrect header checksum");
	return error_set(err, -EINVAL, "invalid VPC image");
}

static int check_dynamic(struct vpc *vpc, const struct vhd_wire_dynamic *d,
			 uint64_t size, struct error *err)
{
	uint32_t len = be32toh(d->block_len);

	if (memcmp(d->cookie, VHD_DYNAMIC_COOKIE, VHD_COOKIE_LEN) != 0)
		return error_set(err, -EINVAL, "Invalid header magic");
	if (len < IMAGE_SECTOR || (len & (len - 1)) != 0)
		return error_set(err, -EINVAL, "Invalid block size %u", len);
	vpc->block_len = len;
	vpc->bitmap_len = vpc_bitmap_len(len);
	vpc->n_entries = be32toh(d->n_entries);
	vpc->table_offset = be64toh(d->table_offset);
	if (size / len > UINT32_MAX)
		return error_set(err, -EINVAL, "Too many blocks");
	if ((uint64_t)len * vpc->n_entries < size)
		return error_set(err, -EINVAL, "Page table too small");
	if (vpc->n_entries > ENTRIES_MAX)
		return error_set(err, -EINVAL,
				 "Max Table Entries too large (%u)",
				 vpc->n_entries);
	if (vpc->table_offset > INT64_MAX - (uint64_t)vpc->n_entries * 4)
		return error_set(err, -EINVAL, "Page table is out of reach");
	return 0;
}

static int open_dynamic(struct vpc *vpc, struct image *image, struct error *err)
{
	const struct vhd_wire_footer *f = &vpc->footer;
	struct vhd_wire_dynamic *d = &vpc->dynamic;
	int rc = image_file_read(image->file, be64toh(f->data_offset), d,
				 sizeof(*d));

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read the dynamic header");
	rc = check_dynamic(vpc, d, image->size, err);
	vpc->is_differencing = be32toh(f->type) == VHD_DIFFERENCING;
	return rc == 0 && vpc->is_differencing
		       ? vpc_read_parent(vpc, image, err)
		       : rc;
}

static bool is_over(uint64_t at, uint64_t len, uint64_t other,
		    uint64_t other_len)
{
	return at < other + other_len && other < at + len;
}

int vpc_check_place(const struct vpc *vpc, uint64_t index, uint32_t entry,
		    struct error *err)
{
	uint64_t at = (uint64_t)entry * IMAGE_SECTOR;
	uint64_t len = (uint64_t)vpc->bitmap_len + vpc->block_len;

	if (!is_over(at, len, 0, sizeof(vpc->footer)) &&
	    !is_over(at, len, be64toh(vpc->footer.data_offset),
		     sizeof(vpc->dynamic)) &&
	    !is_over(at, len, vpc->table_offset,
		     (uint64_t)vpc->n_entries * sizeof(entry)))
		return 0;
	return error_set(err, -EIO, "Block %llu is over the headers",
			 (unsigned long long)index);
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct vpc *vpc = container_of(blocks, struct vpc, blocks);
	uint64_t index;
	uint32_t entry;
	int rc;

	if (vpc->is_fixed) {
		run->kind = BLOCK_DATA;
		run->host_offset = offset;
		return 0;
	}
	index = offset / vpc->block_len;
	rc = table_read(&blocks->table,
			vpc->table_offset + index * sizeof(entry), &entry,
			sizeof(entry), nowait);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the table");
	entry = be32toh(entry);
	run->kind = vpc->is_differencing ? BLOCK_HOLE : BLOCK_ZERO;
	if (entry == VHD_NOWHERE)
		return 0;
	rc = vpc_check_place(vpc, index, entry, err);
	if (rc < 0)
		return rc;
	run->kind = BLOCK_DATA;
	run->host_offset = (uint64_t)entry * IMAGE_SECTOR + vpc->bitmap_len +
			   offset % vpc->block_len;
	return vpc->is_differencing
		       ? vpc_find_sectors(vpc, offset, nowait, run, err)
		       : 0;
}

static const struct blocks_ops fixed_ops = {
	.find = find,
	.begin_writing = vpc_begin_writing,
	.allocate = vpc_allocate,
	.enter = vpc_enter,
};

static const struct blocks_ops dynamic_ops = {
	.find = find,
	.begin_writing = vpc_begin_writing,
	.touch = vpc_touch,
	.allocate = vpc_allocate,
	.enter = vpc_enter,
};

static const struct blocks_ops differencing_ops = {
	.find = find,
	.begin_writing = vpc_begin_writing,
	.allocate = vpc_allocate,
	.enter = vpc_enter,
	.locate = vpc_locate,
	.own = vpc_own,
};

static const struct blocks_ops *ops_of(const struct vpc *vpc)
{
	if (vpc->is_fixed)
		return &fixed_ops;
	return vpc->is_differencing ? &differencing_ops : &dynamic_ops;
}

static int open_layout(struct vpc *vpc, struct image *image, struct error *err)
{
	uint64_t file_size, sectors = 0;
	int rc = read_footer(vpc, image->file, &file_size, err);

	if (rc == 0)
		rc = find_size(&vpc->footer, image->vpc_size, &sectors, err);
	if (rc < 0)
		return rc;
	if (sectors > VHD_SECTORS_MAX)
		return error_set(err, -EFBIG, "Disk size is too large");
	image->size = sectors * IMAGE_SECTOR;
	if (!vpc->is_fixed)
		return open_dynamic(vpc, image, err);
	/* A write must not reach the footer. */
	if (image->size > file_size - sizeof(vpc->footer))
		return error_set(err, -EINVAL,
				 "The disk ends behind the file's end");
	return 0;
}

static int vpc_open(struct image *image, struct error *err)
{
	_cleanup_free_ struct vpc *vpc = calloc(1, sizeof(*vpc));
	int rc;

	if (vpc == NULL)
		return -ENOMEM;
	rc = open_layout(vpc, image, err);
	if (rc < 0)
		return rc;
	image->cluster_size = vpc->is_fixed ? 1 : vpc->block_len;
	blocks_image_attach(image, &vpc->blocks, ops_of(vpc),
			    vpc->is_fixed ? FIXED_BLOCK_LEN : vpc->block_len);
	vpc->blocks.part_len = vpc->is_differencing ? IMAGE_SECTOR : 0;
	vpc->blocks.has_file_holes = vpc->is_fixed;
	if (!vpc->is_fixed)
		rc = vpc_check_file_end(vpc, err);
	vpc = NULL; /* the image has it */
	return rc;
}

static int vpc_get_info(struct image *image, struct image_info *info,
			struct error *err)
{
	const struct vpc *vpc = image->state;

	(void)err;
	info->cluster_size = vpc->is_fixed ? 0 : vpc->block_len;
	return 0;
}

const struct image_format image_format_vpc = {
	.name = "vpc",
	.has_backing = true,
	.probe = probe,
	.open = vpc_open,
	.close = blocks_image_close,
	.create = vpc_create,
	.create_specs = vpc_create_specs,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
	.change_backing = vpc_change_backing,
	.check_backing = vpc_check_backing,
	.make_empty = vpc_make_empty,
	.get_info = vpc_get_info,
};
