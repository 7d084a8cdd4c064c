/* SPDX-License-Identifier: ISC */
/*
 * A back end's queue: when it runs, and what the device does with it.
 *
 *	stopped --(SET_VRING_KICK, and all else is known)--> running
 *	running --(GET_VRING_BASE, reset, closing)--> stopping
 *	stopping --(vhost_queue_drained())--> stopped
 *
 * Enabled or disabled is a state of its own ("Ring states"): a disabled queue
 * runs, but only a network device is asked to look into it, to drop what is
 * sent.
 */
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/vhost/backend_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	POLL_MS = 1, /* for queues without a kick descriptor */
};

static bool has_feature(const struct vhost_backend *backend, unsigned bit)
{
	return backend->features >> bit & 1;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;
	ssize_t n;

	if (fd < 0)
		return;
	/* A full counter is signalled already; a closed pipe hears nothing. */
	n = write(fd, &one, sizeof(one));
	(void)n;
}

void queue_call(struct vhost_queue *queue)
{
	signal_fd(queue->call_fd);
}

/* One line for each time a queue breaks; it takes nothing more. */
void queue_tell_break(struct vhost_queue *queue, const char *reason)
{
	if (queue->is_break_told)
		return;
	queue->is_break_told = true;
	log_warn("%s: queue %u: %s", queue->backend->label, queue->index,
		 reason);
	signal_fd(queue->err_fd);
}

static void handle_poll(struct event_timer *timer)
{
	struct vhost_backend *backend =
		container_of(timer, struct vhost_backend, poll);

	for (unsigned i = 0; i < backend->n_queues; i++) {
		struct vhost_queue *queue = &backend->queues[i];

		if (queue->is_polled && !vhost_queue_is_empty(queue))
			queue_service(queue);
	}
}

static void set_polled(struct vhost_queue *queue, bool is_polled)
{
	struct vhost_backend *backend = queue->backend;

	if (queue->is_polled == is_polled)
		return;
	queue->is_polled = is_polled;
	backend->n_polling += is_polled ? 1 : -1U;
	if (is_polled && !backend->poll.source.loop &&
	    event_timer_init(backend->loop, &backend->poll, handle_poll) != 0)
		return;
	event_timer_set(&backend->poll, backend->n_polling ? POLL_MS : 0,
			backend->n_polling ? POLL_MS : 0);
}

/*
 * Reset the kick. The peer may have taken the count before us, and may have
 * made its descriptor blocking again: RWF_NOWAIT does not wait even then.
 * False: it is at its end, or no use.
 */
