/* SPDX-License-Identifier: ISC */
/*
 * The control server: text lines on a Unix stream socket of mode 0600
 * (protocols/control.md). A request is a line; the answer is any number of
 * reply lines and then "ok" or "error TEXT". "help" is answered here.
 */
#ifndef LIB_BASE_CONTROL_H
#define LIB_BASE_CONTROL_H

#include "lib/base/event.h"

#include <stdbool.h>

struct error;
struct control;
struct control_request;

enum {
	CONTROL_LINE_MAX = 4096, /* longer requests are refused */
	CONTROL_ARGS_MAX = 16,
	/* A verb's answer that comes later, by control_finish(). */
	CONTROL_PENDING = 1,
};

struct control_verb {
	const char *name;     /* NULL ends the table */
	const char *argument; /* for help: "SIZE", or "" */
	const char *help;
	int n_args_min, n_args_max;
	/*
	 * argv[0] is the verb. Returns 0 for "ok"; -errno for "error", with
	 * control_error()'s text or else strerror(); or CONTROL_PENDING.
	 */
	int (*handle)(struct control_request *request, int argc, char **argv,
		      void *context);
};

/*
 * Listen on path, or on the listening socket fd if that is not -1 (then
 * owned, also on failure), and serve in loop. At most 64 clients; one that
 * does not read its answers stalls only itself and is closed beyond 1 MiB of
 * backlog.
 */
int control_new(struct control **control, struct event_loop *loop,
		const char *path, int fd, const struct control_verb *verbs,
		void *context, struct error *err);
/* Requests still pending are to be finished all the same. NULL is fine. */
void control_free(struct control *control);

/* One reply line, without its newline. One that would read as the end of the
 * answer gets a space in front. */
void control_reply(struct control_request *request, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Set the error's text; returns code for `return control_error(...)`. */
int control_error(struct control_request *request, int code, const char *format,
		  ...) __attribute__((format(printf, 3, 4)));
/* Answer a pending request: 0 or -errno. The client may be gone by then. The
 * request is not to be used afterwards. */
void control_finish(struct control_request *request, int code);
/* A descriptor that came with the request, now the caller's; or -1. */
int control_take_fd(struct control_request *request);

#endif
