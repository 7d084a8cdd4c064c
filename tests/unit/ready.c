/* SPDX-License-Identifier: ISC */
#include "lib/base/ready.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static void test_newline(void **state)
{
	char text[4];
	int ends[2];

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(pipe(ends), 0);
	ready_notify(ends[1]);
	assert_int_equal(read(ends[0], text, sizeof(text)), 1);
	assert_int_equal(text[0], '\n');
	assert_int_equal(read(ends[0], text, sizeof(text)), 0);
	close(ends[0]);
}

/* The starter may be gone: no SIGPIPE, neither now nor later. */
static void test_nobody(void **state)
{
	sigset_t pending;
	int ends[2];

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	ready_notify(ends[1]);
	sigpending(&pending);
	assert_false(sigismember(&pending, SIGPIPE));
	ready_notify(-1);
}

static void test_notify_socket(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char name[64], text[32];
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	ssize_t n;

	(void)state;
	snprintf(name, sizeof(name), "@test-ready-%d", (int)getpid());
	memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
	assert_int_equal(
		bind(fd, (const void *)&address,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				 strlen(name))),
		0);
	setenv("NOTIFY_SOCKET", name, 1);
	ready_notify(-1);
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_int_equal(n, 7);
	text[n] = '\0';
	assert_string_equal(text, "READY=1");
	setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
	ready_notify(-1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_newline),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_notify_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
