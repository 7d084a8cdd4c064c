/* SPDX-License-Identifier: ISC */
/*
 * VirtualBox's disk image, version 1.1, as it stands in the file. Every
 * number is little-endian.
 *
 *	| header | block map: one number for each block | data blocks ... |
 */
#ifndef PROTOCOLS_VDI_H
#define PROTOCOLS_VDI_H

#include <stdint.h>

enum {
	VDI_SIGNATURE_OFFSET = 0x40,
	VDI_VERSION_1_1 = 0x00010001,
	VDI_HEADER_LEN = 0x180, /* counts from its own field's place on */
	VDI_BLOCK_LEN = 1 << 20,
	/* QEMU's limit, and ours. */
	VDI_BLOCKS_MAX = 0x1fffff80,
};

#define VDI_SIGNATURE UINT32_C(0xbeda107f)
#define VDI_TEXT "<<< QEMU VM Virtual Disk Image >>>\n"

enum vdi_type {
	VDI_DYNAMIC = 1,
	VDI_STATIC = 2,
	VDI_UNDO = 3,
	VDI_DIFFERENCING = 4,
};

/* In the block map: from here on no numbers of data blocks. */
#define VDI_ENTRY_DISCARDED UINT32_C(0xfffffffe)
#define VDI_ENTRY_UNALLOCATED UINT32_C(0xffffffff)

struct vdi_wire_header {
	char text[64];
	uint32_t signature;
	uint32_t version;
	uint32_t header_len;
	uint32_t type;
	uint32_t flags;
	char description[256];
	uint32_t map_offset;
	uint32_t data_offset;
	uint32_t cylinders, heads, sectors; /* 0: not said */
	uint32_t sector_len;
	uint32_t unused;
	uint64_t disk_size;
	uint32_t block_len;
	uint32_t block_extra;
	uint32_t n_blocks;
	uint32_t n_allocated;
	uint8_t uuid[16];
	uint8_t snapshot_uuid[16];
	uint8_t link_uuid[16];
	uint8_t parent_uuid[16];
	uint8_t padding[56];
} __attribute__((packed));
_Static_assert(sizeof(struct vdi_wire_header) == 512, "VDI header");

#endif
