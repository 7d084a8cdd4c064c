/* SPDX-License-Identifier: ISC */
/* VHD's inside: what its sources share. */
#ifndef LIB_IMAGE_VPC_H
#define LIB_IMAGE_VPC_H

#include "lib/image/blocks.h"
#include "lib/image/image.h"
#include "protocols/vhd.h"

#include <stdint.h>

enum {
	VPC_FULL_BITMAPS = 256,
};

struct vpc {
	struct blocks blocks; /* first */
	struct vhd_wire_footer footer;
	struct vhd_wire_dynamic dynamic; /* of all but fixed ones */
	bool is_fixed, is_differencing;
	bool is_copy_bad; /* of the footer, at the beginning */
	uint32_t block_len, bitmap_len, n_entries;
	uint64_t table_offset;
	uint64_t end; /* of the last block, from begin_writing on */
	/* Bitmaps that are known to be full, each in its slot. */
	uint64_t full[VPC_FULL_BITMAPS];
};

extern const struct image_option_spec vpc_create_specs[];
int vpc_create(const char *path, const struct image_create_options *options,
	       struct error *err);
/* A footer's or a header's, as it stands in the file. */
uint32_t vpc_checksum(const void *data, size_t len);
/* Bytes of a block's bitmap: whole sectors (§ "Block Allocation Table"). */
uint32_t vpc_bitmap_len(uint32_t block_len);
/* -EIO where a block that has an entry is over the footer's copy, the header or
 * the table: an entry of zero is, as all are of a table that was lost. */
int vpc_check_place(const struct vpc *vpc, uint64_t index, uint32_t entry,
		    struct error *err);
/* Where the table and the parent's names end, in whole sectors. */
uint64_t vpc_metadata_end(const struct vpc *vpc);

/* vpc_write.c */
/* Refuse a table that leads beyond the file's end, in QEMU's words. */
int vpc_check_file_end(struct vpc *vpc, struct error *err);
/* As struct blocks_ops has them. */
int vpc_begin_writing(struct blocks *blocks, struct error *err);
int vpc_touch(struct blocks *blocks, uint64_t offset,
	      const struct block_run *run, struct error *err);
int vpc_allocate(struct blocks *blocks, uint64_t index,
		 struct block_place *place, struct error *err);
int vpc_enter(struct blocks *blocks, uint64_t index,
	      const struct block_place *place, struct error *err);
/* Room for len bytes, whole sectors, at vpc->end, which does not move; the
 * footer stands behind it as well, and the file is stable. */
int vpc_make_room(struct vpc *vpc, uint64_t len, struct error *err);

/* vpc_sectors.c: a differencing image's bitmaps. run is its block's from
 * offset on; what is left of it is alike. */
int vpc_find_sectors(struct vpc *vpc, uint64_t offset, bool nowait,
		     struct block_run *run, struct error *err);
int vpc_locate(struct blocks *blocks, uint64_t index, struct block_place *place,
	       struct error *err);
int vpc_own(struct blocks *blocks, uint64_t offset, uint64_t len,
	    struct error *err);
int vpc_make_empty(struct image *image, struct error *err);

/* vpc_parent.c: the names of a differencing image's parent. */
enum {
	VPC_LOCATOR_LEN = 2048, /* bytes for a name, whole sectors */
};
int vpc_read_parent(const struct vpc *vpc, struct image *image,
		    struct error *err);
int vpc_check_backing(struct image *image, struct error *err);
int vpc_change_backing(struct image *image, const char *name,
		       const char *format, struct error *err);
/*
 * Make header the header of a child of the image that name means in the image
 * at path, with its only locator at locator_offset, and what belongs there.
 * footer, if it is not NULL, gets that disk's size.
 */
int vpc_name_parent(const char *path, const char *name, const char *format,
		    uint64_t locator_offset, struct vhd_wire_dynamic *header,
		    uint8_t locator[VPC_LOCATOR_LEN],
		    struct vhd_wire_footer *footer, struct error *err);

#endif
