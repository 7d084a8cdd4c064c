/* SPDX-License-Identifier: ISC */
#include "lib/base/log.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

/* What write_something() writes to standard error, and its exit status. */
static int capture(void (*write_something)(void), char *text, size_t size)
{
	int ends[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		write_something();
		_exit(0);
	}
	close(ends[1]);
	while ((n = read(ends[0], text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(ends[0]);
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static void log_levels(void)
{
	log_init("/usr/bin/vm-test");
	log_error("%d", 1);
	log_warn("%d", 2);
	log_info("%d", 3);
	log_debug("%d", 4);
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("no");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("%d", 5);
}

static void test_levels(void **state)
{
	char text[256];

	(void)state;
	assert_int_equal(capture(log_levels, text, sizeof(text)), 0);
	assert_string_equal(text, "vm-test: 1\nvm-test: 2\nvm-test: 3\n"
				  "vm-test: 5\n");
}

static void log_escape(void)
{
	log_init("t");
	log_error("guest says %s", "\x1b[2J\nroot# \x7f\xc3\xa9");
}

/* What a guest wrote cannot clear the terminal or fake another line. */
static void test_control_characters(void **state)
{
	char text[256];

	(void)state;
	capture(log_escape, text, sizeof(text));
	assert_string_equal(text, "t: guest says ?[2J?root# ?\xc3\xa9\n");
}

static void log_long(void)
{
	char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_init("t");
	log_error("%s", text);
}

static void test_long(void **state)
{
	char text[8000];

	(void)state;
	capture(log_long, text, sizeof(text));
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_true(strlen(text) <= 4096);
}

static void die_now(void)
{
	log_init("t");
	die(3, "no %s", "way");
}

static void test_die(void **state)
{
	char text[64];

	(void)state;
	assert_int_equal(capture(die_now, text, sizeof(text)), 3);
	assert_string_equal(text, "t: no way\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_die),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
