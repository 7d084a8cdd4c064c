/* SPDX-License-Identifier: ISC */
/*
 * What the loaders of boot.c share. A loader is given an open kernel file and
 * puts it, the initrd and its own information block into guest memory. The
 * file is read as far as needed, straight to its place; its size is known
 * first, and every number in it is checked against that and against the
 * guest's memory.
 */
#ifndef VM_CPU_BOOT_INTERNAL_H
#define VM_CPU_BOOT_INTERNAL_H

#include "vm-cpu/boot.h"

#include <stdbool.h>
#include <stddef.h>

/* One part of guest physical memory, as E820 and PVH have it. */
struct boot_memory {
	uint64_t gpa, size;
	bool is_ram; /* else reserved */
};

enum {
	BOOT_MEMORY_MAX = 8,
};

struct boot_file {
	const char *path; /* for messages */
	int fd;
	uint64_t size;
};

/* What boot.c prepared for the loaders. */
struct boot_context {
	struct ram *ram;
	struct boot_file kernel;
	struct boot_file initrd; /* size 0: none */
	const char *cmdline;
	uint64_t rsdp_gpa;
	struct boot_memory memory[BOOT_MEMORY_MAX];
	unsigned n_memory;
};

struct boot_loader {
	/* Does a file that begins so look like one for this loader? */
	bool (*probe)(const uint8_t *head, size_t len);
	int (*load)(struct boot *boot, const struct boot_context *context,
		    struct error *err);
};

enum {
	BOOT_HEAD_SIZE = 0x300, /* bytes of a kernel that a probe sees */
};

extern const struct boot_loader boot_bzimage;
extern const struct boot_loader boot_elf;

/* Say that file needs memory up to the guest physical address end: -ENOMEM. */
int boot_too_little(const struct boot_context *context,
		    const struct boot_file *file, uint64_t end,
		    struct error *err);

/* Fill buf from offset of the file; a short file is -EINVAL, "truncated". */
int boot_read(const struct boot_file *file, uint64_t offset, void *buf,
	      size_t len, struct error *err);

/*
 * Read len bytes at offset of the file to gpa. Not all RAM, or in the first
 * MiB, where the boot structures are: -ENOMEM or -EINVAL.
 */
int boot_read_to(const struct boot_context *context,
		 const struct boot_file *file, uint64_t offset, uint64_t gpa,
		 uint64_t len, struct error *err);

/* Put the command line at LAYOUT_CMDLINE; max without its NUL. */
int boot_put_cmdline(const struct boot_context *context, uint64_t max,
		     struct error *err);

/*
 * Put the initrd, if there is one, as high as it may be in low RAM: above
 * `above` (the kernel's end) and with its last byte at most at `last`.
 * *gpa is 0 without one.
 */
int boot_put_initrd(const struct boot_context *context, uint64_t above,
		    uint64_t last, uint64_t *gpa, struct error *err);

#endif
