/* SPDX-License-Identifier: ISC */
/*
 * When a request of an image queue may run, and where.
 *
 * Two lists hold what is in progress, waiting requests included: `exclusive`
 * those that change (or may change) a mapping, `shared` the rest. A request
 * waits while an earlier one overlaps it and either of the two is exclusive;
 * the range of an exclusive one is widened to whole clusters, since that is
 * what a format allocates and frees. As the list of exclusives is empty most
 * of the time, a read or an overwrite is decided without a search.
 *
 *	read		shared
 *	write		exclusive, until the map says that all of it can be
 *			overwritten in place; then shared
 *	discard, zeroes	exclusive
 *	flush		neither; one runs at a time, and those submitted
 *			meanwhile share the next
 *
 * Where: a shared request whose extents are all known without waiting goes to
 * io_uring extent by extent; everything else goes to a worker as a whole. A
 * range that was mapped stays so until its request ends: what would change it
 * is exclusive and waits.
 */
#include "lib/image/queue_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct request_list {
	struct image_request *first;
};

struct image_queue {
	struct image *image;
	uint64_t granule; /* exclusive ranges are whole multiples of it */
	struct image_uring *uring; /* NULL: workers only */
	struct image_workers *workers;

	struct request_list shared, exclusive;
	struct image_request_fifo waiting;   /* of both, oldest first */
	struct image_request *flush;	     /* with a worker, or NULL */
	struct image_request_fifo flushed;   /* by it, too */
	struct image_request_fifo unflushed; /* came while it ran */
	struct image_request_fifo ended;     /* still hold others up */
	struct image_request_fifo finished;  /* done() is due */
	uint64_t sequence;
	unsigned n_active;
	bool is_releasing, is_delivering;

	void (*batch_ended)(void *context);
	void *batch_context;
};

struct image *image_queue_image(const struct image_queue *queue)
{
	return queue->image;
}

static void list_add(struct request_list *list, struct image_request *request)
{
	request->previous = NULL;
	request->next = list->first;
	if (list->first)
		list->first->previous = request;
	list->first = request;
}

static void list_remove(struct request_list *list,
			struct image_request *request)
{
	if (request->previous)
		request->previous->next = request->next;
	else
		list->first = request->next;
	if (request->next)
		request->next->previous = request->previous;
}

static struct request_list *list_of(struct image_queue *queue,
				    const struct image_request *request)
{
	return request->is_exclusive ? &queue->exclusive : &queue->shared;
}

static bool overlaps_earlier(const struct request_list *list,
			     const struct image_request *request,
			     uint64_t start, uint64_t end)
{
	for (const struct image_request *r = list->first; r; r = r->next)
		if (r->sequence < request->sequence && r->start < end &&
		    start < r->end)
			return true;
	return false;
}

/* Whether the request is in a list or not yet, as far as it is classed. */
static bool is_blocked(const struct image_queue *queue,
		       const struct image_request *request)
{
	if (overlaps_earlier(&queue->exclusive, request, request->start,
			     request->end))
		return true;
	return request->is_exclusive &&
	       overlaps_earlier(&queue->shared, request, request->start,
				request->end);
}

static void class_exclusive(const struct image_queue *queue,
			    struct image_request *request)
{
	uint64_t end = request->offset + request->len, over;

	request->is_exclusive = true;
	request->start = request->offset - request->offset % queue->granule;
	over = end % queue->granule;
	/* A disk of the last bytes below 2^64 has nothing to widen into. */
	if (over == 0 ||
	    __builtin_add_overflow(end, queue->granule - over, &request->end))
		request->end = over == 0 ? end : UINT64_MAX;
}

static void class_shared(struct image_request *request)
{
	request->is_exclusive = false;
	request->start = request->offset;
	request->end = request->offset + request->len;
}

