/* SPDX-License-Identifier: ISC */
/*
 * VMware's virtual disks as they stand in their files ("Virtual Disk Format
 * 5.0" technical note). Every number is little-endian, offsets are in
 * sectors of 512 bytes. A text, the descriptor, says which files, the
 * extents, a disk is made of; a sparse extent has this header, a directory
 * of tables (§ "Hosted Sparse Extents"), and grains.
 */
#ifndef PROTOCOLS_VMDK_H
#define PROTOCOLS_VMDK_H

#include <stdint.h>

enum {
	VMDK_SECTOR = 512,
	VMDK_MAGIC_LEN = 4,
	VMDK_DESCRIPTOR_MAX = 1 << 20,
	VMDK_DESCRIPTOR_SECTORS = 20, /* in a file of its own making */
	VMDK_GRAIN_SECTORS = 128,
	VMDK_GRAIN_SECTORS_MAX = 0x200000,
	VMDK_TABLE_ENTRIES = 512,
	VMDK_DIRECTORY_MAX = 32 << 20, /* entries: QEMU's limit, and ours */
	VMDK_VERSION_MAX = 3,
	VMDK_DEFLATE = 1,
	VMDK_COWD_TABLE_ENTRIES = 4096,
	VMDK_ENTRY_ZERO = 1, /* with VMDK_FLAG_ZERO_GRAIN */
};

#define VMDK_MAGIC "KDMV"
#define VMDK_COWD_MAGIC "COWD"
#define VMDK_DIRECTORY_AT_END UINT64_MAX
#define VMDK_NO_CID UINT32_C(0xffffffff)

enum vmdk_flags {
	VMDK_FLAG_NEWLINE = 1 << 0, /* newline is as it was written */
	VMDK_FLAG_REDUNDANT = 1 << 1,
	VMDK_FLAG_ZERO_GRAIN = 1 << 2,
	VMDK_FLAG_COMPRESSED = 1 << 16,
	VMDK_FLAG_MARKERS = 1 << 17,
};

struct vmdk_wire_header {
	char magic[VMDK_MAGIC_LEN];
	uint32_t version;
	uint32_t flags;
	uint64_t capacity;
	uint64_t grain_sectors;
	uint64_t descriptor_offset;
	uint64_t descriptor_sectors;
	uint32_t table_entries;
	uint64_t redundant_offset; /* of the second directory */
	uint64_t directory_offset;
	uint64_t overhead; /* before the first grain */
	uint8_t is_unclean;
	char newline[4]; /* "\n \r\n": text transfer would break it */
	uint16_t compression;
	uint8_t padding[433];
} __attribute__((packed));
_Static_assert(sizeof(struct vmdk_wire_header) == 512, "VMDK header");

/* In stream-optimized extents, before each grain and each table. */
struct vmdk_wire_grain_marker {
	uint64_t sector; /* of the disk */
	uint32_t len;	 /* of the compressed data that follows */
} __attribute__((packed));
_Static_assert(sizeof(struct vmdk_wire_grain_marker) == 12, "VMDK grain");

enum vmdk_marker {
	VMDK_MARKER_END,
	VMDK_MARKER_TABLE,
	VMDK_MARKER_DIRECTORY,
	VMDK_MARKER_FOOTER,
};

struct vmdk_wire_marker {
	uint64_t n_sectors;
	uint32_t len; /* 0: no grain */
	uint32_t type;
	uint8_t padding[496];
} __attribute__((packed));
_Static_assert(sizeof(struct vmdk_wire_marker) == 512, "VMDK marker");

/* The end of an extent whose directory comes last. */
struct vmdk_wire_footer {
	struct vmdk_wire_marker marker;
	struct vmdk_wire_header header;
	struct vmdk_wire_marker end;
} __attribute__((packed));
_Static_assert(sizeof(struct vmdk_wire_footer) == 1536, "VMDK footer");

/* § "ESX Server Sparse Extents". */
struct vmdk_wire_cowd {
	char magic[VMDK_MAGIC_LEN];
	uint32_t version;
	uint32_t flags;
	uint32_t capacity;
	uint32_t grain_sectors;
	uint32_t directory_offset;
	uint32_t directory_entries;
	uint32_t next_free;
	uint8_t padding[480];
} __attribute__((packed));
_Static_assert(sizeof(struct vmdk_wire_cowd) == 512, "VMDK COWD header");

#endif
