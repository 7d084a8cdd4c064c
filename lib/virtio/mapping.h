/* SPDX-License-Identifier: ISC */
/*
 * A shared mapping of a descriptor that a peer gave. The peer may cut its
 * file short at any time; touching what is lost then raises SIGBUS. With the
 * guard installed the lost page becomes one of zeros, and the mapping's owner
 * finds its flag set: one bad peer does not take the process down.
 */
#ifndef LIB_VIRTIO_MAPPING_H
#define LIB_VIRTIO_MAPPING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapping_slot;

struct mapping {
	uint8_t *data; /* first byte asked for; NULL: not mapped */
	void *base;    /* what munmap() wants */
	size_t size;
	struct mapping_slot *slot;
};

#define MAPPING_INIT \
	{ \
		.data = NULL \
	}

/*
 * Map [offset, offset + size) of fd, which stays the caller's. is_damaged,
 * which lives as long as the mapping, is set when some of it got lost.
 * -EINVAL: empty, wraps, or longer than the file; or mmap()'s.
 */
int mapping_map(struct mapping *mapping, int fd, uint64_t offset, uint64_t size,
		atomic_bool *is_damaged);
/* Idempotent. */
void mapping_unmap(struct mapping *mapping);

/* Install the handler; a SIGBUS outside of all mappings keeps its default. */
int mapping_guard(void);

#endif
