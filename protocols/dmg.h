/* SPDX-License-Identifier: ISC */
/*
 * Apple's disk images (UDIF) as they stand in the file: a trailer at the end
 * leads to tables of chunks. Nobody has published the format; these are the
 * fields that readers agree on. Every number is big-endian.
 */
#ifndef PROTOCOLS_DMG_H
#define PROTOCOLS_DMG_H

#include <stdint.h>

enum {
	DMG_TRAILER_MAGIC = 0x6b6f6c79, /* "koly" */
	DMG_TABLE_MAGIC = 0x6d697368,	/* "mish" */
	DMG_SECTOR = 512,
};

enum dmg_chunk_type {
	DMG_ZERO = 0,
	DMG_RAW = 1,
	DMG_IGNORE = 2, /* never written: zeroes */
};

/* Others of the same field, beyond what an enum holds. */
#define DMG_COMMENT UINT32_C(0x7ffffffe)
#define DMG_ADC UINT32_C(0x80000004)
#define DMG_ZLIB UINT32_C(0x80000005)
#define DMG_BZIP2 UINT32_C(0x80000006)
#define DMG_LZFSE UINT32_C(0x80000007)
#define DMG_LZMA UINT32_C(0x80000008)
#define DMG_END UINT32_C(0xffffffff)

struct dmg_wire_trailer {
	uint32_t magic, version, len, flags;
	uint64_t running_fork_offset;
	uint64_t data_fork_offset, data_fork_len;
	uint64_t resource_fork_offset, resource_fork_len;
	uint32_t segment, n_segments;
	uint8_t segment_id[16];
	uint8_t data_checksum[136];
	uint64_t xml_offset, xml_len;
	uint8_t reserved[120];
	uint8_t master_checksum[136];
	uint32_t variant;
	uint64_t n_sectors;
	uint8_t reserved_2[12];
} __attribute__((packed));
_Static_assert(sizeof(struct dmg_wire_trailer) == 512, "dmg trailer");

struct dmg_wire_table {
	uint32_t magic, version;
	uint64_t first_sector, n_sectors, data_offset;
	uint32_t buffers_needed, descriptor;
	uint8_t reserved[24];
	uint8_t checksum[136];
	uint32_t n_chunks;
} __attribute__((packed));
_Static_assert(sizeof(struct dmg_wire_table) == 204, "dmg table");

struct dmg_wire_chunk {
	uint32_t type, comment;
	uint64_t sector, n_sectors; /* in the table's part of the disk */
	uint64_t offset, len;	    /* in the data fork */
} __attribute__((packed));
_Static_assert(sizeof(struct dmg_wire_chunk) == 40, "dmg chunk");

#endif
