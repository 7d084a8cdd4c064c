/* SPDX-License-Identifier: ISC */
/*
 * The terminal client. It waits with poll(2), not the event loop, as standard
 * input may be a regular file, for which there is no epoll.
 *
 * On a terminal keys are always read, so that the escape works however stuck
 * the guest is; what then finds no room is dropped with a bell. From a pipe
 * nothing is dropped: it is read as fast as the guest takes it.
 */
#include "vm-console/attach.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/options.h"
#include "lib/base/size.h"
#include "lib/base/socket.h"
#include "vm-console/escape.h"
#include "vm-console/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

enum {
	OPTION_RECONNECT = OPTION_FIRST,
	OPTION_ESCAPE,
	BUFFER_SIZE = 65536,
	RETRY_MS = 100,
	/* A server that restarts is missing for less than this; one that
	 * ended took its socket away. */
	GONE_MS = 700,
	PATIENCE_DEFAULT_S = 10, /* on a terminal */
	PATIENCE_MAX_S = 1000000,
};

static const int64_t FOREVER = INT64_MAX;

/* clang-format off */
static const struct option_spec specs[] = {
	{ OPTION_RECONNECT, "reconnect", "forever|SECONDS|never",
	  "wait so long for a server that is lost" },
	{ OPTION_ESCAPE, "escape", "CHAR|none",
	  "the character that begins an escape (~)" },
	OPTIONS_COMMON
};
/* clang-format on */

struct buffer {
	uint8_t bytes[BUFFER_SIZE];
	size_t len;
};

struct attach {
	const char *path;
	int64_t patience_ms; /* -1: by what standard input is */
	struct escape escape;
	int escape_char;
	bool is_terminal;
	int in, out, signals, server; /* server: -1 while it is lost */
	bool is_typed_up;	      /* end of standard input */
	bool is_shut;		      /* the server was told so */
	bool is_over;		      /* leave when all is shown */
	int status, by_signal;
	int64_t lost_at, missing_since;
	struct buffer typed, shown;
};

enum slot {
	SIGNALS,
	INPUT,
	SERVER,
	OUTPUT,
	N_SLOTS
};

static int64_t now_ms(void)
{
	return (int64_t)(clock_ns() / 1000000);
}

/* A line for the user, in raw mode too. */
static void note(const struct attach *attach, const char *text)
{
	if (!attach->is_terminal || log_get_level() < LOG_LEVEL_INFO)
		return;
	dprintf(STDERR_FILENO, "\r\n[vm-console: %s]\r\n", text);
}

static void leave(struct attach *attach, int status)
{
	attach->is_over = true;
	attach->status = status;
}

static int64_t parse_patience(const char *text)
{
	uint64_t seconds;

	if (strcmp(text, "forever") == 0)
		return FOREVER;
	if (strcmp(text, "never") == 0)
		return 0;
	if (number_parse(text, 0, PATIENCE_MAX_S, &seconds) < 0)
		options_fail("--reconnect=%s: not forever, never or seconds",
			     text);
	return (int64_t)seconds * 1000;
}

static int parse_escape(const char *text)
{
	if (strcmp(text, "none") == 0)
		return -1;
	if (strlen(text) != 1)
		options_fail("--escape=%s: not one character, nor none", text);
	return (uint8_t)text[0];
}

static void parse_options(struct attach *attach, int argc, char **argv)
{
	struct options options = {
		.specs = specs,
		.usage = "attach [OPTION]... PATH",
		.about = "Watch a console and type; ~. at the start of a line "
			 "leaves, ~? helps.",
		.argc = argc,
		.argv = argv,
	};
	int id, operand;

	while ((id = options_next(&options, &operand)) >= 0) {
		if (id == OPTION_RECONNECT)
			attach->patience_ms = parse_patience(options.argument);
		else
			attach->escape_char = parse_escape(options.argument);
	}
	if (argc - operand != 1)
		options_fail("attach wants one PATH");
	attach->path = argv[operand];
}

