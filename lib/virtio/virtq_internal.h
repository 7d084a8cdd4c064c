/* SPDX-License-Identifier: ISC */
/*
 * What split and packed rings share: an element under construction, and the
 * table of operations in which they differ. For lib/virtio/virtq*.c alone.
 */
#ifndef LIB_VIRTIO_VIRTQ_INTERNAL_H
#define LIB_VIRTIO_VIRTQ_INTERNAL_H

#include "lib/virtio/virtq.h"
#include "protocols/virtio_ring.h"

#include <endian.h>
#include <errno.h>

struct virtq_ops {
	/* Look the rings up; -EFAULT and a reason. */
	int (*map)(struct virtq *queue, const char **reason);
	int (*set_base)(struct virtq *queue, uint32_t base);
	uint32_t (*base)(const struct virtq *queue);
	int (*pop)(struct virtq *queue, struct virtq_element **element);
	void (*unpop)(struct virtq *queue, const struct virtq_element *element);
	void (*push)(struct virtq *queue, const struct virtq_element *element,
		     uint32_t written);
	void (*flush)(struct virtq *queue);
	bool (*wants_call)(struct virtq *queue);
	void (*enable_kicks)(struct virtq *queue, bool are_enabled);
	bool (*is_empty)(struct virtq *queue);
};

extern const struct virtq_ops virtq_split_ops;
extern const struct virtq_ops virtq_packed_ops;

/* Indices are free-running; what was read of the ring is never read again. */
struct virtq_split {
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;
	uint16_t avail_seen;   /* driver's index as last read */
	uint16_t last_avail;   /* next to take */
	uint16_t used_next;    /* next to fill, not published yet */
	uint16_t used_flushed; /* as published */
	uint16_t used_called;  /* up to which a call was decided */
};

/* An index below the ring's size, and the wrap counter (§2.8.1). */
struct virtq_position {
	uint16_t index;
	bool wrap;
};

struct virtq_packed {
	struct virtq_packed_desc *desc;
	struct virtq_event *driver, *device;
	struct virtq_position avail, used;
	unsigned n_uncalled; /* entries published since the last ask */
	/* Filled but not published: their flags are written by flush. */
	struct virtq_unflushed {
		uint16_t index, flags;
	} * unflushed;
	unsigned n_unflushed;
	unsigned unflushed_span; /* entries that these stand for */
	/* Descriptors of the request last popped. */
	unsigned n_last;
	struct virtq_packed_desc last[VIRTQ_PIECES_MAX];
};

struct virtq_box;

struct virtq {
	const struct virtq_ops *ops;
	struct guest_memory *memory;
	struct virtq_config config;
	const char *reason; /* broken; NULL: not */
	bool is_mapped;
	/* Ring entries taken and not given back: at most config.size. */
	unsigned n_out;
	struct virtq_box *spare; /* small elements to be used again */
	union {
		struct virtq_split split;
		struct virtq_packed *packed;
	};
	/* The element under construction. */
	unsigned n_pieces_out, n_pieces_in;
	uint64_t out_len, in_len;
	struct iovec pieces[VIRTQ_PIECES_MAX];
	uint64_t gpas[VIRTQ_PIECES_MAX];
};

/* Break the queue: -EPROTO. */
int virtq_fail(struct virtq *queue, const char *reason);

/* Begin an element, add each of its buffers, and make it of them. */
void virtq_begin(struct virtq *queue);
int virtq_add(struct virtq *queue, uint64_t addr, uint32_t len, bool is_in);
int virtq_finish(struct virtq *queue, uint16_t id, unsigned n_descs,
		 struct virtq_element **element);

/*
 * An indirect table (§2.7.5.3, §2.8.7): entries are copied out one by one,
 * each once, as the table may lie unaligned or across regions.
 */
struct virtq_table {
	struct iovec pieces[4];
	unsigned n_pieces;
	unsigned n_entries;
};

int virtq_table_open(struct virtq *queue, struct virtq_table *table,
		     uint64_t addr, uint32_t len);
void virtq_table_read(const struct virtq_table *table, unsigned i, void *entry);

/* Split rings: the request whose chain begins at head. */
int virtq_split_take(struct virtq *queue, uint16_t head,
		     struct virtq_element **element);
/* Packed rings: the request that these descriptors describe. */
int virtq_packed_take(struct virtq *queue,
		      const struct virtq_packed_desc *descs, unsigned n,
		      struct virtq_element **element);

static inline uint16_t virtq_load(const uint16_t *field)
{
	return le16toh(__atomic_load_n(field, __ATOMIC_RELAXED));
}

/* What the driver wrote before this field is seen by what follows. */
static inline uint16_t virtq_load_acquire(const uint16_t *field)
{
	return le16toh(__atomic_load_n(field, __ATOMIC_ACQUIRE));
}

static inline void virtq_store(uint16_t *field, uint16_t value)
{
	__atomic_store_n(field, htole16(value), __ATOMIC_RELAXED);
}

/* What was written before this field is seen by who sees the field. */
static inline void virtq_store_release(uint16_t *field, uint16_t value)
{
	__atomic_store_n(field, htole16(value), __ATOMIC_RELEASE);
}

/*
 * §2.7.7.2, §2.8.14: has the other side's index `event` been passed on the
 * way from old to new?
 */
static inline bool virtq_is_passed(uint16_t event, uint16_t new_index,
				   uint16_t old_index)
{
	return (uint16_t)(new_index - event - 1) <
	       (uint16_t)(new_index - old_index);
}

#endif