/* Carry out a plan; the request may be over afterwards. */
static void run_plan(struct image_queue *queue, struct image_request *request,
		     const struct image_plan *plan)
{
	/* One more than there are pieces, so that none is the last yet. */
	request->n_pending = 1;
	for (unsigned i = 0; i < plan->n && !request->is_for_worker; i++) {
		const struct image_extent *extent = &plan->extents[i];
		uint64_t skip = extent->offset - request->offset;

		if (extent->kind != IMAGE_EXTENT_DATA) {
			image_plan_zero(request, skip, extent->len);
			continue;
		}
		if (image_uring_add(queue->uring, request, skip, extent->len,
				    extent->host_fd, extent->host_offset) < 0)
			request->is_for_worker = true;
		else
			request->n_pending++;
	}
	image_queue_finished(request, 0);
}

static bool is_mapped(struct image_queue *queue,
		      const struct image_request *request,
		      struct image_plan *plan)
{
	return queue->uring && image_plan_make(queue->image, request, plan);
}

/*
 * Start a request of a list, or leave it to wait. What a write is depends on
 * the map, which can be read when nothing earlier may change it any more.
 */
static bool try_start(struct image_queue *queue, struct image_request *request)
{
	struct image_plan plan;

	if (request->operation == IMAGE_OP_WRITE) {
		if (overlaps_earlier(&queue->exclusive, request,
				     request->offset,
				     request->offset + request->len))
			return false;
		if (is_mapped(queue, request, &plan)) {
			list_remove(list_of(queue, request), request);
			class_shared(request);
			list_add(&queue->shared, request);
			run_plan(queue, request, &plan);
			return true;
		}
	}
	if (is_blocked(queue, request))
		return false;
	if (request->operation == IMAGE_OP_READ &&
	    is_mapped(queue, request, &plan)) {
		run_plan(queue, request, &plan);
		return true;
	}
	request->n_pending = 1;
	image_workers_add(queue->workers, request);
	return true;
}

/*
 * What the end of a request held up may start now. A write that starts as an
 * overwrite lets go of its clusters but for its own bytes: who waited for more
 * than these comes later in the list, and is near that range instead.
 */
static void start_waiting(struct image_queue *queue,
			  const struct image_request *over)
{
	struct image_request_fifo still = { NULL, NULL };
	uint64_t from = over->start, to = over->end;
	struct image_request *request;

	while ((request = image_request_fifo_take(&queue->waiting))) {
		uint64_t start = request->start, end = request->end;

		if (start >= to || from >= end || !try_start(queue, request)) {
			image_request_fifo_add(&still, request);
			continue;
		}
		from = start < from ? start : from;
		to = end > to ? end : to;
	}
	queue->waiting = still;
}

static void start_flush(struct image_queue *queue)
{
	if (queue->flush)
		return;
	/* The first does it for all that came before it starts. */
	queue->flush = image_request_fifo_take(&queue->unflushed);
	queue->flushed = queue->unflushed;
	queue->unflushed = (struct image_request_fifo){ NULL, NULL };
	if (!queue->flush)
		return;
	queue->flush->n_pending = 1;
	image_workers_add(queue->workers, queue->flush);
}

static void end_flush(struct image_queue *queue)
{
	struct image_request *leader = queue->flush, *request;

	queue->flush = NULL;
	image_request_fifo_add(&queue->finished, leader);
	while ((request = image_request_fifo_take(&queue->flushed))) {
		request->result = leader->result;
		image_request_fifo_add(&queue->finished, request);
	}
	start_flush(queue);
}

/*
 * What was started here may have ended at once (zeroes) and come back with
 * another end: one loop takes them all, whatever a guest queues up.
 */
static void release(struct image_queue *queue)
{
	struct image_request *request;

	if (queue->is_releasing)
		return;
	queue->is_releasing = true;
	while ((request = image_request_fifo_take(&queue->ended))) {
		list_remove(list_of(queue, request), request);
		start_waiting(queue, request);
		image_request_fifo_add(&queue->finished, request);
	}
	queue->is_releasing = false;
}

