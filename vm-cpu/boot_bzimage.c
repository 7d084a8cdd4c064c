/* SPDX-License-Identifier: ISC */
/*
 * Linux bzImage by its 64-bit entry. Specification: the kernel's
 * Documentation/x86/boot.rst ("64-bit Boot Protocol", protocol 2.12).
 *
 *	file: [boot sector and setup: (setup_sects + 1) * 512][kernel ...]
 *
 * Only the setup header is taken from the setup code, which is never run;
 * the kernel is read to the address it prefers and entered at +0x200 with
 * the first 4 GiB mapped one to one.
 */
#include "vm-cpu/boot_internal.h"

#include "lib/base/error.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/ram.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

enum {
	SETUP_HEADER = 0x1f1,
	SECTOR = 512,
	MAGIC = 0x53726448, /* "HdrS" */
	VERSION = 0x020c,   /* the first with xloadflags */
	BOOT_FLAG = 0xaa55,
	ENTRY64 = 0x200,
	LOADER_UNDEFINED = 0xff,
	VIDEO_NORMAL = 0xffff,
	E820_RAM = 1,
	E820_RESERVED = 2,
};

static bool probe(const uint8_t *head, size_t len)
{
	struct setup_header hdr;

	if (len < SETUP_HEADER + sizeof(hdr))
		return false;
	memcpy(&hdr, head + SETUP_HEADER, sizeof(hdr));
	return hdr.boot_flag == BOOT_FLAG && hdr.header == MAGIC;
}

/* The header's own length follows from the jump over it (0x200: eb LEN). */
static int read_header(const struct boot_file *file, struct setup_header *hdr,
		       struct error *err)
{
	uint8_t head[SETUP_HEADER + sizeof(*hdr)];
	size_t len;
	int r;

	r = boot_read(file, 0, head, sizeof(head), err);
	if (r < 0)
		return r;
	len = 0x202u + head[0x201] - SETUP_HEADER;
	if (len > sizeof(*hdr))
		len = sizeof(*hdr);
	memset(hdr, 0, sizeof(*hdr));
	memcpy(hdr, head + SETUP_HEADER, len);
	return 0;
}

static int check_header(const struct boot_file *file,
			const struct setup_header *hdr, struct error *err)
{
	if (hdr->version < VERSION)
		return error_set(err, -ENOEXEC,
				 "%s: boot protocol %u.%02u is too old "
				 "(2.12 is needed)",
				 file->path, hdr->version >> 8,
				 hdr->version & 0xff);
	if ((hdr->loadflags & LOADED_HIGH) == 0)
		return error_set(err, -ENOEXEC, "%s: a zImage, not a bzImage",
				 file->path);
	if ((hdr->xloadflags & XLF_KERNEL_64) == 0)
		return error_set(err, -ENOEXEC,
				 "%s: a 32-bit kernel; only 64-bit ones boot",
				 file->path);
	return 0;
}

/* Read the kernel proper to gpa; init_size is the room that it works in. */
static int put_kernel(const struct boot_context *context,
		      const struct setup_header *hdr, uint64_t *kernel_end,
		      struct error *err)
{
	const struct boot_file *file = &context->kernel;
	unsigned sectors = hdr->setup_sects == 0 ? 4 : hdr->setup_sects;
	uint64_t offset = (uint64_t)(sectors + 1) * SECTOR;
	uint64_t room = hdr->init_size;
	uint64_t len;

	if (file->size <= offset + ENTRY64)
		return error_set(err, -EINVAL, "%s: truncated", file->path);
	len = file->size - offset;
	/* syssize counts 16-byte units, and signatures may follow. */
	if (hdr->syssize != 0 && len < (uint64_t)hdr->syssize * 16)
		return error_set(err, -EINVAL, "%s: truncated", file->path);
	if (room < len)
		room = len;
	if (__builtin_add_overflow(hdr->pref_address, room, kernel_end))
		return error_set(err, -ENOEXEC, "%s: its address is wrong",
				 file->path);
	if (*kernel_end > ram_low_end(context->ram))
		return boot_too_little(context, file, *kernel_end, err);
	return boot_read_to(context, file, offset, hdr->pref_address, len, err);
}

static void put_memory_map(const struct boot_context *context,
			   struct boot_params *params)
{
	for (unsigned i = 0; i < context->n_memory; i++) {
		const struct boot_memory *memory = &context->memory[i];
		uint32_t type = memory->is_ram ? E820_RAM : E820_RESERVED;

		params->e820_table[i] = (struct boot_e820_entry){
			.addr = memory->gpa, .size = memory->size, .type = type
		};
	}
	params->e820_entries = (uint8_t)context->n_memory;
}

static int load(struct boot *boot, const struct boot_context *context,
		struct error *err)
{
	struct boot_params *params =
		ram_at(context->ram, LAYOUT_BOOT_PARAMS, sizeof(*params));
	struct setup_header hdr;
	uint64_t kernel_end = 0, initrd_gpa = 0;
	int r;

	r = read_header(&context->kernel, &hdr, err);
	if (r == 0)
		r = check_header(&context->kernel, &hdr, err);
	if (r == 0)
		r = put_kernel(context, &hdr, &kernel_end, err);
	if (r == 0)
		r = boot_put_cmdline(context, hdr.cmdline_size, err);
	if (r == 0)
		r = boot_put_initrd(context, kernel_end, hdr.initrd_addr_max,
				    &initrd_gpa, err);
	if (r < 0)
		return r;

	memset(params, 0, sizeof(*params));
	params->hdr = hdr;
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	params->hdr.vid_mode = VIDEO_NORMAL;
	params->hdr.code32_start = (uint32_t)hdr.pref_address;
	params->hdr.cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
	params->hdr.ramdisk_image = (uint32_t)initrd_gpa;
	params->hdr.ramdisk_size = (uint32_t)context->initrd.size;
	params->acpi_rsdp_addr = context->rsdp_gpa;
	put_memory_map(context, params);

	*boot = (struct boot){
		.mode = BOOT_LINUX64,
		.entry_gpa = hdr.pref_address + ENTRY64,
		.info_gpa = LAYOUT_BOOT_PARAMS,
	};
	return 0;
}

const struct boot_loader boot_bzimage = { .probe = probe, .load = load };
