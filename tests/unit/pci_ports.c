/* SPDX-License-Identifier: ISC */
/* The two ports show the configuration space that ECAM shows. */
#include "vm-cpu/pci_ports.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/pci.h"
#include "vm-cpu/vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
	SLOT = 1,
	ADDRESS = LAYOUT_PCI_PORTS,
	RESET_CONTROL = LAYOUT_PCI_PORTS + 1,
	DATA = LAYOUT_PCI_PORTS + 4,
};

static struct vm vm = VM_INIT;
static struct pci_host host;
static struct pci_device device;
static struct pci_ports ports;
static unsigned n_resets;

static void count_reset(void *context)
{
	(void)context;
	n_resets++;
}

static int set_up(void **state)
{
	const struct pci_identity identity = {
		.vendor_id = 0x1af4,
		.device_id = 0x1042,
	};

	(void)state;
	vm = (struct vm)VM_INIT;
	n_resets = 0;
	pci_device_init(&device, &identity);
	if (pci_host_init(&host, &vm) < 0 || pci_device_add(&host, &device) < 0)
		return -1;
	return pci_ports_init(&ports, &vm, &host, count_reset, NULL);
}

static void point(unsigned bus, unsigned slot, unsigned reg)
{
	bus_write(&vm.pio, ADDRESS, 4,
		  UINT64_C(1) << 31 | bus << 16 | slot << 11 | reg);
}

static void test_ports_read_what_ecam_reads(void **state)
{
	(void)state;
	for (unsigned reg = 0; reg < PCI_CONFIG_SIZE; reg += 4) {
		uint64_t there =
			bus_read(&vm.mmio, LAYOUT_ECAM + (SLOT << 15) + reg, 4);

		point(0, SLOT, reg);
		assert_int_equal(bus_read(&vm.pio, DATA, 4), there);
		assert_int_equal(bus_read(&vm.pio, DATA + 2, 2), there >> 16);
		assert_int_equal(bus_read(&vm.pio, DATA + 3, 1), there >> 24);
	}
}

static void test_ports_write_what_ecam_reads(void **state)
{
	(void)state;
	point(0, SLOT, PCI_COMMAND);
	bus_write(&vm.pio, DATA, 2, PCI_COMMAND_MASTER);
	assert_int_equal(pci_device_command(&device), PCI_COMMAND_MASTER);
}

static void test_nobody_there_reads_as_all_ones(void **state)
{
	(void)state;
	point(0, SLOT + 1, 0);
	assert_int_equal(bus_read(&vm.pio, DATA, 4), UINT32_MAX);
	point(1, SLOT, 0);
	assert_int_equal(bus_read(&vm.pio, DATA, 4), UINT32_MAX);
	/* Not enabled. */
	bus_write(&vm.pio, ADDRESS, 4, SLOT << 11);
	assert_int_equal(bus_read(&vm.pio, DATA, 4), UINT32_MAX);
}

static void test_address_reads_back_without_reserved_bits(void **state)
{
	(void)state;
	bus_write(&vm.pio, ADDRESS, 4, UINT32_MAX);
	assert_int_equal(bus_read(&vm.pio, ADDRESS, 4), 0x80fffffc);
}

static void test_reset_control_is_a_byte_of_its_own(void **state)
{
	(void)state;
	bus_write(&vm.pio, ADDRESS, 4, UINT32_MAX);
	bus_write(&vm.pio, RESET_CONTROL, 1, 2);
	assert_int_equal(n_resets, 0);
	bus_write(&vm.pio, RESET_CONTROL, 1, 6);
	assert_int_equal(n_resets, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ports_read_what_ecam_reads, set_up),
		cmocka_unit_test_setup(test_ports_write_what_ecam_reads,
				       set_up),
		cmocka_unit_test_setup(test_nobody_there_reads_as_all_ones,
				       set_up),
		cmocka_unit_test_setup(
			test_address_reads_back_without_reserved_bits, set_up),
		cmocka_unit_test_setup(test_reset_control_is_a_byte_of_its_own,
				       set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
