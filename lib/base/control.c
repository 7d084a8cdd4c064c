/* SPDX-License-Identifier: ISC */
/*
 * The control server.
 *
 * A client's requests are answered one after another: the next is not looked
 * at before the answer to the last has left for the kernel. So whoever sends
 * and does not read fills its own socket and nothing here; the one thing that
 * can pile up is the answer to a single request, and that has a limit.
 *
 * A request lives from its line to its "ok" or "error". With a pending one
 * its client may go away, and even the server: it is then finished in vain.
 */
#include "lib/base/control.h"

#include "lib/base/cleanup.h"
#include "lib/base/control_line.h"
#include "lib/base/error.h"
#include "lib/base/listener.h"
#include "lib/base/socket.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	CLIENTS_MAX = 64,
	CLIENT_FDS_MAX = 16,
	BACKLOG_MAX = 1 << 20,
	FLUSH_LEN = 1 << 16,
	REPLY_MAX = 4096,
	SOCKET_MODE = 0600,
};

struct client;

struct control_request {
	struct client *client; /* NULL: gone */
	struct error error;
	bool is_in_handler, is_finished;
	int code;
};

struct client {
	struct control *control;
	struct client *next, **previous;
	struct event_source source;
	struct control_request *pending;
	bool is_at_end;	 /* nothing more to receive */
	bool is_closing; /* after what is to be sent */
	bool is_dead;	 /* at once */
	size_t in_len;
	char in[CONTROL_LINE_MAX + 1];
	char *out;
	size_t out_len, out_size;
	unsigned n_fds;
	int fds[CLIENT_FDS_MAX];
};

struct control {
	struct event_loop *loop;
	struct listener listener;
	const struct control_verb *verbs;
	void *context;
	struct client *clients;
};

static void close_fds(struct client *client)
{
	for (unsigned i = 0; i < client->n_fds; i++)
		close(client->fds[i]);
	client->n_fds = 0;
}

static void client_free(struct client *client)
{
	int fd = client->source.fd;

	*client->previous = client->next;
	if (client->next != NULL)
		client->next->previous = client->previous;
	if (client->pending != NULL)
		client->pending->client = NULL;
	event_source_remove(&client->source);
	close(fd);
	close_fds(client);
	listener_release(&client->control->listener);
	free(client->out);
	free(client);
}

static void flush(struct client *client)
{
	while (client->out_len > 0 && !client->is_dead) {
		struct iovec iov = {
			.iov_base = client->out,
			.iov_len = client->out_len,
		};
		ssize_t n = socket_send(client->source.fd, &iov, 1, NULL, 0);

		if (n == -EAGAIN)
			return;
		if (n < 0) {
			client->is_dead = true;
			return;
		}
		client->out_len -= (size_t)n;
		memmove(client->out, client->out + n, client->out_len);
	}
}

static void send_line(struct client *client, const char *line)
{
	size_t len = strlen(line);

	if (client->out_len + len + 1 > FLUSH_LEN)
		flush(client);
	if (client->out_len + len + 1 > client->out_size) {
		size_t size = (client->out_len + len + 1) * 2;
		char *out = NULL;

		if (client->out_len + len < BACKLOG_MAX)
			out = realloc(client->out, size);
		if (out == NULL) {
			client->is_dead = true;
			return;
		}
		client->out = out;
		client->out_size = size;
	}
	memcpy(client->out + client->out_len, line, len);
	client->out_len += len;
	client->out[client->out_len++] = '\n';
}

/* A line of an answer is one line. */
static void flatten(char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\n' || *text == '\r')
			*text = ' ';
	}
}

void control_reply(struct control_request *request, const char *format, ...)
{
	/* The first byte is the space that an ambiguous line gets. */
	char line[REPLY_MAX] = " ";
	va_list args;
	bool is_ambiguous;

	if (request->client == NULL || request->client->is_dead)
		return;
	va_start(args, format);
	vsnprintf(line + 1, sizeof(line) - 1, format, args);
	va_end(args);
	flatten(line);
	is_ambiguous = strcmp(line + 1, "ok") == 0 ||
		       strcmp(line + 1, "error") == 0 ||
		       strncmp(line + 1, "error ", 6) == 0;
	send_line(request->client, is_ambiguous ? line : line + 1);
	if (!request->is_in_handler)
		(void)event_source_set(&request->client->source, EPOLLOUT);
}

