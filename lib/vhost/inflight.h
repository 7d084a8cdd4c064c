/* SPDX-License-Identifier: ISC */
/*
 * In-flight tracking (vhost-user, "Inflight I/O tracking"): which requests a
 * back end has taken and not given back, in memory that the front end keeps
 * while the back end is away. All of it may have been written by somebody
 * else: it is checked when a queue is attached, and only written afterwards.
 */
#ifndef LIB_VHOST_INFLIGHT_H
#define LIB_VHOST_INFLIGHT_H

#include "lib/virtio/mapping.h"
#include "lib/virtio/virtq.h"
#include "protocols/vhost_user.h"

struct inflight {
	struct mapping mapping;
	uint16_t n_queues, queue_size;
	uint64_t stride; /* bytes of a queue's part */
};

#define INFLIGHT_INIT \
	{ \
		.mapping = MAPPING_INIT \
	}

/*
 * Make a region for n_queues of queue_size entries, of either kind of ring;
 * *fd is a sealed memfd, the caller's, and *description tells of it.
 */
int inflight_create(struct inflight *inflight, uint16_t n_queues,
		    uint16_t queue_size, atomic_bool *is_damaged, int *fd,
		    struct vhost_user_inflight *description);
/* Map the region that a front end kept. -EINVAL: it cannot be one. */
int inflight_map(struct inflight *inflight, int fd,
		 const struct vhost_user_inflight *description,
		 atomic_bool *is_damaged);
void inflight_deinit(struct inflight *inflight);
bool inflight_is_mapped(const struct inflight *inflight);

struct inflight_queue;

/*
 * Begin with queue `index` on its virtq: repair what the last batch left,
 * set the virtq's base after all that was taken, and line up what is to be
 * done again. -EPROTO and a reason: the region does not fit the queue.
 */
int inflight_queue_new(struct inflight_queue **queue,
		       const struct inflight *inflight, unsigned index,
		       struct virtq *virtq, bool is_packed,
		       const char **reason);
void inflight_queue_free(struct inflight_queue *queue);

/* As virtq_pop(): first what is to be done again, oldest first, then what
 * the driver offers. */
int inflight_queue_pop(struct inflight_queue *queue,
		       struct virtq_element **element);
/* Is there something to be done again? */
bool inflight_queue_has_backlog(const struct inflight_queue *queue);
/* As virtq_unpop() of one element, the last popped. */
void inflight_queue_unpop(struct inflight_queue *queue,
			  struct virtq_element *element);
/* An element is about to be given back with virtq_push(). */
void inflight_queue_push(struct inflight_queue *queue,
			 const struct virtq_element *element);
/* virtq_flush(), with the region's stores before and after. */
void inflight_queue_flush(struct inflight_queue *queue);

#endif
