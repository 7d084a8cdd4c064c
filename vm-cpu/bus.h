/* SPDX-License-Identifier: ISC */
/*
 * A bus: ranges of addresses, each with the device that answers there. There
 * are two, for ports and for memory-mapped I/O. The guest may read and write
 * anything anywhere: what nobody owns reads as all ones and swallows writes,
 * and so does an access that begins in a range and leaves it.
 *
 * Everything here and in all devices happens with the machine's lock held
 * (vm.h): vCPU threads take it around an access, the main thread while it
 * handles events. No handler blocks.
 */
#ifndef VM_CPU_BUS_H
#define VM_CPU_BUS_H

#include <stdint.h>

struct bus_ops {
	/*
	 * width is 1, 2, 4 or 8; offset is from the range's base, need not
	 * be aligned, and offset + width is within the range. Bits above the
	 * width are cut off by the caller.
	 */
	uint64_t (*read)(void *context, uint64_t offset, unsigned width);
	void (*write)(void *context, uint64_t offset, unsigned width,
		      uint64_t value);
};

enum {
	/* 32 devices with 2 BARs each, and some of our own. */
	BUS_RANGES_MAX = 128,
};

struct bus_range {
	uint64_t base, size;
	const struct bus_ops *ops;
	void *context;
};

/* Sorted by base, never overlapping. */
struct bus {
	unsigned n_ranges;
	struct bus_range ranges[BUS_RANGES_MAX];
};

#define BUS_INIT \
	{ \
		.n_ranges = 0 \
	}

/* -EINVAL: empty or wraps; -EEXIST: overlaps; -ENOSPC: full. ops is kept. */
int bus_add(struct bus *bus, uint64_t base, uint64_t size,
	    const struct bus_ops *ops, void *context);
/* The range of exactly this base; -ENOENT. */
int bus_remove(struct bus *bus, uint64_t base);

uint64_t bus_read(const struct bus *bus, uint64_t address, unsigned width);
void bus_write(const struct bus *bus, uint64_t address, unsigned width,
	       uint64_t value);

#endif
