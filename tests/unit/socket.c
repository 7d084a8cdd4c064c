/* SPDX-License-Identifier: ISC */
#include "lib/base/socket.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <dirent.h>
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

static char folder[] = "/tmp/test-socket-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/s", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void test_listen_connect(void **state)
{
	struct error err = ERROR_INIT;
	struct stat st;
	int listener, client, server;

	(void)state;
	assert_int_equal(socket_connect(path, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	listener = socket_listen(path, 0600, &err);
	assert_true(listener >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(socket_accept(listener), -EAGAIN);
	client = socket_connect(path, &err);
	assert_true(client >= 0);
	server = socket_accept(listener);
	assert_true(server >= 0);
	assert_true(fcntl(server, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(server, F_GETFD) & FD_CLOEXEC);
	close(client);
	close(server);
	/* A living one is left alone, a dead one replaced. */
	assert_int_equal(socket_listen(path, 0600, &err), -EADDRINUSE);
	client = socket_connect(path, &err);
	assert_true(client >= 0);
	close(client);
	close(listener);
	assert_int_equal(socket_connect(path, &err), -ECONNREFUSED);
	listener = socket_listen(path, 0600, &err);
	assert_true(listener >= 0);
	close(listener);
	unlink(path);
}

/* Somebody's file in the way is never removed. */
static void test_listen_file(void **state)
{
	struct error err = ERROR_INIT;
	struct stat st;

	(void)state;
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(socket_listen(path, 0600, &err), -EADDRINUSE);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(path);
}

static void test_path_limits(void **state)
{
	struct error err = ERROR_INIT;
	char long_path[200];

	(void)state;
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(socket_listen(long_path, 0600, &err), -ENAMETOOLONG);
	assert_int_equal(socket_connect(long_path, &err), -ENAMETOOLONG);
	assert_int_equal(socket_listen("", 0600, &err), -EINVAL);
}

/* Eight programs race for a dead socket: one wins, and stays reachable. */
static void test_listen_race(void **state)
{
	struct error err = ERROR_INIT;
	int go[2], hold[2], status, n_won = 0, client;
	pid_t pids[8];

	(void)state;
	for (int round = 0; round < 20; round++) {
		n_won = 0;
		close(socket_listen(path, 0600, &err));
		assert_int_equal(pipe(go), 0);
		assert_int_equal(pipe(hold), 0);
		for (int i = 0; i < 8; i++) {
			char c;

			pids[i] = fork();
			if (pids[i] != 0)
				continue;
			close(go[1]);
			close(hold[1]);
			(void)!read(go[0], &c, 1);
			if (socket_listen(path, 0600, NULL) < 0)
				_exit(1);
			(void)!read(hold[0], &c, 1);
			_exit(0);
		}
		close(go[0]);
		close(go[1]);
		for (int i = 0; i < 7; i++) {
			assert_true(waitpid(-1, &status, 0) > 0);
			n_won += WEXITSTATUS(status) == 0;
		}
		assert_int_equal(n_won, 0);
		client = socket_connect(path, &err);
		assert_true(client >= 0);
		close(client);
		close(hold[0]);
		close(hold[1]);
		assert_true(waitpid(-1, &status, 0) > 0);
		assert_int_equal(status, 0);
	}
	unlink(path);
}

/* At the end only our own file is removed, not a successor's. */
static void test_socket_file(void **state)
{
	struct socket_file file;
	struct stat st;
	int fd = socket_listen(path, 0600, NULL);

	(void)state;
	assert_int_equal(socket_file_init(&file, path), 0);
	socket_file_deinit(&file);
	socket_file_deinit(&file);
	assert_int_equal(stat(path, &st), -1);
	close(fd);

	fd = socket_listen(path, 0600, NULL);
	assert_int_equal(socket_file_init(&file, path), 0);
	rename(path, "/tmp/test-socket-other");
	close(socket_listen(path, 0600, NULL));
	socket_file_deinit(&file);
	assert_int_equal(stat(path, &st), 0);
	unlink("/tmp/test-socket-other");
	unlink(path);
	close(fd);
}

static void test_descriptors(void **state)
{
	struct iovec iov = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
	int pair[2], sent[SOCKET_FDS_MAX], got[SOCKET_FDS_MAX];
	unsigned n = SOCKET_FDS_MAX;

	(void)state;
	assert_int_equal(socket_pair(pair), 0);
	for (int i = 0; i < SOCKET_FDS_MAX; i++)
		sent[i] = pair[0];
	assert_int_equal(socket_send(pair[0], &iov, 1, sent, SOCKET_FDS_MAX),
			 1);
	assert_int_equal(socket_recv(pair[1], &iov, 1, got, &n), 1);
	assert_int_equal(n, SOCKET_FDS_MAX);
	for (int i = 0; i < SOCKET_FDS_MAX; i++) {
		assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
		close(got[i]);
	}
	assert_int_equal(socket_recv(pair[1], &iov, 1, NULL, NULL), -EAGAIN);
	close(pair[0]);
	assert_int_equal(socket_recv(pair[1], &iov, 1, NULL, NULL), 0);
	assert_int_equal(socket_send(pair[1], &iov, 1, NULL, 0), -EPIPE);
	close(pair[1]);
}

/* More than asked for: all are closed, none leaks. */
static void test_too_many_descriptors(void **state)
{
	struct iovec iov = { .iov_base = (char[]){ "x" }, .iov_len = 1 };
	int pair[2], sent[3], got[2];
	unsigned n = 2;
	int before;

	(void)state;
	assert_int_equal(socket_pair(pair), 0);
	before = count_fds();
	for (int i = 0; i < 3; i++)
		sent[i] = pair[0];
	assert_int_equal(socket_send(pair[0], &iov, 1, sent, 3), 1);
	assert_int_equal(socket_recv(pair[1], &iov, 1, got, &n), -EMSGSIZE);
	assert_int_equal(n, 0);
	assert_int_equal(socket_send(pair[0], &iov, 1, sent, 1), 1);
	assert_int_equal(socket_recv(pair[1], &iov, 1, NULL, NULL), -EMSGSIZE);
	assert_int_equal(count_fds(), before);
	close(pair[0]);
	close(pair[1]);
}

/* The result of a child with descriptor 3 and up as LISTEN_FDS. */
static int activate(const char *pid, const char *count, const char *names)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct socket_activation a;
		char self[16];
		int result;

		for (int fd = 3; fd < 5; fd++)
			dup2(STDERR_FILENO, fd);
		snprintf(self, sizeof(self), "%d", (int)getpid());
		setenv("LISTEN_PID", pid != NULL ? pid : self, 1);
		setenv("LISTEN_FDS", count, 1);
		if (names != NULL)
			setenv("LISTEN_FDNAMES", names, 1);
		if (socket_activation_init(&a) < 0)
			_exit(100);
		if (getenv("LISTEN_FDS") != NULL)
			_exit(101);
		result = socket_activation_take(&a, "control");
		if (result < 0)
			result = socket_activation_take(&a, NULL);
		socket_activation_deinit(&a);
		_exit(result < 0 ? 102 : result);
	}
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static void test_activation(void **state)
{
	(void)state;
	assert_int_equal(activate(NULL, "1", NULL), 3);
	assert_int_equal(activate(NULL, "2", "vhost:control"), 4);
	assert_int_equal(activate(NULL, "2", "vhost"), 3);
	assert_int_equal(activate("1", "1", NULL), 102);
	assert_int_equal(activate(NULL, "0", NULL), 102);
	assert_int_equal(activate(NULL, "x", NULL), 100);
	assert_int_equal(activate(NULL, "1000000", NULL), 100);
	assert_int_equal(activate("x", "1", NULL), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listen_connect),
		cmocka_unit_test(test_listen_file),
		cmocka_unit_test(test_path_limits),
		cmocka_unit_test(test_listen_race),
		cmocka_unit_test(test_socket_file),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_too_many_descriptors),
		cmocka_unit_test(test_activation),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
