/* SPDX-License-Identifier: ISC */
/* A sorted array of ranges; see bus.h. */
#include "vm-cpu/bus.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static uint64_t all_ones(unsigned width)
{
	return width >= 8 ? UINT64_MAX : (UINT64_C(1) << (width * 8)) - 1;
}

/* Index of the first range whose last byte is not below address. */
static unsigned find(const struct bus *bus, uint64_t address)
{
	unsigned low = 0, high = bus->n_ranges;

	while (low < high) {
		unsigned mid = (low + high) / 2;
		const struct bus_range *range = &bus->ranges[mid];

		if (range->base + (range->size - 1) < address)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t size,
	    const struct bus_ops *ops, void *context)
{
	uint64_t last;
	unsigned at;

	if (size == 0 || __builtin_add_overflow(base, size - 1, &last))
		return -EINVAL;
	at = find(bus, base);
	if (at < bus->n_ranges && bus->ranges[at].base <= last)
		return -EEXIST;
	if (bus->n_ranges == BUS_RANGES_MAX)
		return -ENOSPC;
	memmove(&bus->ranges[at + 1], &bus->ranges[at],
		(bus->n_ranges - at) * sizeof(bus->ranges[0]));
	bus->ranges[at] = (struct bus_range){
		.base = base, .size = size, .ops = ops, .context = context
	};
	bus->n_ranges++;
	return 0;
}

int bus_remove(struct bus *bus, uint64_t base)
{
	unsigned at = find(bus, base);

	if (at == bus->n_ranges || bus->ranges[at].base != base)
		return -ENOENT;
	bus->n_ranges--;
	memmove(&bus->ranges[at], &bus->ranges[at + 1],
		(bus->n_ranges - at) * sizeof(bus->ranges[0]));
	return 0;
}

/* The range that holds all of an access, or NULL. */
static const struct bus_range *range_at(const struct bus *bus, uint64_t address,
					unsigned width)
{
	unsigned at = find(bus, address);
	const struct bus_range *range = &bus->ranges[at];

	if (at == bus->n_ranges || address < range->base)
		return NULL;
	if (range->size - (address - range->base) < width)
		return NULL;
	return range;
}

uint64_t bus_read(const struct bus *bus, uint64_t address, unsigned width)
{
	const struct bus_range *range = range_at(bus, address, width);

	if (range == NULL)
		return all_ones(width);
	return range->ops->read(range->context, address - range->base, width) &
	       all_ones(width);
}

void bus_write(const struct bus *bus, uint64_t address, unsigned width,
	       uint64_t value)
{
	const struct bus_range *range = range_at(bus, address, width);

	if (range != NULL)
		range->ops->write(range->context, address - range->base, width,
				  value & all_ones(width));
}
