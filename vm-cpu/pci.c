/* SPDX-License-Identifier: ISC */
/*
 * Configuration space and BARs (pci.h). Configuration bytes are memory with a
 * mask of what may be written; all that has an effect is looked at after the
 * write, from the bytes, so that no order or width of accesses is special.
 */
#include "vm-cpu/pci.h"

#include "lib/base/cleanup.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/vm.h"

#include <errno.h>
#include <string.h>

enum {
	/* An id of Red Hat's for a host bridge that does nothing. */
	BRIDGE_VENDOR = 0x1b36,
	BRIDGE_DEVICE = 0x0008,
};

static uint64_t get(const uint8_t *bytes, unsigned width)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < width; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static void put(uint8_t *bytes, uint64_t value, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
}

uint16_t pci_device_command(const struct pci_device *device)
{
	return (uint16_t)get(device->config + PCI_COMMAND, 2);
}

/* The offset of BAR i's two registers. */
static size_t bar_register(unsigned i)
{
	return PCI_BAR0 + (size_t)i * 8;
}

static bool is_within(uint64_t gpa, uint64_t size, uint64_t base, uint64_t len)
{
	return gpa >= base && gpa - base <= len - size;
}

/* Where the registers say that BAR i is; 0: not where it could answer. */
static uint64_t programmed(const struct pci_device *device, unsigned i)
{
	const struct pci_bar *bar = &device->bars[i];
	uint64_t gpa = get(device->config + bar_register(i), 8);

	gpa &= ~(uint64_t)PCI_BAR_FLAGS;
	if (bar->size == 0 ||
	    !(pci_device_command(device) & PCI_COMMAND_MEMORY))
		return 0;
	if (!is_within(gpa, bar->size, LAYOUT_MMIO32, LAYOUT_MMIO32_SIZE) &&
	    !is_within(gpa, bar->size, LAYOUT_MMIO64, LAYOUT_MMIO64_SIZE))
		return 0;
	return gpa;
}

static void unmap(struct pci_device *device, struct pci_bar *bar)
{
	bus_remove(&device->host->vm->mmio, bar->gpa);
	bar->gpa = 0;
	if (bar->moved)
		bar->moved(device, 0);
}

static void map(struct pci_device *device, struct pci_bar *bar, uint64_t gpa)
{
	/* It overlaps another: unseen until that one moves away. */
	if (bus_add(&device->host->vm->mmio, gpa, bar->size, bar->ops, device) <
	    0)
		return;
	bar->gpa = gpa;
	if (bar->moved)
		bar->moved(device, gpa);
}

/* Make the bus what the registers say: first what goes, then what comes. */
static void update_bars(struct pci_host *host)
{
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned slot = 0; slot < PCI_N_DEVICES; slot++) {
			struct pci_device *device = host->devices[slot];

			for (unsigned i = 0; device && i < PCI_N_BARS / 2;
			     i++) {
				struct pci_bar *bar = &device->bars[i];
				uint64_t gpa = programmed(device, i);

				if (pass == 0 && bar->gpa && bar->gpa != gpa)
					unmap(device, bar);
				else if (pass == 1 && gpa && !bar->gpa)
					map(device, bar, gpa);
			}
		}
	}
}

/* The device and register that an ECAM offset means; NULL: nobody there. */
static struct pci_device *find(struct pci_host *host, uint64_t offset,
			       unsigned width, unsigned *reg)
{
	uint64_t function = offset / PCI_CONFIG_EXPRESS_SIZE;

	*reg = offset % PCI_CONFIG_EXPRESS_SIZE;
	if (function % PCI_N_FUNCTIONS != 0 ||
	    function / PCI_N_FUNCTIONS >= PCI_N_DEVICES ||
	    *reg + width > PCI_CONFIG_EXPRESS_SIZE)
		return NULL;
	return host->devices[function / PCI_N_FUNCTIONS];
}

uint64_t pci_host_read(struct pci_host *host, uint64_t offset, unsigned width)
{
	unsigned reg;
	struct pci_device *device = find(host, offset, width, &reg);

	if (!device)
		return UINT64_MAX;
	/* No extended capabilities. */
	if (reg + width > PCI_CONFIG_SIZE)
		return 0;
	if (device->before_read)
		device->before_read(device, reg, width);
	return get(device->config + reg, width);
}

void pci_host_write(struct pci_host *host, uint64_t offset, unsigned width,
		    uint64_t value)
{
	unsigned reg;
	struct pci_device *device = find(host, offset, width, &reg);

	if (!device || reg + width > PCI_CONFIG_SIZE)
		return;
	for (unsigned i = 0; i < width; i++) {
		uint8_t writable = device->writable[reg + i];
		uint8_t byte = (uint8_t)(value >> (8 * i));

		device->config[reg + i] =
			(uint8_t)((device->config[reg + i] & ~writable) |
				  (byte & writable));
	}
	if (reg < bar_register(PCI_N_BARS / 2) && reg + width > PCI_COMMAND)
		update_bars(host);
	if (device->written)
		device->written(device, reg, width);
}

