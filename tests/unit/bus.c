/* SPDX-License-Identifier: ISC */
/* Ranges of a bus: who answers, and what nobody does. */
#include "vm-cpu/bus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct device {
	uint64_t value, offset, written;
	unsigned width;
};

static uint64_t read_device(void *context, uint64_t offset, unsigned width)
{
	struct device *device = context;

	device->offset = offset;
	device->width = width;
	return device->value;
}

static void write_device(void *context, uint64_t offset, unsigned width,
			 uint64_t value)
{
	struct device *device = context;

	device->offset = offset;
	device->width = width;
	device->written = value;
}

static const struct bus_ops ops = { read_device, write_device };

static void unknown_reads_all_ones(void **state)
{
	struct bus bus = BUS_INIT;

	(void)state;
	assert_int_equal(bus_read(&bus, 0x60, 1), 0xff);
	assert_int_equal(bus_read(&bus, 0x60, 2), 0xffff);
	assert_int_equal(bus_read(&bus, 0x60, 4), 0xffffffff);
	assert_true(bus_read(&bus, 0x60, 8) == UINT64_MAX);
	bus_write(&bus, 0x60, 4, 1);
}

static void reaches_the_owner(void **state)
{
	struct bus bus = BUS_INIT;
	struct device low = { .value = 1 }, high = { .value = UINT64_MAX };

	(void)state;
	assert_int_equal(bus_add(&bus, 0x2000, 0x10, &ops, &high), 0);
	assert_int_equal(bus_add(&bus, 0x1000, 0x10, &ops, &low), 0);
	assert_int_equal(bus_read(&bus, 0x1004, 4), 1);
	assert_int_equal(low.offset, 4);
	assert_int_equal(low.width, 4);
	/* Bits above the width are nobody's. */
	assert_int_equal(bus_read(&bus, 0x200f, 1), 0xff);
	bus_write(&bus, 0x2000, 2, 0x12345678);
	assert_int_equal(high.written, 0x5678);
	assert_int_equal(high.offset, 0);
}

static void an_access_over_the_end_is_nobodys(void **state)
{
	struct bus bus = BUS_INIT;
	struct device device = { .value = 0, .offset = 99 };

	(void)state;
	assert_int_equal(bus_add(&bus, 0x1000, 6, &ops, &device), 0);
	assert_int_equal(bus_read(&bus, 0x1004, 4), 0xffffffff);
	assert_int_equal(bus_read(&bus, 0xfff, 2), 0xffff);
	bus_write(&bus, 0x1005, 2, 7);
	assert_int_equal(device.offset, 99);
	assert_int_equal(bus_read(&bus, 0x1004, 2), 0);
}

static void refuses_what_overlaps(void **state)
{
	struct bus bus = BUS_INIT;
	uint64_t top = UINT64_MAX - 0xf;

	(void)state;
	assert_int_equal(bus_add(&bus, 0x1000, 0x100, &ops, NULL), 0);
	assert_int_equal(bus_add(&bus, 0x10ff, 1, &ops, NULL), -EEXIST);
	assert_int_equal(bus_add(&bus, 0xf00, 0x101, &ops, NULL), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x800, 0x1000, &ops, NULL), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x1010, 0, &ops, NULL), -EINVAL);
	assert_int_equal(bus_add(&bus, top, 0x11, &ops, NULL), -EINVAL);
	assert_int_equal(bus_add(&bus, top, 0x10, &ops, NULL), 0);
	assert_int_equal(bus_add(&bus, 0xf00, 0x100, &ops, NULL), 0);
	assert_int_equal(bus_add(&bus, 0x1100, 1, &ops, NULL), 0);
}

static void the_last_byte_counts(void **state)
{
	struct bus bus = BUS_INIT;
	struct device device = { .value = 5 };

	(void)state;
	assert_int_equal(bus_add(&bus, UINT64_MAX, 1, &ops, &device), 0);
	assert_int_equal(bus_read(&bus, UINT64_MAX, 1), 5);
	assert_int_equal(bus_read(&bus, UINT64_MAX, 2), 0xffff);
}

static void removes_and_fills(void **state)
{
	struct bus bus = BUS_INIT;
	unsigned i;

	(void)state;
	assert_int_equal(bus_remove(&bus, 0), -ENOENT);
	for (i = 0; i < BUS_RANGES_MAX; i++)
		assert_int_equal(bus_add(&bus, i * 16, 16, &ops, NULL), 0);
	assert_int_equal(bus_add(&bus, i * 16, 16, &ops, NULL), -ENOSPC);
	assert_int_equal(bus_remove(&bus, 8), -ENOENT);
	assert_int_equal(bus_remove(&bus, 160), 0);
	assert_int_equal(bus_read(&bus, 160, 1), 0xff);
	assert_int_equal(bus_add(&bus, 160, 16, &ops, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_reads_all_ones),
		cmocka_unit_test(reaches_the_owner),
		cmocka_unit_test(an_access_over_the_end_is_nobodys),
		cmocka_unit_test(refuses_what_overlaps),
		cmocka_unit_test(the_last_byte_counts),
		cmocka_unit_test(removes_and_fills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