static int open_signals(void)
{
	sigset_t set;
	int fd;

	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTSTP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int set_up(struct attach *attach, struct error *err)
{
	int ret = socket_connect(attach->path, err);

	if (ret < 0)
		return ret;
	attach->server = ret;
	attach->is_terminal = isatty(STDIN_FILENO);
	if (attach->patience_ms < 0)
		attach->patience_ms =
			attach->is_terminal ? PATIENCE_DEFAULT_S * 1000 : 0;
	/* What comes from a pipe is meant as it is. */
	escape_init(&attach->escape,
		    attach->is_terminal ? attach->escape_char : -1);
	attach->in = terminal_open_private(STDIN_FILENO, O_RDONLY);
	attach->out = terminal_open_private(STDOUT_FILENO, O_WRONLY);
	if (attach->in < 0 || attach->out < 0)
		return error_set(err, -EBADF, "standard streams are not open");
	attach->signals = open_signals();
	if (attach->signals < 0)
		return error_set_errno(err, attach->signals, "signals");
	if (!attach->is_terminal)
		return 0;
	ret = terminal_set_raw(STDIN_FILENO);
	return ret < 0 ? error_set_errno(err, ret, "terminal") : 0;
}

static void suspend(struct attach *attach)
{
	terminal_restore();
	(void)raise(SIGSTOP);
	if (attach->is_terminal)
		(void)terminal_set_raw(STDIN_FILENO);
}

static void take_signal(struct attach *attach)
{
	struct signalfd_siginfo info;

	if (read(attach->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGTSTP) {
		suspend(attach);
		return;
	}
	attach->by_signal = (int)info.ssi_signo;
	leave(attach, EXIT_FAILURE);
	attach->shown.len = 0;
}

static void drop(struct buffer *buffer, size_t len)
{
	buffer->len -= len;
	memmove(buffer->bytes, buffer->bytes + len, buffer->len);
}

/* One byte typed; what it means for the server goes to the buffer. */
static void take_byte(struct attach *attach, uint8_t typed)
{
	struct buffer *buffer = &attach->typed;
	uint8_t send[2];
	size_t n;

	switch (escape_filter(&attach->escape, typed, send, &n)) {
	case ESCAPE_LEAVE:
		leave(attach, EXIT_SUCCESS);
		attach->shown.len = 0;
		break;
	case ESCAPE_HELP:
		note(attach, "~. leaves, ~~ sends ~, ~? shows this");
		break;
	case ESCAPE_NOTHING:
	default:
		break;
	}
	if (buffer->len + n > sizeof(buffer->bytes)) {
		dprintf(STDERR_FILENO, "\a");
		return;
	}
	memcpy(buffer->bytes + buffer->len, send, n);
	buffer->len += n;
}

static void read_input(struct attach *attach)
{
	uint8_t bytes[4096];
	/* Each byte becomes two at most. */
	size_t room = (sizeof(attach->typed.bytes) - attach->typed.len) / 2;
	ssize_t n;

	if (room > sizeof(bytes) || attach->is_terminal)
		room = sizeof(bytes);
	n = read(attach->in, bytes, room);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		attach->is_typed_up = true;
		/* A terminal that hung up. */
		if (attach->is_terminal)
			leave(attach, EXIT_FAILURE);
		return;
	}
	for (ssize_t i = 0; i < n && !attach->is_over; i++)
		take_byte(attach, bytes[i]);
}

static void lose_server(struct attach *attach)
{
	close_fd(&attach->server);
	if (attach->patience_ms == 0) {
		note(attach, "console closed");
		leave(attach, EXIT_SUCCESS);
		return;
	}
	attach->lost_at = now_ms();
	attach->missing_since = 0;
	attach->is_shut = false;
	note(attach, "connection lost, waiting for the console");
}

static void write_server(struct attach *attach)
{
	ssize_t n;

	if (attach->typed.len > 0) {
		n = send(attach->server, attach->typed.bytes, attach->typed.len,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		/* A server that is gone is noticed when it is read. */
		if (n > 0)
			drop(&attach->typed, (size_t)n);
	}
	if (attach->typed.len == 0 && attach->is_typed_up && !attach->is_shut) {
		attach->is_shut = true;
		(void)shutdown(attach->server, SHUT_WR);
	}
}

static void read_server(struct attach *attach)
{
	ssize_t n = recv(attach->server, attach->shown.bytes,
			 sizeof(attach->shown.bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		lose_server(attach);
	else
		attach->shown.len = (size_t)n;
}

static void write_output(struct attach *attach)
{
	ssize_t n = write(attach->out, attach->shown.bytes, attach->shown.len);

	if (n >= 0) {
		drop(&attach->shown, (size_t)n);
	} else if (errno != EAGAIN && errno != EINTR) {
		attach->shown.len = 0;
		/* Who reads us has seen enough. */
		leave(attach, errno == EPIPE ? EXIT_SUCCESS : EXIT_FAILURE);
	}
}

/* A lost server: back, still missing, or gone for good? */
static void try_again(struct attach *attach)
{
	int64_t now = now_ms();
	int ret = socket_connect(attach->path, NULL);

	if (ret >= 0) {
		attach->server = ret;
		note(attach, "connected again");
		return;
	}
	if (ret != -ENOENT)
		attach->missing_since = 0;
	else if (attach->missing_since == 0)
		attach->missing_since = now;
	if (attach->patience_ms == FOREVER)
		return;
	if (attach->missing_since != 0 &&
	    now - attach->missing_since >= GONE_MS) {
		note(attach, "console closed");
		leave(attach, EXIT_SUCCESS);
	} else if (now - attach->lost_at >= attach->patience_ms) {
		note(attach, "the console did not come back");
		leave(attach, EXIT_FAILURE);
	}
}

static void prepare(const struct attach *attach, struct pollfd fds[N_SLOTS])
{
	bool has_room = attach->typed.len < sizeof(attach->typed.bytes) / 2;
	bool wants_input =
		!attach->is_typed_up &&
		(attach->is_terminal || (has_room && attach->server >= 0));
	bool has_typed = attach->typed.len > 0 ||
			 (attach->is_typed_up && !attach->is_shut);

	fds[SIGNALS] =
		(struct pollfd){ .fd = attach->signals, .events = POLLIN };
	fds[INPUT] = (struct pollfd){ .fd = wants_input ? attach->in : -1,
				      .events = POLLIN };
	fds[SERVER] = (struct pollfd){ .fd = attach->server };
	if (attach->shown.len == 0)
		fds[SERVER].events |= POLLIN;
	if (has_typed)
		fds[SERVER].events |= POLLOUT;
	/* A hang-up is always reported: wait for what is shown first. */
	if (fds[SERVER].events == 0)
		fds[SERVER].fd = -1;
	fds[OUTPUT] =
		(struct pollfd){ .fd = attach->shown.len > 0 ? attach->out : -1,
				 .events = POLLOUT };
}

static int step(struct attach *attach)
{
	struct pollfd fds[N_SLOTS];
	bool is_lost = attach->server < 0 && !attach->is_over;

	prepare(attach, fds);
	if (poll(fds, N_SLOTS, is_lost ? RETRY_MS : -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[SIGNALS].revents)
		take_signal(attach);
	if (fds[INPUT].revents && !attach->is_over)
		read_input(attach);
	if (fds[OUTPUT].revents && attach->shown.len > 0)
		write_output(attach);
	if (attach->is_over)
		return 0;
	if (is_lost) {
		try_again(attach);
		return 0;
	}
	if (fds[SERVER].revents & (POLLOUT | POLLHUP | POLLERR))
		write_server(attach);
	if ((fds[SERVER].revents & (POLLIN | POLLHUP | POLLERR)) &&
	    attach->shown.len == 0)
		read_server(attach);
	return 0;
}

static void clean_up(struct attach *attach)
{
	terminal_restore();
	close_fd(&attach->server);
	close_fd(&attach->signals);
	close_fd(&attach->out);
	close_fd(&attach->in);
}

/* End as the signal would have ended us. */
static _Noreturn void end_by(int number)
{
	sigset_t set;

	(void)signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	(void)raise(number);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	exit(EXIT_FAILURE);
}

int attach_main(int argc, char **argv)
{
	static struct attach attach = {
		.patience_ms = -1,
		.escape_char = '~',
		.in = -1,
		.out = -1,
		.signals = -1,
		.server = -1,
	};
	struct error err = ERROR_INIT;
	int ret;

	parse_options(&attach, argc, argv);
	ret = set_up(&attach, &err);
	while (ret == 0 && !(attach.is_over && attach.shown.len == 0))
		ret = step(&attach);
	clean_up(&attach);
	if (ret < 0)
		die(EXIT_FAILURE, "%s", error_text(&err, ret));
	if (attach.by_signal)
		end_by(attach.by_signal);
	return attach.status;
}
