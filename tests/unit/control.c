/* SPDX-License-Identifier: ISC */
#include "lib/base/control.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/socket.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct event_loop loop;
static struct control *control;
static struct control_request *pending;
static char path[64];

static int echo(struct control_request *request, int argc, char **argv,
		void *context)
{
	(void)context;
	for (int i = 1; i < argc; i++)
		control_reply(request, "%s", argv[i]);
	return 0;
}

static int fall(struct control_request *request, int argc, char **argv,
		void *context)
{
	(void)argv;
	(void)context;
	if (argc > 1)
		return control_error(request, -EIO, "disk\nfell off");
	return -ENOENT;
}

static int wait_for_it(struct control_request *request, int argc, char **argv,
		       void *context)
{
	(void)argv;
	(void)context;
	if (argc > 1) {
		control_finish(request, 0); /* at once is fine, too */
		return CONTROL_PENDING;
	}
	pending = request;
	return CONTROL_PENDING;
}

static int flood(struct control_request *request, int argc, char **argv,
		 void *context)
{
	(void)argc;
	(void)context;
	for (int i = 0; i < atoi(argv[1]); i++)
		control_reply(request, "%0100d", i);
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
	(void)!write(fd, "!", 1);
	close(fd);
	return 0;
}

static const struct control_verb verbs[] = {
	{ "echo", "[WORD]...", "say it", 0, 8, echo },
	{ "fail", "[LOUDLY]", "do not work", 0, 1, fall },
	{ "wait", "[NO]", "answer later", 0, 1, wait_for_it },
	{ "flood", "LINES", "answer much", 1, 1, flood },
	{ "take", "", "take a descriptor", 0, 0, take },
	{ .name = NULL },
};

static int start(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/tmp/test-control-%d", (int)getpid());
	if (event_loop_init(&loop) < 0)
		return -1;
	return control_new(&control, &loop, path, -1, verbs, NULL, NULL);
}

static int stop(void **state)
{
	struct stat st;

	(void)state;
	control_free(control);
	event_loop_deinit(&loop);
	return stat(path, &st) == 0; /* it is to be gone */
}

static int connect_client(void)
{
	int fd = socket_connect(path, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* Let the server work until nothing moves, and read what it said. */
static const char *hear(int fd)
{
	static char text[8192];
	size_t len = 0;
	int n_idle = 0;

	while (n_idle < 3) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n > 0)
			len += (size_t)n;
		n_idle = n > 0 ? 0 : n_idle + 1;
		for (int i = 0; i < 8; i++)
			assert_int_equal(event_loop_step(&loop, 0), 0);
	}
	text[len] = '\0';
	return text;
}

static bool is_closed(int fd)
{
	char c;

	return read(fd, &c, 1) == 0 || (errno != EAGAIN && errno != EINTR);
}

static void test_answers(void **state)
{
	struct stat st;
	int fd = connect_client();

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	say(fd, "echo a \"b c\"\n\n  \r\necho\r\n");
	assert_string_equal(hear(fd), "a\nb c\nok\nok\n");
	say(fd, "fail\nfail loudly\nnope\nflood\necho \"\nfail 1 2\n");
	assert_string_equal(hear(fd), "error No such file or directory\n"
				      "error disk fell off\n"
				      "error unknown verb 'nope'\n"
				      "error usage: flood LINES\n"
				      "error quote without end\n"
				      "error usage: fail [LOUDLY]\n");
	say(fd, "help\n");
	assert_string_equal(hear(fd), "help: list the verbs\n"
				      "echo [WORD]...: say it\n"
				      "fail [LOUDLY]: do not work\n"
				      "wait [NO]: answer later\n"
				      "flood LINES: answer much\n"
				      "take: take a descriptor\n"
				      "ok\n");
	close(fd);
	hear(-1);
}

/* No reply line can be taken for the end of the answer. */
static void test_ambiguous_replies(void **state)
{
	int fd = connect_client();

	(void)state;
	say(fd, "echo ok \"error x\" error errors\n");
	assert_string_equal(hear(fd), " ok\n error x\n error\nerrors\nok\n");
	close(fd);
}

/* Bytes one at a time, as a terminal sends them. */
static void test_slow_client(void **state)
{
	int fd = connect_client();

	(void)state;
	for (const char *c = "echo slow"; *c != '\0'; c++) {
		assert_int_equal(write(fd, c, 1), 1);
		assert_string_equal(hear(fd), "");
	}
	say(fd, "\n");
	assert_string_equal(hear(fd), "slow\nok\n");
	close(fd);
}

static void test_half_close(void **state)
{
	int fd = connect_client();

	(void)state;
	say(fd, "echo 1\necho 2\necho 3");
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), "1\nok\n2\nok\nerror line without end\n");
	assert_true(is_closed(fd));
	close(fd);
}

