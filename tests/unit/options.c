/* SPDX-License-Identifier: ISC */
#include "lib/base/options.h"

#include "lib/base/cleanup.h"
#include "lib/base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

enum {
	OPTION_LONG = OPTION_FIRST,
	OPTION_PLAIN,
};

static const struct option_spec specs[] = {
	{ 'f', "format", "NAME", "the format" },
	{ OPTION_LONG, "long", "SIZE", "a long option" },
	{ OPTION_PLAIN, "plain", NULL, "takes no argument" },
	OPTIONS_COMMON,
};

static struct options make_options(const char **argv)
{
	struct options options = {
		.specs = specs,
		.usage = "[OPTION]... FILE",
		.about = "Does a thing.",
		.argv = (char **)argv,
	};

	while (argv[options.argc] != NULL)
		options.argc++;
	return options;
}

static void test_parse(void **state)
{
	const char *argv[] = { "t",  "-f",	"raw",	"--long=1k", "--long",
			       "2k", "--plain", "file", "-f",	     NULL };
	struct options options = make_options(argv);
	int operand;

	(void)state;
	assert_int_equal(options_next(&options, &operand), 'f');
	assert_string_equal(options.argument, "raw");
	assert_int_equal(options_next(&options, &operand), OPTION_LONG);
	assert_string_equal(options.argument, "1k");
	assert_int_equal(options_next(&options, &operand), OPTION_LONG);
	assert_string_equal(options.argument, "2k");
	assert_int_equal(options_next(&options, &operand), OPTION_PLAIN);
	assert_null(options.argument);
	/* What follows the first operand is not ours to permute. */
	assert_int_equal(options_next(&options, &operand), -1);
	assert_string_equal(argv[operand], "file");
}

static void test_dashes(void **state)
{
	const char *argv[] = { "t",	 "--plain",    "--",
			       "vm-cpu", "--memory=1", NULL };
	struct options options = make_options(argv);
	int operand;

	(void)state;
	assert_int_equal(options_next(&options, &operand), OPTION_PLAIN);
	assert_int_equal(options_next(&options, &operand), -1);
	assert_string_equal(argv[operand], "vm-cpu");
}

/* Exit status, with standard output and error in text. */
static int run(const char **argv, char *text, size_t size)
{
	int ends[2], status, operand;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		struct options options = make_options(argv);

		log_init("t");
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		while (options_next(&options, &operand) != -1)
			;
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

static void test_bad_usage(void **state)
{
	static const struct {
		const char *argv[3];
		const char *text;
	} cases[] = {
		{ { "t", "--wrong" }, "t: unknown option '--wrong'\n" },
		{ { "t", "-x" }, "t: unknown option '-x'\n" },
		{ { "t", "--format" },
		  "t: option '--format' needs an argument\n" },
		{ { "t", "-f" }, "t: option '--format' needs an argument\n" },
		{ { "t", "--plain=1" },
		  "t: option '--plain' takes no argument\n" },
	};
	char text[4096];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		const char *argv[] = { cases[i].argv[0], cases[i].argv[1],
				       NULL };
		size_t len = strlen(cases[i].text);

		assert_int_equal(run(argv, text, sizeof(text)), EXIT_USAGE);
		if (strncmp(text, cases[i].text, len) != 0)
			fail_msg("%s: %s", argv[1], text);
	}
}

static void test_help(void **state)
{
	const char *help[] = { "t", "--help", NULL };
	const char *version[] = { "t", "--version", NULL };
	char text[4096];

	(void)state;
	assert_int_equal(run(help, text, sizeof(text)), 0);
	assert_non_null(strstr(text, "Usage: t [OPTION]... FILE\n"));
	for (size_t i = 0; specs[i].name != NULL; i++) {
		assert_non_null(strstr(text, specs[i].name));
		assert_non_null(strstr(text, specs[i].help));
	}
	assert_int_equal(run(version, text, sizeof(text)), 0);
	assert_non_null(strstr(text, PIPEVISOR_VERSION));
}

static void test_suboptions(void **state)
{
	char text[] = "path,mac=52:54,name=a,,b=c,last=";
	char *cursor = text, *key, *value;

	(void)state;
	assert_true(suboption_next(&cursor, &key, &value));
	assert_string_equal(key, "path");
	assert_null(value);
	assert_true(suboption_next(&cursor, &key, &value));
	assert_string_equal(key, "mac");
	assert_string_equal(value, "52:54");
	assert_true(suboption_next(&cursor, &key, &value));
	assert_string_equal(key, "name");
	assert_string_equal(value, "a,b=c");
	assert_true(suboption_next(&cursor, &key, &value));
	assert_string_equal(key, "last");
	assert_string_equal(value, "");
	assert_false(suboption_next(&cursor, &key, &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_dashes),
		cmocka_unit_test(test_bad_usage),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_suboptions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
