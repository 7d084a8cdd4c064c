/* SPDX-License-Identifier: ISC */
/* Guest memory: a sealed memfd and its one or two regions. */
#include "vm-cpu/ram.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "vm-cpu/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	HUGE_PAGE = 2 << 20,
};

static int make_file(uint64_t size, bool with_hugepages, struct error *err)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	_cleanup_fd_ int fd = -1;

	if (with_hugepages)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_create("guest-memory", flags);
	if (fd < 0)
		return error_set_errno(err, -errno, "guest memory");
	if (ftruncate(fd, (off_t)size) < 0)
		return error_set_errno(err, -errno, "guest memory");
	/* Whoever gets this descriptor could else make us die of SIGBUS. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) <
	    0)
		return error_set_errno(err, -errno, "guest memory: seal");
	return steal_fd(&fd);
}

static int add_region(struct ram *ram, uint64_t gpa, uint64_t size,
		      uint64_t offset, struct error *err)
{
	char buf[16];
	int r;

	r = guest_memory_add(&ram->memory, gpa, size, 0, ram->fd, offset);
	if (r < 0)
		return error_set_errno(err, r, "guest memory of %s",
				       size_format(size, buf, sizeof(buf)));
	ram->regions[ram->n_regions++] = (struct vhost_frontend_region){
		.gpa = gpa,
		.size = size,
		.user = (uintptr_t)ram_at(ram, gpa, size),
		.fd = ram->fd,
		.offset = offset,
	};
	return 0;
}

/* Regions are named by their own addresses here (vhost-user's "user"). */
int ram_init(struct ram *ram, uint64_t size, bool with_hugepages,
	     struct error *err)
{
	uint64_t page = with_hugepages ? HUGE_PAGE : PAGE;
	uint64_t low;
	int r;

	guest_memory_init(&ram->memory);
	if (size == 0 || size > LAYOUT_RAM_MAX)
		return error_set(err, -EINVAL, "memory must be 1 to %llu GiB",
				 (unsigned long long)(LAYOUT_RAM_MAX >> 30));
	size = (size + page - 1) & ~(page - 1);
	ram->fd = make_file(size, with_hugepages, err);
	if (ram->fd < 0)
		return ram->fd;
	ram->size = size;
	low = size < LAYOUT_LOW_RAM_MAX ? size : LAYOUT_LOW_RAM_MAX;
	r = add_region(ram, 0, low, 0, err);
	if (r == 0 && size > low)
		r = add_region(ram, LAYOUT_HIGH_RAM, size - low, low, err);
	return r;
}

void ram_deinit(struct ram *ram)
{
	guest_memory_deinit(&ram->memory);
	ram->n_regions = 0;
	close_fd(&ram->fd);
}

int ram_clear(struct ram *ram)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return fallocate(ram->fd, mode, 0, (off_t)ram->size) < 0 ? -errno : 0;
}

uint64_t ram_low_end(const struct ram *ram)
{
	return ram->regions[0].size;
}

void *ram_at(const struct ram *ram, uint64_t gpa, uint64_t len)
{
	return guest_memory_at(&ram->memory, gpa, len, 1);
}
