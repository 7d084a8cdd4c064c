/* SPDX-License-Identifier: ISC */
/* Choosing a loader by content, and what all loaders need. */
#include "vm-cpu/boot_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
	PAGE = 4096,
};

int boot_read(const struct boot_file *file, uint64_t offset, void *buf,
	      size_t len, struct error *err)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = pread(file->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, -errno, "%s", file->path);
		if (n == 0)
			return error_set(err, -EINVAL, "%s: truncated",
					 file->path);
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int boot_too_little(const struct boot_context *context,
		    const struct boot_file *file, uint64_t end,
		    struct error *err)
{
	char have[16], need[16];

	return error_set(err, -ENOMEM,
			 "%s: needs memory up to %s; the guest has %s",
			 file->path, size_format(end, need, sizeof(need)),
			 size_format(context->ram->size, have, sizeof(have)));
}

int boot_read_to(const struct boot_context *context,
		 const struct boot_file *file, uint64_t offset, uint64_t gpa,
		 uint64_t len, struct error *err)
{
	uint64_t end;
	void *to;

	if (__builtin_add_overflow(offset, len, &end) || end > file->size)
		return error_set(err, -EINVAL, "%s: truncated", file->path);
	if (__builtin_add_overflow(gpa, len, &end) || gpa < LAYOUT_KERNEL)
		return error_set(err, -EINVAL, "%s: has no place at 0x%llx",
				 file->path, (unsigned long long)gpa);
	if (len == 0)
		return 0;
	to = end <= ram_low_end(context->ram) ? ram_at(context->ram, gpa, len)
					      : NULL;
	if (to == NULL)
		return boot_too_little(context, file, end, err);
	return boot_read(file, offset, to, len, err);
}

int boot_put_cmdline(const struct boot_context *context, uint64_t max,
		     struct error *err)
{
	size_t len = strlen(context->cmdline);
	void *to = ram_at(context->ram, LAYOUT_CMDLINE, LAYOUT_CMDLINE_SIZE);

	if (max > LAYOUT_CMDLINE_SIZE - 1)
		max = LAYOUT_CMDLINE_SIZE - 1;
	if (len > max)
		return error_set(err, -E2BIG,
				 "%s: takes a command line of at most %llu "
				 "bytes",
				 context->kernel.path, (unsigned long long)max);
	memcpy(to, context->cmdline, len + 1);
	return 0;
}

int boot_put_initrd(const struct boot_context *context, uint64_t above,
		    uint64_t last, uint64_t *gpa, struct error *err)
{
	const struct boot_file *initrd = &context->initrd;
	uint64_t end = ram_low_end(context->ram);
	uint64_t need;

	*gpa = 0;
	if (initrd->size == 0)
		return 0;
	if (last < end - 1)
		end = last + 1;
	above = (above + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	if (__builtin_add_overflow(above, initrd->size, &need) || need > end)
		return boot_too_little(context, initrd, need, err);
	*gpa = (end - initrd->size) & ~(uint64_t)(PAGE - 1);
	return boot_read_to(context, initrd, 0, *gpa, initrd->size, err);
}

static int open_file(struct boot_file *file, const char *path,
		     struct error *err)
{
	struct stat st;

	file->path = path;
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0)
		return error_set_errno(err, -errno, "%s", path);
	if (fstat(file->fd, &st) < 0)
		return error_set_errno(err, -errno, "%s", path);
	if (S_ISDIR(st.st_mode))
		return error_set_errno(err, -EISDIR, "%s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s: not a regular file", path);
	file->size = (uint64_t)st.st_size;
	return 0;
}

static void add_memory(struct boot_context *context, uint64_t gpa, uint64_t end,
		       bool is_ram)
{
	if (gpa < end)
		context->memory[context->n_memory++] = (struct boot_memory){
			.gpa = gpa, .size = end - gpa, .is_ram = is_ram
		};
}

/* What is neither is free for devices, but for the configuration space. */
static void map_memory(struct boot_context *context)
{
	const struct ram *ram = context->ram;

	add_memory(context, 0, LAYOUT_LOW_END, true);
	add_memory(context, LAYOUT_ACPI, LAYOUT_KERNEL, false);
	add_memory(context, LAYOUT_KERNEL, ram_low_end(ram), true);
	add_memory(context, LAYOUT_ECAM, LAYOUT_ECAM + LAYOUT_ECAM_SIZE, false);
	if (ram->n_regions > 1)
		add_memory(context, ram->regions[1].gpa,
			   ram->regions[1].gpa + ram->regions[1].size, true);
}

/*
 * On a hardware-reduced machine Linux wants to reset by EFI, and where there
 * is none it does as DOS did: it jumps to the BIOS, in real mode
 * (efi_reboot_required() and machine_real_restart() of 6.1). So there is a
 * BIOS, whose only service is to reset as a keyboard controller can.
 */
static void put_reset_vector(const struct boot_context *context)
{
	static const uint8_t code[] = {
		0xb0, 0xfe, /* mov al, 0xfe */
		0xe6, 0x64, /* out 0x64, al */
		0xf4,	    /* hlt */
		0xeb, 0xfd, /* jmp to the hlt */
	};

	_Static_assert(LAYOUT_I8042_COMMAND == 0x64, "as in the code");
	memcpy(ram_at(context->ram, LAYOUT_RESET_VECTOR, sizeof(code)), code,
	       sizeof(code));
}

static int load(struct boot *boot, const struct boot_context *context,
		struct error *err)
{
	static const struct boot_loader *const loaders[] = { &boot_bzimage,
							     &boot_elf };
	uint8_t head[BOOT_HEAD_SIZE] = { 0 };
	size_t len = sizeof(head);
	int r;

	if (context->kernel.size < len)
		len = context->kernel.size;
	r = boot_read(&context->kernel, 0, head, len, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < array_size(loaders); i++)
		if (loaders[i]->probe(head, len))
			return loaders[i]->load(boot, context, err);
	return error_set(err, -ENOEXEC,
			 "%s: no kernel (neither a bzImage nor ELF)",
			 context->kernel.path);
}

int boot_load(struct boot *boot, struct ram *ram,
	      const struct boot_options *options, struct error *err)
{
	struct boot_context context = {
		.ram = ram,
		.kernel.fd = -1,
		.initrd.fd = -1,
		.cmdline = options->cmdline,
		.rsdp_gpa = options->rsdp_gpa,
	};
	int r;

	r = open_file(&context.kernel, options->kernel_path, err);
	if (r == 0 && options->initrd_path != NULL)
		r = open_file(&context.initrd, options->initrd_path, err);
	if (r == 0 && ram_low_end(ram) < LAYOUT_KERNEL + PAGE)
		r = boot_too_little(&context, &context.kernel,
				    LAYOUT_KERNEL + context.kernel.size, err);
	if (r == 0) {
		map_memory(&context);
		put_reset_vector(&context);
		r = load(boot, &context, err);
	}
	close_fd(&context.kernel.fd);
	close_fd(&context.initrd.fd);
	return r;
}
