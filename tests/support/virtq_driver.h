/* SPDX-License-Identifier: ISC */
/*
 * The driver's side of a virtqueue, for tests and benches: rings in a memfd
 * that a device side maps too. It plays by the rules; a test that wants to
 * break them writes into the rings itself.
 */
#ifndef TESTS_SUPPORT_VIRTQ_DRIVER_H
#define TESTS_SUPPORT_VIRTQ_DRIVER_H

#include "protocols/virtio_ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Guest memory as one memfd, mapped here; a test's arena. */
struct driver_memory {
	int fd;
	uint8_t *host;
	size_t size;
	uint64_t gpa;
};

/* 0 or -errno. */
int driver_memory_init(struct driver_memory *memory, uint64_t gpa, size_t size);
void driver_memory_deinit(struct driver_memory *memory);
void *driver_memory_at(const struct driver_memory *memory, uint64_t gpa);

struct driver_buffer {
	uint64_t gpa;
	uint32_t len;
	bool is_in; /* the device writes it */
};

struct virtq_driver_request {
	void *token; /* NULL: the id is free */
	uint16_t n_descs;
	uint16_t next; /* free list of ids, and of split descriptors */
};

struct virtq_driver {
	struct driver_memory *memory;
	bool is_packed, has_event_idx;
	uint16_t size;
	uint64_t desc_gpa, driver_gpa, device_gpa, end_gpa;

	/* Split. */
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;
	uint16_t *avail_event;
	/* Packed. */
	struct virtq_packed_desc *ring;
	struct virtq_event *driver_event, *device_event;

	uint16_t next_avail, next_used; /* split: free-running */
	uint16_t published;		/* split: as the device knows it */
	bool avail_wrap, used_wrap;	/* packed */
	unsigned n_free;		/* descriptors */
	unsigned n_added;		/* since the last publish */
	/* Packed: the head whose flags are written last. */
	uint16_t pending_head, pending_flags;
	uint16_t free_head;
	struct virtq_driver_request *requests; /* by id */
};

/*
 * Lay rings of `size` entries out in memory from gpa on (a multiple of 4096);
 * end_gpa is the first address behind them. 0 or -errno.
 */
int virtq_driver_init(struct virtq_driver *driver, struct driver_memory *memory,
		      uint64_t gpa, uint16_t size, bool is_packed,
		      bool has_event_idx);
void virtq_driver_deinit(struct virtq_driver *driver);

/*
 * Add a request of n buffers, the outgoing ones first; if table_gpa is not 0
 * as one indirect descriptor with its table there. Its id, or -ENOSPC.
 */
int virtq_driver_add(struct virtq_driver *driver,
		     const struct driver_buffer *buffers, unsigned n,
		     uint64_t table_gpa, void *token);
/* Show the device what was added; true: it wants a kick. */
bool virtq_driver_publish(struct virtq_driver *driver);

/* A used request's token and the bytes written; NULL: none yet. */
void *virtq_driver_get_used(struct virtq_driver *driver, uint32_t *len);
/* Ask for a call at the next used request, or for none. */
void virtq_driver_enable_calls(struct virtq_driver *driver, bool are_enabled);

#endif