static bool clear_kick(int fd)
{
	uint64_t count;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		n = read(fd, &count, sizeof(count));
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void handle_kick(struct event_source *source, uint32_t events)
{
	struct vhost_queue *queue =
		container_of(source, struct vhost_queue, kick);

	(void)events;
	if (!clear_kick(queue->kick_fd))
		event_source_remove(&queue->kick);
	queue_service(queue);
	if (guest_memory_is_damaged(&queue->backend->memory))
		backend_check_damage(queue->backend);
}

/* Look for kicks of a running queue, by descriptor or by clock. */
static int watch_kick(struct vhost_queue *queue)
{
	if (queue->kick_fd < 0) {
		set_polled(queue, true);
		return 0;
	}
	if (event_source_add(queue->backend->loop, &queue->kick, queue->kick_fd,
			     EPOLLIN, handle_kick) != 0)
		return backend_refuse(queue->backend,
				      "descriptor cannot be waited for");
	return 0;
}

int queue_set_kick(struct vhost_queue *queue, int fd)
{
	event_source_remove(&queue->kick);
	set_polled(queue, false);
	close_fd(&queue->kick_fd);
	queue->kick_fd = fd;
	queue->is_started = true;
	if (!queue->virtq) {
		queue_update(queue);
		return 0;
	}
	queue_service(queue);
	return watch_kick(queue);
}

/* Find the rings, which the front end names by its own addresses. */
static bool find_rings(struct vhost_queue *queue, struct virtq_config *config)
{
	struct guest_memory *memory = &queue->backend->memory;

	return guest_memory_at_user(memory, queue->addr.desc, 1, 1,
				    &config->desc_gpa) &&
	       guest_memory_at_user(memory, queue->addr.avail, 1, 1,
				    &config->driver_gpa) &&
	       guest_memory_at_user(memory, queue->addr.used, 1, 1,
				    &config->device_gpa);
}

/*
 * A device that answers in order has nothing in flight behind the used index,
 * whatever the front end remembers: DPDK's virtio-user says 0 when it takes
 * up its split rings again with a new back end.
 */
static int resume_in_order(struct vhost_queue *queue)
{
	uint16_t used = virtq_used_index(queue->virtq);

	return virtq_set_base(queue->virtq, used);
}

/*
 * Where to go on. A packed ring's two positions are the same in a queue that
 * was drained, and some front ends (DPDK) leave the used half zero; where
 * something is in flight its region tells.
 */
static uint32_t start_base(const struct vhost_queue *queue, bool is_packed)
{
	uint32_t base = queue->base & UINT16_MAX;

	return is_packed ? base | base << 16 : base;
}

static int attach_inflight(struct vhost_queue *queue, bool is_packed,
			   const char **reason)
{
	struct inflight *inflight = &queue->backend->inflight;

	if (!queue->backend->ops->has_inflight)
		return is_packed ? 0 : resume_in_order(queue);
	if (!inflight_is_mapped(inflight))
		return 0;
	return inflight_queue_new(&queue->inflight, inflight, queue->index,
				  queue->virtq, is_packed, reason);
}

/* Back to what the front end told. */
static void forget_running(struct vhost_queue *queue)
{
	event_source_remove(&queue->kick);
	set_polled(queue, false);
	inflight_queue_free(queue->inflight);
	queue->inflight = NULL;
	virtq_free(queue->virtq);
	queue->virtq = NULL;
	queue->is_announced = queue->is_touched = false;
	queue->is_stopping = queue->is_drained = false;
}

static void start(struct vhost_queue *queue)
{
	struct vhost_backend *backend = queue->backend;
	bool is_packed = has_feature(backend, VIRTIO_F_RING_PACKED);
	struct virtq_config config = {
		.size = queue->size,
		.is_packed = is_packed,
		.has_event_idx = has_feature(backend, VIRTIO_F_EVENT_IDX),
		.has_indirect = has_feature(backend, VIRTIO_F_INDIRECT_DESC),
		.base = start_base(queue, is_packed),
	};
	const char *reason = "";
	int r;

	/* Not there yet: the memory table may still change. */
	if (!find_rings(queue, &config))
		return;
	r = virtq_new(&queue->virtq, &backend->memory, &config, &reason);
	if (r == -EFAULT)
		return;
	if (r == 0)
		r = attach_inflight(queue, is_packed, &reason);
	if (r == 0) {
		r = watch_kick(queue);
		reason = backend->reason;
	}
	if (r != 0) {
		queue_tell_break(queue, reason);
		forget_running(queue);
		return;
	}
	queue->is_break_told = false;
	queue_call(queue);
	queue_service(queue);
}

void queue_update(struct vhost_queue *queue)
{
	struct vhost_backend *backend = queue->backend;

	if (backend->state == BACKEND_SERVING && !queue->virtq &&
	    queue->is_started && queue->has_addr && queue->size > 0 &&
	    backend->has_features && backend->memory.n_regions > 0)
		start(queue);
}

void backend_remap(struct vhost_backend *backend)
{
	for (unsigned i = 0; i < backend->n_queues; i++) {
		struct vhost_queue *queue = &backend->queues[i];
		const char *reason;

		if (!queue->virtq) {
			queue_update(queue);
			continue;
		}
		if (virtq_remap(queue->virtq, &reason) != 0)
			queue_tell_break(queue, reason);
		queue_service(queue);
	}
}

void queue_service(struct vhost_queue *queue)
{
	struct vhost_backend *backend = queue->backend;
	const struct vhost_device_ops *ops = backend->ops;

	if (!queue->virtq || queue->is_stopping || backend->is_quiescing ||
	    backend->state != BACKEND_SERVING)
		return;
	if (!queue->is_enabled && ops->device_id != VIRTIO_ID_NET)
		return;
	queue->is_touched = true;
	if (queue->is_enabled && !queue->is_announced) {
		queue->is_announced = true;
		if (ops->queue_started)
			ops->queue_started(backend->context, queue);
	}
	ops->queue_kicked(backend->context, queue);
}

bool queue_stop(struct vhost_queue *queue)
{
	struct vhost_backend *backend = queue->backend;
	const struct vhost_device_ops *ops = backend->ops;

	queue->is_started = false;
	if (!queue->virtq)
		return true;
	if (!queue->is_stopping) {
		queue->is_stopping = true;
		event_source_remove(&queue->kick);
		queue->is_drained = false;
		if (!queue->is_touched || !ops->queue_stop ||
		    ops->queue_stop(backend->context, queue))
			queue->is_drained = true;
	}
	if (!queue->is_drained)
		return false;
	assert(queue->n_out == 0);
	vhost_queue_flush(queue);
	queue->base = virtq_base(queue->virtq);
	forget_running(queue);
	close_fd(&queue->kick_fd);
	return true;
}

void queue_deinit(struct vhost_queue *queue)
{
	forget_running(queue);
	close_fd(&queue->kick_fd);
	close_fd(&queue->call_fd);
	close_fd(&queue->err_fd);
}