int control_error(struct control_request *request, int code, const char *format,
		  ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(request->error.text, sizeof(request->error.text), format,
		  args);
	va_end(args);
	flatten(request->error.text);
	return code;
}

int control_take_fd(struct control_request *request)
{
	struct client *client = request->client;
	int fd;

	if (client == NULL || client->n_fds == 0)
		return -1;
	fd = client->fds[0];
	client->n_fds--;
	memmove(client->fds, client->fds + 1, sizeof(int) * client->n_fds);
	return fd;
}

/* The request's last line; its client is asked for the next one. */
static void complete(struct control_request *request)
{
	struct client *client = request->client;
	char line[sizeof(request->error.text) + 8];

	if (client != NULL && !client->is_dead) {
		snprintf(line, sizeof(line), "error %s",
			 error_text(&request->error, request->code));
		send_line(client, request->code < 0 ? line : "ok");
	}
	if (client != NULL)
		client->pending = NULL;
	free(request);
}

void control_finish(struct control_request *request, int code)
{
	struct client *client = request->client;

	request->code = code;
	request->is_finished = true;
	if (request->is_in_handler)
		return;
	complete(request);
	if (client == NULL)
		return;
	if (client->in_len == 0)
		close_fds(client);
	/* Requests that wait are for the loop, not for our caller's stack. */
	(void)event_source_set(&client->source, EPOLLOUT);
}

static int print_help(struct control_request *request,
		      const struct control_verb *verb)
{
	control_reply(request, "help: list the verbs");
	for (; verb->name != NULL; verb++)
		control_reply(request, "%s%s%s: %s", verb->name,
			      verb->argument[0] != '\0' ? " " : "",
			      verb->argument, verb->help);
	return 0;
}

static int dispatch(struct control_request *request, struct control *control,
		    int argc, char **argv)
{
	const struct control_verb *verb = control->verbs;

	if (strcmp(argv[0], "help") == 0)
		return print_help(request, verb);
	while (verb->name != NULL && strcmp(verb->name, argv[0]) != 0)
		verb++;
	if (verb->name == NULL)
		return control_error(request, -EINVAL, "unknown verb '%s'",
				     argv[0]);
	if (argc - 1 < verb->n_args_min || argc - 1 > verb->n_args_max)
		return control_error(request, -EINVAL, "usage: %s%s%s",
				     verb->name,
				     verb->argument[0] != '\0' ? " " : "",
				     verb->argument);
	return verb->handle(request, argc, argv, control->context);
}

/* line is writable up to and including line[len]. */
static void handle_line(struct client *client, char *line, size_t len)
{
	char *argv[CONTROL_ARGS_MAX + 1];
	struct control_request *request;
	const char *reason;
	int argc =
		control_line_split(line, len, argv, CONTROL_ARGS_MAX, &reason);
	int code;

	if (argc == 0)
		return;
	request = calloc(1, sizeof(*request));
	if (request == NULL) {
		client->is_dead = true;
		return;
	}
	request->client = client;
	request->is_in_handler = true;
	client->pending = request;
	if (argc < 0) {
		code = control_error(request, argc, "%s", reason);
	} else {
		argv[argc] = NULL;
		code = dispatch(request, client->control, argc, argv);
	}
	request->is_in_handler = false;
	if (code == CONTROL_PENDING && !request->is_finished)
		return;
	if (code != CONTROL_PENDING)
		request->code = code;
	complete(request);
}

static void refuse(struct client *client, const char *line)
{
	send_line(client, line);
	client->is_closing = true;
	client->in_len = 0;
}

