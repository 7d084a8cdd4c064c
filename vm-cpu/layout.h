/* SPDX-License-Identifier: ISC */
/*
 * The guest physical address map and the interrupt map: what the loaders,
 * the ACPI tables (whose ASL has the same numbers, checked by a unit test),
 * KVM's memory slots and the PCI host bridge must agree on.
 *
 *	0000_0000  RAM: real-mode page 0, boot_params, command line, ...
 *	0009_fc00  (hole: EBDA and VGA of a PC; not RAM in E820)
 *	000e_0000  RAM, reserved in E820: ACPI tables
 *	000f_fff0  ... and a reset vector
 *	0010_0000  RAM: kernel, initrd; at most up to 3 GiB
 *	c000_0000  PCI memory, 32-bit window
 *	e000_0000  PCI configuration (ECAM), bus 0 only
 *	fea0_0000  power registers (GED, sleep, reset)
 *	fec0_0000  I/O APIC
 *	fee0_0000  local APICs
 *	fffb_c000  KVM's own pages (EPT identity map, task state)
 *	1_0000_0000  RAM beyond the first 3 GiB
 *	40_0000_0000  PCI memory, 64-bit window
 */
#ifndef VM_CPU_LAYOUT_H
#define VM_CPU_LAYOUT_H

#include <stdint.h>

/* 64-bit numbers: an enum constant of C11 is an int. */
#define LAYOUT_GIB (UINT64_C(1) << 30)

/* RAM */
#define LAYOUT_LOW_RAM_MAX (3 * LAYOUT_GIB)
#define LAYOUT_HIGH_RAM (4 * LAYOUT_GIB)
#define LAYOUT_RAM_MAX (LAYOUT_MMIO64 - LAYOUT_GIB)

/* Boot structures in the first 640 KiB. */
#define LAYOUT_GDT UINT64_C(0x500)
#define LAYOUT_START_INFO UINT64_C(0x6000)  /* PVH hvm_start_info */
#define LAYOUT_BOOT_PARAMS UINT64_C(0x7000) /* Linux zero page */
#define LAYOUT_PAGE_TABLES UINT64_C(0x9000) /* 6 pages: 4 GiB, 2 MiB each */
#define LAYOUT_CMDLINE UINT64_C(0x20000)
#define LAYOUT_CMDLINE_SIZE UINT64_C(0x10000)
#define LAYOUT_LOW_END UINT64_C(0x9fc00)
#define LAYOUT_ACPI UINT64_C(0xe0000)
#define LAYOUT_ACPI_SIZE UINT64_C(0x1fff0)
#define LAYOUT_RESET_VECTOR UINT64_C(0xffff0) /* where a PC's BIOS starts */
#define LAYOUT_KERNEL UINT64_C(0x100000)

/* PCI */
#define LAYOUT_MMIO32 UINT64_C(0xc0000000)
#define LAYOUT_MMIO32_SIZE UINT64_C(0x20000000)
#define LAYOUT_ECAM UINT64_C(0xe0000000)
#define LAYOUT_ECAM_SIZE UINT64_C(0x100000) /* 1 MiB a bus */
#define LAYOUT_MMIO64 (256 * LAYOUT_GIB)
#define LAYOUT_MMIO64_SIZE (128 * LAYOUT_GIB)

/* Power registers: one page, see power.c. */
#define LAYOUT_POWER UINT64_C(0xfea00000)
#define LAYOUT_POWER_SIZE UINT64_C(0x1000)

#define LAYOUT_IOAPIC UINT64_C(0xfec00000)
#define LAYOUT_LAPIC UINT64_C(0xfee00000)
#define LAYOUT_KVM_IDENTITY UINT64_C(0xfffbc000) /* 1 page */
#define LAYOUT_KVM_TSS UINT64_C(0xfffbd000)	 /* 3 pages */

enum {
	/* Ports */
	LAYOUT_COM1 = 0x3f8,
	LAYOUT_COM1_SIZE = 8,
	LAYOUT_I8042_COMMAND = 0x64,
	LAYOUT_PCI_PORTS = 0xcf8,
	LAYOUT_PCI_PORTS_SIZE = 8,
	LAYOUT_PVPANIC = 0x505,

	/* Global system interrupts: pins of the I/O APIC ... */
	LAYOUT_GSI_COM1 = 4,
	LAYOUT_GSI_GED = 9,
	LAYOUT_N_PINS = 24,
	/* ... and beyond them those that vm_gsi_alloc() gives out. */
};

#endif
