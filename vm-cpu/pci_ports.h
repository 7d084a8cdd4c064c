/* SPDX-License-Identifier: ISC */
/*
 * PCI's first way to configuration space, two ports (PCI 3.0 §3.2.2.3.2), for
 * what looks before it has read ACPI's MCFG: Linux calls it fatal to find
 * neither, and reads the first 256 bytes this way for good, which costs a
 * port access instead of an emulated instruction.
 *
 *	cf8  address, 4 bytes at once: enable, bus, device, function, register
 *	cf9  the chipset's reset control, 1 byte in the middle of it
 *	cfc  data of the register addressed
 */
#ifndef VM_CPU_PCI_PORTS_H
#define VM_CPU_PCI_PORTS_H

#include <stdint.h>

struct pci_host;
struct vm;

struct pci_ports {
	struct pci_host *host;
	uint32_t address;
	/* The guest asks for a reset at cf9; with the lock held. */
	void (*reset)(void *context);
	void *context;
};

int pci_ports_init(struct pci_ports *ports, struct vm *vm,
		   struct pci_host *host, void (*reset)(void *context),
		   void *context);
void pci_ports_reset(struct pci_ports *ports);

#endif
