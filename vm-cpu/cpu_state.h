/* SPDX-License-Identifier: ISC */
/* The registers in which the first processor enters a kernel. */
#ifndef VM_CPU_CPU_STATE_H
#define VM_CPU_CPU_STATE_H

struct boot;
struct error;
struct ram;

/*
 * Set the processor of vcpu_fd, whose CPUID is set, to enter as boot says.
 * Writes the GDT and, for 64-bit entries, page tables into ram.
 */
int cpu_state_boot(int vcpu_fd, struct ram *ram, const struct boot *boot,
		   struct error *err);

/* What every processor has from firmware: the memory type of RAM. */
int cpu_state_init(int vcpu_fd, struct error *err);

#endif
