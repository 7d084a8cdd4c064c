/* SPDX-License-Identifier: ISC */
/*
 * The two layouts of the in-flight region behind one table of operations.
 * For lib/vhost/inflight*.c alone.
 *
 * A process that is killed has done its stores in program order up to some
 * point, and the next one sees just these. So each store to the region is a
 * release: none passes another.
 */
#ifndef LIB_VHOST_INFLIGHT_INTERNAL_H
#define LIB_VHOST_INFLIGHT_INTERNAL_H

#include "lib/vhost/inflight.h"

struct inflight_ops {
	/* Check, repair, set the base, fill in the backlog. */
	int (*attach)(struct inflight_queue *queue, const char **reason);
	/* Take backlog entry `slot` up again. */
	int (*take)(struct inflight_queue *queue, uint16_t slot,
		    struct virtq_element **element);
	/* An element was popped: record it. -EPROTO: it cannot be. */
	int (*record)(struct inflight_queue *queue,
		      struct virtq_element *element);
	void (*forget)(struct inflight_queue *queue,
		       const struct virtq_element *element);
	/* Around virtq_flush() of the n_batch elements of batch[]. */
	void (*publish)(struct inflight_queue *queue);
	void (*published)(struct inflight_queue *queue);
};

extern const struct inflight_ops inflight_split_ops;
extern const struct inflight_ops inflight_packed_ops;

struct inflight_entry {
	uint64_t counter;
	uint16_t slot;
};

struct inflight_queue {
	const struct inflight_ops *ops;
	struct virtq *virtq;
	union {
		struct vhost_user_inflight_split *split;
		struct vhost_user_inflight_packed *packed;
	};
	uint16_t desc_num; /* entries of the region, at least the ring's */
	uint64_t counter;  /* for the next request */
	/* To be done again, oldest first. */
	unsigned n_backlog, next_backlog;
	struct inflight_entry *backlog;
	/* Pushed since the last flush. */
	unsigned n_batch;
	struct inflight_batch {
		uint16_t slot, n_descs;
	} * batch;
	/* Packed: our own copy of the free list, and of what it links. */
	uint16_t free_head;
	uint16_t *next, *last;
};

int inflight_add_backlog(struct inflight_queue *queue, uint16_t slot,
			 uint64_t counter);

#define inflight_store(field, value) \
	__atomic_store_n((field), (value), __ATOMIC_RELEASE)
#define inflight_load(field) __atomic_load_n((field), __ATOMIC_ACQUIRE)

#endif
