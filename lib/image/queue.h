/* SPDX-License-Identifier: ISC */
/*
 * The asynchronous front of an image: a disk server submits requests and is
 * told of each one's end; one slow request holds up no other. A request whose
 * clusters are mapped in memory goes straight to io_uring; what needs
 * metadata I/O, allocation or decompression goes to worker threads, which
 * call the synchronous image. Requests that change a mapping (allocating
 * writes, zeroes, discards) are kept apart from others that overlap them, in
 * the order of submission.
 *
 * Belongs to the event loop's thread; workers are its own business.
 */
#ifndef LIB_IMAGE_QUEUE_H
#define LIB_IMAGE_QUEUE_H

#include "lib/base/event.h"
#include "lib/image/image.h"

struct image_queue;

enum image_operation {
	IMAGE_OP_READ,
	IMAGE_OP_WRITE,
	IMAGE_OP_FLUSH,
	IMAGE_OP_DISCARD,
	IMAGE_OP_WRITE_ZEROES,
};

/* Embedded in the caller's own request, and the caller's until submitted and
 * again from done() on. */
struct image_request {
	enum image_operation operation;
	unsigned flags;	      /* enum image_zero_flags */
	uint64_t offset, len; /* checked against the image's size here */
	const struct iovec *iov;
	unsigned n_iov;
	/* 0 or -errno; called from the loop, never from submit. */
	void (*done)(struct image_request *request, int result);

	/* image_queue's own */
	struct image_request *next, *previous, *waiting;
	struct image_queue *queue;
	unsigned n_pending, n_blockers;
	int result;
	bool is_exclusive;
};

int image_queue_new(struct image_queue **queue, struct event_loop *loop,
		    struct image *image, struct error *err);
/* Nothing may be in progress. The image stays the caller's. */
void image_queue_free(struct image_queue *queue);

void image_queue_submit(struct image_queue *queue,
			struct image_request *request);
/* Hand what was submitted to the kernel; once a batch. */
void image_queue_kick(struct image_queue *queue);
unsigned image_queue_n_active(const struct image_queue *queue);

#endif