void image_queue_finished(struct image_request *request, int result)
{
	struct image_queue *queue = request->queue;

	if (result < 0)
		request->result = result;
	if (--request->n_pending > 0)
		return;
	if (request->is_for_worker) {
		/* Nothing is under way: all of it again. */
		request->is_for_worker = false;
		request->result = 0;
		request->n_pending = 1;
		image_workers_add(queue->workers, request);
		return;
	}
	if (request->operation == IMAGE_OP_FLUSH) {
		end_flush(queue);
		return;
	}
	image_request_fifo_add(&queue->ended, request);
	release(queue);
}

void image_queue_deliver(struct image_queue *queue)
{
	struct image_request_fifo due = queue->finished;
	struct image_request *request;

	if (queue->is_delivering || !due.first)
		return;
	queue->is_delivering = true;
	queue->finished = (struct image_request_fifo){ NULL, NULL };
	while ((request = image_request_fifo_take(&due))) {
		_cleanup_free_ char *text = steal_ptr(&request->text);

		queue->n_active--;
		request->error_text = text;
		request->done(request, request->result);
	}
	if (queue->uring)
		image_uring_submit(queue->uring);
	if (queue->batch_ended)
		queue->batch_ended(queue->batch_context);
	queue->is_delivering = false;
	/* Submitted in done() and over already: not for ever in here. */
	if (queue->finished.first)
		image_workers_wake(queue->workers);
}

static bool is_in_image(const struct image_queue *queue,
			const struct image_request *request)
{
	uint64_t end;

	return !__builtin_add_overflow(request->offset, request->len, &end) &&
	       end <= image_size(queue->image);
}

void image_queue_submit(struct image_queue *queue,
			struct image_request *request)
{
	request->queue = queue;
	request->sequence = queue->sequence++;
	request->n_pending = 0;
	request->result = 0;
	request->is_for_worker = false;
	request->text = NULL;
	request->error_text = NULL;
	request->link = NULL;
	queue->n_active++;
	if (request->operation == IMAGE_OP_FLUSH) {
		image_request_fifo_add(&queue->unflushed, request);
		start_flush(queue);
		return;
	}
	if (!is_in_image(queue, request) || request->len == 0) {
		request->result = is_in_image(queue, request) ? 0 : -EINVAL;
		image_request_fifo_add(&queue->finished, request);
		return;
	}
	if (request->operation == IMAGE_OP_READ)
		class_shared(request);
	else
		class_exclusive(queue, request);
	list_add(list_of(queue, request), request);
	if (!try_start(queue, request))
		image_request_fifo_add(&queue->waiting, request);
}

void image_queue_kick(struct image_queue *queue)
{
	if (queue->is_delivering)
		return;
	if (queue->uring) {
		/* What the page cache had is over by now. */
		image_uring_submit(queue->uring);
		image_uring_reap(queue->uring);
		image_uring_submit(queue->uring);
	}
	image_queue_deliver(queue);
}

void image_queue_set_batch(struct image_queue *queue,
			   void (*ended)(void *context), void *context)
{
	queue->batch_ended = ended;
	queue->batch_context = context;
}

unsigned image_queue_n_active(const struct image_queue *queue)
{
	return queue->n_active;
}

int image_queue_new(struct image_queue **queue_out, struct event_loop *loop,
		    struct image *image, struct error *err)
{
	struct image_queue *queue = calloc(1, sizeof(*queue));
	uint32_t alignment = image_host_alignment(image);
	int r;

	if (!queue)
		return error_set_errno(err, -ENOMEM, "image queue");
	queue->image = image;
	/* With O_DIRECT a small write rewrites what lies around it. */
	queue->granule = image_cluster_size(image);
	if (queue->granule < alignment)
		queue->granule = alignment;
	if (queue->granule == 0)
		queue->granule = 1;
	r = image_workers_new(&queue->workers, queue, loop, err);
	if (r < 0) {
		image_queue_free(queue);
		return r;
	}
	r = image_uring_new(&queue->uring, queue, loop);
	if (r < 0)
		log_info("no io_uring (%s): threads do the disk I/O",
			 strerror(-r));
	*queue_out = queue;
	return 0;
}

void image_queue_free(struct image_queue *queue)
{
	if (!queue)
		return;
	image_uring_free(queue->uring);
	image_workers_free(queue->workers);
	free(queue);
}
