/* SPDX-License-Identifier: ISC */
/*
 * A hostile kernel file: the input is the file, and every fourth byte of its
 * length decides whether there is an initrd. What is accepted must have
 * stayed in guest memory: AddressSanitizer sees the mapping's end, and the
 * boot structures are looked at as a kernel would.
 */
#include "vm-cpu/boot.h"
#include "lib/base/error.h"
#include "protocols/pvh.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/ram.h"

#include <asm/bootparam.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	RAM_SIZE = 32 << 20,
};

static struct ram ram = RAM_INIT;
static int kernel_fd, initrd_fd;
static char kernel_path[32], initrd_path[32];

static int make_file(const char *name, char *path, size_t len)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0)
		abort();
	snprintf(path, len, "/proc/self/fd/%d", fd);
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (ram_init(&ram, RAM_SIZE, false, NULL) < 0)
		abort();
	kernel_fd = make_file("kernel", kernel_path, sizeof(kernel_path));
	initrd_fd = make_file("initrd", initrd_path, sizeof(initrd_path));
	if (pwrite(initrd_fd, "initrd", 6, 0) != 6)
		abort();
	return 0;
}

static void check_linux(void)
{
	const struct boot_params *params =
		ram_at(&ram, LAYOUT_BOOT_PARAMS, sizeof(*params));
	const struct setup_header *hdr = &params->hdr;

	if (hdr->ramdisk_size != 0 &&
	    ram_at(&ram, hdr->ramdisk_image, hdr->ramdisk_size) == NULL)
		abort();
	if (params->e820_entries == 0)
		abort();
}

static void check_pvh(void)
{
	const struct pvh_start_info *info =
		ram_at(&ram, LAYOUT_START_INFO, sizeof(*info));
	const struct pvh_module *module;

	if (info->magic != PVH_START_INFO_MAGIC)
		abort();
	if (info->n_modules == 0)
		return;
	module = ram_at(&ram, info->modules_gpa, sizeof(*module));
	if (ram_at(&ram, module->gpa, module->size) == NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_options options = {
		.kernel_path = kernel_path,
		.initrd_path = size % 4 == 0 ? initrd_path : NULL,
		.cmdline = "console=ttyS0",
		.rsdp_gpa = LAYOUT_ACPI,
	};
	struct error err = ERROR_INIT;
	struct boot boot;

	if (ftruncate(kernel_fd, 0) < 0 ||
	    pwrite(kernel_fd, data, size, 0) != (ssize_t)size)
		abort();
	if (boot_load(&boot, &ram, &options, &err) < 0) {
		if (err.text[0] == '\0')
			abort();
	} else if (boot.mode == BOOT_LINUX64) {
		check_linux();
	} else {
		check_pvh();
	}
	if (ram_clear(&ram) < 0)
		abort();
	return 0;
}
