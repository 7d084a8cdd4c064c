/* SPDX-License-Identifier: ISC */
#include "lib/base/utf8.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* The least and the most of each length. */
static void test_both_ways(void **state)
{
	static const struct {
		uint32_t c;
		const char *text;
	} cases[] = {
		{ 0x01, "\x01" },
		{ 0x7f, "\x7f" },
		{ 0x80, "\xc2\x80" },
		{ 0x7ff, "\xdf\xbf" },
		{ 0x800, "\xe0\xa0\x80" },
		{ 0xd7ff, "\xed\x9f\xbf" },
		{ 0xe000, "\xee\x80\x80" },
		{ 0xffff, "\xef\xbf\xbf" },
		{ 0x10000, "\xf0\x90\x80\x80" },
		{ 0x10ffff, "\xf4\x8f\xbf\xbf" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[UTF8_LEN_MAX];
		size_t len = strlen(cases[i].text);
		uint32_t c;

		assert_int_equal(utf8_put(text, cases[i].c), len);
		assert_memory_equal(text, cases[i].text, len);
		assert_int_equal(utf8_get(cases[i].text, &c), len);
		assert_int_equal(c, cases[i].c);
	}
}

static void test_refused(void **state)
{
	static const char *const cases[] = {
		"\x80", /* the middle of one */
		"\xc3", /* ends early */
		"\xe2\x82",
		"\xf0\x9f\x98",
		"\xe2\x28\xa1",
		"\xc0\x80", /* longer than needed */
		"\xe0\x80\xaf",
		"\xf0\x82\x82\xac",
		"\xed\xa0\x80",	    /* half of a pair of UTF-16 */
		"\xf4\x90\x80\x80", /* above the last */
		"\xf8\x88\x80\x80\x80",
		"\xff",
	};
	uint32_t c;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(utf8_get(cases[i], &c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
