/* SPDX-License-Identifier: ISC */
/*
 * A back end's connection: receive, dispatch, answer, close.
 *
 * What it owes the peer never grows: while an answer waits for the socket, or
 * a message for requests in progress, nothing more is read from the peer. Its
 * queues run on meanwhile.
 */
#include "lib/vhost/backend.h"

#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/vhost/backend_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum {
	/* Messages handled before others in the loop have their turn. */
	MESSAGES_PER_TURN = 32,
};

static backend_handler *const handlers[VHOST_USER_REQUEST_END] = {
	[VHOST_USER_GET_FEATURES] = backend_get_features,
	[VHOST_USER_SET_FEATURES] = backend_set_features,
	[VHOST_USER_SET_OWNER] = backend_ignore,
	/* "Recommended that back-ends ignore this message". */
	[VHOST_USER_RESET_OWNER] = backend_ignore,
	[VHOST_USER_SET_MEM_TABLE] = backend_set_mem_table,
	[VHOST_USER_SET_LOG_BASE] = backend_set_log_base,
	[VHOST_USER_SET_LOG_FD] = backend_set_log_fd,
	[VHOST_USER_SET_VRING_NUM] = backend_set_vring_num,
	[VHOST_USER_SET_VRING_ADDR] = backend_set_vring_addr,
	[VHOST_USER_SET_VRING_BASE] = backend_set_vring_base,
	[VHOST_USER_GET_VRING_BASE] = backend_get_vring_base,
	[VHOST_USER_SET_VRING_KICK] = backend_set_vring_kick,
	[VHOST_USER_SET_VRING_CALL] = backend_set_vring_call,
	[VHOST_USER_SET_VRING_ERR] = backend_set_vring_err,
	[VHOST_USER_GET_PROTOCOL_FEATURES] = backend_get_protocol_features,
	[VHOST_USER_SET_PROTOCOL_FEATURES] = backend_set_protocol_features,
	[VHOST_USER_GET_QUEUE_NUM] = backend_get_queue_num,
	[VHOST_USER_SET_VRING_ENABLE] = backend_set_vring_enable,
	[VHOST_USER_SEND_RARP] = backend_send_rarp,
	[VHOST_USER_SET_BACKEND_REQ_FD] = backend_set_channel,
	[VHOST_USER_GET_CONFIG] = backend_get_config,
	[VHOST_USER_SET_CONFIG] = backend_set_config,
	[VHOST_USER_GET_INFLIGHT_FD] = backend_get_inflight_fd,
	[VHOST_USER_SET_INFLIGHT_FD] = backend_set_inflight_fd,
	[VHOST_USER_RESET_DEVICE] = backend_reset_device,
	[VHOST_USER_GET_MAX_MEM_SLOTS] = backend_get_max_mem_slots,
	[VHOST_USER_ADD_MEM_REG] = backend_add_mem_reg,
	[VHOST_USER_REM_MEM_REG] = backend_rem_mem_reg,
	[VHOST_USER_SET_STATUS] = backend_set_status,
	[VHOST_USER_GET_STATUS] = backend_get_status,
};

int backend_refuse(struct vhost_backend *backend, const char *reason)
{
	backend->reason = reason;
	return -EPROTO;
}

bool backend_has_protocol(const struct vhost_backend *backend, unsigned bit)
{
	return backend->protocol_features >> bit & 1;
}

void backend_wake(struct vhost_backend *backend)
{
	uint64_t one = 1;
	ssize_t n = write(backend->wake_fd, &one, sizeof(one));

	/* An eventfd of ours takes it, or is awake already. */
	(void)n;
}

void backend_set_reply(struct vhost_message *message, uint32_t size)
{
	vhost_message_close_fds(message);
	vhost_message_init(message, message->header.request,
			   VHOST_USER_FLAG_REPLY, size);
}

/* Queues stop and drain; the rest of it is done in backend_step(). */
static void begin_closing(struct vhost_backend *backend)
{
	if (backend->state != BACKEND_SERVING)
		return;
	backend->state = BACKEND_CLOSING;
	backend->is_waiting = false;
	event_source_remove(&backend->source);
	backend_wake(backend);
}

static void close_for(struct vhost_backend *backend, const char *what,
		      const char *reason)
{
	if (backend->state == BACKEND_SERVING)
		snprintf(backend->closing_reason,
			 sizeof(backend->closing_reason), "%s%s%s",
			 what ? what : "", what ? ": " : "", reason);
	begin_closing(backend);
}

static void send_message(struct vhost_backend *backend,
			 const struct vhost_message *message)
{
	int r = vhost_send(&backend->sender, backend->fd, message);

	if (r == -EPIPE || r == -ECONNRESET)
		begin_closing(backend);
	else if (r != 0)
		close_for(backend, "reply", strerror(-r));
}

