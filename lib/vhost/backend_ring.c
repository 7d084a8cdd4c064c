/* SPDX-License-Identifier: ISC */
/* A back end's messages about one ring each: they record; a queue that then
 * has all that it needs is started by queue_update(). */
#include "lib/base/cleanup.h"
#include "lib/vhost/backend_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* The queue of a message by its index, or NULL with a reason. */
static struct vhost_queue *find_queue(struct vhost_backend *backend,
				      uint64_t index)
{
	if (index >= backend->n_queues) {
		backend_refuse(backend, "no such queue");
		return NULL;
	}
	return &backend->queues[index];
}

int backend_set_vring_num(struct vhost_backend *backend,
			  struct vhost_message *message)
{
	const struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_queue *queue = find_queue(backend, state->index);
	uint32_t max = backend->ops->max_queue_size;

	if (!queue)
		return -EPROTO;
	if (state->num == 0 || state->num > (max ? max : 1024))
		return backend_refuse(backend, "queue size out of bounds");
	if (queue->virtq && queue->size != state->num)
		return backend_refuse(backend, "queue is running");
	queue->size = state->num;
	queue_update(queue);
	return 0;
}

int backend_set_vring_addr(struct vhost_backend *backend,
			   struct vhost_message *message)
{
	const struct vhost_user_vring_addr *addr = &message->payload.addr;
	struct vhost_queue *queue = find_queue(backend, addr->index);

	if (!queue)
		return -EPROTO;
	/*
	 * A running ring stays where it is: QEMU says the same again, to
	 * switch VHOST_VRING_F_LOG. We log the used ring whenever LOG_ALL is
	 * on, which is at most too much.
	 */
	if (queue->virtq && (queue->addr.desc != addr->desc ||
			     queue->addr.avail != addr->avail ||
			     queue->addr.used != addr->used))
		return backend_refuse(backend, "queue is running");
	queue->addr = *addr;
	queue->has_addr = true;
	queue_update(queue);
	return 0;
}

int backend_set_vring_base(struct vhost_backend *backend,
			   struct vhost_message *message)
{
	const struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_queue *queue = find_queue(backend, state->index);

	if (!queue)
		return -EPROTO;
	/* A queue may have what it needs before this comes: no harm then. */
	if (queue->virtq && queue->base != state->num)
		return backend_refuse(backend, "queue is running");
	queue->base = state->num;
	return 0;
}

int backend_get_vring_base(struct vhost_backend *backend,
			   struct vhost_message *message)
{
	struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_queue *queue = find_queue(backend, state->index);

	if (!queue)
		return -EPROTO;
	if (!queue_stop(queue))
		return BACKEND_WAIT;
	state->num = queue->base;
	backend_set_reply(message, sizeof(*state));
	return 0;
}

/*
 * The queue and descriptor of SET_VRING_KICK, _CALL or _ERR; *fd is the
 * caller's, -1 for none (bit 8).
 */
static struct vhost_queue *take_ring_fd(struct vhost_backend *backend,
					struct vhost_message *message, int *fd)
{
	uint64_t word = message->payload.u64;
	struct vhost_queue *queue =
		find_queue(backend, word & VHOST_USER_VRING_INDEX_MASK);
	int flags;

	if (!queue)
		return NULL;
	*fd = -1;
	if (word & VHOST_USER_VRING_NO_FD) {
		vhost_message_close_fds(message);
		return queue;
	}
	*fd = vhost_message_take_fd(message, 0);
	if (*fd < 0) {
		backend_refuse(backend, "no descriptor");
		return NULL;
	}
	/* The peer's counter may be full or empty: never wait on it. */
	flags = fcntl(*fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(*fd, F_SETFL, flags | O_NONBLOCK);
	return queue;
}

int backend_set_vring_kick(struct vhost_backend *backend,
			   struct vhost_message *message)
{
	int fd;
	struct vhost_queue *queue = take_ring_fd(backend, message, &fd);

	if (!queue)
		return -EPROTO;
	return queue_set_kick(queue, fd);
}

int backend_set_vring_call(struct vhost_backend *backend,
			   struct vhost_message *message)
{
	int fd;
	struct vhost_queue *queue = take_ring_fd(backend, message, &fd);

	if (!queue)
		return -EPROTO;
	close_fd(&queue->call_fd);
	queue->call_fd = fd;
	/* What was used before may not have been told to anybody. */
	if (queue->virtq)
		queue_call(queue);
	return 0;
}

int backend_set_vring_err(struct vhost_backend *backend,
			  struct vhost_message *message)
{
	int fd;
	struct vhost_queue *queue = take_ring_fd(backend, message, &fd);

	if (!queue)
		return -EPROTO;
	close_fd(&queue->err_fd);
	queue->err_fd = fd;
	return 0;
}

int backend_set_vring_enable(struct vhost_backend *backend,
			     struct vhost_message *message)
{
	const struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_queue *queue = find_queue(backend, state->index);

	if (!queue)
		return -EPROTO;
	queue->is_enabled = state->num != 0;
	queue_service(queue);
	return 0;
}
