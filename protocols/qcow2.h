/* SPDX-License-Identifier: ISC */
/*
 * The qcow2 image format, versions 2 and 3, as it stands in the file
 * (QEMU's docs/interop/qcow2). Every number is big-endian.
 */
#ifndef PROTOCOLS_QCOW2_H
#define PROTOCOLS_QCOW2_H

#include <stdint.h>

enum {
	QCOW2_MAGIC = 0x514649fb, /* "QFI\xfb" */
	QCOW2_HEADER_V2_LEN = 72,
	QCOW2_HEADER_V3_LEN = 104, /* at least */
	QCOW2_CLUSTER_BITS_MIN = 9,
	QCOW2_CLUSTER_BITS_MAX = 21, /* QEMU's limit, and ours */
	QCOW2_REFCOUNT_ORDER_MAX = 6,
	QCOW2_REFCOUNT_ORDER_V2 = 4,
	QCOW2_BACKING_NAME_MAX = 1023,
	/* QEMU's limits on what is held in memory, and ours. */
	QCOW2_L1_LEN_MAX = 32 << 20,
	QCOW2_REFCOUNT_TABLE_LEN_MAX = 8 << 20,
	QCOW2_SNAPSHOTS_MAX = 65536,
	QCOW2_SNAPSHOT_EXTRA_MAX = 1024,
	QCOW2_SNAPSHOT_EXTRA_V3 = 16, /* what version 3 asks for */
	QCOW2_SNAPSHOT_TABLE_LEN_MAX = 64 << 20,
	QCOW2_BITMAPS_MAX = 65535,
	QCOW2_SUBCLUSTER_BITS = 5,
	QCOW2_SUBCLUSTERS = 1 << QCOW2_SUBCLUSTER_BITS,
	QCOW2_SECTOR_LEN = 512, /* unit of a compressed cluster's length */
};

enum qcow2_crypt_method {
	QCOW2_CRYPT_NONE,
	QCOW2_CRYPT_AES,
	QCOW2_CRYPT_LUKS,
};

enum qcow2_compression_type {
	QCOW2_COMPRESSION_ZLIB,
	QCOW2_COMPRESSION_ZSTD,
};

enum qcow2_incompatible {
	QCOW2_INCOMPATIBLE_DIRTY = 1 << 0,
	QCOW2_INCOMPATIBLE_CORRUPT = 1 << 1,
	QCOW2_INCOMPATIBLE_DATA_FILE = 1 << 2,
	QCOW2_INCOMPATIBLE_COMPRESSION = 1 << 3,
	QCOW2_INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
};

enum qcow2_compatible {
	QCOW2_COMPATIBLE_LAZY_REFCOUNTS = 1 << 0,
};

enum qcow2_autoclear {
	QCOW2_AUTOCLEAR_BITMAPS = 1 << 0,
	QCOW2_AUTOCLEAR_DATA_FILE_RAW = 1 << 1,
};

/* Byte 0 of the file. Version 2 ends before incompatible_features. */
struct qcow2_wire_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_name_offset;
	uint32_t backing_name_len;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size; /* entries */
	uint64_t l1_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t n_snapshots;
	uint64_t snapshots_offset;

	uint64_t incompatible_features;
	uint64_t compatible_features;
	uint64_t autoclear_features;
	uint32_t refcount_order;
	uint32_t header_len;

	/* Present if header_len says so. */
	uint8_t compression_type;
	uint8_t padding[7];
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_header) == 112, "qcow2 header");

/* Follow the header, each padded to 8 bytes, until QCOW2_EXTENSION_END. */
struct qcow2_wire_extension {
	uint32_t type;
	uint32_t len; /* of what follows, without the padding */
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_extension) == 8, "extension");

#define QCOW2_EXTENSION_END 0x00000000U
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXTENSION_FEATURE_NAMES 0x6803f857U
#define QCOW2_EXTENSION_BITMAPS 0x23852875U
#define QCOW2_EXTENSION_ENCRYPTION 0x0537be77U
#define QCOW2_EXTENSION_DATA_FILE 0x44415441U

enum qcow2_feature_type {
	QCOW2_FEATURE_INCOMPATIBLE,
	QCOW2_FEATURE_COMPATIBLE,
	QCOW2_FEATURE_AUTOCLEAR,
};

struct qcow2_wire_feature_name {
	uint8_t type; /* enum qcow2_feature_type */
	uint8_t bit;
	char name[46]; /* padded with zeroes, perhaps not terminated */
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_feature_name) == 48, "feature");

struct qcow2_wire_bitmaps {
	uint32_t n_bitmaps;
	uint32_t reserved;
	uint64_t directory_len;
	uint64_t directory_offset;
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_bitmaps) == 24, "bitmaps");

enum qcow2_bitmap_flag {
	QCOW2_BITMAP_IN_USE = 1 << 0,
	QCOW2_BITMAP_AUTO = 1 << 1,
	QCOW2_BITMAP_EXTRA_COMPATIBLE = 1 << 2,
	QCOW2_BITMAP_KNOWN = QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO |
			     QCOW2_BITMAP_EXTRA_COMPATIBLE,
};

#define QCOW2_BITMAP_RESERVED_MASK 0xff000000000001feULL

/* Of an entry of a bitmap's table without an offset. */
enum qcow2_bitmap_entry {
	QCOW2_BITMAP_ALL_SET = 1 << 0,
};

enum qcow2_bitmap_type {
	QCOW2_BITMAP_DIRTY_TRACKING = 1,
};

/* An entry of the bitmap directory; extra data and the name follow. */
struct qcow2_wire_bitmap {
	uint64_t table_offset;
	uint32_t table_size; /* entries */
	uint32_t flags;
	uint8_t type;
	uint8_t granularity_bits;
	uint16_t name_len;
	uint32_t extra_len;
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_bitmap) == 24, "bitmap");

struct qcow2_wire_encryption {
	uint64_t offset;
	uint64_t len;
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_encryption) == 16, "encryption");

/* Extra data, the ID and the name follow; then padding to 8 bytes. */
struct qcow2_wire_snapshot {
	uint64_t l1_offset;
	uint32_t l1_size; /* entries */
	uint16_t id_len;
	uint16_t name_len;
	uint32_t date_sec;
	uint32_t date_nsec;
	uint64_t vm_clock_nsec;
	uint32_t vm_state_size;
	uint32_t extra_len;
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_snapshot) == 40, "snapshot");

struct qcow2_wire_snapshot_extra {
	uint64_t vm_state_size; /* in place of the 32-bit one */
	uint64_t disk_size;
	uint64_t icount; /* QEMU's addition; all ones: unknown */
} __attribute__((packed));
_Static_assert(sizeof(struct qcow2_wire_snapshot_extra) == 24, "extra");

/* Entries of L1 and L2 tables, and of the refcount table. */
#define QCOW2_COPIED (1ULL << 63)     /* refcount is exactly one */
#define QCOW2_COMPRESSED (1ULL << 62) /* L2 */
#define QCOW2_ZERO (1ULL << 0)	      /* L2, version 3 */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ULL
/* The second word of an extended entry: in the host cluster, or zero. */
#define QCOW2_SUBCLUSTERS_ALLOCATED 0x00000000ffffffffULL
#define QCOW2_SUBCLUSTERS_ZERO 0xffffffff00000000ULL
#define QCOW2_L1_RESERVED_MASK 0x7f000000000001ffULL
#define QCOW2_L2_RESERVED_MASK 0x3f000000000001feULL
#define QCOW2_REFCOUNT_TABLE_OFFSET_MASK 0xfffffffffffffe00ULL

#endif
