/* SPDX-License-Identifier: ISC */
#include "lib/base/server.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct event_loop loop;
static struct server server;
static char path[64];
static int connection; /* the last one handed out */
static int n_connected, n_finished;

static int keep(struct server *s, int fd)
{
	(void)s;
	connection = fd;
	n_connected++;
	return 0;
}

static void note_end(struct server *s)
{
	(void)s;
	n_finished++;
	event_loop_stop(&loop, 0);
}

static int set_up(void **state)
{
	(void)state;
	server = (struct server)SERVER_INIT;
	server.connected = keep;
	server.finished = note_end;
	connection = -1;
	n_connected = n_finished = 0;
	snprintf(path, sizeof(path), "/tmp/test-server-%d", (int)getpid());
	return event_loop_init(&loop);
}

static int tear_down(void **state)
{
	(void)state;
	server_deinit(&server);
	server_deinit(&server);
	event_loop_deinit(&loop);
	unlink(path);
	return 0;
}

static void open_and_start(const struct server_options *options, unsigned n_max)
{
	struct error err = ERROR_INIT;

	if (server_open(&server, options, "net", &err) < 0 ||
	    server_start(&server, &loop, options, n_max, &err) < 0)
		fail_msg("%s", err.text);
}

static void step(int n)
{
	while (n-- > 0)
		assert_int_equal(event_loop_step(&loop, 20), 0);
}

static void test_listen(void **state)
{
	struct server_options options = { .socket_path = path };
	struct stat st;
	int first, second, third;

	(void)state;
	open_and_start(&options, 2);
	assert_int_equal(stat(path, &st), 0);
	first = socket_connect(path, NULL);
	second = socket_connect(path, NULL);
	third = socket_connect(path, NULL);
	step(3);
	assert_int_equal(n_connected, 2);
	/* The third waits until one of the two is over. */
	close(connection);
	server_closed(&server);
	step(1);
	assert_int_equal(n_connected, 3);
	assert_int_equal(n_finished, 0);
	close(first);
	close(second);
	close(third);
	server_deinit(&server);
	assert_int_equal(stat(path, &st), -1);
}

static void test_ready(void **state)
{
	char number[16], text[4];
	struct server_options options = {
		.socket_path = path,
		.ready_fd = number,
	};
	struct error err = ERROR_INIT;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	snprintf(number, sizeof(number), "%d", ends[1]);
	assert_int_equal(server_open(&server, &options, "net", &err), 0);
	assert_int_equal(read(ends[0], text, sizeof(text)), -1);
	assert_int_equal(server_start(&server, &loop, &options, 1, &err), 0);
	assert_int_equal(read(ends[0], text, sizeof(text)), 1);
	assert_int_equal(read(ends[0], text, sizeof(text)), 0);
	close(ends[0]);
}

static void test_fd(void **state)
{
	char number[16];
	struct server_options options = { .fd = number };
	int pair[2];

	(void)state;
	assert_int_equal(socket_pair(pair), 0);
	snprintf(number, sizeof(number), "%d", pair[0]);
	open_and_start(&options, 0);
	assert_int_equal(n_connected, 1);
	assert_int_equal(connection, pair[0]);
	close(connection);
	server_closed(&server);
	assert_int_equal(n_finished, 1);
	close(pair[1]);
}

/* Client mode: nobody there yet, then there, then gone and back again. */
static void test_connect(void **state)
{
	struct server_options options = { .connect_path = path };
	int listener, peer;

	(void)state;
	open_and_start(&options, 0);
	assert_int_equal(n_connected, 0);
	listener = socket_listen(path, 0600, NULL);
	while (n_connected == 0)
		step(1);
	peer = socket_accept(listener);
	assert_true(peer >= 0);
	close(peer);
	close(connection);
	server_closed(&server);
	while (n_connected == 1)
		step(1);
	assert_int_equal(n_finished, 0);
	close(connection);
	close(listener);
}

static void test_wrong_usage(void **state)
{
	static const struct {
		struct server_options options;
		int ret;
	} cases[] = {
		{ { .fd = NULL }, -EINVAL },
		{ { .fd = "9999" }, -EBADF },
		{ { .fd = "x" }, -EINVAL },
		{ { .fd = "-1" }, -EINVAL },
		{ { .socket_path = "/a", .connect_path = "/b" }, -EINVAL },
		{ { .socket_path = "/nowhere/at/all" }, -ENOENT },
		{ { .socket_path = "/tmp/x", .ready_fd = "9999" }, -EBADF },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct error err = ERROR_INIT;

		assert_int_equal(server_open(&server, &cases[i].options, "net",
					     &err),
				 cases[i].ret);
		assert_string_not_equal(err.text, "");
	}
}

/* LISTEN_FDS=2, LISTEN_FDNAMES=vhost:control, in a child that reports. */
static int inherit_listeners(void)
{
	struct server_options options = { .fd = NULL };
	char number[16];
	int fds[2];

	fds[0] = socket_listen(path, 0600, NULL);
	unlink(path);
	fds[1] = socket_listen(path, 0600, NULL);
	if (dup2(fds[1], 20) < 0 || dup2(fds[0], 3) < 0 || dup2(20, 4) < 0)
		return 1;
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "vhost:control", 1);
	if (server_open(&server, &options, "net", NULL) < 0)
		return 2;
	if (server.listener.fd != 3 || server.control_listener != 4)
		return 3;
	return 0;
}

static void test_inherited(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(inherit_listeners());
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

/* In a child: serve by chain loading, echoing one byte back plus one. */
static _Noreturn void serve_chain(const char **program, bool fails)
{
	struct server_options options = { .chain = (char **)program };
	struct error err = ERROR_INIT;
	char byte;

	setenv("VM_DEVICES", "blk:77", 1);
	dup2(STDERR_FILENO, 77);
	if (server_open(&server, &options, "net", &err) < 0)
		_exit(90);
	if (fails)
		_exit(91);
	if (fcntl(77, F_GETFD) >= 0 || getenv("VM_DEVICES") != NULL ||
	    getppid() == 0)
		_exit(92);
	if (server_start(&server, &loop, &options, 0, &err) < 0)
		_exit(93);
	while (recv(connection, &byte, 1, 0) < 0)
		;
	byte++;
	send(connection, &byte, 1, 0);
	_exit(0);
}

static int run_chain(const char **program, bool fails)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		serve_chain(program, fails);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* PROGRAM keeps the process id and finds its devices in order. */
static void test_chain(void **state)
{
	static const char script[] =
		"[ \"${VM_DEVICES% *}\" = blk:77 ] || exit 3\n"
		"fd=${VM_DEVICES#*net:}\n"
		"python3 -c 'import socket, sys\n"
		"s = socket.socket(fileno=int(sys.argv[1]))\n"
		"s.setblocking(True)\n"
		"s.send(b\"A\")\n"
		"sys.exit(s.recv(1)[0])' $fd\n";
	const char *good[] = { "sh", "-c", script, NULL };
	const char *missing[] = { "/nowhere/at/all", NULL };
	const char *folder[] = { "/tmp", NULL };

	(void)state;
	assert_int_equal(run_chain(good, false), 'B');
	assert_int_equal(run_chain(missing, false), 127);
	assert_int_equal(run_chain(folder, false), 126);
	/* Set-up fails: PROGRAM is not run at all. */
	assert_int_equal(run_chain(good, true), 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_listen),	TEST(test_ready),
		TEST(test_fd),		TEST(test_connect),
		TEST(test_wrong_usage), TEST(test_inherited),
		TEST(test_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
