/* SPDX-License-Identifier: ISC */
/* The PCI bus before a guest that writes what it likes. */
#include "vm-cpu/pci.h"
#include "lib/base/cleanup.h"
#include "tests/support/fake_vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
	BAR_SIZE = 0x4000,
	REG_BAR0 = PCI_BAR0,
	REG_BAR2 = PCI_BAR0 + 8,
};

struct thing {
	struct pci_device pci;
	uint64_t moved_to, written;
	unsigned n_moves;
};

struct bench {
	struct vm vm;
	struct pci_host host;
	struct thing things[2];
};

static uint64_t read_thing(void *context, uint64_t offset, unsigned width)
{
	(void)context;
	(void)width;
	return 0x1000 + offset;
}

static void write_thing(void *context, uint64_t offset, unsigned width,
			uint64_t value)
{
	(void)offset;
	(void)width;
	((struct thing *)context)->written = value;
}

static const struct bus_ops thing_ops = { read_thing, write_thing };

static void note_move(struct pci_device *device, uint64_t gpa)
{
	struct thing *thing = container_of(device, struct thing, pci);

	thing->moved_to = gpa;
	thing->n_moves++;
}

static int set_up(void **state)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x1af4,
		.device_id = 0x1042,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100,
		.class = 0x018000,
		.revision = 1,
	};
	struct bench *bench = calloc(1, sizeof(*bench));

	assert_int_equal(pci_host_init(&bench->host, &bench->vm), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct pci_device *pci = &bench->things[i].pci;

		pci_device_init(pci, &identity);
		pci->bars[0] = (struct pci_bar){ .size = BAR_SIZE,
						 .ops = &thing_ops,
						 .moved = note_move };
		pci->bars[1] =
			(struct pci_bar){ .size = 0x1000, .ops = &thing_ops };
		assert_int_equal(pci_device_add(&bench->host, pci), 0);
	}
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	pci_device_remove(&bench->things[0].pci);
	pci_device_remove(&bench->things[1].pci);
	pci_host_deinit(&bench->host);
	assert_int_equal(bench->vm.mmio.n_ranges, 0);
	free(bench);
	return 0;
}

static uint64_t address(unsigned slot, unsigned reg)
{
	return LAYOUT_ECAM + slot * PCI_N_FUNCTIONS * PCI_CONFIG_EXPRESS_SIZE +
	       reg;
}

static uint64_t get(struct bench *bench, unsigned slot, unsigned reg,
		    unsigned width)
{
	return bus_read(&bench->vm.mmio, address(slot, reg), width);
}

static void put(struct bench *bench, unsigned slot, unsigned reg,
		unsigned width, uint64_t value)
{
	bus_write(&bench->vm.mmio, address(slot, reg), width, value);
}

