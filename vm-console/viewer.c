/* SPDX-License-Identifier: ISC */
/*
 * Viewers hold no output of their own: a position in the history is all. One
 * that the history has left behind is told how much it missed, and goes on
 * with the oldest that is there.
 */
#include "vm-console/viewer.h"

#include "lib/base/cleanup.h"
#include "lib/base/event.h"
#include "lib/base/listener.h"
#include "vm-console/console.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
	READ_SIZE = 4096,
	NOTICE_SIZE = 80,
};

struct viewer {
	struct viewer *next;
	struct console *console;
	struct listener *listener;
	struct event_source source;
	int fd;
	uint64_t id, position, n_lost, n_typed;
	uint64_t credit_us;    /* that the guest will wait for it */
	uint64_t earned_up_to; /* position for which credit was given */
	bool is_charged;       /* the guest waits for it now */
	pid_t pid;
	bool is_blocked;  /* the socket takes no more now */
	bool is_typed_up; /* it said end of file: it looks on */
	bool is_gone;	  /* it closed: what it typed is still read */
	char notice[NOTICE_SIZE];
	size_t notice_len, notice_sent;
};

static void handle_viewer(struct event_source *source, uint32_t events);

static bool has_room(const struct viewer *viewer)
{
	return viewer->console->input_len < CONSOLE_INPUT_MAX;
}

/*
 * Wait for what can be acted on. A hang-up is reported always, so that a
 * viewer that is gone and whose input has to wait is not waited for at all;
 * while there is nothing but the hang-up to wait for, EPOLLPRI, which these
 * sockets never have, keeps it in the loop.
 */
static void update_source(struct viewer *viewer)
{
	bool must_wait = !viewer->is_typed_up && !has_room(viewer);
	bool wants_input = !viewer->is_typed_up && !must_wait;
	uint32_t events = (wants_input ? EPOLLIN : 0U) |
			  (viewer->is_blocked ? EPOLLOUT : 0U) | EPOLLPRI;

	if (viewer->is_gone && must_wait)
		event_source_remove(&viewer->source);
	else if (viewer->source.loop)
		(void)event_source_set(&viewer->source, events);
	else
		(void)event_source_add(viewer->console->loop, &viewer->source,
				       viewer->fd, events, handle_viewer);
}

/* False: the peer is gone. */
static bool send_notice(struct viewer *viewer)
{
	while (viewer->notice_sent < viewer->notice_len) {
		ssize_t n =
			send(viewer->fd, viewer->notice + viewer->notice_sent,
			     viewer->notice_len - viewer->notice_sent,
			     MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			viewer->is_blocked = errno == EAGAIN;
			return viewer->is_blocked;
		}
		viewer->notice_sent += (size_t)n;
	}
	viewer->notice_len = viewer->notice_sent = 0;
	return true;
}

/* Skip what the history no longer has, and prepare to say so. */
static void catch_up(struct viewer *viewer)
{
	uint64_t start = history_start(&viewer->console->history);
	uint64_t lost;

	if (viewer->position >= start || viewer->notice_len > 0)
		return;
	lost = start - viewer->position;
	viewer->position = viewer->earned_up_to = start;
	viewer->n_lost += lost;
	viewer->notice_len = (size_t)snprintf(
		viewer->notice, sizeof(viewer->notice),
		"\r\n[vm-console: %" PRIu64 " bytes not shown]\r\n", lost);
}

/* Send until all is shown or the socket is full. False: the peer is gone. */
static bool show(struct viewer *viewer)
{
	const struct history *history = &viewer->console->history;
	struct iovec pieces[2];
	ssize_t n;

	viewer->is_blocked = false;
	for (;;) {
		struct msghdr message = { .msg_iov = pieces };

		if (!send_notice(viewer))
			return false;
		if (viewer->is_blocked)
			return true;
		catch_up(viewer);
		if (viewer->notice_len > 0)
			continue;
		message.msg_iovlen =
			history_pieces(history, viewer->position, pieces);
		if (message.msg_iovlen == 0)
			return true;
		n = sendmsg(viewer->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			viewer->position += (uint64_t)n;
		} else if (errno == EAGAIN) {
			viewer->is_blocked = true;
			return true;
		} else if (errno != EINTR) {
			return false;
		}
	}
}

