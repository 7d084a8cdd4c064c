/* SPDX-License-Identifier: ISC */
/*
 * Mappings that survive a peer who cuts the file behind them short.
 *
 * The signal handler must find out whose page it is without a lock: mappings
 * stand in slots, in blocks that are linked once and never freed. A slot is
 * claimed and released under a mutex; `end` is stored last and cleared first,
 * so that the handler sees a slot whole or not at all.
 */
#include "lib/virtio/mapping.h"

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
	SLOTS_PER_BLOCK = 128,
};

struct mapping_slot {
	atomic_uintptr_t start, end; /* end 0: nothing to see */
	atomic_size_t page_size;
	_Atomic(atomic_bool *) is_damaged;
	bool is_taken; /* under the mutex */
};

struct block {
	struct mapping_slot slots[SLOTS_PER_BLOCK];
	_Atomic(struct block *) next;
};

static struct block first_block;
static pthread_mutex_t slots_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct mapping_slot *claim_free(struct block *block)
{
	for (unsigned i = 0; i < SLOTS_PER_BLOCK; i++) {
		if (!block->slots[i].is_taken) {
			block->slots[i].is_taken = true;
			return &block->slots[i];
		}
	}
	return NULL;
}

/* A slot of nobody's; NULL without memory. */
static struct mapping_slot *slot_claim(void)
{
	struct block *block = &first_block;
	struct mapping_slot *slot;

	pthread_mutex_lock(&slots_mutex);
	while (!(slot = claim_free(block))) {
		struct block *next = atomic_load(&block->next);

		if (!next) {
			next = calloc(1, sizeof(*next));
			if (!next)
				break;
			atomic_store(&block->next, next);
		}
		block = next;
	}
	pthread_mutex_unlock(&slots_mutex);
	return slot;
}

static void slot_release(struct mapping_slot *slot)
{
	pthread_mutex_lock(&slots_mutex);
	atomic_store(&slot->end, 0);
	slot->is_taken = false;
	pthread_mutex_unlock(&slots_mutex);
}

static struct mapping_slot *slot_find(uintptr_t address)
{
	struct block *block = &first_block;

	for (; block; block = atomic_load(&block->next)) {
		for (unsigned i = 0; i < SLOTS_PER_BLOCK; i++) {
			struct mapping_slot *slot = &block->slots[i];
			uintptr_t end = atomic_load(&slot->end);

			if (address < end &&
			    address >= atomic_load(&slot->start))
				return slot;
		}
	}
	return NULL;
}

/*
 * Put a page of zeros in the place of the lost one. Only async-signal-safe
 * calls; mmap() is one in fact, if not by POSIX.
 */
static void handle_sigbus(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	uintptr_t address = (uintptr_t)info->si_addr;
	struct mapping_slot *slot = NULL;
	size_t page_size;
	void *page;

	(void)context;
	if (info->si_code == BUS_ADRERR)
		slot = slot_find(address);
	if (slot) {
		page_size = atomic_load(&slot->page_size);
		page = (void *)(address & ~(uintptr_t)(page_size - 1));
		page = mmap(page, page_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
				    MAP_NORESERVE,
			    -1, 0);
		if (page != MAP_FAILED) {
			atomic_store(atomic_load(&slot->is_damaged), true);
			errno = saved;
			return;
		}
	}
	/* Not ours: the instruction faults again and has its usual end. */
	signal(number, SIG_DFL);
	errno = saved;
}

int mapping_guard(void)
{
	struct sigaction action = {
		.sa_sigaction = handle_sigbus,
		.sa_flags = SA_SIGINFO,
	};

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) == 0 ? 0 : -errno;
}

/* Pages of hugetlbfs are larger, and mapped and unmapped whole. */
static int find_page_size(int fd, size_t *page_size)
{
	struct statfs fs;

	*page_size = (size_t)sysconf(_SC_PAGESIZE);
	if (fstatfs(fd, &fs) != 0)
		return -errno;
	if ((uint32_t)fs.f_type == HUGETLBFS_MAGIC)
		*page_size = (size_t)fs.f_bsize;
	return 0;
}

static int check_length(int fd, uint64_t offset, uint64_t size)
{
	struct stat st;
	uint64_t end;

	if (size == 0 || __builtin_add_overflow(offset, size, &end) ||
	    end > INT64_MAX)
		return -EINVAL;
	if (fstat(fd, &st) != 0)
		return -errno;
	if (S_ISREG(st.st_mode) && end > (uint64_t)st.st_size)
		return -EINVAL;
	return 0;
}

int mapping_map(struct mapping *mapping, int fd, uint64_t offset, uint64_t size,
		atomic_bool *is_damaged)
{
	struct mapping_slot *slot;
	size_t page_size, skip, whole;
	void *base;
	int r;

	r = check_length(fd, offset, size);
	if (r == 0)
		r = find_page_size(fd, &page_size);
	if (r != 0)
		return r;
	skip = offset & (page_size - 1);
	if (size > SIZE_MAX / 2)
		return -EINVAL;
	whole = (skip + size + page_size - 1) & ~(page_size - 1);
	slot = slot_claim();
	if (!slot)
		return -ENOMEM;
	base = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    (off_t)(offset - skip));
	if (base == MAP_FAILED) {
		r = -errno;
		slot_release(slot);
		return r;
	}
	/* A guest's memory is no help in a core file. */
	madvise(base, whole, MADV_DONTDUMP);
	atomic_store(&slot->start, (uintptr_t)base);
	atomic_store(&slot->page_size, page_size);
	atomic_store(&slot->is_damaged, is_damaged);
	atomic_store(&slot->end, (uintptr_t)base + whole);
	*mapping = (struct mapping){
		.data = (uint8_t *)base + skip,
		.base = base,
		.size = whole,
		.slot = slot,
	};
	return 0;
}

void mapping_unmap(struct mapping *mapping)
{
	if (!mapping->data)
		return;
	/* First the slot: the address may be another mapping's at once. */
	slot_release(mapping->slot);
	munmap(mapping->base, mapping->size);
	*mapping = (struct mapping)MAPPING_INIT;
}
