/* SPDX-License-Identifier: ISC */
/* See serial.h. */
#include "vm-console/serial.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum {
	READS_PER_TURN = 4,
	SOCKET_MODE = 0600,
};

int serial_listen(struct serial *serial, const char *path, int listener_fd,
		  struct error *err)
{
	return listener_open(&serial->listener, path, SOCKET_MODE, listener_fd,
			     err);
}

int serial_take_fd(struct serial *serial, const char *number, struct error *err)
{
	uint64_t fd;
	int flags;

	if (number_parse(number, 0, INT32_MAX, &fd) < 0)
		return error_set(err, -EINVAL, "--serial-fd=%s: no descriptor",
				 number);
	flags = fcntl((int)fd, F_GETFL);
	if (flags < 0 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl((int)fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set_errno(err, -errno, "--serial-fd=%s", number);
	if ((flags & O_ACCMODE) == O_WRONLY)
		return error_set(err, -EINVAL, "--serial-fd=%s: cannot be read",
				 number);
	serial->fd = (int)fd;
	serial->can_write = (flags & O_ACCMODE) == O_RDWR;
	return 0;
}

static void handle_stream(struct event_source *source, uint32_t events);

static void update_source(struct serial *serial)
{
	uint32_t events = (serial->is_held ? 0U : EPOLLIN) |
			  (serial->is_blocked ? EPOLLOUT : 0U);

	/* A hang-up is always reported: not while nothing is read. */
	if (events == 0)
		event_source_remove(&serial->source);
	else if (serial->source.loop)
		(void)event_source_set(&serial->source, events);
	else
		(void)event_source_add(serial->console->loop, &serial->source,
				       serial->fd, events, handle_stream);
}

static void hang_up(struct serial *serial)
{
	event_source_remove(&serial->source);
	close_fd(&serial->fd);
	serial->side.is_open = false;
	console_sides_changed(serial->console);
	if (serial->listener.fd >= 0)
		listener_release(&serial->listener);
	else
		serial->finished(serial->console);
}

/* Pass input on until there is no more or the stream is full. A stream that
 * is broken is noticed when it is read. */
static void push_input(struct serial *serial)
{
	for (;;) {
		size_t len;
		const uint8_t *bytes = console_peek_input(serial->console,
							  &serial->side, &len);
		ssize_t n;

		if (len == 0)
			return;
		n = write(serial->fd, bytes, len);
		if (n >= 0) {
			console_drop_input(serial->console, (size_t)n);
		} else if (errno != EINTR) {
			serial->is_blocked = errno == EAGAIN;
			return;
		}
	}
}

static void pull(struct console_side *side)
{
	struct serial *serial = container_of(side, struct serial, side);

	if (serial->is_blocked)
		return;
	push_input(serial);
	update_source(serial);
}

/* 0: nothing more now; else the stream is over. */
static int pass_output(struct serial *serial)
{
	static uint8_t bytes[CONSOLE_PIECE];

	for (unsigned i = 0; i < READS_PER_TURN; i++) {
		ssize_t n;

		serial->is_held = !console_can_output(serial->console);
		if (serial->is_held)
			return 0;
		n = read(serial->fd, bytes, sizeof(bytes));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return -EPIPE;
		console_output(serial->console, bytes, (size_t)n);
	}
	return 0;
}

static void handle_stream(struct event_source *source, uint32_t events)
{
	struct serial *serial = container_of(source, struct serial, source);

	if (events & EPOLLOUT) {
		serial->is_blocked = false;
		push_input(serial);
	}
	if (!serial->is_held && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) &&
	    pass_output(serial) < 0) {
		hang_up(serial);
		return;
	}
	update_source(serial);
}

static void resume(struct console_side *side)
{
	struct serial *serial = container_of(side, struct serial, side);

	serial->is_held = false;
	if (serial->fd >= 0)
		update_source(serial);
}

static int begin(struct serial *serial, int fd, bool can_write)
{
	int ret;

	serial->fd = fd;
	serial->can_write = can_write;
	serial->is_blocked = serial->is_held = false;
	ret = event_source_add(serial->console->loop, &serial->source, fd,
			       EPOLLIN, handle_stream);
	if (ret < 0)
		return ret;
	serial->side.is_open = can_write;
	console_sides_changed(serial->console);
	return 0;
}

static void guest_came(struct listener *listener, int fd)
{
	struct serial *serial = container_of(listener, struct serial, listener);
	int ret = begin(serial, fd, true);

	if (ret < 0) {
		log_warn("serial connection: %s", strerror(-ret));
		hang_up(serial);
	}
}

int serial_start(struct serial *serial, struct console *console)
{
	serial->console = console;
	serial->side.pull = pull;
	serial->side.resume = resume;
	console->sides[CONSOLE_SERIAL] = &serial->side;
	if (serial->listener.fd >= 0)
		return listener_start(&serial->listener, console->loop, 1,
				      guest_came);
	if (serial->fd >= 0)
		return begin(serial, serial->fd, serial->can_write);
	return 0;
}

void serial_deinit(struct serial *serial)
{
	event_source_remove(&serial->source);
	close_fd(&serial->fd);
	listener_deinit(&serial->listener);
}
