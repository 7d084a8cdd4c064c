/* SPDX-License-Identifier: ISC */
/*
 * One PCI bus: bus 0 behind ECAM, a host bridge in slot 0, and single-function
 * devices in the others. No bridges, no hot plug, no interrupt lines: devices
 * interrupt by MSI-X alone.
 *
 * The guest may write any configuration register at any time. A BAR answers
 * while memory decoding is on and all of it lies in one of the windows that
 * the ACPI tables give to PCI (layout.h); so it can cover nothing else. Of
 * BARs that overlap, the one that was there first answers.
 *
 * Under the machine's lock (vm.h).
 */
#ifndef VM_CPU_PCI_H
#define VM_CPU_PCI_H

#include "protocols/pci.h"
#include "vm-cpu/bus.h"

#include <stdbool.h>
#include <stdint.h>

struct pci_device;
struct vm;

/* A memory BAR, 64-bit; takes two of the six registers. */
struct pci_bar {
	uint64_t size; /* a power of two, at least 16; 0: there is none */
	const struct bus_ops *ops;
	/* It answers at gpa from now on; or no more (gpa 0). May be NULL. */
	void (*moved)(struct pci_device *device, uint64_t gpa);
	uint64_t assigned_gpa; /* what it had when the machine started */
	uint64_t gpa;	       /* where it answers now; 0: nowhere */
};

struct pci_device {
	struct pci_host *host;
	unsigned slot;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that the guest may set */
	uint8_t initial[PCI_CONFIG_SIZE];
	unsigned cap_end;  /* where the next capability goes */
	unsigned cap_link; /* the byte that points to it */
	struct pci_bar bars[PCI_N_BARS / 2];
	/*
	 * Hooks, may be NULL. before_read: registers that are not memory get
	 * their value. written: the bytes are in config[] now.
	 */
	void (*before_read)(struct pci_device *device, unsigned offset,
			    unsigned width);
	void (*written)(struct pci_device *device, unsigned offset,
			unsigned width);
};

struct pci_host {
	struct vm *vm;
	struct pci_device bridge;
	struct pci_device *devices[PCI_N_DEVICES]; /* not owned */
	uint64_t next_gpa;			   /* of the BARs to come */
};

/* Take ECAM's range of the machine's bus. */
int pci_host_init(struct pci_host *host, struct vm *vm);
void pci_host_deinit(struct pci_host *host);
/* Configuration space, by its offset in ECAM; beyond bus 0 nobody is there. */
uint64_t pci_host_read(struct pci_host *host, uint64_t offset, unsigned width);
void pci_host_write(struct pci_host *host, uint64_t offset, unsigned width,
		    uint64_t value);
/*
 * No BAR answers any more, whatever the registers say, until the reset, which
 * makes all registers what they were when their devices were added.
 */
void pci_host_halt(struct pci_host *host);
void pci_host_reset(struct pci_host *host);

struct pci_identity {
	uint16_t vendor_id, device_id;
	uint16_t subsystem_vendor_id, subsystem_id;
	uint32_t class; /* class, subclass, interface */
	uint8_t revision;
};

/*
 * Set up a device: first this, then its BARs and capabilities, then
 * pci_device_add().
 */
void pci_device_init(struct pci_device *device,
		     const struct pci_identity *identity);

/*
 * A capability of len bytes, of which the second byte (the link) is filled in
 * here. Returns its offset in config[], which is where it is kept from then
 * on; or -ENOSPC. The guest can write none of it unless `writable` says so.
 */
int pci_device_add_cap(struct pci_device *device, const void *cap, uint8_t len);

/* Into the first free slot, its BARs into the 32-bit window; -ENOSPC. */
int pci_device_add(struct pci_host *host, struct pci_device *device);
void pci_device_remove(struct pci_device *device);

uint16_t pci_device_command(const struct pci_device *device);

#endif
