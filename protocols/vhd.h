/* SPDX-License-Identifier: ISC */
/*
 * Microsoft's Virtual Hard Disk, version 1.0, as it stands in the file
 * ("Virtual Hard Disk Image Format Specification", 2006). Every number is
 * big-endian.
 *
 *	fixed:	 | data | footer |
 *	dynamic: | footer's copy | dynamic header | table | blocks | footer |
 *
 * A block is a bitmap of its sectors, padded to whole sectors, and its data.
 */
#ifndef PROTOCOLS_VHD_H
#define PROTOCOLS_VHD_H

#include <stdint.h>

#define VHD_COOKIE "conectix"
#define VHD_DYNAMIC_COOKIE "cxsparse"
#define VHD_NOWHERE UINT32_C(0xffffffff) /* a block without a place */
#define VHD_NO_OFFSET UINT64_MAX
/* 2040 GiB, the most that a table of 32-bit sectors reaches safely. */
#define VHD_SECTORS_MAX UINT64_C(0xff000000)
#define VHD_GEOMETRY_MAX \
	((uint64_t)VHD_CYLINDERS_MAX * VHD_HEADS_MAX * VHD_SECTORS_TRACK_MAX)

enum {
	VHD_COOKIE_LEN = 8,
	VHD_VERSION = 0x00010000,
	VHD_FEATURES = 2, /* reserved, always set */
	VHD_BLOCK_LEN = 2 << 20,
	VHD_CYLINDERS_MAX = 65535,
	VHD_HEADS_MAX = 16,
	VHD_SECTORS_TRACK_MAX = 255,
	VHD_EPOCH = 946684800, /* 2000-01-01, in Unix time */
	VHD_LOCATORS = 8,
};

enum vhd_platform {
	VHD_PLATFORM_W2RU = 0x57327275, /* a relative path, in UTF-16 LE */
};

enum vhd_type {
	VHD_FIXED = 2,
	VHD_DYNAMIC = 3,
	VHD_DIFFERENCING = 4,
};

struct vhd_wire_footer {
	char cookie[VHD_COOKIE_LEN];
	uint32_t features;
	uint32_t version;
	uint64_t data_offset; /* of the dynamic header */
	uint32_t timestamp;
	char creator[4];
	uint16_t creator_major, creator_minor;
	char creator_os[4];
	uint64_t original_size;
	uint64_t size;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t type;
	uint32_t checksum; /* the sum of all other bytes, inverted */
	uint8_t uuid[16];
	uint8_t is_saved;
	uint8_t reserved[427];
} __attribute__((packed));
_Static_assert(sizeof(struct vhd_wire_footer) == 512, "VHD footer");

/* Where a name of the parent stands; platform 0: nowhere. */
struct vhd_wire_locator {
	uint32_t platform;
	uint32_t space; /* sectors; some say bytes */
	uint32_t len;	/* bytes */
	uint32_t reserved;
	uint64_t offset;
} __attribute__((packed));
_Static_assert(sizeof(struct vhd_wire_locator) == 24, "VHD parent locator");

struct vhd_wire_dynamic {
	char cookie[VHD_COOKIE_LEN];
	uint64_t data_offset;
	uint64_t table_offset;
	uint32_t version;
	uint32_t n_entries;
	uint32_t block_len;
	uint32_t checksum;
	uint8_t parent_uuid[16];
	uint32_t parent_timestamp;
	uint32_t reserved;
	uint8_t parent_name[512];
	struct vhd_wire_locator locators[VHD_LOCATORS];
	uint8_t padding[256];
} __attribute__((packed));
_Static_assert(sizeof(struct vhd_wire_dynamic) == 1024, "VHD dynamic header");

#endif
