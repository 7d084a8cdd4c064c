/* SPDX-License-Identifier: ISC */
/*
 * How a back-end program gets its connections: the conventions that vm-disk,
 * vm-net and vm-console share (vhost-user, "Backend program conventions").
 *
 *	--socket-path=PATH	listen
 *	LISTEN_FDS		listen on the descriptor named "vhost", or
 *				else on the only one, unless that is "control"
 *	--fd=N			serve the one connection N, then end
 *	--connect=PATH		connect, and again whenever it is lost
 *	-- PROGRAM [ARG]...	chain loading: serve one end of a socket pair,
 *				run PROGRAM with the other end in VM_DEVICES
 *
 * Exactly one of them is in force. The server hands each connection to its
 * owner and is told when that one is over. LISTEN_FDNAMES=vhost:control (and
 * names of the program's own) passes more listeners, in any of these ways.
 */
#ifndef LIB_BASE_SERVER_H
#define LIB_BASE_SERVER_H

#include "lib/base/chain.h"
#include "lib/base/event.h"
#include "lib/base/listener.h"
#include "lib/base/socket.h"

#include <stdbool.h>

struct error;

struct server_options {
	const char *socket_path;
	const char *connect_path;
	const char *fd;	      /* as given: a number */
	const char *ready_fd; /* as given: a number */
	const char *control_path;
	char **chain; /* PROGRAM and its arguments, NULL-terminated */
	/* The program has other connections to serve: no way is needed, and
	 * an only inherited listener with another name is not "vhost". */
	bool is_optional;
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
	struct listener listener; /* --socket-path, LISTEN_FDS */
	struct event_timer retry; /* --connect: back-off */
	struct chain chain;	  /* -- PROGRAM */
	int single;		  /* --fd and chain: not yet handed on */
	int ready_fd;
	bool is_single; /* ends with its connection */
	bool is_silent; /* the failing connect was already told */
	const char *connect_path;
	unsigned retry_ms;
	/* Further listeners, which the program may take by name. */
	struct socket_activation inherited;
	/* LISTEN_FDS' "control", or -1: for control_new(). */
	int control_listener;
	/*
	 * A connection, non-blocking, now the callee's (also when it fails),
	 * which says server_closed() once when it is over. Not 0: it is over
	 * already, and server_closed() is not to be said.
	 */
	int (*connected)(struct server *server, int fd);
	/* The only connection there will ever be is over. */
	void (*finished)(struct server *server);
};

#define SERVER_INIT \
	{ \
		.listener = LISTENER_INIT, .retry = EVENT_TIMER_INIT, \
		.chain = CHAIN_INIT, .single = -1, .ready_fd = -1, \
		.control_listener = -1 \
	}

/*
 * First half, before there are threads: check that one way is given, listen,
 * or take the descriptor. .connected and .finished are set before. -EINVAL is
 * wrong usage. With a chain this forks, see chain_fork(): what fails between
 * the halves ends the chain before PROGRAM runs. device_name is vm-cpu's
 * option: blk, net, console. Locks that belong to a process (not OFD ones),
 * threads and io_uring do not survive the fork: make those afterwards.
 */
int server_open(struct server *server, const struct server_options *options,
		const char *device_name, struct error *err);

/*
 * Second half: begin handing out connections, n_max at once (0: no limit;
 * further ones wait in the backlog), and tell readiness. .connected may be
 * called before this returns.
 */
int server_start(struct server *server, struct event_loop *loop,
		 const struct server_options *options, unsigned n_max,
		 struct error *err);

/*
 * Anybody may connect, and a silent one keeps others waiting. Where the only
 * connection was given, or we went to it, it may take its time.
 */
bool server_is_open(const struct server *server);

/* A connection handed out is over: the next may come. */
void server_closed(struct server *server);

/* Stop listening and connecting; the path is removed if it was ours.
 * Idempotent. */
void server_deinit(struct server *server);

#endif
