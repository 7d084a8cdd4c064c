/* SPDX-License-Identifier: ISC */
/*
 * Pulled input, buffered output. Standard output may be shared with other
 * processes, so it is not made non-blocking but opened once more; what cannot
 * be opened once more (a regular file must not be: it has a position) is
 * written to as it is.
 */
#include "vm-cpu/stream.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/size.h"
#include "lib/base/socket.h"
#include "vm-cpu/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	CHUNK = 256, /* bytes read at once */
	RETRY_MS = 200,
	DRAIN_MS = 5000, /* a reader that takes nothing for so long is lost */
	ROOM = STREAM_BACKLOG - 4096, /* what has_room() leaves */
};

static bool has_type(int fd, mode_t type)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

static void stop_output(struct stream *stream)
{
	event_source_remove(&stream->out);
	if (stream->out_fd != stream->in_fd)
		close_fd(&stream->out_fd);
	stream->out_fd = -1;
}

/* Our server is gone: what was not sent waits until it is back. */
static void disconnect(struct stream *stream)
{
	event_source_remove(&stream->in);
	stop_output(stream);
	close_fd(&stream->in_fd);
	event_timer_set(&stream->retry, RETRY_MS, 0);
}

static void lose_output(struct stream *stream, int error)
{
	if (stream->socket_path != NULL) {
		disconnect(stream);
		return;
	}
	log_warn("serial output: %s; the rest is dropped", strerror(error));
	stop_output(stream);
	stream->backlog_len = 0;
}

static ssize_t send_some(struct stream *stream, const void *data, size_t len)
{
	if (stream->is_out_socket)
		return send(stream->out_fd, data, len,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(stream->out_fd, data, len);
}

/* What of data was taken; the output is lost on any other error. */
static size_t try_send(struct stream *stream, const void *data, size_t len)
{
	ssize_t n;

	if (stream->out_fd < 0)
		return 0;
	do
		n = send_some(stream, data, len);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (size_t)n;
	if (errno != EAGAIN)
		lose_output(stream, errno);
	return 0;
}

static void wait_for_output(struct stream *stream)
{
	if (stream->out_fd >= 0 && stream->out.loop != NULL)
		event_source_set(&stream->out,
				 stream->backlog_len > 0 ? EPOLLOUT : 0);
}

static void flush(struct stream *stream)
{
	bool had_room = stream_has_room(stream);

	while (stream->backlog_len > 0) {
		size_t first = stream->backlog_first;
		size_t len = stream->backlog_len;

		if (len > STREAM_BACKLOG - first)
			len = STREAM_BACKLOG - first;
		len = try_send(stream, stream->backlog + first, len);
		if (len == 0)
			break;
		stream->backlog_first = (first + len) % STREAM_BACKLOG;
		stream->backlog_len -= len;
	}
	wait_for_output(stream);
	if (!had_room && stream_has_room(stream))
		stream->drained(stream->context);
}

bool stream_has_room(const struct stream *stream)
{
	/* Nobody there: the guest is not held up. */
	return stream->out_fd < 0 || stream->backlog_len < ROOM;
}

void stream_write(struct stream *stream, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t n;

	if (stream->backlog_len == 0) {
		n = try_send(stream, p, len);
		p += n;
		len -= n;
	}
	if (stream->out_fd < 0 && stream->socket_path == NULL)
		return;
	for (; len > 0 && stream->backlog_len < STREAM_BACKLOG; len--) {
		n = (stream->backlog_first + stream->backlog_len++) %
		    STREAM_BACKLOG;
		stream->backlog[n] = *p++;
	}
	wait_for_output(stream);
}

/*
 * Keys on their way to the guest: the escape character is held back, doubled
 * it stands for itself, before 'x' it ends the machine.
 */
static size_t filter_keys(struct stream *stream, uint8_t *data, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (!stream->is_escaped && data[i] == TERMINAL_ESCAPE) {
			stream->is_escaped = true;
			continue;
		}
		if (stream->is_escaped && data[i] == TERMINAL_QUIT &&
		    stream->quit != NULL)
			stream->quit(stream->context);
		else
			data[n++] = data[i];
		stream->is_escaped = false;
	}
	return n;
}

static void end_input(struct stream *stream, int error)
{
	if (stream->socket_path != NULL) {
		disconnect(stream);
		return;
	}
	if (error != 0)
		log_warn("serial input: %s", strerror(error));
	event_source_remove(&stream->in);
	if (stream->is_terminal)
		terminal_restore();
	close_fd(&stream->in_fd);
}

/* One read; false when there is nothing more for now. */
static bool receive(struct stream *stream)
{
	uint8_t data[CHUNK];
	size_t len = stream->n_wanted;
	ssize_t n;

	if (stream->in_fd < 0 || len == 0)
		return false;
	if (len > sizeof(data))
		len = sizeof(data);
	n = read(stream->in_fd, data, len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		end_input(stream, n < 0 ? errno : 0);
		return false;
	}
	len = (size_t)n;
	if (stream->is_terminal)
		len = filter_keys(stream, data, len);
	stream->n_wanted -= len;
	if (stream->n_wanted == 0 && stream->in.loop != NULL)
		event_source_set(&stream->in, 0);
	if (len > 0)
		stream->received(stream->context, data, len);
	return true;
}

