/* SPDX-License-Identifier: ISC */
/*
 * A control client that sends anything. The answers must be one "ok" or
 * "error ..." for each request, whatever came.
 */
#include "lib/base/control.h"
#include "lib/base/cleanup.h"
#include "lib/base/control_line.h"
#include "lib/base/socket.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static struct control_request *pending;

static int echo(struct control_request *request, int argc, char **argv,
		void *context)
{
	(void)context;
	for (int i = 1; i < argc; i++)
		control_reply(request, "%s", argv[i]);
	return 0;
}

static int take(struct control_request *request, int argc, char **argv,
		void *context)
{
	int fd = control_take_fd(request);

	(void)argc;
	(void)argv;
	(void)context;
	if (fd < 0)
		return control_error(request, -EBADF, "no descriptor");
	close(fd);
	return 0;
}

static int wait_for_it(struct control_request *request, int argc, char **argv,
		       void *context)
{
	(void)argc;
	(void)argv;
	(void)context;
	pending = request;
	return CONTROL_PENDING;
}

static const struct control_verb verbs[] = {
	{ "echo", "[WORD]...", "say it", 0, 15, echo },
	{ "take", "", "take a descriptor", 0, 0, take },
	{ "wait", "", "answer later", 0, 0, wait_for_it },
	{ .name = NULL },
};

static void drain(struct event_loop *loop, int fd)
{
	char text[4096];

	for (int i = 0; i < 4; i++) {
		(void)event_loop_step(loop, 0);
		while (recv(fd, text, sizeof(text), MSG_DONTWAIT) > 0)
			;
		if (pending != NULL)
			control_finish(steal_ptr(&pending), i & 1 ? 0 : -EIO);
	}
}

static void check_split(const uint8_t *data, size_t size)
{
	char *words[CONTROL_ARGS_MAX], *line = malloc(size + 1);
	const char *reason;
	int n;

	if (size > 0)
		memcpy(line, data, size);
	n = control_line_split(line, size, words, CONTROL_ARGS_MAX, &reason);
	for (int i = 0; i < n; i++) {
		if (words[i] < line ||
		    words[i] + strlen(words[i]) > line + size)
			abort();
	}
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct event_loop loop;
	struct control *control;
	char path[64];
	int fd;

	check_split(data, size);
	snprintf(path, sizeof(path), "/tmp/fuzz-control-%d", (int)getpid());
	if (event_loop_init(&loop) < 0 ||
	    control_new(&control, &loop, path, -1, verbs, NULL, NULL) < 0)
		abort();
	fd = socket_connect(path, NULL);
	while (size > 0) {
		/* The first byte of each piece says how long it is. */
		size_t len = (size_t)data[0] * 20 + 1;
		struct iovec iov;

		if (len > size)
			len = size;
		iov = (struct iovec){ .iov_base = (void *)data,
				      .iov_len = len };
		if (socket_send(fd, &iov, 1, &fd, len % 3 == 0) <= 0)
			break;
		drain(&loop, fd);
		data += len;
		size -= len;
	}
	shutdown(fd, SHUT_WR);
	drain(&loop, fd);
	close(fd);
	drain(&loop, -1);
	control_free(control);
	event_loop_deinit(&loop);
	return 0;
}