void viewer_show(struct viewer *viewer)
{
	if (viewer->is_gone || viewer->is_blocked)
		return;
	/* What a peer that is gone typed is still to be read. */
	if (!show(viewer))
		viewer->is_gone = true;
	update_source(viewer);
	console_viewer_changed(viewer->console);
}

unsigned viewer_charge(struct viewer *viewer, uint64_t waited_us)
{
	const struct history *history = &viewer->console->history;
	uint64_t earned = viewer->position - viewer->earned_up_to;

	viewer->credit_us += earned;
	viewer->earned_up_to = viewer->position;
	if (viewer->credit_us > CONSOLE_CREDIT_US)
		viewer->credit_us = CONSOLE_CREDIT_US;
	if (viewer->is_charged)
		viewer->credit_us -= waited_us < viewer->credit_us
					     ? waited_us
					     : viewer->credit_us;
	viewer->is_charged = !viewer->is_gone && viewer->credit_us > 0 &&
			     history->end + CONSOLE_PIECE >
				     viewer->position + history->capacity;
	return viewer->is_charged ? (unsigned)viewer->credit_us : 0;
}

/* Read what is typed, as far as there is room. */
static void take_input(struct viewer *viewer)
{
	struct console *console = viewer->console;
	uint8_t bytes[READ_SIZE];

	while (!viewer->is_typed_up && has_room(viewer)) {
		size_t room = CONSOLE_INPUT_MAX - console->input_len;
		ssize_t n;

		if (room > sizeof(bytes))
			room = sizeof(bytes);
		n = recv(viewer->fd, bytes, room, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			viewer->is_typed_up = true;
			return;
		}
		viewer->n_typed += (uint64_t)n;
		(void)console_put_input(console, bytes, (size_t)n);
	}
}

static void handle_viewer(struct event_source *source, uint32_t events)
{
	struct viewer *viewer = container_of(source, struct viewer, source);

	take_input(viewer);
	if (events & (EPOLLHUP | EPOLLERR))
		viewer->is_gone = true;
	if (!viewer->is_gone && (events & EPOLLOUT) && !show(viewer))
		viewer->is_gone = true;
	if (viewer->is_gone && viewer->is_typed_up) {
		viewer_free(viewer);
		return;
	}
	update_source(viewer);
	console_viewer_changed(viewer->console);
}

void viewer_resume(struct viewer *viewer)
{
	update_source(viewer);
}

int viewer_new(struct console *console, struct listener *listener, int fd)
{
	struct viewer *viewer = calloc(1, sizeof(*viewer));
	uint64_t start = history_start(&console->history);
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);

	if (!viewer) {
		close_fd(&fd);
		listener_release(listener);
		return -ENOMEM;
	}
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	*viewer = (struct viewer){
		.next = console->viewers,
		.console = console,
		.listener = listener,
		.source = EVENT_SOURCE_INIT,
		.fd = fd,
		.id = console->next_viewer_id++,
		.pid = peer.pid,
	};
	if (console->history.end > start + console->scrollback)
		start = console->history.end - console->scrollback;
	viewer->position = viewer->earned_up_to = start;
	viewer->credit_us = CONSOLE_CREDIT_US;
	console->viewers = viewer;
	console->n_viewers++;
	update_source(viewer);
	viewer_show(viewer);
	return 0;
}

void viewer_free(struct viewer *viewer)
{
	struct console *console = viewer->console;
	struct viewer **link = &console->viewers;

	while (*link != viewer)
		link = &(*link)->next;
	*link = viewer->next;
	console->n_viewers--;
	event_source_remove(&viewer->source);
	close_fd(&viewer->fd);
	listener_release(viewer->listener);
	free(viewer);
	console_viewer_changed(console);
}

struct viewer *viewer_next(const struct viewer *viewer)
{
	return viewer->next;
}

bool viewer_is_done(const struct viewer *viewer)
{
	return viewer->is_gone ||
	       (viewer->position == viewer->console->history.end &&
		viewer->notice_len == 0);
}

void viewer_facts(const struct viewer *viewer, struct viewer_facts *facts)
{
	*facts = (struct viewer_facts){
		.id = viewer->id,
		.n_behind = viewer->console->history.end - viewer->position,
		.n_lost = viewer->n_lost,
		.n_typed = viewer->n_typed,
		.pid = viewer->pid,
	};
}
