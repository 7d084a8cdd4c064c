/* SPDX-License-Identifier: ISC */
#include "lib/base/control_line.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum {
	WORDS_MAX = 4,
};

static int split(const char *line, size_t len, char *copy, char **words)
{
	const char *reason;
	int n;

	memcpy(copy, line, len);
	copy[len] = 'X'; /* where the newline was */
	n = control_line_split(copy, len, words, WORDS_MAX, &reason);
	assert_true((n < 0) == (reason != NULL));
	return n;
}

static void test_words(void **state)
{
	static const struct {
		const char *line;
		int n;
		const char *words[WORDS_MAX];
	} cases[] = {
		{ "", 0, { NULL } },
		{ " \t ", 0, { NULL } },
		{ "\r", 0, { NULL } },
		{ "status", 1, { "status" } },
		{ "  a\tb \r", 2, { "a", "b" } },
		{ "a b c d", 4, { "a", "b", "c", "d" } },
		{ "\"\"", 1, { "" } },
		{ "a \"b c\"", 2, { "a", "b c" } },
		{ "\"a\\\"b\\\\\" c", 2, { "a\"b\\", "c" } },
		{ "\\x", 1, { "\\x" } },
		{ "caf\xc3\xa9", 1, { "caf\xc3\xa9" } },
		{ "a b c d e", -1, { NULL } },
		{ "a\"b", -1, { NULL } },
		{ "\"a\"b", -1, { NULL } },
		{ "\"a", -1, { NULL } },
		{ "\"a\\", -1, { NULL } },
		{ "\"a\\n\"", -1, { NULL } },
		{ "a\x1b", -1, { NULL } },
		{ "a\rb", -1, { NULL } },
		{ "\x7f", -1, { NULL } },
	};
	char copy[64], *words[WORDS_MAX];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		int n = split(cases[i].line, strlen(cases[i].line), copy,
			      words);

		if ((n < 0 ? -1 : n) != cases[i].n)
			fail_msg("%s: %d words", cases[i].line, n);
		for (int j = 0; j < n; j++)
			assert_string_equal(words[j], cases[i].words[j]);
	}
}

static void test_nul(void **state)
{
	char copy[8], *words[WORDS_MAX];

	(void)state;
	assert_true(split("a\0b", 3, copy, words) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
