/* SPDX-License-Identifier: ISC */
/* A listening socket that takes no more than it can serve. */
#include "lib/base/listener.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

enum {
	ACCEPTS_MAX = 16, /* in one go: others in the loop want their turn */
	REST_MS = 200,
};

static int check_listening(int fd)
{
	int is_listening = 0;
	socklen_t len = sizeof(is_listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0)
		return -errno;
	return is_listening ? 0 : -EINVAL;
}

int listener_open(struct listener *listener, const char *path, mode_t mode,
		  int fd, struct error *err)
{
	int ret;

	*listener = (struct listener)LISTENER_INIT;
	if (fd >= 0) {
		ret = check_listening(fd);
		if (ret < 0)
			return error_set_errno(
				err, ret, "descriptor %d: not listening", fd);
		listener->fd = fd;
		return 0;
	}
	ret = socket_listen(path, mode, err);
	if (ret < 0)
		return ret;
	listener->fd = ret;
	ret = socket_file_init(&listener->file, path);
	if (ret < 0)
		return error_set_errno(err, ret, "%s", path);
	return 0;
}

static void update(struct listener *listener)
{
	bool is_full =
		listener->n_max != 0 && listener->n_open >= listener->n_max;

	(void)event_source_set(&listener->source, is_full ? 0 : EPOLLIN);
}

static void rest_is_over(struct event_timer *timer)
{
	update(container_of(timer, struct listener, rest));
}

/* Level-triggered: what cannot be accepted now would be reported for ever. */
static void rest(struct listener *listener, int code)
{
	log_warn("cannot accept a connection: %s", strerror(-code));
	(void)event_source_set(&listener->source, 0);
	(void)event_timer_set(&listener->rest, REST_MS, 0);
}

static void accept_some(struct event_source *source, uint32_t events)
{
	struct listener *listener =
		container_of(source, struct listener, source);

	(void)events;
	/* The source waits for nothing once the last allowed one is in. */
	for (int i = 0; i < ACCEPTS_MAX && source->events != 0; i++) {
		int fd = socket_accept(listener->fd);

		if (fd == -EAGAIN)
			return;
		if (fd < 0) {
			rest(listener, fd);
			return;
		}
		listener->n_open++;
		update(listener);
		listener->accepted(listener, fd);
	}
}

int listener_start(struct listener *listener, struct event_loop *loop,
		   unsigned n_max,
		   void (*accepted)(struct listener *listener, int fd))
{
	int ret = event_timer_init(loop, &listener->rest, rest_is_over);

	if (ret < 0)
		return ret;
	listener->n_max = n_max;
	listener->accepted = accepted;
	return event_source_add(loop, &listener->source, listener->fd, EPOLLIN,
				accept_some);
}

void listener_release(struct listener *listener)
{
	assert(listener->n_open > 0);
	listener->n_open--;
	if (listener->source.loop != NULL)
		update(listener);
}

void listener_deinit(struct listener *listener)
{
	event_source_remove(&listener->source);
	event_timer_deinit(&listener->rest);
	socket_file_deinit(&listener->file);
	close_fd(&listener->fd);
}
