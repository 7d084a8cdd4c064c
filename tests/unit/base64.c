/* SPDX-License-Identifier: ISC */
/* Base64: what QEMU takes and what comes of it, and nothing beyond the end. */
#include "lib/base/base64.h"

#include "lib/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct text {
	const char *text;
	size_t len;
};

/* Of a copy that ends where the text does. */
static int decode(const struct text *from, uint8_t *to, size_t *len,
		  struct error *err)
{
	uint8_t *copy = malloc(from->len + (from->len == 0));
	int rc;

	assert_non_null(copy);
	memcpy(copy, from->text, from->len);
	*len = from->len;
	rc = base64_decode(copy, len, err);
	assert_true(*len <= from->len);
	memcpy(to, copy, *len);
	free(copy);
	return rc;
}

/* Those after the empty line were tried with GLib's g_base64_decode(). */
static void test_decodes(void **state)
{
	static const struct {
		struct text from, to;
	} cases[] = {
		{ { "", 0 }, { "", 0 } },
		{ { "YWJj", 4 }, { "abc", 3 } },
		{ { "YWI=", 4 }, { "ab", 2 } },
		{ { "YQ==", 4 }, { "a", 1 } },
		{ { "++//", 4 }, { "\xfb\xef\xff", 3 } },
		{ { "\nYW\nJ\njZA==\n", 12 }, { "abcd", 4 } },

		{ { "YWJjY", 5 }, { "abc", 3 } },
		{ { "YWJjYWI", 7 }, { "abc", 3 } },
		{ { "YWJj=", 5 }, { "abc", 3 } },
		{ { "YQ==YWJj", 8 }, { "aabc", 4 } },
		{ { "YW=j", 4 }, { "a\x23", 2 } },
		{ { "====", 4 }, { "\0", 1 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t to[16];
		size_t len;

		assert_int_equal(decode(&cases[i].from, to, &len, NULL), 0);
		assert_int_equal(len, cases[i].to.len);
		assert_memory_equal(to, cases[i].to.text, len);
	}
}

static void test_refuses(void **state)
{
	static const struct {
		struct text from;
		const char *word;
	} cases[] = {
		{ { "YWJj ", 5 }, "invalid" }, { { "YWJj\r\n", 6 }, "invalid" },
		{ { "YW-_", 4 }, "invalid" },  { { "YWJ\xff", 4 }, "invalid" },
		{ { "YWJj\0", 5 }, "NUL" },    { { "\0", 1 }, "NUL" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err = ERROR_INIT;
		uint8_t to[16];
		size_t len;

		assert_int_equal(decode(&cases[i].from, to, &len, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, cases[i].word));
		assert_null(strstr(err.text, "YW"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decodes),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
