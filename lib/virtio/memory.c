/* SPDX-License-Identifier: ISC */
/*
 * The table of guest memory: regions sorted by gpa, none empty, none
 * overlapping; every translation ends here.
 */
#include "lib/virtio/memory.h"

#include <errno.h>
#include <string.h>

void guest_memory_init(struct guest_memory *memory)
{
	memory->n_regions = 0;
	memory->log = NULL;
	memory->log_size = 0;
	memory->log_mapping = (struct mapping)MAPPING_INIT;
	atomic_init(&memory->is_damaged, false);
}

void guest_memory_deinit(struct guest_memory *memory)
{
	guest_memory_clear(memory);
	memory->log = NULL;
	memory->log_size = 0;
	mapping_unmap(&memory->log_mapping);
}

void guest_memory_clear(struct guest_memory *memory)
{
	while (memory->n_regions > 0)
		mapping_unmap(&memory->regions[--memory->n_regions].mapping);
}

/* The number of regions that begin at or below gpa. */
static unsigned count_up_to(const struct guest_memory *memory, uint64_t gpa)
{
	unsigned low = 0, high = memory->n_regions;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (memory->regions[middle].gpa <= gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The region that holds gpa, or NULL. */
static const struct guest_region *find_region(const struct guest_memory *memory,
					      uint64_t gpa)
{
	unsigned n = count_up_to(memory, gpa);
	const struct guest_region *region;

	if (n == 0)
		return NULL;
	region = &memory->regions[n - 1];
	return gpa - region->gpa < region->size ? region : NULL;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size,
		     uint64_t user, int fd, uint64_t offset)
{
	struct guest_region region = {
		.gpa = gpa,
		.size = size,
		.user = user,
	};
	uint64_t end;
	unsigned at;
	int r;

	if (size == 0 || __builtin_add_overflow(gpa, size - 1, &end) ||
	    __builtin_add_overflow(user, size - 1, &end))
		return -EINVAL;
	for (unsigned i = 0; i < memory->n_regions; i++) {
		const struct guest_region *other = &memory->regions[i];

		if (overlap(gpa, size, other->gpa, other->size))
			return -EEXIST;
		if (user != 0 && other->user != 0 &&
		    overlap(user, size, other->user, other->size))
			return -EEXIST;
	}
	if (memory->n_regions == GUEST_MEMORY_REGIONS_MAX)
		return -ENOSPC;
	r = mapping_map(&region.mapping, fd, offset, size, &memory->is_damaged);
	if (r != 0)
		return r;
	region.host = region.mapping.data;
	at = count_up_to(memory, gpa);
	memmove(&memory->regions[at + 1], &memory->regions[at],
		(memory->n_regions - at) * sizeof(region));
	memory->regions[at] = region;
	memory->n_regions++;
	return 0;
}

int guest_memory_remove(struct guest_memory *memory, uint64_t gpa,
			uint64_t size)
{
	unsigned at = count_up_to(memory, gpa);

	if (at == 0 || memory->regions[at - 1].gpa != gpa ||
	    memory->regions[at - 1].size != size)
		return -ENOENT;
	mapping_unmap(&memory->regions[at - 1].mapping);
	memmove(&memory->regions[at - 1], &memory->regions[at],
		(memory->n_regions - at) * sizeof(memory->regions[0]));
	memory->n_regions--;
	return 0;
}

int guest_memory_map(const struct guest_memory *memory, uint64_t gpa,
		     uint64_t len, struct iovec *pieces, unsigned n_max)
{
	const struct guest_region *end = memory->regions + memory->n_regions;
	const struct guest_region *region;
	uint64_t last;
	int n = 0;

	if (len == 0)
		return 0;
	if (__builtin_add_overflow(gpa, len - 1, &last))
		return -EFAULT;
	region = find_region(memory, gpa);
	for (; len > 0; region++) {
		uint64_t skip, here;

		/* The first was found; further ones must adjoin. */
		if (!region || region == end || region->gpa > gpa)
			return -EFAULT;
		if ((unsigned)n == n_max)
			return -E2BIG;
		skip = gpa - region->gpa;
		here = region->size - skip;
		if (here > len)
			here = len;
		pieces[n].iov_base = region->host + skip;
		pieces[n++].iov_len = here;
		gpa += here;
		len -= here;
	}
	return n;
}

static void *at_offset(const struct guest_region *region, uint64_t skip,
		       uint64_t len, uint64_t align)
{
	uint8_t *host = region->host + skip;

	if (len > region->size - skip || ((uintptr_t)host & (align - 1)) != 0)
		return NULL;
	return host;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa,
		      uint64_t len, uint64_t align)
{
	const struct guest_region *region = find_region(memory, gpa);

	if (!region)
		return NULL;
	return at_offset(region, gpa - region->gpa, len, align);
}

void *guest_memory_at_user(const struct guest_memory *memory, uint64_t user,
			   uint64_t len, uint64_t align, uint64_t *gpa_out)
{
	for (unsigned i = 0; i < memory->n_regions; i++) {
		const struct guest_region *region = &memory->regions[i];
		uint64_t skip = user - region->user;

		if (user < region->user || skip >= region->size)
			continue;
		if (gpa_out)
			*gpa_out = region->gpa + skip;
		return at_offset(region, skip, len, align);
	}
	return NULL;
}

void guest_memory_write_done(struct guest_memory *memory, uint64_t gpa,
			     uint64_t len)
{
	uint64_t page, last;

	if (!memory->log || len == 0)
		return;
	if (__builtin_add_overflow(gpa, len - 1, &last))
		last = UINT64_MAX;
	last /= GUEST_MEMORY_LOG_PAGE;
	for (page = gpa / GUEST_MEMORY_LOG_PAGE; page <= last; page++) {
		if (page / 8 >= memory->log_size)
			return;
		/* The front end clears bits meanwhile ("Migration"). */
		__atomic_fetch_or(&memory->log[page / 8],
				  (uint8_t)(1U << page % 8), __ATOMIC_RELEASE);
	}
}

int guest_memory_set_log(struct guest_memory *memory, int fd, uint64_t size,
			 uint64_t offset)
{
	struct mapping mapping = MAPPING_INIT;
	int r;

	if (fd >= 0) {
		r = mapping_map(&mapping, fd, offset, size,
				&memory->is_damaged);
		if (r != 0)
			return r;
	}
	mapping_unmap(&memory->log_mapping);
	memory->log_mapping = mapping;
	memory->log = mapping.data;
	memory->log_size = fd >= 0 ? size : 0;
	return 0;
}

void guest_memory_enable_log(struct guest_memory *memory, bool is_enabled)
{
	memory->log = is_enabled ? memory->log_mapping.data : NULL;
}

int guest_memory_guard(void)
{
	return mapping_guard();
}

bool guest_memory_is_damaged(const struct guest_memory *memory)
{
	return atomic_load(&memory->is_damaged);
}
