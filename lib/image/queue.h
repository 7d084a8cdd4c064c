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
 * A flush covers what was completed before it was submitted, and waits for
 * nothing else. Belongs to the event loop's thread; workers are its own
 * business.
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
	/* Reads and writes: pieces of len bytes in all. */
	const struct iovec *iov;
	unsigned n_iov;
	/*
	 * 0 or -errno; called from the loop or from image_queue_kick(), never
	 * from submit. May submit (which then needs no kick) and may free the
	 * request, but not the queue.
	 */
	void (*done)(struct image_request *request, int result);
	/* In done(): the image's own words for an error, or NULL. */
	const char *error_text;

	/* image_queue's own */
	struct image_request *next, *previous; /* in progress, by class */
	struct image_request *link; /* waiting, with a worker, or finished */
	struct image_queue *queue;
	uint64_t sequence;   /* of submission */
	uint64_t start, end; /* what it keeps others away from */
	unsigned n_pending;  /* pieces with the kernel */
	int result;
	char *text;
	bool is_exclusive;
	bool is_for_worker; /* a piece was too much for the kernel */
};

/* Uses io_uring; without it (an old kernel, seccomp) workers do everything. */
int image_queue_new(struct image_queue **queue, struct event_loop *loop,
		    struct image *image, struct error *err);
/* Nothing may be in progress. The image stays the caller's. */
void image_queue_free(struct image_queue *queue);

void image_queue_submit(struct image_queue *queue,
			struct image_request *request);
/* Hand what was submitted to the kernel; once a batch. */
void image_queue_kick(struct image_queue *queue);
/* Call ended(context) after each run of done() calls, so that their owner can
 * publish them at once. */
void image_queue_set_batch(struct image_queue *queue,
			   void (*ended)(void *context), void *context);
/* Requests submitted whose done() has not been called. */
unsigned image_queue_n_active(const struct image_queue *queue);

#endif