static void test_long_lines(void **state)
{
	char line[CONTROL_LINE_MAX + 2];
	int fd = connect_client();

	(void)state;
	memset(line, ' ', sizeof(line));
	memcpy(line, "echo x", 6);
	line[CONTROL_LINE_MAX] = '\n';
	line[CONTROL_LINE_MAX + 1] = '\0';
	say(fd, line);
	assert_string_equal(hear(fd), "x\nok\n");
	line[CONTROL_LINE_MAX] = ' ';
	say(fd, line);
	say(fd, line);
	assert_string_equal(hear(fd), "error line too long\n");
	assert_true(is_closed(fd));
	close(fd);
}

static void test_garbage(void **state)
{
	char bytes[4096];
	int fd = connect_client(), other = connect_client();

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7);
	for (int i = 0; i < 4; i++)
		(void)!write(fd, bytes, sizeof(bytes));
	hear(fd);
	say(other, "echo still\n");
	assert_string_equal(hear(other), "still\nok\n");
	close(fd);
	close(other);
	hear(-1);
}

static void test_pending(void **state)
{
	int fd = connect_client(), other = connect_client();

	(void)state;
	say(fd, "wait\necho after\nwait no\nwait no\n");
	assert_string_equal(hear(fd), "");
	say(other, "echo other\n");
	assert_string_equal(hear(other), "other\nok\n");
	control_reply(pending, "half way");
	assert_string_equal(hear(fd), "half way\n");
	control_finish(pending, -EBUSY);
	assert_string_equal(hear(fd), "error Device or resource busy\n"
				      "after\nok\nok\nok\n");
	/* The client goes away before its answer. */
	say(fd, "wait\n");
	hear(fd);
	close(fd);
	hear(-1);
	control_finish(pending, 0);
	hear(-1);
	/* The answer comes after the client stopped sending. */
	say(other, "wait\n");
	shutdown(other, SHUT_WR);
	assert_string_equal(hear(other), "");
	control_finish(pending, 0);
	assert_string_equal(hear(other), "ok\n");
	assert_true(is_closed(other));
	close(other);
}

/* The server is closed down with a request still pending. */
static void test_pending_at_end(void **state)
{
	int fd = connect_client();

	(void)state;
	say(fd, "wait\n");
	hear(fd);
	control_free(control);
	control_reply(pending, "nobody hears");
	control_finish(pending, 0);
	close(fd);
	assert_int_equal(
		control_new(&control, &loop, path, -1, verbs, NULL, NULL), 0);
}

/* One that does not read stalls itself; too long an answer costs it all. */
static void test_backlog(void **state)
{
	int fd = connect_client(), other = connect_client();
	char sink[4096];

	(void)state;
	for (int i = 0; i < 50; i++)
		say(fd, "flood 1000\n");
	for (int i = 0; i < 100; i++)
		event_loop_step(&loop, 0);
	say(other, "echo other\n");
	assert_string_equal(hear(other), "other\nok\n");
	assert_int_equal(hear(fd)[0], '0'); /* there, and still open */
	close(fd);
	hear(-1);
	say(other, "flood 100000\n");
	for (int i = 0; i < 20; i++)
		event_loop_step(&loop, 0);
	while (read(other, sink, sizeof(sink)) > 0)
		;
	assert_true(is_closed(other));
	close(other);
}

static void test_descriptors(void **state)
{
	int fd = connect_client(), ends[2];
	struct iovec iov = { .iov_base = (char[]){ "take\n" }, .iov_len = 5 };
	char c;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	say(fd, "take\n");
	assert_string_equal(hear(fd), "error no descriptor\n");
	assert_int_equal(socket_send(fd, &iov, 1, &ends[1], 1), 5);
	assert_string_equal(hear(fd), "ok\n");
	assert_int_equal(read(ends[0], &c, 1), 1);
	/* One that no request takes is closed, not kept for the next. */
	iov = (struct iovec){ .iov_base = (char[]){ "echo\n" }, .iov_len = 5 };
	assert_int_equal(socket_send(fd, &iov, 1, &ends[1], 1), 5);
	assert_string_equal(hear(fd), "ok\n");
	close(ends[1]);
	assert_int_equal(read(ends[0], &c, 1), 0);
	close(ends[0]);
	close(fd);
}

/* The 65th waits in the backlog until one of the 64 leaves. */
static void test_many_clients(void **state)
{
	int fds[65];

	(void)state;
	for (int i = 0; i < 65; i++) {
		fds[i] = connect_client();
		hear(-1);
	}
	say(fds[64], "echo last\n");
	assert_string_equal(hear(fds[64]), "");
	close(fds[0]);
	assert_string_equal(hear(fds[64]), "last\nok\n");
	for (int i = 1; i < 65; i++)
		close(fds[i]);
	for (int i = 0; i < 20; i++)
		hear(-1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_ambiguous_replies),
		cmocka_unit_test(test_slow_client),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_pending),
		cmocka_unit_test(test_pending_at_end),
		cmocka_unit_test(test_backlog),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_many_clients),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
