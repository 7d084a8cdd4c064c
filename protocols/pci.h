/* SPDX-License-Identifier: ISC */
/*
 * Configuration space of a PCI function, as far as devices without bridges,
 * interrupts lines or power states have one (PCI Local Bus Specification 3.0,
 * chapter 6), and MSI-X (§6.8.2). All numbers are little-endian.
 */
#ifndef PROTOCOLS_PCI_H
#define PROTOCOLS_PCI_H

#include <stdint.h>

/* Offsets of registers, §6.1. */
enum {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION_ID = 0x08,
	PCI_CLASS = 0x09, /* interface, subclass, class */
	PCI_CACHE_LINE_SIZE = 0x0c,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_HEADER_END = 0x40,

	PCI_CONFIG_SIZE = 256,
	PCI_CONFIG_EXPRESS_SIZE = 4096, /* what ECAM reserves for each */
	PCI_N_BARS = 6,
	PCI_N_DEVICES = 32, /* of a bus */
	PCI_N_FUNCTIONS = 8,
};

enum {
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_INTX_DISABLE = 1 << 10,
	PCI_STATUS_CAPABILITIES = 1 << 4,
	PCI_BAR_MEMORY_64 = 2 << 1,
	PCI_BAR_FLAGS = 0xf,
	PCI_CLASS_HOST_BRIDGE = 0x060000,
};

/* Capability ids, PCI Code and ID Assignment. */
enum {
	PCI_CAP_VENDOR = 0x09,
	PCI_CAP_MSIX = 0x11,
};

struct pci_msix_cap {
	uint8_t id, next;
	uint16_t control;
	uint32_t table; /* offset, and the BAR's index in bits 0 to 2 */
	uint32_t pba;
} __attribute__((packed));
_Static_assert(sizeof(struct pci_msix_cap) == 12, "PCI 3.0 §6.8.2");

enum {
	PCI_MSIX_SIZE = 0x07ff, /* of the table, less one */
	PCI_MSIX_MASK_ALL = 1 << 14,
	PCI_MSIX_ENABLE = 1 << 15,
	PCI_MSIX_VECTORS_MAX = 2048,
};

struct pci_msix_entry {
	uint32_t address_low, address_high;
	uint32_t data;
	uint32_t control;
} __attribute__((packed));
_Static_assert(sizeof(struct pci_msix_entry) == 16, "PCI 3.0 §6.8.2.6");

enum {
	PCI_MSIX_ENTRY_MASKED = 1 << 0,
};

#endif
