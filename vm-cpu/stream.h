/* SPDX-License-Identifier: ISC */
/*
 * The byte stream at the other end of a serial port: standard input and
 * output, a Unix socket, or an open descriptor. Input is pulled, so that what
 * nobody wants yet stays with its sender; output that is not taken at once
 * is kept, up to STREAM_BACKLOG bytes, and sent from the event loop. Never
 * blocks.
 */
#ifndef VM_CPU_STREAM_H
#define VM_CPU_STREAM_H

#include "lib/base/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum {
	STREAM_BACKLOG = 64 << 10,
};

struct stream {
	struct event_loop *loop;
	struct event_source in, out;
	struct event_timer retry; /* a socket that is gone */
	const char *socket_path;  /* or NULL */
	int in_fd, out_fd;	  /* owned; the same for sockets */
	bool is_out_socket;
	bool is_file;	  /* in_fd is always readable: not in epoll */
	bool is_terminal; /* in_fd, in raw mode */
	bool is_escaped;  /* after the escape character */
	size_t n_wanted;
	size_t backlog_first, backlog_len;
	uint8_t backlog[STREAM_BACKLOG]; /* a ring */

	/* At most as many bytes as were wanted. */
	void (*received)(void *context, const uint8_t *data, size_t len);
	/* There was no room, and now there is. */
	void (*drained)(void *context);
	/* The user typed the escape to end the machine; may be NULL. */
	void (*quit)(void *context);
	void *context;
};

#define STREAM_INIT \
	{ \
		.in = EVENT_SOURCE_INIT, .out = EVENT_SOURCE_INIT, \
		.retry = EVENT_TIMER_INIT, .in_fd = -1, .out_fd = -1 \
	}

/*
 * Open what spec says: "stdio", "fd:N", or the path of a Unix socket, which
 * must be listening now and is connected to again whenever it goes away.
 * Set the callbacks before.
 */
int stream_open(struct stream *stream, struct event_loop *loop,
		const char *spec, struct error *err);
/* Send what is left, as long as the other end takes it, and close. */
void stream_close(struct stream *stream);

/* Up to this many bytes are wanted now; each one received counts. */
void stream_want(struct stream *stream, size_t n);

/* Is the backlog far from full? A polite writer waits until then. */
bool stream_has_room(const struct stream *stream);
/* Beyond the backlog, bytes are lost. */
void stream_write(struct stream *stream, const void *data, size_t len);

#endif