/* Answer what can be answered now. */
static void run_requests(struct client *client)
{
	flush(client);
	while (!client->is_dead && !client->is_closing &&
	       client->pending == NULL && client->out_len == 0) {
		char *newline = memchr(client->in, '\n', client->in_len);
		size_t len;

		if (newline == NULL)
			break;
		len = (size_t)(newline - client->in);
		handle_line(client, client->in, len);
		client->in_len -= len + 1;
		memmove(client->in, newline + 1, client->in_len);
		/* Descriptors that no request took belong to none. */
		if (client->in_len == 0 && client->pending == NULL)
			close_fds(client);
		flush(client);
	}
	if (client->is_closing || client->pending != NULL ||
	    client->out_len > 0 ||
	    memchr(client->in, '\n', client->in_len) != NULL)
		return;
	if (client->in_len > CONTROL_LINE_MAX)
		refuse(client, "error line too long");
	else if (client->is_at_end && client->in_len > 0)
		refuse(client, "error line without end");
	flush(client);
}

static void receive(struct client *client)
{
	struct iovec iov = {
		.iov_base = client->in + client->in_len,
		.iov_len = sizeof(client->in) - client->in_len,
	};
	unsigned n_fds = CLIENT_FDS_MAX - client->n_fds;
	ssize_t n;

	if (iov.iov_len == 0)
		return;
	n = socket_recv(client->source.fd, &iov, 1, client->fds + client->n_fds,
			&n_fds);
	if (n == -EAGAIN)
		return;
	if (n == -EMSGSIZE) {
		refuse(client, "error too many descriptors");
		return;
	}
	if (n < 0) {
		client->is_dead = true;
		return;
	}
	client->n_fds += n_fds;
	client->in_len += (size_t)n;
	client->is_at_end = n == 0;
}

/* Wait for what can go on; nothing can: the client is over. */
static void update(struct client *client)
{
	uint32_t events = 0;

	if (client->out_len > 0)
		events = EPOLLOUT;
	else if (client->is_closing ||
		 (client->pending == NULL && client->is_at_end))
		client->is_dead = true;
	else if (client->pending == NULL)
		events = EPOLLIN;
	if (client->is_dead || event_source_set(&client->source, events) < 0)
		client_free(client);
}

static void handle_client(struct event_source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);

	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 &&
	    client->pending == NULL && !client->is_at_end &&
	    !client->is_closing && client->out_len == 0)
		receive(client);
	run_requests(client);
	update(client);
}

static void accept_client(struct listener *listener, int fd)
{
	struct control *control =
		container_of(listener, struct control, listener);
	struct client *client = calloc(1, sizeof(*client));

	if (client == NULL ||
	    event_source_add(control->loop, &client->source, fd, EPOLLIN,
			     handle_client) < 0) {
		free(client);
		close(fd);
		listener_release(listener);
		return;
	}
	client->control = control;
	client->next = control->clients;
	client->previous = &control->clients;
	if (client->next != NULL)
		client->next->previous = &client->next;
	control->clients = client;
}

int control_new(struct control **control, struct event_loop *loop,
		const char *path, int fd, const struct control_verb *verbs,
		void *context, struct error *err)
{
	struct control *new = calloc(1, sizeof(*new));
	int ret;

	*control = NULL;
	if (new == NULL) {
		if (fd >= 0)
			close(fd);
		return error_set_errno(err, -ENOMEM, "control");
	}
	new->loop = loop;
	new->verbs = verbs;
	new->context = context;
	ret = listener_open(&new->listener, path, SOCKET_MODE, fd, err);
	if (ret == 0) {
		ret = listener_start(&new->listener, loop, CLIENTS_MAX,
				     accept_client);
		if (ret < 0)
			error_set_errno(err, ret, "control");
	}
	if (ret < 0) {
		control_free(new);
		return ret;
	}
	*control = new;
	return 0;
}

void control_free(struct control *control)
{
	if (control == NULL)
		return;
	while (control->clients != NULL)
		client_free(control->clients);
	listener_deinit(&control->listener);
	free(control);
}
