/* SPDX-License-Identifier: ISC */
/*
 * A listening Unix socket in the event loop, which hands out at most n_max
 * connections at a time: further ones wait in the kernel's backlog. Out of
 * descriptors or memory it rests for a moment instead of spinning.
 */
#ifndef LIB_BASE_LISTENER_H
#define LIB_BASE_LISTENER_H

#include "lib/base/event.h"
#include "lib/base/socket.h"

#include <stdbool.h>

struct error;

struct listener {
	int fd;			 /* owned */
	struct socket_file file; /* removed at the end */
	struct event_source source;
	struct event_timer rest;
	unsigned n_open, n_max; /* connections; 0: no limit */
	/* A connection, non-blocking, now the callee's, which says
	 * listener_release() once when it is over. */
	void (*accepted)(struct listener *listener, int fd);
};

#define LISTENER_INIT \
	{ \
		.fd = -1, .source = EVENT_SOURCE_INIT, \
		.rest = EVENT_TIMER_INIT \
	}

/* Listen on path, with this mode; or take over the listening socket fd if
 * it is not -1, whose path is left to whom made it. */
int listener_open(struct listener *listener, const char *path, mode_t mode,
		  int fd, struct error *err);
/* Begin to accept. */
int listener_start(struct listener *listener, struct event_loop *loop,
		   unsigned n_max,
		   void (*accepted)(struct listener *listener, int fd));
/* One of the connections is over: the next may come. */
void listener_release(struct listener *listener);
/* Idempotent. */
void listener_deinit(struct listener *listener);

#endif
