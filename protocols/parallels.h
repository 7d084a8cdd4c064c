/* SPDX-License-Identifier: ISC */
/*
 * The expandable disk image of Parallels as it stands in the file (QEMU's
 * docs/interop/parallels). Every number is little-endian.
 */
#ifndef PROTOCOLS_PARALLELS_H
#define PROTOCOLS_PARALLELS_H

#include <stdint.h>

#define PARALLELS_MAGIC "WithoutFreeSpace"     /* entries in sectors */
#define PARALLELS_MAGIC_EXT "WithouFreSpacExt" /* entries in clusters */
#define PARALLELS_EXTENSION_MAGIC UINT64_C(0xab234cef23dcea87)

enum {
	PARALLELS_MAGIC_LEN = 16,
	PARALLELS_VERSION = 2,
	PARALLELS_HEADS = 16,
	PARALLELS_IN_USE = 0x746f6e59,
	PARALLELS_ENTRIES_MAX = INT32_MAX / 4, /* QEMU's limit, and ours */
	PARALLELS_CLUSTER_SECTORS_MAX = INT32_MAX / 513,
};

/* The table, one number for each cluster, follows at once. */
struct parallels_wire_header {
	char magic[PARALLELS_MAGIC_LEN];
	uint32_t version;
	uint32_t heads, cylinders;
	uint32_t cluster_sectors;
	uint32_t n_entries;
	uint64_t n_sectors; /* without Ext: 32 bits of it */
	uint32_t in_use;
	uint32_t data_offset; /* in sectors; 0: behind the table */
	uint32_t flags;
	uint64_t extension_offset; /* in sectors; 0: there is none */
} __attribute__((packed));
_Static_assert(sizeof(struct parallels_wire_header) == 64, "Parallels header");

#endif
