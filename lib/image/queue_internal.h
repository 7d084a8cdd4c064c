/* SPDX-License-Identifier: ISC */
/*
 * What the four sources of an image queue share: queue.c decides when a
 * request may run, queue_plan.c where, queue_uring.c has the kernel do the I/O
 * of mapped ranges, queue_workers.c calls the synchronous image in threads.
 */
#ifndef LIB_IMAGE_QUEUE_INTERNAL_H
#define LIB_IMAGE_QUEUE_INTERNAL_H

#include "lib/image/queue.h"

struct image_uring;
struct image_workers;

/* Requests in order, by their link. */
struct image_request_fifo {
	struct image_request *first, *last;
};

static inline void image_request_fifo_add(struct image_request_fifo *fifo,
					  struct image_request *request)
{
	request->link = NULL;
	if (fifo->last)
		fifo->last->link = request;
	else
		fifo->first = request;
	fifo->last = request;
}

static inline struct image_request *
image_request_fifo_take(struct image_request_fifo *fifo)
{
	struct image_request *request = fifo->first;

	if (!request)
		return NULL;
	fifo->first = request->link;
	if (!fifo->first)
		fifo->last = NULL;
	request->link = NULL;
	return request;
}

/* The mapping of a whole read or write, in order. */
enum {
	IMAGE_PLAN_EXTENTS_MAX = 16,
};

struct image_plan {
	unsigned n;
	struct image_extent extents[IMAGE_PLAN_EXTENTS_MAX];
};

/* Extents of data for io_uring and of zeroes for image_plan_zero(), few
 * enough for the loop; false: the request is for a worker. */
bool image_plan_make(struct image *image, const struct image_request *request,
		     struct image_plan *plan);
/* Zero bytes [skip, skip + len) of a request's memory. */
void image_plan_zero(const struct image_request *request, uint64_t skip,
		     uint64_t len);

/* One piece (the last) of a request is over; 0 or -errno. */
void image_queue_finished(struct image_request *request, int result);
/* Call done() of what has finished; at the end of each event. */
void image_queue_deliver(struct image_queue *queue);

/* NULL in *uring and -errno where the kernel has none. */
int image_uring_new(struct image_uring **uring, struct image_queue *queue,
		    struct event_loop *loop);
void image_uring_free(struct image_uring *uring);
/*
 * Queue the I/O of request's bytes [skip, skip + len) at host_offset of fd;
 * its end is told by image_queue_finished(). A read past the end of the file
 * gives zeroes. -errno: nothing was queued.
 */
int image_uring_add(struct image_uring *uring, struct image_request *request,
		    size_t skip, size_t len, int fd, uint64_t host_offset);
/* Hand it to the kernel. */
void image_uring_submit(struct image_uring *uring);
/* Take what is over, without waiting. */
void image_uring_reap(struct image_uring *uring);

int image_workers_new(struct image_workers **workers, struct image_queue *queue,
		      struct event_loop *loop, struct error *err);
void image_workers_free(struct image_workers *workers);
/* Do the whole request; its end is told by image_queue_finished(). */
void image_workers_add(struct image_workers *workers,
		       struct image_request *request);
/* Have the loop call image_queue_deliver() soon. */
void image_workers_wake(struct image_workers *workers);

struct image *image_queue_image(const struct image_queue *queue);

#endif
