/* SPDX-License-Identifier: ISC */
/* Kernels good and hostile, made here, and where they end up in memory. */
#include "vm-cpu/boot.h"

#include "lib/base/error.h"
#include "protocols/pvh.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/ram.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	MIB = 1 << 20,
	MEMORY = 64 * MIB,
	SETUP = 5 * 512, /* boot sector and four of setup */
	PREF = 16 * MIB,
};

static char folder[] = "/tmp/pipevisor-boot.XXXXXX";
static char kernel[64], initrd[64];

struct fixture {
	struct ram ram;
	struct boot boot;
	struct error err;
};

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	close(fd);
}

/* Load with memory of `size`; what boot_load() says. */
static int load(struct fixture *f, uint64_t size, const char *cmdline,
		const char *initrd_path)
{
	struct boot_options options = {
		.kernel_path = kernel,
		.initrd_path = initrd_path,
		.cmdline = cmdline,
		.rsdp_gpa = 0xe0000,
	};

	*f = (struct fixture){ .ram = RAM_INIT };
	assert_int_equal(ram_init(&f->ram, size, false, NULL), 0);
	return boot_load(&f->boot, &f->ram, &options, &f->err);
}

static void refused(int code, uint64_t size, const char *text)
{
	struct fixture f;

	assert_int_equal(load(&f, size, "", NULL), code);
	if (strstr(f.err.text, text) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", f.err.text, text);
	ram_deinit(&f.ram);
}

/* A bzImage whose kernel is the bytes 0, 1, 2, ... */
static uint8_t image[SETUP + 8192];

static struct setup_header *make_bzimage(void)
{
	struct setup_header *hdr = (void *)(image + 0x1f1);

	memset(image, 0, sizeof(image));
	for (size_t i = SETUP; i < sizeof(image); i++)
		image[i] = (uint8_t)i;
	hdr->setup_sects = 4;
	hdr->boot_flag = 0xaa55;
	hdr->jump = 0x66eb; /* over 0x66 bytes of header */
	hdr->header = 0x53726448;
	hdr->version = 0x020f;
	hdr->loadflags = LOADED_HIGH;
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->syssize = 8192 / 16;
	hdr->cmdline_size = 100;
	hdr->initrd_addr_max = 0x7fffffff;
	hdr->pref_address = PREF;
	hdr->init_size = 4 * MIB;
	return hdr;
}

static void loads_a_bzimage(void **state)
{
	struct fixture f;
	struct boot_params *params;
	uint8_t *at;

	(void)state;
	make_bzimage();
	write_file(kernel, image, sizeof(image));
	write_file(initrd, "initrd!", 7);
	assert_int_equal(load(&f, MEMORY, "console=ttyS0", initrd), 0);
	assert_int_equal(f.boot.mode, BOOT_LINUX64);
	assert_int_equal(f.boot.entry_gpa, PREF + 0x200);
	at = ram_at(&f.ram, PREF, 8192);
	assert_memory_equal(at, image + SETUP, 8192);
	params = ram_at(&f.ram, f.boot.info_gpa, sizeof(*params));
	assert_int_equal(params->hdr.type_of_loader, 0xff);
	assert_int_equal(params->hdr.version, 0x020f);
	assert_int_equal(params->acpi_rsdp_addr, 0xe0000);
	assert_string_equal((char *)ram_at(&f.ram, params->hdr.cmd_line_ptr,
					   100),
			    "console=ttyS0");
	assert_int_equal(params->hdr.ramdisk_size, 7);
	assert_int_equal(params->hdr.ramdisk_image % 4096, 0);
	assert_true(params->hdr.ramdisk_image >= PREF + 4 * MIB);
	assert_memory_equal(ram_at(&f.ram, params->hdr.ramdisk_image, 7),
			    "initrd!", 7);
	ram_deinit(&f.ram);
}

static void the_memory_map_has_no_holes_as_ram(void **state)
{
	struct fixture f;
	const struct boot_params *params;
	uint64_t ram_bytes = 0;

	(void)state;
	make_bzimage();
	write_file(kernel, image, sizeof(image));
	assert_int_equal(load(&f, UINT64_C(5) << 30, "", NULL), 0);
	params = ram_at(&f.ram, f.boot.info_gpa, sizeof(*params));
	assert_true(params->e820_entries >= 4);
	for (unsigned i = 0; i < params->e820_entries; i++) {
		const struct boot_e820_entry *e = &params->e820_table[i];

		if (i > 0)
			assert_true(e->addr >= e[-1].addr + e[-1].size);
		if (e->type != 1)
			continue;
		ram_bytes += e->size;
		assert_non_null(ram_at(&f.ram, e->addr, e->size));
	}
	assert_true(ram_bytes > (UINT64_C(5) << 30) - MIB);
	ram_deinit(&f.ram);
}

/* Linux jumps there to reset; see boot.c. */
static void the_reset_vector_is_code(void **state)
{
	struct fixture f;
	const uint8_t *code;

	(void)state;
	make_bzimage();
	write_file(kernel, image, sizeof(image));
	assert_int_equal(load(&f, MEMORY, "", NULL), 0);
	code = ram_at(&f.ram, 0xffff0, 16);
	assert_memory_equal(code, "\xb0\xfe\xe6\x64", 4);
	ram_deinit(&f.ram);
}

static void refuses_bad_bzimages(void **state)
{
	struct setup_header *hdr;

	(void)state;
	hdr = make_bzimage();
	hdr->version = 0x020b;
	write_file(kernel, image, sizeof(image));
	refused(-ENOEXEC, MEMORY, "2.11 is too old");

	hdr = make_bzimage();
	hdr->xloadflags = 0;
	write_file(kernel, image, sizeof(image));
	refused(-ENOEXEC, MEMORY, "32-bit kernel");

	hdr = make_bzimage();
	hdr->loadflags = 0;
	write_file(kernel, image, sizeof(image));
	refused(-ENOEXEC, MEMORY, "zImage");

	make_bzimage();
	write_file(kernel, image, sizeof(image) - 1);
	refused(-EINVAL, MEMORY, "truncated");
	write_file(kernel, image, SETUP);
	refused(-EINVAL, MEMORY, "truncated");
	write_file(kernel, image, sizeof(image));
	refused(-ENOMEM, 16 * MIB, "needs memory up to 20 MiB");

	hdr = make_bzimage();
	hdr->pref_address = UINT64_MAX - 100;
	write_file(kernel, image, sizeof(image));
	refused(-ENOEXEC, MEMORY, "address");
	hdr->pref_address = 0x7000;
	write_file(kernel, image, sizeof(image));
	refused(-EINVAL, MEMORY, "no place at 0x7000");
}

static void refuses_what_does_not_fit(void **state)
{
	struct fixture f;
	char text[102];

	(void)state;
	make_bzimage();
	write_file(kernel, image, sizeof(image));
	memset(text, 'x', sizeof(text) - 1);
	text[101] = '\0';
	assert_int_equal(load(&f, MEMORY, text, NULL), -E2BIG);
	ram_deinit(&f.ram);
	text[100] = '\0';
	assert_int_equal(load(&f, MEMORY, text, NULL), 0);
	ram_deinit(&f.ram);
	assert_int_equal(truncate(initrd, 50 * MIB), 0);
	assert_int_equal(load(&f, MEMORY, "", initrd), -ENOMEM);
	assert_non_null(strstr(f.err.text, "needs memory up to 70 MiB"));
	ram_deinit(&f.ram);
	assert_int_equal(load(&f, 80 * MIB, "", initrd), 0);
	ram_deinit(&f.ram);
}

static void refuses_no_kernels(void **state)
{
	struct fixture f;
	char text[4096];

	(void)state;
	write_file(kernel, "", 0);
	refused(-ENOEXEC, MEMORY, "no kernel");
	write_file(kernel, "\177ELF", 4);
	refused(-ENOEXEC, MEMORY, "no kernel");
	memset(text, 'a', sizeof(text));
	write_file(kernel, text, sizeof(text));
	refused(-ENOEXEC, MEMORY, "no kernel");
	refused(-ENOMEM, 1024, "the guest has 4 KiB");
	unlink(kernel);
	refused(-ENOENT, MEMORY, "No such file");
	assert_int_equal(mkdir(kernel, 0700), 0);
	refused(-EISDIR, MEMORY, "Is a directory");
	rmdir(kernel);
	assert_int_equal(mkfifo(kernel, 0600), 0);
	refused(-EINVAL, MEMORY, "not a regular file");
	unlink(kernel);
	make_bzimage();
	write_file(kernel, image, sizeof(image));
	assert_int_equal(load(&f, MEMORY, "", "/nonexistent"), -ENOENT);
	ram_deinit(&f.ram);
}

/* An ELF kernel: header, two program headers, a note, and four bytes. */
static struct {
	Elf64_Ehdr ehdr;
	Elf64_Phdr note_phdr, load_phdr;
	Elf64_Nhdr nhdr;
	char name[4];
	uint32_t entry;
	char code[4];
} __attribute__((packed)) elf;

static void make_elf(void)
{
	memset(&elf, 0, sizeof(elf));
	memcpy(elf.ehdr.e_ident, ELFMAG, SELFMAG);
	elf.ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	elf.ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	elf.ehdr.e_machine = EM_X86_64;
	elf.ehdr.e_phoff = sizeof(elf.ehdr);
	elf.ehdr.e_phentsize = sizeof(Elf64_Phdr);
	elf.ehdr.e_phnum = 2;
	elf.note_phdr.p_type = PT_NOTE;
	elf.note_phdr.p_offset = (size_t)((char *)&elf.nhdr - (char *)&elf);
	elf.note_phdr.p_filesz = 12 + 4 + 4;
	elf.nhdr.n_namesz = 4;
	elf.nhdr.n_descsz = 4;
	elf.nhdr.n_type = PVH_NOTE_PHYS32_ENTRY;
	memcpy(elf.name, "Xen", 4);
	elf.entry = 2 * MIB + 4;
	elf.load_phdr.p_type = PT_LOAD;
	elf.load_phdr.p_offset = sizeof(elf) - 4;
	elf.load_phdr.p_filesz = 4;
	elf.load_phdr.p_memsz = 3 * MIB;
	elf.load_phdr.p_paddr = 2 * MIB;
	memcpy(elf.code, "code", 4);
}

static void put_elf(void)
{
	static char padded[1024];

	memcpy(padded, &elf, sizeof(elf));
	write_file(kernel, padded, sizeof(padded));
}

static void loads_an_elf(void **state)
{
	struct fixture f;
	const struct pvh_start_info *info;
	const struct pvh_module *module;
	const struct pvh_memory *memory;

	(void)state;
	make_elf();
	put_elf();
	write_file(initrd, "initrd!", 7);
	assert_int_equal(load(&f, MEMORY, "a b", initrd), 0);
	assert_int_equal(f.boot.mode, BOOT_PVH32);
	assert_int_equal(f.boot.entry_gpa, 2 * MIB + 4);
	assert_memory_equal(ram_at(&f.ram, 2 * MIB, 4), "code", 4);
	info = ram_at(&f.ram, f.boot.info_gpa, sizeof(*info));
	assert_int_equal(info->magic, PVH_START_INFO_MAGIC);
	assert_int_equal(info->version, 1);
	assert_int_equal(info->rsdp_gpa, 0xe0000);
	assert_string_equal((char *)ram_at(&f.ram, info->cmdline_gpa, 4),
			    "a b");
	assert_int_equal(info->n_modules, 1);
	module = ram_at(&f.ram, info->modules_gpa, sizeof(*module));
	assert_int_equal(module->size, 7);
	assert_true(module->gpa >= 5 * MIB);
	assert_memory_equal(ram_at(&f.ram, module->gpa, 7), "initrd!", 7);
	memory = ram_at(&f.ram, info->memory_map_gpa,
			info->n_memory_map * sizeof(*memory));
	assert_non_null(memory);
	assert_int_equal(memory[0].type, PVH_MEMORY_RAM);
	ram_deinit(&f.ram);
}

static void refuses_bad_elfs(void **state)
{
	(void)state;
	make_elf();
	elf.ehdr.e_ident[EI_CLASS] = ELFCLASS32;
	put_elf();
	refused(-ENOEXEC, MEMORY, "not a 64-bit x86 ELF");
	make_elf();
	elf.ehdr.e_machine = EM_AARCH64;
	put_elf();
	refused(-ENOEXEC, MEMORY, "not a 64-bit x86 ELF");
	make_elf();
	elf.ehdr.e_phnum = 65;
	put_elf();
	refused(-ENOEXEC, MEMORY, "program headers");
	make_elf();
	elf.ehdr.e_phoff = UINT64_MAX - 8;
	put_elf();
	refused(-EINVAL, MEMORY, "");
	make_elf();
	elf.ehdr.e_phoff = 1000;
	put_elf();
	refused(-EINVAL, MEMORY, "truncated");
}

static void refuses_bad_segments(void **state)
{
	(void)state;
	make_elf();
	elf.load_phdr.p_paddr = 0x6000;
	put_elf();
	refused(-EINVAL, MEMORY, "no place at 0x6000");
	make_elf();
	elf.load_phdr.p_paddr = UINT64_MAX - 2;
	put_elf();
	refused(-ENOEXEC, MEMORY, "segment");
	make_elf();
	elf.load_phdr.p_memsz = 3;
	put_elf();
	refused(-ENOEXEC, MEMORY, "segment");
	make_elf();
	elf.load_phdr.p_offset = UINT64_MAX - 2;
	put_elf();
	refused(-EINVAL, MEMORY, "truncated");
	make_elf();
	elf.load_phdr.p_offset = 1021;
	put_elf();
	refused(-EINVAL, MEMORY, "truncated");
	make_elf();
	elf.load_phdr.p_memsz = MEMORY;
	put_elf();
	refused(-ENOMEM, MEMORY, "needs memory up to 66 MiB");
	make_elf();
	elf.load_phdr.p_paddr = LAYOUT_HIGH_RAM;
	put_elf();
	refused(-ENOMEM, MEMORY, "needs memory up to 4");
}

static void refuses_bad_notes(void **state)
{
	(void)state;
	make_elf();
	elf.nhdr.n_type = 17;
	put_elf();
	refused(-ENOEXEC, MEMORY, "no PVH entry");
	make_elf();
	memcpy(elf.name, "GNU", 4);
	put_elf();
	refused(-ENOEXEC, MEMORY, "no PVH entry");
	make_elf();
	elf.nhdr.n_descsz = UINT32_MAX;
	put_elf();
	refused(-ENOEXEC, MEMORY, "no PVH entry");
	make_elf();
	elf.nhdr.n_namesz = UINT32_MAX;
	put_elf();
	refused(-ENOEXEC, MEMORY, "no PVH entry");
	make_elf();
	elf.nhdr.n_descsz = 3;
	put_elf();
	refused(-ENOEXEC, MEMORY, "no PVH entry");
	make_elf();
	elf.note_phdr.p_filesz = UINT64_MAX;
	put_elf();
	refused(-ENOEXEC, MEMORY, "notes too long");
	make_elf();
	elf.note_phdr.p_filesz = 11;
	put_elf();
	refused(-ENOEXEC, MEMORY, "no PVH entry");
}

static int make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(kernel, sizeof(kernel), "%s/kernel", folder);
	snprintf(initrd, sizeof(initrd), "%s/initrd", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(kernel);
	unlink(initrd);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_a_bzimage),
		cmocka_unit_test(the_memory_map_has_no_holes_as_ram),
		cmocka_unit_test(the_reset_vector_is_code),
		cmocka_unit_test(refuses_bad_bzimages),
		cmocka_unit_test(refuses_what_does_not_fit),
		cmocka_unit_test(refuses_no_kernels),
		cmocka_unit_test(loads_an_elf),
		cmocka_unit_test(refuses_bad_elfs),
		cmocka_unit_test(refuses_bad_segments),
		cmocka_unit_test(refuses_bad_notes),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
