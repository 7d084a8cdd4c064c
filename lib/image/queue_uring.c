/* SPDX-License-Identifier: ISC */
/*
 * The io_uring side of an image queue: data I/O of ranges whose place in a
 * host file is known. An operation is one extent of one request; it keeps the
 * pieces of memory that are still to be done, so that a short result goes on
 * where it stopped. The ring's descriptor is readable while results wait, and
 * stands in the event loop itself.
 *
 * What the kernel will not take now (out of memory) stays in the submission
 * ring; the next submission, result or the retry timer hands it over.
 */
#include "lib/image/queue_internal.h"

#include "lib/base/cleanup.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

enum {
	RING_ENTRIES = 256,
	OWN_PIECES = 8, /* more are allocated */
	FREE_MAX = 256, /* operations kept for the next */
	TRIES_MAX = 16, /* of EINTR and EAGAIN */
	RETRY_MS = 10,
};

struct operation {
	struct operation *next_free;
	struct image_request *request;
	int fd;
	bool is_write, is_async;
	unsigned n_tries;
	uint64_t host_offset;
	size_t remaining;
	/* What is left: pieces [at, n) of iov. */
	struct iovec *iov;
	unsigned n, at;
	struct iovec own[OWN_PIECES];
};

struct image_uring {
	struct image_queue *queue;
	struct io_uring ring;
	struct event_source source;
	struct event_timer retry;
	struct operation *free_list;
	unsigned n_free;
	bool has_ring;
};

static struct operation *take_operation(struct image_uring *uring)
{
	struct operation *op = uring->free_list;

	if (!op)
		return malloc(sizeof(*op));
	uring->free_list = op->next_free;
	uring->n_free--;
	return op;
}

static void give_operation(struct image_uring *uring, struct operation *op)
{
	if (op->iov != op->own)
		free(op->iov);
	if (uring->n_free == FREE_MAX) {
		free(op);
		return;
	}
	op->next_free = uring->free_list;
	uring->free_list = op;
	uring->n_free++;
}

/* Bytes [skip, skip + len) of the request as the operation's pieces. */
static int cut_pieces(struct operation *op, size_t skip, size_t len)
{
	const struct iovec *from = op->request->iov;
	unsigned n_from = op->request->n_iov, n = 0;

	while (n_from > 0 && skip >= from->iov_len) {
		skip -= from->iov_len;
		from++;
		n_from--;
	}
	op->iov = op->own;
	if (n_from > OWN_PIECES) {
		op->iov = calloc(n_from, sizeof(*op->iov));
		if (!op->iov) {
			op->iov = op->own;
			return -ENOMEM;
		}
	}
	for (; len > 0 && n < n_from; n++, skip = 0) {
		size_t piece = from[n].iov_len - skip;

		if (piece > len)
			piece = len;
		op->iov[n].iov_base = (uint8_t *)from[n].iov_base + skip;
		op->iov[n].iov_len = piece;
		len -= piece;
	}
	op->n = n;
	op->at = 0;
	return len > 0 ? -EINVAL : 0;
}

/* Some bytes are done: what is left begins after them. */
static void advance(struct operation *op, size_t len)
{
	op->host_offset += len;
	op->remaining -= len;
	while (len > 0) {
		struct iovec *piece = &op->iov[op->at];

		if (piece->iov_len > len) {
			piece->iov_base = (uint8_t *)piece->iov_base + len;
			piece->iov_len -= len;
			return;
		}
		len -= piece->iov_len;
		op->at++;
	}
}

static int queue_operation(struct image_uring *uring, struct operation *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
	const struct iovec *iov = op->iov + op->at;
	unsigned n = op->n - op->at;

	if (!sqe) {
		image_uring_submit(uring);
		sqe = io_uring_get_sqe(&uring->ring);
		if (!sqe)
			return -EBUSY;
	}
	/* One piece spares the kernel the import of a vector. */
	if (n == 1 && iov->iov_len <= UINT32_MAX && op->is_write)
		io_uring_prep_write(sqe, op->fd, iov->iov_base,
				    (unsigned)iov->iov_len, op->host_offset);
	else if (n == 1 && iov->iov_len <= UINT32_MAX)
		io_uring_prep_read(sqe, op->fd, iov->iov_base,
				   (unsigned)iov->iov_len, op->host_offset);
	else if (op->is_write)
		io_uring_prep_writev(sqe, op->fd, iov, n, op->host_offset);
	else
		io_uring_prep_readv(sqe, op->fd, iov, n, op->host_offset);
	if (op->is_async)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, op);
	return 0;
}

