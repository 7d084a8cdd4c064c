/* SPDX-License-Identifier: ISC */
/*
 * How a back-end program gets its connections: the conventions that vm-disk,
 * vm-net and vm-console share (vhost-user, "Backend program conventions").
 *
 *	--socket-path=PATH	listen
 *	LISTEN_FDS=1		listen on descriptor 3
 *	--fd=N			serve the one connection N, then end
 *	--connect=PATH		connect, and again whenever it is lost
 *	-- PROGRAM [ARG]...	chain loading: serve one end of a socket pair,
 *				run PROGRAM with the other end in VM_DEVICES
 *
 * Exactly one of them is in force. The server hands each connection to its
 * owner and is told when that one is over.
 */
#ifndef LIB_BASE_SERVER_H
#define LIB_BASE_SERVER_H

#include "lib/base/event.h"

#include <stdbool.h>

struct error;

struct server_options {
	const char *socket_path;
	const char *connect_path;
	const char *fd;	      /* as given: a number */
	const char *ready_fd; /* as given: a number */
	const char *control_path;
	char **chain; /* PROGRAM and its arguments, NULL-terminated */
};

enum {
	OPTION_SOCKET_PATH = 1024,
	OPTION_FD,
	OPTION_CONNECT,
	OPTION_READY_FD,
	OPTION_CONTROL,
	OPTION_PRINT_CAPABILITIES,
};

/* clang-format off */
/* Rows for a back end's option table. */
#define OPTIONS_SERVER \
	{ OPTION_SOCKET_PATH, "socket-path", "PATH", \
	  "listen on this Unix socket" }, \
	{ OPTION_FD, "fd", "N", "serve the open socket N, then end" }, \
	{ OPTION_CONNECT, "connect", "PATH", \
	  "connect to this Unix socket, for ever" }, \
	{ OPTION_READY_FD, "ready-fd", "N", \
	  "write a newline to descriptor N when serving" }, \
	{ OPTION_CONTROL, "control", "PATH", \
	  "take control lines on this Unix socket" }, \
	{ OPTION_PRINT_CAPABILITIES, "print-capabilities", NULL, \
	  "print the back end's capabilities as JSON and exit" }
/* clang-format on */

/* Take one option of OPTIONS_SERVER but --print-capabilities; false: not
 * one of them. */
bool server_option(struct server_options *options, int id,
		   const char *argument);

struct server {
	struct event_loop *loop;
	struct event_source source; /* listener, while accepting */
	struct event_timer retry;   /* --connect: back-off */
	const char *connect_path;
	int listener;
	int single;	/* --fd and chain: not yet handed on */
	bool is_single; /* ends with its connection */
	unsigned n_connections, n_max;
	uint64_t retry_ms;
	/*
	 * A connection, non-blocking, now the callee's, which says
	 * server_closed() once when it is over. Not 0: refused, the
	 * descriptor is closed by the server.
	 */
	int (*connected)(struct server *server, int fd);
	/* The only connection there will ever be is over. */
	void (*finished)(struct server *server);
};

#define SERVER_INIT \
	{ \
		.source = EVENT_SOURCE_INIT, .retry = EVENT_TIMER_INIT, \
		.listener = -1, .single = -1 \
	}

/*
 * First half, before the loop exists and before threads: check that one way
 * is given, listen, or take the descriptor. With a chain this forks: the
 * server goes on in a new process that is nobody's child, with standard
 * input and output on /dev/null; PROGRAM takes the place, process id and
 * standard streams of this one and has "NAME:FD" appended to VM_DEVICES
 * (NAME as vm-cpu's option: blk, net, console). PROGRAM that cannot be
 * executed ends with 126 or 127 and one line. Open everything that can fail
 * before this call, so that the chain does not start in vain.
 */
int server_open(struct server *server, const struct server_options *options,
		const char *device_name, struct error *err);

/*
 * Second half: begin handing out connections, n_max at once (0: no limit;
 * further ones wait in the backlog), and tell readiness.
 */
int server_start(struct server *server, struct event_loop *loop,
		 const struct server_options *options, unsigned n_max,
		 struct error *err);

/* A connection handed out is over: the next may come. */
void server_closed(struct server *server);

/* Stop listening and connecting; the path is removed if it was ours. */
void server_deinit(struct server *server);

#endif
