/* SPDX-License-Identifier: ISC */
/*
 * What the back end asks of us, on a channel of its own that it was given
 * (SET_BACKEND_REQ_FD): that the config space changed, and nothing else. A
 * back end that breaks the rules here loses its connection as well.
 */
#include "lib/vhost/frontend_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/socket.h"

#include <errno.h>
#include <string.h>

static void lose(struct vhost_frontend *frontend, int code, const char *reason)
{
	frontend_lose(frontend, code, "on its channel: %s",
		      reason ? reason : strerror(-code));
}

static void answer(struct vhost_frontend *frontend, uint32_t request,
		   uint64_t result)
{
	struct vhost_message reply;
	uint32_t events = EPOLLIN;
	int r;

	vhost_message_init(&reply, request, VHOST_USER_FLAG_REPLY,
			   sizeof(uint64_t));
	reply.payload.u64 = result;
	r = vhost_send(&frontend->channel_sender, frontend->channel, &reply);
	if (r < 0) {
		lose(frontend, r, NULL);
		return;
	}
	if (!vhost_sender_is_empty(&frontend->channel_sender))
		events |= EPOLLOUT;
	event_source_set(&frontend->channel_source, events);
}

static void handle_request(struct vhost_frontend *frontend,
			   const struct vhost_message *message)
{
	uint32_t request = message->header.request;
	bool is_known = request == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG;

	if (message->header.flags & VHOST_USER_FLAG_NEED_REPLY)
		answer(frontend, request, is_known ? 0 : 1);
	if (is_known && frontend->options.config_size > 0)
		frontend_read_config(frontend);
}

static void talk(struct event_source *source, uint32_t events)
{
	struct vhost_frontend *frontend =
		container_of(source, struct vhost_frontend, channel_source);
	const char *reason = NULL;
	int r;

	if (events & EPOLLOUT) {
		r = vhost_sender_flush(&frontend->channel_sender,
				       frontend->channel);
		if (r < 0) {
			lose(frontend, r, NULL);
			return;
		}
		if (vhost_sender_is_empty(&frontend->channel_sender))
			event_source_set(source, EPOLLIN);
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	r = vhost_receive(&frontend->channel_receiver, frontend->channel,
			  VHOST_TO_FRONTEND, false, &reason);
	if (r == 0)
		handle_request(frontend, &frontend->channel_receiver.message);
	else if (r == VHOST_RECEIVE_END)
		/* It has no use for it; or the connection ends next. */
		frontend_close_channel(frontend);
	else if (r < 0)
		lose(frontend, r, reason);
}

void frontend_open_channel(struct vhost_frontend *frontend)
{
	_cleanup_fd_ int theirs = -1;
	struct vhost_message message;
	int fds[2];
	int r = socket_pair(fds);

	if (r < 0) {
		frontend_lose(frontend, r, "channel: %s", strerror(-r));
		return;
	}
	frontend->channel = fds[0];
	theirs = fds[1];
	r = event_source_add(frontend->loop, &frontend->channel_source,
			     frontend->channel, EPOLLIN, talk);
	if (r < 0) {
		frontend_lose(frontend, r, "channel: %s", strerror(-r));
		return;
	}
	vhost_message_init(&message, VHOST_USER_SET_BACKEND_REQ_FD, 0, 0);
	message.n_fds = 1;
	message.fds[0] = theirs;
	frontend_send_acked(frontend, &message);
}

void frontend_close_channel(struct vhost_frontend *frontend)
{
	event_source_remove(&frontend->channel_source);
	close_fd(&frontend->channel);
	vhost_receiver_deinit(&frontend->channel_receiver);
	vhost_sender_deinit(&frontend->channel_sender);
}
