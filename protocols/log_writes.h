/* SPDX-License-Identifier: ISC */
/*
 * The log of Linux's device-mapper target log-writes
 * (Documentation/admin-guide/device-mapper/log-writes.rst), in sectors of a
 * size that it says itself: a superblock, and entries one after the other,
 * each of which is a sector with what follows it. All fields are
 * little-endian.
 */
#ifndef PROTOCOLS_LOG_WRITES_H
#define PROTOCOLS_LOG_WRITES_H

#include <stdint.h>

#define LOG_WRITES_MAGIC UINT64_C(0x6a736677736872)

enum {
	LOG_WRITES_VERSION = 1,
};

enum log_writes_flags {
	LOG_WRITES_FLUSH = 1 << 0,
	LOG_WRITES_FUA = 1 << 1,
	LOG_WRITES_DISCARD = 1 << 2, /* no data follow */
	LOG_WRITES_MARK = 1 << 3,
	LOG_WRITES_ALL = (1 << 4) - 1,
};

struct log_writes_super {
	uint64_t magic, version, n_entries;
	uint32_t sector_size;
} __attribute__((packed));

struct log_writes_entry {
	uint64_t sector, n_sectors, flags, data_len;
} __attribute__((packed));

_Static_assert(sizeof(struct log_writes_super) == 28, "superblock");
_Static_assert(sizeof(struct log_writes_entry) == 32, "entry");

#endif
