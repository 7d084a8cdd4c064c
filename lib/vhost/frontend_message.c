/* SPDX-License-Identifier: ISC */
/*
 * Messages of the front end: requests out, answers in. The protocol has no
 * tags, answers come in the order of the requests; so a queue of what is
 * awaited is all the state there is. The timer runs while something is
 * awaited and starts again with each answer.
 */
#include "lib/vhost/frontend_internal.h"

#include "lib/base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

bool frontend_has(const struct vhost_frontend *frontend, unsigned bit)
{
	return frontend->offered_protocol >> bit & 1;
}

static bool is_connected(const struct vhost_frontend *frontend)
{
	return frontend->fd >= 0;
}

static void update_events(struct vhost_frontend *frontend)
{
	uint32_t events = EPOLLIN;

	if (!vhost_sender_is_empty(&frontend->sender))
		events |= EPOLLOUT;
	event_source_set(&frontend->source, events);
}

static void await(struct vhost_frontend *frontend, uint32_t request,
		  bool is_ack, frontend_handler *handle)
{
	unsigned last = (frontend->first_awaited + frontend->n_awaited) %
			FRONTEND_AWAITED_MAX;

	if (frontend->n_awaited == FRONTEND_AWAITED_MAX) {
		frontend_lose(frontend, -ENOBUFS, "owes too many answers");
		return;
	}
	frontend->awaited[last] = (struct frontend_awaited){ .request = request,
							     .is_ack = is_ack,
							     .handle = handle };
	if (frontend->n_awaited++ == 0)
		event_timer_set(&frontend->timer, frontend->options.timeout_ms,
				0);
}

static void send_message(struct vhost_frontend *frontend,
			 struct vhost_message *message)
{
	int r = vhost_send(&frontend->sender, frontend->fd, message);

	if (r == -EPIPE || r == -ECONNRESET)
		frontend_lose(frontend, r, "closed the connection");
	else if (r < 0)
		frontend_lose(frontend, r, "%s: %s",
			      vhost_request_name(VHOST_TO_BACKEND,
						 message->header.request),
			      strerror(-r));
	else
		update_events(frontend);
}

void frontend_send(struct vhost_frontend *frontend,
		   struct vhost_message *message, frontend_handler *handle)
{
	if (!is_connected(frontend))
		return;
	if (handle)
		await(frontend, message->header.request, false, handle);
	if (is_connected(frontend))
		send_message(frontend, message);
}

void frontend_send_acked(struct vhost_frontend *frontend,
			 struct vhost_message *message)
{
	if (!is_connected(frontend))
		return;
	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_REPLY_ACK)) {
		message->header.flags |= VHOST_USER_FLAG_NEED_REPLY;
		await(frontend, message->header.request, true, NULL);
	}
	if (is_connected(frontend))
		send_message(frontend, message);
}

void frontend_ask(struct vhost_frontend *frontend, uint32_t request,
		  frontend_handler *handle)
{
	struct vhost_message message;

	vhost_message_init(&message, request, 0, 0);
	frontend_send(frontend, &message, handle);
}

void frontend_tell(struct vhost_frontend *frontend, uint32_t request,
		   uint64_t value)
{
	struct vhost_message message;

	vhost_message_init(&message, request, 0, sizeof(uint64_t));
	message.payload.u64 = value;
	frontend_send(frontend, &message, NULL);
}

static void handle_reply(struct vhost_frontend *frontend,
			 struct vhost_message *reply)
{
	struct frontend_awaited awaited;
	const char *name =
		vhost_request_name(VHOST_TO_BACKEND, reply->header.request);

	if (frontend->n_awaited == 0) {
		frontend_lose(frontend, -EPROTO, "answered %s unasked", name);
		return;
	}
	awaited = frontend->awaited[frontend->first_awaited];
	if (awaited.request != reply->header.request) {
		frontend_lose(
			frontend, -EPROTO, "answered %s instead of %s", name,
			vhost_request_name(VHOST_TO_BACKEND, awaited.request));
		return;
	}
	frontend->first_awaited =
		(frontend->first_awaited + 1) % FRONTEND_AWAITED_MAX;
	frontend->n_awaited--;
	event_timer_set(&frontend->timer,
			frontend->n_awaited ? frontend->options.timeout_ms : 0,
			0);
	if (!awaited.is_ack)
		awaited.handle(frontend, reply);
	else if (reply->header.size != sizeof(uint64_t))
		frontend_lose(frontend, -EPROTO,
			      "acknowledged %s with %" PRIu32 " bytes", name,
			      reply->header.size);
	else if (reply->payload.u64 != 0)
		frontend_lose(frontend, -EPROTO, "refused %s", name);
}

static void receive(struct vhost_frontend *frontend)
{
	const char *reason = NULL;
	int r = vhost_receive(&frontend->receiver, frontend->fd,
			      VHOST_TO_BACKEND, true, &reason);

	if (r == VHOST_RECEIVE_AGAIN)
		return;
	if (r == VHOST_RECEIVE_END)
		frontend_lose(frontend, -ECONNRESET, "closed the connection");
	else if (r < 0)
		frontend_lose(frontend, r, "%s",
			      reason ? reason : strerror(-r));
	else
		handle_reply(frontend, &frontend->receiver.message);
}

void frontend_talk(struct event_source *source, uint32_t events)
{
	struct vhost_frontend *frontend =
		container_of(source, struct vhost_frontend, source);
	int r;

	if (events & EPOLLOUT) {
		r = vhost_sender_flush(&frontend->sender, frontend->fd);
		if (r < 0) {
			frontend_lose(frontend, r, "sending: %s", strerror(-r));
			return;
		}
		update_events(frontend);
	}
	/* What came before a hang-up is read first; its end is seen then. */
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(frontend);
}

void frontend_drop_messages(struct vhost_frontend *frontend)
{
	vhost_sender_deinit(&frontend->sender);
	vhost_receiver_deinit(&frontend->receiver);
	frontend->n_awaited = 0;
	event_timer_set(&frontend->timer, 0, 0);
}
