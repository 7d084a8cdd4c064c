/* SPDX-License-Identifier: ISC */
/*
 * A back end's connections. Invariant: of listener, connect_path and single
 * one alone is in use; single and chain connections are the only ones that
 * end the server.
 */
#include "lib/base/server.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/ready.h"
#include "lib/base/size.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
	RETRY_FIRST_MS = 50,
	RETRY_LAST_MS = 2000,
	SOCKET_MODE = 0600,
};

bool server_option(struct server_options *options, int id, const char *argument)
{
	switch (id) {
	case OPTION_SOCKET_PATH:
		options->socket_path = argument;
		return true;
	case OPTION_FD:
		options->fd = argument;
		return true;
	case OPTION_CONNECT:
		options->connect_path = argument;
		return true;
	case OPTION_READY_FD:
		options->ready_fd = argument;
		return true;
	case OPTION_CONTROL:
		options->control_path = argument;
		return true;
	default:
		return false;
	}
}

/* The open descriptor that an option names, close-on-exec from now on. */
static int take_fd(const char *option, const char *text, bool wants_socket,
		   struct error *err)
{
	uint64_t number;
	struct stat st;
	int fd;

	if (number_parse(text, 0, INT32_MAX, &number) < 0)
		return error_set(err, -EINVAL, "--%s=%s: not a descriptor",
				 option, text);
	fd = (int)number;
	if (fstat(fd, &st) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set_errno(err, -errno, "--%s=%s", option, text);
	if (!wants_socket)
		return fd;
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -ENOTSOCK, "--%s=%s: not a socket",
				 option, text);
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return error_set_errno(err, -errno, "--%s=%s", option, text);
	return fd;
}

/* Whoever passes several listeners names them; a single one needs none. */
static int take_inherited(struct server *server, bool is_sole, int *fd,
			  struct error *err)
{
	int ret = socket_activation_init(&server->inherited);

	if (ret < 0)
		return error_set_errno(err, ret, "LISTEN_FDS");
	server->control_listener =
		socket_activation_take(&server->inherited, "control");
	*fd = socket_activation_take(&server->inherited, "vhost");
	if (*fd < 0 && server->inherited.n == 1 &&
	    (is_sole || server->inherited.names[0][0] == '\0'))
		*fd = socket_activation_take(&server->inherited, NULL);
	return 0;
}

static int check_ways(const struct server_options *options, int inherited,
		      struct error *err)
{
	int n = (inherited >= 0) + (options->socket_path != NULL) +
		(options->connect_path != NULL) + (options->fd != NULL) +
		(options->chain != NULL);

	if (n == 0 && !options->is_optional)
		return error_set(err, -EINVAL,
				 "one of --socket-path, --connect, --fd or "
				 "-- PROGRAM is needed");
	if (n > 1)
		return error_set(err, -EINVAL,
				 "--socket-path, --connect, --fd, LISTEN_FDS "
				 "and -- PROGRAM exclude each other");
	return 0;
}

static int open_way(struct server *server, const struct server_options *options,
		    const char *device_name, int inherited, struct error *err)
{
	if (options->connect_path != NULL) {
		server->connect_path = options->connect_path;
		return 0;
	}
	if (options->socket_path != NULL || inherited >= 0)
		return listener_open(&server->listener, options->socket_path,
				     SOCKET_MODE, inherited, err);
	if (options->fd == NULL && options->chain == NULL)
		return 0;
	server->is_single = true;
	if (options->fd != NULL) {
		server->single = take_fd("fd", options->fd, true, err);
		return server->single < 0 ? server->single : 0;
	}
	return chain_fork(&server->chain, device_name, options->chain, err);
}

int server_open(struct server *server, const struct server_options *options,
		const char *device_name, struct error *err)
{
	_cleanup_fd_ int inherited = -1;
	int ret;

	if (options->ready_fd != NULL) {
		ret = take_fd("ready-fd", options->ready_fd, false, err);
		if (ret < 0)
			return ret;
		server->ready_fd = ret;
	}
	ret = take_inherited(server, !options->is_optional, &inherited, err);
	if (ret < 0)
		return ret;
	ret = check_ways(options, inherited, err);
	if (ret < 0)
		return ret;
	ret = open_way(server, options, device_name, inherited, err);
	if (ret == 0 && server->listener.fd == inherited)
		steal_fd(&inherited);
	return ret;
}

static void hand_on(struct listener *listener, int fd)
{
	struct server *server = container_of(listener, struct server, listener);

	if (server->connected(server, fd) != 0)
		listener_release(listener);
}

static void retry_later(struct server *server)
{
	(void)event_timer_set(&server->retry, server->retry_ms, 0);
	server->retry_ms *= 2;
	if (server->retry_ms > RETRY_LAST_MS)
		server->retry_ms = RETRY_LAST_MS;
}

static void try_connect(struct event_timer *timer)
{
	struct server *server = container_of(timer, struct server, retry);
	struct error err = ERROR_INIT;
	int fd = socket_connect(server->connect_path, &err);

	if (fd < 0) {
		if (!server->is_silent)
			log_info("%s; trying again", error_text(&err, fd));
		server->is_silent = true;
		retry_later(server);
		return;
	}
	server->is_silent = false;
	server->retry_ms = RETRY_FIRST_MS;
	if (server->connected(server, fd) != 0)
		retry_later(server);
}

static int start_way(struct server *server, unsigned n_max)
{
	int ret;

	if (server->listener.fd >= 0)
		return listener_start(&server->listener, server->loop, n_max,
				      hand_on);
	if (server->connect_path != NULL) {
		ret = event_timer_init(server->loop, &server->retry,
				       try_connect);
		server->retry_ms = RETRY_FIRST_MS;
		if (ret == 0)
			try_connect(&server->retry);
		return ret;
	}
	if (!server->is_single)
		return 0;
	if (server->single < 0)
		server->single = steal_fd(&server->chain.fd);
	return server->connected(server, steal_fd(&server->single));
}

int server_start(struct server *server, struct event_loop *loop,
		 const struct server_options *options, unsigned n_max,
		 struct error *err)
{
	int ret;

	(void)options;
	server->loop = loop;
	ret = start_way(server, n_max);
	if (ret < 0)
		return error_set_errno(err, ret, "cannot serve");
	ready_notify(steal_fd(&server->ready_fd));
	chain_release(&server->chain);
	return 0;
}

bool server_is_open(const struct server *server)
{
	return server->listener.fd >= 0;
}

void server_closed(struct server *server)
{
	if (server->is_single)
		server->finished(server);
	else if (server->connect_path != NULL)
		retry_later(server);
	else
		listener_release(&server->listener);
}

void server_deinit(struct server *server)
{
	listener_deinit(&server->listener);
	event_timer_deinit(&server->retry);
	chain_deinit(&server->chain);
	socket_activation_deinit(&server->inherited);
	close_fd(&server->control_listener);
	close_fd(&server->single);
	close_fd(&server->ready_fd);
}