static void test_identity(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(get(bench, 0, PCI_VENDOR_ID, 4), 0x00081b36);
	assert_int_equal(get(bench, 0, PCI_REVISION_ID, 4), 0x06000000);
	assert_int_equal(get(bench, 1, PCI_VENDOR_ID, 4), 0x10421af4);
	assert_int_equal(get(bench, 1, PCI_REVISION_ID, 4), 0x01800001);
	assert_int_equal(get(bench, 1, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
	assert_int_equal(get(bench, 1, PCI_DEVICE_ID + 1, 1), 0x10);
}

/* Slots, functions and registers that are not there. */
static void test_nobody_there(void **state)
{
	struct bench *bench = *state;

	assert_true(get(bench, 3, 0, 4) == UINT32_MAX);
	assert_true(get(bench, 31, 0, 2) == UINT16_MAX);
	assert_true(get(bench, 1, PCI_CONFIG_EXPRESS_SIZE, 4) == UINT32_MAX);
	assert_true(bus_read(&bench->vm.mmio,
			     LAYOUT_ECAM + LAYOUT_ECAM_SIZE - 4,
			     4) == UINT32_MAX);
	assert_int_equal(get(bench, 1, 0x100, 4), 0);
	assert_int_equal(get(bench, 1, 254, 4), 0);
	put(bench, 1, 254, 4, UINT32_MAX);
	put(bench, 1, 0xffc, 8, UINT64_MAX);
	put(bench, 7, 0, 4, 1);
}

/* What a driver does to learn a BAR's size. */
static void test_sizing(void **state)
{
	struct bench *bench = *state;
	uint64_t was = get(bench, 1, REG_BAR0, 8);

	assert_int_equal(was & PCI_BAR_FLAGS, PCI_BAR_MEMORY_64);
	put(bench, 1, PCI_COMMAND, 2, 0);
	put(bench, 1, REG_BAR0, 4, UINT32_MAX);
	put(bench, 1, REG_BAR0 + 4, 4, UINT32_MAX);
	assert_int_equal(get(bench, 1, REG_BAR0, 4),
			 (uint32_t)-BAR_SIZE | PCI_BAR_MEMORY_64);
	assert_true(get(bench, 1, REG_BAR0 + 4, 4) == UINT32_MAX);
	put(bench, 1, REG_BAR0, 4, was);
	put(bench, 1, REG_BAR0 + 4, 4, was >> 32);
	put(bench, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(bench->things[0].moved_to == (was & ~0xfull));
	/* Registers of BARs that are not there stay 0. */
	put(bench, 1, PCI_BAR0 + 16, 4, UINT32_MAX);
	assert_int_equal(get(bench, 1, PCI_BAR0 + 16, 4), 0);
}

static void test_assigned_apart(void **state)
{
	struct bench *bench = *state;
	uint64_t gpas[] = {
		get(bench, 1, REG_BAR0, 8),
		get(bench, 1, REG_BAR2, 8),
		get(bench, 2, REG_BAR0, 8),
		get(bench, 2, REG_BAR2, 8),
	};

	for (unsigned i = 0; i < array_size(gpas); i++) {
		gpas[i] &= ~UINT64_C(0xf);
		assert_true(gpas[i] >= LAYOUT_MMIO32);
		assert_int_equal(bus_read(&bench->vm.mmio, gpas[i] + 8, 4),
				 0x1008);
		for (unsigned j = 0; j < i; j++)
			assert_true(gpas[i] != gpas[j]);
	}
}

static void test_move(void **state)
{
	struct bench *bench = *state;
	const uint64_t high = LAYOUT_MMIO64 + (UINT64_C(5) << 32);
	uint64_t was = bench->things[0].moved_to;

	/* In two halves, with decoding on: for a moment it is elsewhere. */
	put(bench, 1, REG_BAR0 + 4, 4, high >> 32);
	put(bench, 1, REG_BAR0, 4, high & UINT32_MAX);
	assert_true(bench->things[0].moved_to == high);
	assert_int_equal(bus_read(&bench->vm.mmio, high, 4), 0x1000);
	assert_true(bus_read(&bench->vm.mmio, was, 4) == UINT32_MAX);
	put(bench, 1, PCI_COMMAND, 2, 0);
	assert_true(bench->things[0].moved_to == 0);
	assert_true(bus_read(&bench->vm.mmio, high, 4) == UINT32_MAX);
	pci_host_reset(&bench->host);
	assert_true(bench->things[0].moved_to == was);
}

/* Outside of the windows nothing answers: not over RAM, APICs, ECAM. */
static void test_outside_of_windows(void **state)
{
	struct bench *bench = *state;
	static const uint64_t places[] = {
		0,
		0x100000,
		LAYOUT_MMIO32 - BAR_SIZE,
		LAYOUT_ECAM,
		LAYOUT_POWER & -BAR_SIZE,
		LAYOUT_LAPIC,
		LAYOUT_HIGH_RAM,
		LAYOUT_MMIO64 + LAYOUT_MMIO64_SIZE,
		-(uint64_t)BAR_SIZE,
	};

	for (unsigned i = 0; i < array_size(places); i++) {
		put(bench, 1, REG_BAR0, 8, places[i]);
		assert_true(bench->things[0].moved_to == 0);
	}
	assert_int_equal(get(bench, 1, PCI_VENDOR_ID, 2), 0x1af4);
	put(bench, 1, REG_BAR0, 8, LAYOUT_ECAM - BAR_SIZE);
	assert_true(bench->things[0].moved_to == LAYOUT_ECAM - BAR_SIZE);
}

/* Of two at one place the first answers; the other as soon as it may. */
static void test_overlap(void **state)
{
	struct bench *bench = *state;
	uint64_t first = bench->things[0].moved_to;
	uint64_t second = bench->things[1].moved_to;

	put(bench, 2, REG_BAR0, 8, first);
	assert_true(bench->things[1].moved_to == 0);
	bus_write(&bench->vm.mmio, first, 4, 7);
	assert_int_equal(bench->things[0].written, 7);
	assert_int_equal(bench->things[1].written, 0);
	put(bench, 1, REG_BAR0, 8, second);
	assert_true(bench->things[0].moved_to == second);
	assert_true(bench->things[1].moved_to == first);
}

static void test_capabilities(void **state)
{
	struct pci_device device;
	const struct pci_identity identity = { .vendor_id = 1 };
	uint8_t cap[20] = { PCI_CAP_VENDOR, 0x77, 20 };
	int first, second, n = 0;

	(void)state;
	pci_device_init(&device, &identity);
	assert_int_equal(device.config[PCI_STATUS], 0);
	first = pci_device_add_cap(&device, cap, 18);
	second = pci_device_add_cap(&device, cap, 20);
	assert_int_equal(device.config[PCI_STATUS], PCI_STATUS_CAPABILITIES);
	assert_int_equal(device.config[PCI_CAPABILITIES], first);
	assert_int_equal(device.config[first + 1], second);
	assert_int_equal(device.config[second + 1], 0);
	assert_int_equal(second % 4, 0);
	while (pci_device_add_cap(&device, cap, 20) > 0)
		n++;
	assert_in_range(n, 5, 8);
}

/* Any write anywhere, then back to how it was. */
static void test_random_writes(void **state)
{
	struct bench *bench = *state;
	uint64_t first = bench->things[0].moved_to;

	srandom(1);
	for (unsigned i = 0; i < 200000; i++) {
		static const unsigned widths[] = { 1, 2, 4, 8 };
		uint64_t value = (uint64_t)random() << 33 ^ (uint64_t)random();

		if (i % 3 == 0)
			value = LAYOUT_MMIO32 + (value & 0x1c000);
		put(bench, (unsigned)random() % 4, (unsigned)random() % 64,
		    widths[random() % 4], value);
	}
	assert_int_equal(get(bench, 1, PCI_VENDOR_ID, 4), 0x10421af4);
	pci_host_reset(&bench->host);
	assert_true(bench->things[0].moved_to == first);
	assert_int_equal(bus_read(&bench->vm.mmio, first, 4), 0x1000);
}

static void test_bus_is_full(void **state)
{
	struct bench *bench = *state;
	static struct pci_device many[PCI_N_DEVICES];
	const struct pci_identity identity = { .vendor_id = 1 };
	unsigned n = 0;

	for (; n < PCI_N_DEVICES; n++) {
		pci_device_init(&many[n], &identity);
		if (pci_device_add(&bench->host, &many[n]) < 0)
			break;
	}
	assert_int_equal(n, PCI_N_DEVICES - 3);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_identity),	  test(test_nobody_there),
		test(test_sizing),	  test(test_assigned_apart),
		test(test_move),	  test(test_outside_of_windows),
		test(test_overlap),	  cmocka_unit_test(test_capabilities),
		test(test_random_writes), test(test_bus_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
