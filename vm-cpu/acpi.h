/* SPDX-License-Identifier: ISC */
/*
 * The ACPI tables of a hardware-reduced machine: RSDP, XSDT, FADT, MADT,
 * MCFG and the DSDT that iasl made of dsdt.asl. They decide how long Linux
 * takes to boot: it waits for no hardware that they deny.
 */
#ifndef VM_CPU_ACPI_H
#define VM_CPU_ACPI_H

struct error;
struct ram;

/* Write the tables at LAYOUT_ACPI, which is where the RSDP then is. */
int acpi_build(struct ram *ram, unsigned n_cpus, struct error *err);

#endif
