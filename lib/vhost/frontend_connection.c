/* SPDX-License-Identifier: ISC */
/*
 * The connection of a front end: made, kept, its loss noticed, tried again,
 * given up when the policy says so. One timer does it all: while there is a
 * connection it waits for answers, while there is none for the next try.
 *
 *	        connect         handshake done     start
 *	CLOSED --------> HANDSHAKE --------> IDLE ------> STARTING --> RUNNING
 *	   ^                                   ^                          |
 *	   |  lost, from anywhere              +------- STOPPING <--------+
 *	   +-- ... --> FAILED                              stop, from either
 *
 * A loss only closes the connection and sets the timer; hooks are called
 * from there, never from the depth of what noticed it.
 */
#include "lib/vhost/frontend_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

uint64_t frontend_now_ms(void)
{
	return clock_ns() / 1000000;
}

void frontend_close(struct vhost_frontend *frontend)
{
	frontend_close_channel(frontend);
	frontend_drop_messages(frontend);
	event_source_remove(&frontend->source);
	close_fd(&frontend->fd);
}

/* One line for a loss, however often the next attempts fail. */
static void report_loss(struct vhost_frontend *frontend)
{
	if (frontend->is_reported || !frontend->is_known)
		return;
	frontend->is_reported = true;
	frontend->is_return_reported = false;
	log_warn("%s: back end %s", frontend->options.label,
		 frontend->reason.text);
}

void frontend_lose(struct vhost_frontend *frontend, int code,
		   const char *format, ...)
{
	uint64_t now = frontend_now_ms();
	va_list args;

	if (frontend->fd < 0)
		return;
	/* Which of the two it is depends on who was quicker. */
	frontend->code = code == -EPIPE ? -ECONNRESET : code;
	va_start(args, format);
	vsnprintf(frontend->reason.text, sizeof(frontend->reason.text), format,
		  args);
	va_end(args);
	/* What fails soon again is still the loss before. */
	if (frontend->phase != FRONTEND_HANDSHAKE &&
	    (now - frontend->connected_at_ms >= FRONTEND_STABLE_MS ||
	     frontend->lost_at_ms == 0)) {
		frontend->lost_at_ms = now;
		frontend->is_reported = false;
		frontend->retry_ms = FRONTEND_RETRY_MIN_MS;
	}
	report_loss(frontend);
	frontend_close(frontend);
	frontend->phase = FRONTEND_CLOSED;
	event_timer_set(&frontend->timer, frontend->retry_ms, 0);
}

void frontend_open(struct vhost_frontend *frontend, int fd)
{
	int r;

	frontend->fd = fd;
	r = event_source_add(frontend->loop, &frontend->source, fd, EPOLLIN,
			     frontend_talk);
	if (r < 0) {
		frontend_lose(frontend, r, "socket: %s", strerror(-r));
		return;
	}
	frontend_handshake(frontend);
}

static bool may_retry(const struct vhost_frontend *frontend)
{
	int seconds = frontend->options.reconnect_seconds;

	if (!frontend->options.socket_path || seconds == 0)
		return false;
	return seconds < 0 || frontend_now_ms() - frontend->lost_at_ms <
				      (uint64_t)seconds * 1000;
}

static void try_again(struct vhost_frontend *frontend)
{
	struct error err = ERROR_INIT;
	int fd = socket_connect(frontend->options.socket_path, &err);

	frontend->retry_ms *= 2;
	if (frontend->retry_ms > FRONTEND_RETRY_MAX_MS)
		frontend->retry_ms = FRONTEND_RETRY_MAX_MS;
	if (fd < 0) {
		event_timer_set(&frontend->timer, frontend->retry_ms, 0);
		return;
	}
	frontend_open(frontend, fd);
}

static void fail(struct vhost_frontend *frontend)
{
	frontend->phase = FRONTEND_FAILED;
	if (frontend->is_known && frontend->ops->failed)
		frontend->ops->failed(frontend->context, frontend->reason.text);
}

void frontend_expired(struct event_timer *timer)
{
	struct vhost_frontend *frontend =
		container_of(timer, struct vhost_frontend, timer);

	if (frontend->fd >= 0) {
		frontend_lose(frontend, -ETIMEDOUT, "does not answer");
		return;
	}
	if (frontend->stopped)
		frontend_stopped(frontend);
	if (frontend->phase != FRONTEND_CLOSED)
		return;
	if (may_retry(frontend))
		try_again(frontend);
	else
		fail(frontend);
}

void frontend_connected(struct vhost_frontend *frontend)
{
	frontend->connected_at_ms = frontend_now_ms();
	frontend->phase = FRONTEND_IDLE;
	if (frontend->is_reported && !frontend->is_return_reported) {
		frontend->is_return_reported = true;
		log_info("%s: back end is back", frontend->options.label);
	}
	frontend->is_known = true;
	if (frontend->is_started)
		frontend_start_queues(frontend);
}

void frontend_stopped(struct vhost_frontend *frontend)
{
	void (*stopped)(void *) = frontend->stopped;

	frontend->stopped = NULL;
	if (frontend->phase == FRONTEND_STOPPING) {
		frontend->phase = FRONTEND_IDLE;
		if (frontend->is_started)
			frontend_start_queues(frontend);
	}
	if (stopped)
		stopped(frontend->context);
}