int image_uring_add(struct image_uring *uring, struct image_request *request,
		    size_t skip, size_t len, int fd, uint64_t host_offset)
{
	struct operation *op = take_operation(uring);
	int r;

	if (!op)
		return -ENOMEM;
	op->request = request;
	op->fd = fd;
	op->is_write = request->operation == IMAGE_OP_WRITE;
	op->is_async = false;
	op->n_tries = 0;
	op->host_offset = host_offset;
	op->remaining = len;
	r = cut_pieces(op, skip, len);
	if (r == 0)
		r = queue_operation(uring, op);
	if (r < 0)
		give_operation(uring, op);
	return r;
}

/* One result. Returns 0 (all done), -errno, or 1: there is more to do. */
static int take_result(struct operation *op, int result)
{
	if (result == -EINTR || result == -EAGAIN) {
		/* Where it would block, let a kernel thread block. */
		op->is_async = true;
		return ++op->n_tries < TRIES_MAX ? 1 : -EIO;
	}
	if (result < 0)
		return result;
	if (result == 0 && op->is_write)
		return -EIO;
	/* The end of the file: what is beyond, or should have been before it,
	 * the file's own functions know. */
	if (result == 0) {
		op->request->is_for_worker = true;
		return 0;
	}
	advance(op, (size_t)result);
	return op->remaining > 0;
}

void image_uring_reap(struct image_uring *uring)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct operation *op = io_uring_cqe_get_data(cqe);
		int r = take_result(op, cqe->res);

		io_uring_cqe_seen(&uring->ring, cqe);
		if (r == 1 && queue_operation(uring, op) == 0)
			continue;
		if (r == 1) {
			op->request->is_for_worker = true;
			r = 0;
		}
		image_queue_finished(op->request, r);
		give_operation(uring, op);
	}
}

void image_uring_submit(struct image_uring *uring)
{
	while (io_uring_sq_ready(&uring->ring) > 0) {
		int r = io_uring_submit(&uring->ring);

		if (r == -EINTR)
			continue;
		if (r <= 0) {
			event_timer_set(&uring->retry, RETRY_MS, 0);
			return;
		}
	}
}

static void take_event(struct image_uring *uring)
{
	struct image_queue *queue = uring->queue;

	image_uring_submit(uring);
	image_uring_reap(uring);
	image_uring_submit(uring);
	image_queue_deliver(queue);
}

static void ring_ready(struct event_source *source, uint32_t events)
{
	(void)events;
	take_event(container_of(source, struct image_uring, source));
}

static void retry_expired(struct event_timer *timer)
{
	take_event(container_of(timer, struct image_uring, retry));
}

int image_uring_new(struct image_uring **uring_out, struct image_queue *queue,
		    struct event_loop *loop)
{
	struct image_uring *uring = calloc(1, sizeof(*uring));
	int r;

	*uring_out = NULL;
	if (!uring)
		return -ENOMEM;
	uring->queue = queue;
	uring->source = (struct event_source)EVENT_SOURCE_INIT;
	uring->retry = (struct event_timer)EVENT_TIMER_INIT;
	r = io_uring_queue_init(RING_ENTRIES, &uring->ring, 0);
	uring->has_ring = r == 0;
	if (r == 0)
		r = event_timer_init(loop, &uring->retry, retry_expired);
	if (r == 0)
		r = event_source_add(loop, &uring->source, uring->ring.ring_fd,
				     EPOLLIN, ring_ready);
	if (r < 0) {
		image_uring_free(uring);
		return r;
	}
	*uring_out = uring;
	return 0;
}

void image_uring_free(struct image_uring *uring)
{
	struct operation *op;

	if (!uring)
		return;
	event_source_remove(&uring->source);
	event_timer_deinit(&uring->retry);
	if (uring->has_ring)
		io_uring_queue_exit(&uring->ring);
	while ((op = uring->free_list)) {
		uring->free_list = op->next_free;
		free(op);
	}
	free(uring);
}
