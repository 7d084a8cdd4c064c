/* SPDX-License-Identifier: ISC */
/* What a device does with its queues: take requests and give them back. */
#include "lib/vhost/backend_internal.h"

#include <assert.h>

struct vhost_queue *vhost_backend_queue(struct vhost_backend *backend,
					unsigned index)
{
	if (index >= backend->n_queues || !backend->queues[index].virtq)
		return NULL;
	return &backend->queues[index];
}

unsigned vhost_queue_index(const struct vhost_queue *queue)
{
	return queue->index;
}

void vhost_queue_set_context(struct vhost_queue *queue, void *context)
{
	queue->context = context;
}

void *vhost_queue_context(const struct vhost_queue *queue)
{
	return queue->context;
}

bool vhost_queue_is_enabled(const struct vhost_queue *queue)
{
	return queue->is_enabled;
}

static bool may_take(const struct vhost_queue *queue)
{
	return queue->virtq && !queue->is_stopping &&
	       !queue->backend->is_quiescing &&
	       queue->backend->state == BACKEND_SERVING;
}

int vhost_queue_pop(struct vhost_queue *queue, struct virtq_element **element)
{
	int r;

	if (!may_take(queue))
		return VIRTQ_EMPTY;
	if (queue->inflight)
		r = inflight_queue_pop(queue->inflight, element);
	else
		r = virtq_pop(queue->virtq, element);
	if (r == 0) {
		queue->n_out++;
		queue->backend->n_out++;
	} else if (virtq_is_broken(queue->virtq)) {
		queue_tell_break(queue, virtq_reason(queue->virtq));
		r = VIRTQ_EMPTY;
	}
	return r;
}

/* n elements came back; whoever waits for the last of all is called. */
static void count_back(struct vhost_queue *queue, unsigned n)
{
	struct vhost_backend *backend = queue->backend;

	assert(n <= queue->n_out);
	queue->n_out -= n;
	backend->n_out -= n;
	if (backend->n_out == 0 && backend->is_quiescing)
		backend_wake(backend);
}

void vhost_queue_unpop(struct vhost_queue *queue,
		       struct virtq_element **elements, unsigned n)
{
	if (!queue->inflight)
		virtq_unpop(queue->virtq, elements, n);
	for (unsigned i = n; queue->inflight && i > 0; i--)
		inflight_queue_unpop(queue->inflight, elements[i - 1]);
	count_back(queue, n);
}

void vhost_queue_push(struct vhost_queue *queue, struct virtq_element *element,
		      uint32_t written)
{
	if (queue->inflight)
		inflight_queue_push(queue->inflight, element);
	virtq_push(queue->virtq, element, written);
	count_back(queue, 1);
}

void vhost_queue_drop(struct vhost_queue *queue, struct virtq_element *element)
{
	virtq_drop(queue->virtq, element);
	count_back(queue, 1);
}

void vhost_queue_flush(struct vhost_queue *queue)
{
	if (queue->inflight)
		inflight_queue_flush(queue->inflight);
	else
		virtq_flush(queue->virtq);
	if (virtq_wants_call(queue->virtq))
		queue_call(queue);
}

bool vhost_queue_enable_kicks(struct vhost_queue *queue, bool are_enabled)
{
	return virtq_enable_kicks(queue->virtq, are_enabled) && may_take(queue);
}

bool vhost_queue_is_empty(struct vhost_queue *queue)
{
	if (!may_take(queue))
		return true;
	if (queue->inflight && inflight_queue_has_backlog(queue->inflight))
		return false;
	return virtq_is_empty(queue->virtq);
}

void vhost_queue_break(struct vhost_queue *queue, const char *reason)
{
	virtq_break(queue->virtq, reason);
	queue_tell_break(queue, reason);
}

void vhost_queue_drained(struct vhost_queue *queue)
{
	queue->is_drained = true;
	backend_wake(queue->backend);
}
