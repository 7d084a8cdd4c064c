/* SPDX-License-Identifier: ISC */
/*
 * Virtqueues as they lie in guest memory (virtio 1.2 §2.7 split, §2.8
 * packed). Little-endian.
 */
#ifndef PROTOCOLS_VIRTIO_RING_H
#define PROTOCOLS_VIRTIO_RING_H

#include <stdint.h>

/* Descriptor flags; AVAIL and USED are of packed rings (§2.8.1). */
enum {
	VIRTQ_DESC_F_NEXT = 1 << 0,
	VIRTQ_DESC_F_WRITE = 1 << 1,
	VIRTQ_DESC_F_INDIRECT = 1 << 2,
	VIRTQ_DESC_F_AVAIL = 1 << 7,
	VIRTQ_DESC_F_USED = 1 << 15,
};

/* §2.7.5 */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};
_Static_assert(sizeof(struct virtq_desc) == 16, "shared memory");

enum {
	VIRTQ_AVAIL_F_NO_INTERRUPT = 1 << 0,
	VIRTQ_USED_F_NO_NOTIFY = 1 << 0,
};

/* §2.7.6; used_event follows the ring where EVENT_IDX is negotiated. */
struct virtq_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
};
_Static_assert(sizeof(struct virtq_avail) == 4, "shared memory");

/* §2.7.8 */
struct virtq_used_elem {
	uint32_t id;
	uint32_t len;
};
_Static_assert(sizeof(struct virtq_used_elem) == 8, "shared memory");

/* avail_event follows the ring where EVENT_IDX is negotiated. */
struct virtq_used {
	uint16_t flags;
	uint16_t idx;
	struct virtq_used_elem ring[];
};
_Static_assert(sizeof(struct virtq_used) == 4, "shared memory");

/* §2.8.13 */
struct virtq_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};
_Static_assert(sizeof(struct virtq_packed_desc) == 16, "shared memory");

/* §2.8.14: event suppression, one area by the driver, one by the device. */
enum {
	VIRTQ_EVENT_ENABLE = 0,
	VIRTQ_EVENT_DISABLE = 1,
	VIRTQ_EVENT_DESC = 2,
	VIRTQ_EVENT_FLAGS_MASK = 3,
	VIRTQ_EVENT_WRAP = 1 << 15, /* of off_wrap */
};

struct virtq_event {
	uint16_t off_wrap;
	uint16_t flags;
};
_Static_assert(sizeof(struct virtq_event) == 4, "shared memory");

#endif
