/* SPDX-License-Identifier: ISC */
/*
 * The first version of QEMU's copy-on-write format as it stands in the file.
 * Every number is big-endian.
 */
#ifndef PROTOCOLS_QCOW1_H
#define PROTOCOLS_QCOW1_H

#include <stdint.h>

enum {
	QCOW1_MAGIC = 0x514649fb, /* "QFI\xfb", as the later ones */
	QCOW1_VERSION = 1,
	QCOW1_CLUSTER_BITS_MIN = 9,
	QCOW1_CLUSTER_BITS_MAX = 16,
	QCOW1_L2_BITS_MIN = 9 - 3,
	QCOW1_L2_BITS_MAX = 16 - 3,
	QCOW1_NAME_MAX = 1023,
	QCOW1_CRYPT_AES = 1,
};

/* In an L2 entry: the length follows in the bits below, then the offset. */
#define QCOW1_COMPRESSED (UINT64_C(1) << 63)

struct qcow1_wire_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_offset;
	uint32_t backing_len;
	uint32_t mtime;
	uint64_t size;
	uint8_t cluster_bits, l2_bits;
	uint16_t padding;
	uint32_t crypt_method;
	uint64_t l1_offset;
} __attribute__((packed));
_Static_assert(sizeof(struct qcow1_wire_header) == 48, "qcow header");

#endif
