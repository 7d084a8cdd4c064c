/* SPDX-License-Identifier: ISC */
/*
 * QEMU's Enhanced Disk format as it stands in the file (QEMU's
 * docs/interop/qed_spec). Every number is little-endian.
 */
#ifndef PROTOCOLS_QED_H
#define PROTOCOLS_QED_H

#include <stdint.h>

#define QED_MAGIC UINT32_C(0x00444551) /* "QED\0" */

enum {
	QED_CLUSTER_MIN = 4 << 10,
	QED_CLUSTER_MAX = 64 << 20,
	QED_TABLE_MIN = 1, /* clusters */
	QED_TABLE_MAX = 16,
	QED_NAME_MAX = 1023,
	QED_ENTRY_ZERO = 1, /* in an L2 table: reads as zeroes */
};

enum qed_features {
	QED_BACKING = 1 << 0,
	QED_NEEDS_CHECK = 1 << 1,
	QED_BACKING_IS_RAW = 1 << 2,
};

struct qed_wire_header {
	uint32_t magic;
	uint32_t cluster_len;
	uint32_t table_clusters;
	uint32_t header_clusters;
	uint64_t features;
	uint64_t compatible_features;
	uint64_t autoclear_features;
	uint64_t l1_offset;
	uint64_t size;
	uint32_t backing_offset, backing_len;
} __attribute__((packed));
_Static_assert(sizeof(struct qed_wire_header) == 64, "QED header");

#endif
