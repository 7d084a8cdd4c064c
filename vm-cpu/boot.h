/* SPDX-License-Identifier: ISC */
/*
 * From a kernel file to the state in which the first processor starts:
 * guest memory is filled, and the way in is known.
 */
#ifndef VM_CPU_BOOT_H
#define VM_CPU_BOOT_H

#include <stdint.h>

struct error;
struct ram;

enum boot_mode {
	BOOT_LINUX64, /* bzImage's 64-bit entry: RSI = boot_params */
	BOOT_PVH32,   /* PVH: EBX = hvm_start_info */
};

struct boot {
	enum boot_mode mode;
	uint64_t entry_gpa;
	uint64_t info_gpa;
};

struct boot_options {
	const char *kernel_path;
	const char *initrd_path; /* or NULL */
	const char *cmdline;	 /* never NULL */
	uint64_t rsdp_gpa;
};

/*
 * Load the kernel, whose format is known by its content, with its initrd,
 * command line and memory map. Guest memory is zero before.
 */
int boot_load(struct boot *boot, struct ram *ram,
	      const struct boot_options *options, struct error *err);

#endif
