/* SPDX-License-Identifier: ISC */
/*
 * Guest memory: the only door to it. A table of regions, sorted by guest
 * physical address (gpa), each a shared mapping of a descriptor. Nothing else
 * turns a guest address into a pointer, and every write that a back end makes
 * into guest memory is reported here, where the dirty log is kept
 * (vhost-user, "Migration").
 *
 * Owned by one thread; guest_memory_write_done() alone may be called from
 * others while no region changes.
 */
#ifndef LIB_VIRTIO_MEMORY_H
#define LIB_VIRTIO_MEMORY_H

#include "lib/virtio/mapping.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	/* As QEMU's and rust-vmm's limit for CONFIGURE_MEM_SLOTS. */
	GUEST_MEMORY_REGIONS_MAX = 509,
	GUEST_MEMORY_LOG_PAGE = 4096, /* one bit of the dirty log */
};

struct guest_region {
	uint64_t gpa;  /* first guest physical address */
	uint64_t size; /* bytes, not 0 */
	uint64_t user; /* the same in the front end's own addresses */
	uint8_t *host; /* the same here */
	struct mapping mapping;
};

struct guest_memory {
	unsigned n_regions;
	struct guest_region regions[GUEST_MEMORY_REGIONS_MAX];
	/* Dirty log: one bit a page, from gpa 0 on; NULL: not logging. */
	uint8_t *log;
	uint64_t log_size; /* bytes */
	struct mapping log_mapping;
	atomic_bool is_damaged;
};

void guest_memory_init(struct guest_memory *memory);
/* Unmap everything, the log too. Idempotent. */
void guest_memory_deinit(struct guest_memory *memory);

/*
 * Map [offset, offset + size) of fd as [gpa, gpa + size). user is the front
 * end's own address of it (0 where there is none). fd stays the caller's and
 * may be closed. -EINVAL: empty, wraps, or longer than the file; -EEXIST:
 * overlaps a region, in gpa or in user space; -ENOSPC: table full; or mmap's.
 */
int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size,
		     uint64_t user, int fd, uint64_t offset);
/* Unmap the region of exactly this gpa and size; -ENOENT. */
int guest_memory_remove(struct guest_memory *memory, uint64_t gpa,
			uint64_t size);
/* Unmap all regions; the log stays. */
void guest_memory_clear(struct guest_memory *memory);

/*
 * The checked translation: [gpa, gpa + len) as at most n_max pieces (regions
 * may adjoin). Returns their number, -EFAULT (some of it is no memory, or it
 * wraps), -E2BIG (more pieces than n_max). len 0 gives 0 pieces.
 */
int guest_memory_map(const struct guest_memory *memory, uint64_t gpa,
		     uint64_t len, struct iovec *pieces, unsigned n_max);

/*
 * As guest_memory_map() for one piece with the alignment asked for (a power
 * of two), by guest physical address or by front-end address (as ring
 * addresses of vhost-user are). NULL: not one whole aligned piece. *gpa_out
 * (may be NULL) becomes the guest physical address.
 */
void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa,
		      uint64_t len, uint64_t align);
void *guest_memory_at_user(const struct guest_memory *memory, uint64_t user,
			   uint64_t len, uint64_t align, uint64_t *gpa_out);

/*
 * Log [gpa, gpa + len) as written, after writing it; nothing without a log.
 * Bits beyond the log are dropped.
 */
void guest_memory_write_done(struct guest_memory *memory, uint64_t gpa,
			     uint64_t len);

/*
 * Map a dirty log from fd (not kept) and log into it; replaces the one
 * before. fd -1 ends logging and forgets it.
 */
int guest_memory_set_log(struct guest_memory *memory, int fd, uint64_t size,
			 uint64_t offset);
/* Log, or not for a while, into the log that there is, if any. */
void guest_memory_enable_log(struct guest_memory *memory, bool is_enabled);

/*
 * A front end may cut short the file behind a mapping: touching it then
 * raises SIGBUS. Install a handler that puts zero pages in the place of a
 * region's lost ones, so that one bad front end does not take the process
 * (and its neighbours) down; a SIGBUS elsewhere keeps its default. Programs
 * call it once at start.
 */
int guest_memory_guard(void);
/* Did that happen to this table? Then its connection is to be dropped. */
bool guest_memory_is_damaged(const struct guest_memory *memory);

#endif
