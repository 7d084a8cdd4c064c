/* SPDX-License-Identifier: ISC */
/*
 * An ELF kernel (Linux's uncompressed vmlinux, and others) by its PVH entry,
 * protocols/pvh.h. Segments go to their physical addresses, which lie in low
 * RAM above the first MiB; the way in is in a note.
 */
#include "vm-cpu/boot_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "protocols/pvh.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/ram.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

enum {
	SEGMENTS_MAX = 64,
	NOTES_MAX = 64 << 10, /* bytes of one PT_NOTE segment */
};

static bool probe(const uint8_t *head, size_t len)
{
	return len >= sizeof(Elf64_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static int read_header(const struct boot_file *file, Elf64_Ehdr *ehdr,
		       struct error *err)
{
	int r = boot_read(file, 0, ehdr, sizeof(*ehdr), err);

	if (r < 0)
		return r;
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 ||
	    ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr->e_machine != EM_X86_64)
		return error_set(err, -ENOEXEC, "%s: not a 64-bit x86 ELF file",
				 file->path);
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || ehdr->e_phnum == 0 ||
	    ehdr->e_phnum > SEGMENTS_MAX)
		return error_set(err, -ENOEXEC,
				 "%s: no program headers of an executable",
				 file->path);
	return 0;
}

/*
 * Look through one note segment: name size, descriptor size, type, then both
 * padded to 4 bytes. True with *entry_gpa if the PVH note is there.
 */
static bool find_entry(const uint8_t *notes, size_t len, uint64_t *entry_gpa)
{
	size_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr nhdr;
		uint64_t name, desc, end;
		uint32_t entry;

		memcpy(&nhdr, notes + at, sizeof(nhdr));
		name = at + sizeof(nhdr);
		desc = name + (((uint64_t)nhdr.n_namesz + 3) & ~UINT64_C(3));
		end = desc + (((uint64_t)nhdr.n_descsz + 3) & ~UINT64_C(3));
		if (end > len)
			return false;
		if (nhdr.n_type == PVH_NOTE_PHYS32_ENTRY &&
		    nhdr.n_namesz == sizeof(PVH_NOTE_NAME) &&
		    memcmp(notes + name, PVH_NOTE_NAME,
			   sizeof(PVH_NOTE_NAME)) == 0 &&
		    nhdr.n_descsz >= sizeof(entry)) {
			memcpy(&entry, notes + desc, sizeof(entry));
			*entry_gpa = entry;
			return true;
		}
		at = end;
	}
	return false;
}

static int read_notes(const struct boot_file *file, const Elf64_Phdr *phdr,
		      uint64_t *entry_gpa, struct error *err)
{
	_cleanup_free_ uint8_t *notes = NULL;
	int r;

	if (phdr->p_filesz > NOTES_MAX)
		return error_set(err, -ENOEXEC, "%s: notes too long",
				 file->path);
	notes = malloc(phdr->p_filesz + 1);
	if (notes == NULL)
		return -ENOMEM;
	r = boot_read(file, phdr->p_offset, notes, phdr->p_filesz, err);
	if (r < 0)
		return r;
	find_entry(notes, phdr->p_filesz, entry_gpa);
	return 0;
}

/* Guest memory is zero, so what a segment has beyond its bytes is so too. */
static int put_segment(const struct boot_context *context,
		       const Elf64_Phdr *phdr, uint64_t *kernel_end,
		       struct error *err)
{
	const struct boot_file *file = &context->kernel;
	uint64_t end;

	if (phdr->p_memsz < phdr->p_filesz ||
	    __builtin_add_overflow(phdr->p_paddr, phdr->p_memsz, &end))
		return error_set(err, -ENOEXEC, "%s: segment sizes are wrong",
				 file->path);
	if (phdr->p_memsz == 0)
		return 0;
	if (end > ram_low_end(context->ram))
		return boot_too_little(context, file, end, err);
	if (end > *kernel_end)
		*kernel_end = end;
	return boot_read_to(context, file, phdr->p_offset, phdr->p_paddr,
			    phdr->p_filesz, err);
}

