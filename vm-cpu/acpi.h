/* SPDX-License-Identifier: ISC */
/*
 * The ACPI tables of a hardware-reduced machine: RSDP, XSDT, FADT, MADT,
 * MCFG and the DSDT that iasl made of dsdt.asl. They decide how long Linux
 * takes to boot: it waits for no hardware that they deny.
 */
#ifndef VM_CPU_ACPI_H
#define VM_CPU_ACPI_H

#include <stdint.h>

struct error;
struct ram;

/* Write the tables at LAYOUT_ACPI; *rsdp_gpa is where the first is. */
int acpi_build(struct ram *ram, unsigned n_cpus, uint64_t *rsdp_gpa,
	       struct error *err);

#endif
