/* SPDX-License-Identifier: ISC */
/*
 * The plain side of the guest: a byte stream, as of a serial port. Either a
 * listening socket that takes one guest after another, or one stream.
 */
#ifndef VM_CONSOLE_SERIAL_H
#define VM_CONSOLE_SERIAL_H

#include "lib/base/listener.h"
#include "vm-console/console.h"

struct error;

struct serial {
	struct console_side side;
	struct console *console;
	struct listener listener; /* --serial; not open with --serial-fd */
	struct event_source source;
	int fd; /* the guest; -1: none */
	bool can_write;
	bool is_blocked; /* it takes no input now */
	bool is_held;	 /* viewers are behind: it is not read now */
	/* The only stream there will ever be is over. */
	void (*finished)(struct console *console);
};

#define SERIAL_INIT \
	{ \
		.listener = LISTENER_INIT, .source = EVENT_SOURCE_INIT, \
		.fd = -1 \
	}

/* Listen on path, or on listener_fd if that is not -1 (owned). */
int serial_listen(struct serial *serial, const char *path, int listener_fd,
		  struct error *err);
/* Take the open stream that this number names. */
int serial_take_fd(struct serial *serial, const char *number,
		   struct error *err);
/* Begin to serve, if there is anything to. */
int serial_start(struct serial *serial, struct console *console);
void serial_deinit(struct serial *serial);

#endif