/* The way in first: most ELF files are no kernels. */
static int find_entry_note(const struct boot_file *file,
			   const Elf64_Phdr *phdrs, unsigned n,
			   uint64_t *entry_gpa, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n; i++)
		if (phdrs[i].p_type == PT_NOTE)
			r = read_notes(file, &phdrs[i], entry_gpa, err);
	if (r == 0 && *entry_gpa == UINT64_MAX)
		r = error_set(err, -ENOEXEC,
			      "%s: no PVH entry (an ELF note of Xen, type 18)",
			      file->path);
	return r;
}

static int put_kernel(const struct boot_context *context, const Elf64_Ehdr *eh,
		      uint64_t *entry_gpa, uint64_t *kernel_end,
		      struct error *err)
{
	Elf64_Phdr phdrs[SEGMENTS_MAX];
	int r;

	r = boot_read(&context->kernel, eh->e_phoff, phdrs,
		      eh->e_phnum * sizeof(phdrs[0]), err);
	if (r == 0)
		r = find_entry_note(&context->kernel, phdrs, eh->e_phnum,
				    entry_gpa, err);
	for (unsigned i = 0; r == 0 && i < eh->e_phnum; i++)
		if (phdrs[i].p_type == PT_LOAD)
			r = put_segment(context, &phdrs[i], kernel_end, err);
	return r;
}

static void put_memory_map(const struct boot_context *context,
			   struct pvh_memory *map)
{
	for (unsigned i = 0; i < context->n_memory; i++)
		map[i] = (struct pvh_memory){
			.gpa = context->memory[i].gpa,
			.size = context->memory[i].size,
			.type = context->memory[i].is_ram ? PVH_MEMORY_RAM
							  : PVH_MEMORY_RESERVED,
		};
}

/* The information block, and behind it what it points to. */
static void put_start_info(const struct boot_context *context,
			   uint64_t initrd_gpa)
{
	struct {
		struct pvh_start_info info;
		struct pvh_module module;
		struct pvh_memory memory[BOOT_MEMORY_MAX];
	} *block = ram_at(context->ram, LAYOUT_START_INFO, sizeof(*block));
	uint64_t module_gpa = LAYOUT_START_INFO + sizeof(block->info);

	block->info = (struct pvh_start_info){
		.magic = PVH_START_INFO_MAGIC,
		.version = PVH_START_INFO_VERSION,
		.cmdline_gpa = LAYOUT_CMDLINE,
		.rsdp_gpa = context->rsdp_gpa,
		.memory_map_gpa = module_gpa + sizeof(block->module),
		.n_memory_map = context->n_memory,
	};
	if (initrd_gpa != 0) {
		block->info.n_modules = 1;
		block->info.modules_gpa = module_gpa;
		block->module =
			(struct pvh_module){ .gpa = initrd_gpa,
					     .size = context->initrd.size };
	}
	put_memory_map(context, block->memory);
}

static int load(struct boot *boot, const struct boot_context *context,
		struct error *err)
{
	uint64_t entry_gpa = UINT64_MAX, kernel_end = LAYOUT_KERNEL;
	uint64_t initrd_gpa = 0;
	Elf64_Ehdr ehdr;
	int r;

	r = read_header(&context->kernel, &ehdr, err);
	if (r == 0)
		r = put_kernel(context, &ehdr, &entry_gpa, &kernel_end, err);
	if (r == 0)
		r = boot_put_cmdline(context, UINT64_MAX, err);
	if (r == 0)
		r = boot_put_initrd(context, kernel_end, UINT32_MAX,
				    &initrd_gpa, err);
	if (r < 0)
		return r;
	put_start_info(context, initrd_gpa);
	*boot = (struct boot){
		.mode = BOOT_PVH32,
		.entry_gpa = entry_gpa,
		.info_gpa = LAYOUT_START_INFO,
	};
	return 0;
}

const struct boot_loader boot_elf = { .probe = probe, .load = load };
