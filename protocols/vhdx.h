/* SPDX-License-Identifier: ISC */
/*
 * Hyper-V's Virtual Hard Disk v2 as it stands in the file ([MS-VHDX]). Every
 * number is little-endian; checksums are CRC-32C with their own field zero.
 *
 *	| identifier, headers, region tables | log | BAT | metadata | blocks
 */
#ifndef PROTOCOLS_VHDX_H
#define PROTOCOLS_VHDX_H

#include <stdint.h>

#define VHDX_SIGNATURE "vhdxfile"
#define VHDX_HEADER_SIGNATURE "head"
#define VHDX_REGION_SIGNATURE "regi"
#define VHDX_METADATA_SIGNATURE "metadata"
#define VHDX_LOG_SIGNATURE "loge"
#define VHDX_LOG_ZERO_SIGNATURE "zero"
#define VHDX_LOG_DESC_SIGNATURE "desc"
#define VHDX_LOG_DATA_SIGNATURE "data"
#define VHDX_SIZE_MAX (UINT64_C(64) << 40)

enum {
	VHDX_MIB = 1 << 20,
	VHDX_HEADER_LEN = 4096,
	VHDX_HEADER_1 = 64 << 10,
	VHDX_HEADER_2 = 128 << 10,
	VHDX_REGION_1 = 192 << 10,
	VHDX_REGION_2 = 256 << 10,
	VHDX_REGION_TABLE_LEN = 64 << 10,
	VHDX_METADATA_TABLE_LEN = 64 << 10,
	VHDX_ENTRIES_MAX = 2047, /* of those two tables */
	VHDX_VERSION = 1,
	VHDX_LOG_VERSION = 0,
	VHDX_BLOCK_MIN = 1 << 20,
	VHDX_BLOCK_MAX = 256 << 20,
	VHDX_LOG_SECTOR = 4096,
	VHDX_LOG_DATA_LEN = 4084,     /* of a data sector's own bytes */
	VHDX_CHUNK_SECTORS = 1 << 23, /* that one bitmap block covers */
	VHDX_BITMAP_LEN = 1 << 20,    /* of such a block */
};

enum vhdx_block_state { /* § 2.5.1.1 */
	VHDX_BLOCK_NOT_PRESENT,
	VHDX_BLOCK_UNDEFINED,
	VHDX_BLOCK_ZERO,
	VHDX_BLOCK_UNMAPPED,
	VHDX_BLOCK_FULLY_PRESENT = 6,
	VHDX_BLOCK_PARTIALLY_PRESENT = 7,
};

/* A BAT entry: the state, and the place in the file in units of 1 MiB. */
enum {
	VHDX_ENTRY_STATE = 7,
	VHDX_ENTRY_OFFSET_BITS = 20,
};

struct vhdx_wire_identifier { /* § 2.2.1 */
	char signature[8];
	uint16_t creator[256]; /* UTF-16 */
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_identifier) == 520, "VHDX identifier");

struct vhdx_wire_header { /* § 2.2.2 */
	char signature[4];
	uint32_t checksum;
	uint64_t sequence;
	uint8_t file_guid[16];
	uint8_t data_guid[16];
	uint8_t log_guid[16];
	uint16_t log_version;
	uint16_t version;
	uint32_t log_len;
	uint64_t log_offset;
	uint8_t reserved[4016];
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_header) == 4096, "VHDX header");

struct vhdx_wire_region_header { /* § 2.2.3 */
	char signature[4];
	uint32_t checksum;
	uint32_t n_entries;
	uint32_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_region_header) == 16, "VHDX regions");

struct vhdx_wire_region {
	uint8_t guid[16];
	uint64_t offset;
	uint32_t len;
	uint32_t is_required;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_region) == 32, "VHDX region");

struct vhdx_wire_metadata_header { /* § 2.6.1 */
	char signature[8];
	uint16_t reserved;
	uint16_t n_entries;
	uint8_t reserved2[20];
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_metadata_header) == 32, "VHDX metadata");

enum vhdx_metadata_flags {
	VHDX_METADATA_USER = 1 << 0,
	VHDX_METADATA_VIRTUAL_DISK = 1 << 1,
	VHDX_METADATA_REQUIRED = 1 << 2,
};

struct vhdx_wire_metadata {
	uint8_t guid[16];
	uint32_t offset; /* within the region */
	uint32_t len;
	uint32_t flags;
	uint32_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_metadata) == 32, "VHDX metadata item");

enum vhdx_parameters {
	VHDX_LEAVE_ALLOCATED = 1 << 0,
	VHDX_HAS_PARENT = 1 << 1,
};

/* The parent locator, an item that differencing images have. Offsets count
 * from the item's beginning, names are UTF-16. */
struct vhdx_wire_locator { /* § 2.6.2.6.1 */
	uint8_t type[16];
	uint16_t reserved;
	uint16_t n_entries;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_locator) == 20, "VHDX parent locator");

struct vhdx_wire_locator_entry { /* § 2.6.2.6.2 */
	uint32_t key_offset, value_offset;
	uint16_t key_len, value_len;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_locator_entry) == 12,
	       "VHDX parent locator entry");

/* The items that there must be, as they stand behind the metadata table. */
struct vhdx_wire_items {
	uint32_t block_len, parameters;
	uint64_t size;
	uint8_t disk_guid[16];
	uint32_t logical_sector, physical_sector;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_items) == 40, "VHDX items");

struct vhdx_wire_log_header { /* § 2.3.1.1 */
	char signature[4];
	uint32_t checksum;
	uint32_t len;
	uint32_t tail;
	uint64_t sequence;
	uint32_t n_descriptors;
	uint32_t reserved;
	uint8_t log_guid[16];
	uint64_t flushed_file_size;
	uint64_t last_file_size;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_log_header) == 64, "VHDX log entry");

struct vhdx_wire_log_descriptor { /* §§ 2.3.1.2, 2.3.1.3 */
	char signature[4];
	uint8_t trailing[4]; /* data: the sector's last bytes */
	union {
		uint8_t leading[8]; /* data: its first */
		uint64_t zero_len;
	};
	uint64_t file_offset;
	uint64_t sequence;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_log_descriptor) == 32,
	       "VHDX log descriptor");

struct vhdx_wire_log_data { /* § 2.3.1.4 */
	char signature[4];
	uint32_t sequence_high;
	uint8_t data[VHDX_LOG_DATA_LEN];
	uint32_t sequence_low;
} __attribute__((packed));
_Static_assert(sizeof(struct vhdx_wire_log_data) == 4096, "VHDX log data");

/* GUIDs are stored with their first three fields little-endian. */
#define VHDX_GUID_BAT \
	{ \
		0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, \
			0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 \
	}
#define VHDX_GUID_METADATA \
	{ \
		0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, \
			0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e \
	}
#define VHDX_GUID_PARAMETERS \
	{ \
		0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, \
			0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b \
	}
#define VHDX_GUID_SIZE \
	{ \
		0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, \
			0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 \
	}
#define VHDX_GUID_DISK \
	{ \
		0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, \
			0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 \
	}
#define VHDX_GUID_LOGICAL_SECTOR \
	{ \
		0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, \
			0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f \
	}
#define VHDX_GUID_PHYSICAL_SECTOR \
	{ \
		0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, \
			0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 \
	}
#define VHDX_GUID_PARENT \
	{ \
		0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, \
			0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c \
	}

/* The type of parent locators that are images. */
#define VHDX_GUID_LOCATOR \
	{ \
		0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, \
			0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13 \
	}

#endif