static uint64_t read_ecam(void *context, uint64_t offset, unsigned width)
{
	return pci_host_read(context, offset, width);
}

static void write_ecam(void *context, uint64_t offset, unsigned width,
		       uint64_t value)
{
	pci_host_write(context, offset, width, value);
}

static const struct bus_ops ecam_ops = { read_ecam, write_ecam };

int pci_host_init(struct pci_host *host, struct vm *vm)
{
	const struct pci_identity identity = {
		.vendor_id = BRIDGE_VENDOR,
		.device_id = BRIDGE_DEVICE,
		.class = PCI_CLASS_HOST_BRIDGE,
	};

	*host = (struct pci_host){ .vm = vm, .next_gpa = LAYOUT_MMIO32 };
	pci_device_init(&host->bridge, &identity);
	pci_device_add(host, &host->bridge);
	return bus_add(&vm->mmio, LAYOUT_ECAM, LAYOUT_ECAM_SIZE, &ecam_ops,
		       host);
}

void pci_host_deinit(struct pci_host *host)
{
	if (!host->vm)
		return;
	bus_remove(&host->vm->mmio, LAYOUT_ECAM);
	host->vm = NULL;
}

static void unmap_all(struct pci_device *device)
{
	for (unsigned i = 0; i < PCI_N_BARS / 2; i++) {
		if (device->bars[i].gpa)
			unmap(device, &device->bars[i]);
	}
}

void pci_host_halt(struct pci_host *host)
{
	for (unsigned slot = 0; slot < PCI_N_DEVICES; slot++) {
		if (host->devices[slot])
			unmap_all(host->devices[slot]);
	}
}

void pci_host_reset(struct pci_host *host)
{
	for (unsigned slot = 0; slot < PCI_N_DEVICES; slot++) {
		struct pci_device *device = host->devices[slot];

		if (device)
			memcpy(device->config, device->initial,
			       sizeof(device->config));
	}
	update_bars(host);
}

void pci_device_init(struct pci_device *device,
		     const struct pci_identity *identity)
{
	uint8_t *config = device->config;

	*device = (struct pci_device){ .cap_end = PCI_HEADER_END,
				       .cap_link = PCI_CAPABILITIES };
	put(config + PCI_VENDOR_ID, identity->vendor_id, 2);
	put(config + PCI_DEVICE_ID, identity->device_id, 2);
	put(config + PCI_REVISION_ID, identity->revision, 1);
	put(config + PCI_CLASS, identity->class, 3);
	put(config + PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor_id, 2);
	put(config + PCI_SUBSYSTEM_ID, identity->subsystem_id, 2);
	put(device->writable + PCI_COMMAND,
	    PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
	    2);
	/* Without effect, but kept for the driver, as the standard asks. */
	device->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	device->writable[PCI_INTERRUPT_LINE] = 0xff;
}

int pci_device_add_cap(struct pci_device *device, const void *cap, uint8_t len)
{
	unsigned at = device->cap_end;

	if (at + len > PCI_CONFIG_SIZE)
		return -ENOSPC;
	memcpy(device->config + at, cap, len);
	device->config[at + 1] = 0;
	device->config[device->cap_link] = (uint8_t)at;
	device->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	device->cap_link = at + 1;
	device->cap_end = (at + len + 3u) & ~3u;
	return (int)at;
}

static void assign(struct pci_host *host, struct pci_device *device)
{
	for (unsigned i = 0; i < PCI_N_BARS / 2; i++) {
		struct pci_bar *bar = &device->bars[i];
		size_t reg = bar_register(i);
		uint64_t gpa = host->next_gpa;

		if (bar->size == 0)
			continue;
		gpa = (gpa + bar->size - 1) & ~(bar->size - 1);
		bar->assigned_gpa = gpa;
		host->next_gpa = gpa + bar->size;
		put(device->config + reg, gpa | PCI_BAR_MEMORY_64, 8);
		/* Sizing is no more than this: low bits do not stick. */
		put(device->writable + reg,
		    ~(bar->size - 1) & ~(uint64_t)PCI_BAR_FLAGS, 8);
	}
}

int pci_device_add(struct pci_host *host, struct pci_device *device)
{
	for (unsigned slot = 0; slot < PCI_N_DEVICES; slot++) {
		if (host->devices[slot])
			continue;
		device->host = host;
		device->slot = slot;
		host->devices[slot] = device;
		assign(host, device);
		if (device->bars[0].size)
			device->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
		memcpy(device->initial, device->config, sizeof(device->config));
		update_bars(host);
		return 0;
	}
	return -ENOSPC;
}

void pci_device_remove(struct pci_device *device)
{
	if (!device->host)
		return;
	unmap_all(device);
	device->host->devices[device->slot] = NULL;
	device->host = NULL;
}