/* A hang-up is seen even while nothing is wanted. */
static void handle_input(struct event_source *source, uint32_t events)
{
	struct stream *stream = container_of(source, struct stream, in);

	if (stream->n_wanted > 0)
		receive(stream);
	else if (stream->socket_path != NULL &&
		 (events & (EPOLLHUP | EPOLLERR)))
		disconnect(stream);
	else
		/* Level-triggered: a pipe that hung up would spin. */
		event_source_remove(&stream->in);
}

static void handle_output(struct event_source *source, uint32_t events)
{
	struct stream *stream = container_of(source, struct stream, out);

	(void)events;
	flush(stream);
}

static void watch_input(struct stream *stream)
{
	if (stream->in_fd < 0)
		return;
	if (stream->in.loop != NULL)
		event_source_set(&stream->in,
				 stream->n_wanted > 0 ? EPOLLIN : 0);
	else if (stream->n_wanted > 0 &&
		 event_source_add(stream->loop, &stream->in, stream->in_fd,
				  EPOLLIN, handle_input) == -EPERM)
		stream->is_file = true;
}

void stream_want(struct stream *stream, size_t n)
{
	if (n == stream->n_wanted)
		return;
	stream->n_wanted = n;
	if (!stream->is_file)
		watch_input(stream);
	/* EPERM: a regular file or /dev/null, which never waits. */
	if (stream->is_file)
		receive(stream);
}

/* Two descriptors of a socket: epoll then has one for each direction. */
static int connected(struct stream *stream, int fd)
{
	stream->in_fd = fd;
	stream->is_out_socket = true;
	stream->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (stream->out_fd < 0)
		return -errno;
	return event_source_add(stream->loop, &stream->out, stream->out_fd, 0,
				handle_output);
}

static void reconnect(struct event_timer *timer)
{
	struct stream *stream = container_of(timer, struct stream, retry);
	struct error err = ERROR_INIT;
	int fd = socket_connect(stream->socket_path, &err);

	if (fd < 0) {
		event_timer_set(&stream->retry, RETRY_MS, 0);
		return;
	}
	if (connected(stream, fd) < 0) {
		disconnect(stream);
		return;
	}
	watch_input(stream);
	flush(stream);
}

static int open_socket(struct stream *stream, const char *path,
		       struct error *err)
{
	int fd, r;

	r = event_timer_init(stream->loop, &stream->retry, reconnect);
	if (r < 0)
		return r;
	fd = socket_connect(path, err);
	if (fd < 0)
		return fd;
	stream->socket_path = path;
	return connected(stream, fd);
}

/* A second, non-blocking, open file of a pipe or a terminal. */
static int open_output(int fd)
{
	char path[32];
	int again;

	if (has_type(fd, S_IFIFO) || has_type(fd, S_IFCHR)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		again = open(path,
			     O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (again >= 0)
			return again;
	}
	again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return again < 0 ? -errno : again;
}

static int open_pair(struct stream *stream, int in_fd, int out_fd,
		     struct error *err)
{
	int r;

	stream->in_fd = fcntl(in_fd, F_DUPFD_CLOEXEC, 0);
	if (stream->in_fd < 0)
		return error_set_errno(err, -errno, "descriptor %d", in_fd);
	stream->is_out_socket = has_type(out_fd, S_IFSOCK);
	stream->out_fd = open_output(out_fd);
	if (stream->out_fd < 0)
		return error_set_errno(err, stream->out_fd, "descriptor %d",
				       out_fd);
	r = event_source_add(stream->loop, &stream->out, stream->out_fd, 0,
			     handle_output);
	/* A regular file takes everything at once. */
	if (r < 0 && r != -EPERM)
		return error_set_errno(err, r, "descriptor %d", out_fd);
	if (terminal_is_ours(stream->in_fd)) {
		r = terminal_set_raw(stream->in_fd);
		if (r < 0)
			return error_set_errno(err, r, "terminal");
		stream->is_terminal = true;
	}
	return 0;
}

int stream_open(struct stream *stream, struct event_loop *loop,
		const char *spec, struct error *err)
{
	uint64_t fd;

	stream->loop = loop;
	if (strcmp(spec, "stdio") == 0)
		return open_pair(stream, STDIN_FILENO, STDOUT_FILENO, err);
	if (strncmp(spec, "fd:", 3) != 0)
		return open_socket(stream, spec, err);
	if (number_parse(spec + 3, 0, INT32_MAX, &fd) < 0)
		return error_set(err, -EINVAL, "%s: not a descriptor", spec);
	return open_pair(stream, (int)fd, (int)fd, err);
}

/* A guest that has powered off is read to its last word. */
static void drain(struct stream *stream)
{
	while (stream->backlog_len > 0 && stream->out_fd >= 0) {
		struct pollfd pollfd = { .fd = stream->out_fd,
					 .events = POLLOUT };

		if (poll(&pollfd, 1, DRAIN_MS) <= 0)
			break;
		flush(stream);
	}
}

void stream_close(struct stream *stream)
{
	drain(stream);
	event_timer_deinit(&stream->retry);
	event_source_remove(&stream->in);
	event_source_remove(&stream->out);
	if (stream->is_terminal)
		terminal_restore();
	close_fd(&stream->out_fd);
	close_fd(&stream->in_fd);
}
