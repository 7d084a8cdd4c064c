/* SPDX-License-Identifier: ISC */
/*
 * A hostile driver: the input is a list of accesses to the configuration
 * space and the BARs of a block and a network device. KVM is noted instead of
 * called, the back ends are scripted.
 */
#include "lib/base/error.h"
#include "lib/base/event.h"
#include "lib/base/log.h"
#include "tests/support/fake_vm.h"
#include "tests/support/scripted_backend.h"
#include "vm-cpu/device_option.h"
#include "vm-cpu/devices.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	RAM_SIZE = 1 << 20,
	N_DEVICES = 2,
};

struct access {
	uint8_t what; /* bits 0-1: width; 2: write; 3-4: place; 5: device;
			 6-7: turns of the loop */
	uint8_t offset[2];
	uint8_t value[5];
};

static struct vm vm = { .kvm_fd = -1, .fd = -1 };
static struct event_loop loop;
static struct devices devices;
static struct device_options options = { .reconnect_seconds = -1 };
static struct scripted_backend backends[N_DEVICES];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[N_DEVICES] = { "blk", "net" };
	struct error err = ERROR_INIT;

	(void)argc;
	(void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	vm.ram.fd = memfd_create("ram", MFD_CLOEXEC);
	vm.ram.n_regions = 1;
	vm.ram.regions[0] = (struct vhost_frontend_region){ .size = RAM_SIZE,
							    .user = 0x100000,
							    .fd = vm.ram.fd };
	guest_memory_init(&vm.ram.memory);
	if (ftruncate(vm.ram.fd, RAM_SIZE) < 0 ||
	    guest_memory_add(&vm.ram.memory, 0, RAM_SIZE, 0, vm.ram.fd, 0) < 0)
		abort();
	for (unsigned i = 0; i < N_DEVICES; i++) {
		scripted_backend_init(&backends[i]);
		backends[i].forgets = true;
		scripted_backend_start(&backends[i]);
		if (device_option_add(&options, names[i], backends[i].path,
				      &err) < 0)
			abort();
	}
	if (event_loop_init(&loop) < 0 ||
	    devices_init(&devices, &vm, &loop, &options, 2, &err) < 0)
		abort();
	return 0;
}

static uint64_t place(const struct access *access)
{
	uint64_t offset = access->offset[0] | access->offset[1] << 8;
	unsigned slot = 1 + (access->what >> 5 & 1);
	uint64_t ecam =
		LAYOUT_ECAM + slot * PCI_N_FUNCTIONS * PCI_CONFIG_EXPRESS_SIZE;
	uint64_t bar;

	switch (access->what >> 3 & 3) {
	case 0:
		return ecam + offset % PCI_CONFIG_SIZE;
	case 1:
		bar = bus_read(&vm.mmio, ecam + PCI_BAR0 + 8, 8);
		break;
	default:
		bar = bus_read(&vm.mmio, ecam + PCI_BAR0, 8);
		break;
	}
	return (bar & ~UINT64_C(0xf)) + offset % 0x4000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct access access;

	for (; size >= sizeof(access); size -= sizeof(access)) {
		unsigned width;
		uint64_t value = 0;

		memcpy(&access, data, sizeof(access));
		data += sizeof(access);
		width = 1u << (access.what & 3);
		memcpy(&value, access.value, sizeof(access.value));
		if (access.what & 4)
			bus_write(&vm.mmio, place(&access), width, value);
		else
			bus_read(&vm.mmio, place(&access), width);
		for (unsigned i = 0; i < access.what >> 6; i++)
			event_loop_step(&loop, 0);
	}
	devices_halt(&devices);
	if (fake_vm.n_mistakes || fake_vm.n_irqfds || fake_vm.n_doorbells)
		abort();
	devices_reset(&devices);
	return 0;
}
