/* SPDX-License-Identifier: ISC */
/*
 * Bochs' growing disk images as they stand in the file (Bochs' harddrv
 * documentation). Every number is little-endian.
 *
 *	| header | catalog | for each extent: bitmap of its sectors, data |
 */
#ifndef PROTOCOLS_BOCHS_H
#define PROTOCOLS_BOCHS_H

#include <stdint.h>

#define BOCHS_MAGIC "Bochs Virtual HD Image"
#define BOCHS_TYPE "Redolog"
#define BOCHS_SUBTYPE "Growing"
#define BOCHS_NOWHERE UINT32_C(0xffffffff)

enum {
	BOCHS_VERSION_1 = 0x00010000,
	BOCHS_VERSION_2 = 0x00020000,
	BOCHS_CATALOG_MAX = 0x100000, /* QEMU's limit, and ours */
	BOCHS_EXTENT_MIN = 512,
	BOCHS_EXTENT_MAX = 0x800000,
};

struct bochs_wire_header {
	char magic[32];
	char type[16];
	char subtype[16];
	uint32_t version;
	uint32_t header_len;
	uint32_t n_catalog;
	uint32_t bitmap_len;
	uint32_t extent_len;
	union {
		struct {
			uint32_t reserved;
			uint64_t size;
		} __attribute__((packed)) v2;
		struct {
			uint64_t size;
		} __attribute__((packed)) v1;
	};
	uint8_t padding[416];
} __attribute__((packed));
_Static_assert(sizeof(struct bochs_wire_header) == 512, "Bochs header");

#endif