/* "VHOST_USER_PROTOCOL_F_REPLY_ACK" */
static void acknowledge(struct vhost_backend *backend,
			struct vhost_message *message, int r)
{
	message->payload.u64 = r != 0;
	backend_set_reply(message, sizeof(message->payload.u64));
	send_message(backend, message);
}

static int call_handler(struct vhost_backend *backend,
			const struct vhost_request *request,
			struct vhost_message *message)
{
	uint32_t id = message->header.request;

	if (!handlers[id] ||
	    (request->feature >= 0 &&
	     !(backend_offered_protocol(backend) >> request->feature & 1)))
		return backend_refuse(backend, "was not negotiated");
	backend->reason = NULL;
	return handlers[id](backend, message);
}

/*
 * Handle the message received. A request that is well-formed but fails is
 * told so if it asks for an answer; else it costs the connection, as the peer
 * would go on as if it had not.
 */
static void dispatch(struct vhost_backend *backend)
{
	struct vhost_message *message = &backend->receiver.message;
	const struct vhost_request *request =
		vhost_request_find(VHOST_TO_BACKEND, message->header.request);
	bool wants_ack = message->header.flags & VHOST_USER_FLAG_NEED_REPLY;
	int r = call_handler(backend, request, message);

	backend->is_waiting = r == BACKEND_WAIT;
	if (r == BACKEND_WAIT || backend->state != BACKEND_SERVING)
		return;
	wants_ack =
		wants_ack &&
		backend_has_protocol(backend, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	if (r == 0 && request->has_reply)
		send_message(backend, message);
	else if (!request->has_reply && wants_ack)
		acknowledge(backend, message, r);
	vhost_message_close_fds(message);
	if (r == 0)
		return;
	if (!backend->reason)
		backend->reason = strerror(-r);
	if (r != -EPROTO && !request->has_reply && wants_ack)
		log_warn("%s: %s: %s", backend->label, request->name,
			 backend->reason);
	else
		close_for(backend, request->name, backend->reason);
}

void backend_check_damage(struct vhost_backend *backend)
{
	if (guest_memory_is_damaged(&backend->memory))
		close_for(backend, NULL, "guest memory was cut short");
}

static void receive_messages(struct vhost_backend *backend)
{
	for (unsigned i = 0; i < MESSAGES_PER_TURN; i++) {
		const char *reason = NULL;
		int r;

		if (backend->state != BACKEND_SERVING || backend->is_waiting ||
		    !vhost_sender_is_empty(&backend->sender))
			return;
		r = vhost_receive(&backend->receiver, backend->fd,
				  VHOST_TO_BACKEND, false, &reason);
		if (r == VHOST_RECEIVE_AGAIN)
			return;
		if (r == VHOST_RECEIVE_END || r == -ECONNRESET) {
			begin_closing(backend);
		} else if (r < 0) {
			close_for(backend,
				  vhost_request_name(VHOST_TO_BACKEND,
						     backend->receiver.message
							     .header.request),
				  reason);
		} else {
			dispatch(backend);
		}
	}
}

static void handle_socket(struct event_source *source, uint32_t events);

/* Wait for what the connection needs next, and for nothing else: a hang-up
 * is always reported, and would be over and over. */
static void update_source(struct vhost_backend *backend)
{
	uint32_t events = EPOLLIN;
	int r = 0;

	if (!vhost_sender_is_empty(&backend->sender))
		events = EPOLLOUT;
	if (backend->state != BACKEND_SERVING || backend->is_waiting)
		event_source_remove(&backend->source);
	else if (!backend->source.loop)
		r = event_source_add(backend->loop, &backend->source,
				     backend->fd, events, handle_socket);
	else
		r = event_source_set(&backend->source, events);
	if (r != 0)
		close_for(backend, "socket", strerror(-r));
}

static void handle_socket(struct event_source *source, uint32_t events)
{
	struct vhost_backend *backend =
		container_of(source, struct vhost_backend, source);
	int r = vhost_sender_flush(&backend->sender, backend->fd);

	(void)events;
	if (r == -EPIPE || r == -ECONNRESET)
		begin_closing(backend);
	else if (r != 0)
		close_for(backend, "reply", strerror(-r));
	receive_messages(backend);
	backend_check_damage(backend);
	update_source(backend);
}

bool backend_quiesce(struct vhost_backend *backend)
{
	backend->is_quiescing = backend->n_out > 0;
	if (backend->is_quiescing)
		return false;
	for (unsigned i = 0; i < backend->n_queues; i++)
		if (backend->queues[i].virtq)
			vhost_queue_flush(&backend->queues[i]);
	return true;
}

/* Frees the backend as often as not: the last thing that a caller does. */
static void finish_closing(struct vhost_backend *backend)
{
	bool is_drained = true;

	for (unsigned i = 0; i < backend->n_queues; i++)
		is_drained = queue_stop(&backend->queues[i]) && is_drained;
	if (!is_drained)
		return;
	backend->state = BACKEND_CLOSED;
	event_source_remove(&backend->wake);
	backend_channel_close(backend);
	backend->ops->disconnected(
		backend->context,
		backend->closing_reason[0] ? backend->closing_reason : NULL);
}

/* What was put off until the loop: from `wake`. */
static void backend_step(struct vhost_backend *backend)
{
	if (backend->state == BACKEND_SERVING && backend->is_waiting) {
		dispatch(backend);
		receive_messages(backend);
		backend_check_damage(backend);
		update_source(backend);
	}
	if (backend->state == BACKEND_CLOSING)
		finish_closing(backend);
}

static void handle_wake(struct event_source *source, uint32_t events)
{
	struct vhost_backend *backend =
		container_of(source, struct vhost_backend, wake);
	uint64_t count;
	ssize_t n = read(backend->wake_fd, &count, sizeof(count));

	(void)n;
	(void)events;
	backend_step(backend);
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return -errno;
	return 0;
}

static void init_queues(struct vhost_backend *backend)
{
	for (unsigned i = 0; i < backend->n_queues; i++) {
		backend->queues[i] = (struct vhost_queue){
			.backend = backend,
			.index = i,
			.kick_fd = -1,
			.call_fd = -1,
			.err_fd = -1,
			.kick = EVENT_SOURCE_INIT,
		};
	}
}

int vhost_backend_new(struct vhost_backend **out, struct event_loop *loop,
		      int fd, const struct vhost_device_ops *ops,
		      unsigned n_queues, const char *label, void *context)
{
	_cleanup_fd_ int owned = fd;
	struct vhost_backend *backend;
	int r;

	assert(n_queues > 0 && n_queues <= VHOST_QUEUES_MAX);
	assert(ops->disconnected && ops->queue_kicked);
	backend = calloc(1, sizeof(*backend) +
				    n_queues * sizeof(backend->queues[0]));
	if (!backend)
		return -ENOMEM;
	backend->loop = loop;
	backend->source = (struct event_source)EVENT_SOURCE_INIT;
	backend->wake = (struct event_source)EVENT_SOURCE_INIT;
	backend->channel = (struct event_source)EVENT_SOURCE_INIT;
	backend->greeting = (struct event_timer)EVENT_TIMER_INIT;
	backend->poll = (struct event_timer)EVENT_TIMER_INIT;
	backend->fd = steal_fd(&owned);
	backend->channel_fd = -1;
	backend->ops = ops;
	backend->context = context;
	backend->n_queues = n_queues;
	guest_memory_init(&backend->memory);
	init_queues(backend);
	backend->label = strdup(label);
	backend->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = !backend->label	   ? -ENOMEM
	    : backend->wake_fd < 0 ? -errno
				   : set_nonblocking(backend->fd);
	if (r == 0)
		r = event_source_add(loop, &backend->wake, backend->wake_fd,
				     EPOLLIN, handle_wake);
	if (r == 0)
		r = event_source_add(loop, &backend->source, backend->fd,
				     EPOLLIN, handle_socket);
	if (r != 0) {
		vhost_backend_free(backend);
		return r;
	}
	*out = backend;
	return 0;
}

static void greeting_expired(struct event_timer *timer)
{
	struct vhost_backend *backend =
		container_of(timer, struct vhost_backend, greeting);
	char reason[32];

	snprintf(reason, sizeof(reason), "silent for %d s", VHOST_GREETING_S);
	close_for(backend, NULL, reason);
}

int vhost_backend_expect_greeting(struct vhost_backend *backend)
{
	int r = event_timer_init(backend->loop, &backend->greeting,
				 greeting_expired);

	if (r < 0)
		return r;
	return event_timer_set(&backend->greeting,
			       VHOST_GREETING_S * UINT64_C(1000), 0);
}

void vhost_backend_free(struct vhost_backend *backend)
{
	if (!backend)
		return;
	assert(backend->n_out == 0);
	for (unsigned i = 0; i < backend->n_queues; i++)
		queue_deinit(&backend->queues[i]);
	event_timer_deinit(&backend->greeting);
	event_timer_deinit(&backend->poll);
	event_source_remove(&backend->source);
	event_source_remove(&backend->wake);
	backend_channel_close(backend);
	vhost_receiver_deinit(&backend->receiver);
	vhost_sender_deinit(&backend->sender);
	inflight_deinit(&backend->inflight);
	guest_memory_deinit(&backend->memory);
	close_fd(&backend->wake_fd);
	close_fd(&backend->fd);
	free(backend->label);
	free(backend);
}

void vhost_backend_close(struct vhost_backend *backend)
{
	begin_closing(backend);
}

uint64_t vhost_backend_features(const struct vhost_backend *backend)
{
	return backend->features;
}

struct guest_memory *vhost_backend_memory(struct vhost_backend *backend)
{
	return &backend->memory;
}
