/* SPDX-License-Identifier: ISC */
/*
 * The PVH boot ABI: how an ELF kernel is entered in 32-bit protected mode.
 * Specification: Xen's docs/misc/pvh.pandoc and
 * xen/include/public/arch-x86/hvm/start_info.h. Little endian.
 *
 * The entry point stands in an ELF note of the name "Xen". At entry EBX
 * holds the guest physical address of struct pvh_start_info, paging is off,
 * CS, DS, ES and SS are flat, and interrupts are off.
 */
#ifndef PROTOCOLS_PVH_H
#define PROTOCOLS_PVH_H

#include <stdint.h>

#define PVH_NOTE_NAME "Xen"

enum {
	PVH_NOTE_PHYS32_ENTRY = 18,

	PVH_START_INFO_MAGIC = 0x336ec578, /* "xEn3", bit 7 of E set */
	PVH_START_INFO_VERSION = 1,	   /* with the memory map */
};

/* Memory map types are those of E820. */
enum {
	PVH_MEMORY_RAM = 1,
	PVH_MEMORY_RESERVED = 2,
};

struct pvh_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t n_modules;
	uint64_t modules_gpa;
	uint64_t cmdline_gpa; /* NUL-terminated */
	uint64_t rsdp_gpa;
	uint64_t memory_map_gpa;
	uint32_t n_memory_map;
	uint32_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct pvh_start_info) == 56, "pvh_start_info");

/* Module 0 is the initial RAM disk. */
struct pvh_module {
	uint64_t gpa;
	uint64_t size;
	uint64_t cmdline_gpa;
	uint64_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct pvh_module) == 32, "pvh_module");

struct pvh_memory {
	uint64_t gpa;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct pvh_memory) == 24, "pvh_memory");

#endif
