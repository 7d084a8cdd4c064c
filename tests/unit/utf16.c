/* SPDX-License-Identifier: ISC */
#include "lib/image/utf16.h"
#include "lib/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void there_and_back(const char *text, bool is_big_endian)
{
	uint8_t data[2 * UTF16_NAME_MAX];
	char *back;
	int len = utf16_write(text, is_big_endian, data);

	assert_true(len > 0);
	assert_int_equal(utf16_read(data, (size_t)len, is_big_endian, &back),
			 0);
	assert_string_equal(back, text);
	free(back);
}

static void test_there_and_back(void **state)
{
	static const char *const texts[] = {
		"a",
		"..\\parent.vhd",
		"\xc3\xa4\xe2\x82\xac",
		"\xf0\x9f\x92\xbe.vhd",
	};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		there_and_back(texts[i], false);
		there_and_back(texts[i], true);
	}
}

static void test_bytes(void **state)
{
	uint8_t data[2 * UTF16_NAME_MAX];
	char *text;

	(void)state;
	assert_int_equal(utf16_write("\xf0\x9f\x92\xbe", true, data), 4);
	assert_memory_equal(data, "\xd8\x3d\xdc\xbe", 4);
	assert_int_equal(utf16_write("a", false, data), 2);
	assert_memory_equal(data, "a\0", 2);
	/* Up to a NUL. */
	assert_int_equal(
		utf16_read((const uint8_t *)"a\0\0\0b\0", 6, false, &text), 0);
	assert_string_equal(text, "a");
	free(text);
}

static void test_bad_utf16(void **state)
{
	uint8_t many[2 * UTF16_NAME_MAX + 2];
	char *text;

	(void)state;
	/* Nothing; a half alone, in front and at the end; a low half. */
	assert_int_equal(utf16_read(NULL, 0, false, &text), -EINVAL);
	assert_int_equal(utf16_read((const uint8_t *)"\0\0", 2, true, &text),
			 -EINVAL);
	assert_int_equal(utf16_read((const uint8_t *)"\xd8\x3d\0a", 4, true,
				    &text),
			 -EINVAL);
	assert_int_equal(utf16_read((const uint8_t *)"\xd8\x3d", 2, true,
				    &text),
			 -EINVAL);
	assert_int_equal(utf16_read((const uint8_t *)"\xdc\xbe", 2, true,
				    &text),
			 -EINVAL);
	memset(many, 'a', sizeof(many));
	assert_int_equal(utf16_read(many, sizeof(many), true, &text), -EINVAL);
}

static void test_bad_utf8(void **state)
{
	static const char *const texts[] = {
		"\x80", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
		"\xff",
	};
	uint8_t data[2 * UTF16_NAME_MAX];
	char many[UTF16_NAME_MAX + 2];

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(utf16_write(texts[i], true, data), -EINVAL);
	memset(many, 'a', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	assert_int_equal(utf16_write(many, true, data), -EINVAL);
}

static void test_windows_paths(void **state)
{
	struct error err = ERROR_INIT;
	char path[] = ".\\.\\a\\..\\b.vhd", *written;

	(void)state;
	windows_path_read(path);
	assert_string_equal(path, "a/../b.vhd");
	assert_true(windows_path_is_absolute("c:\\a"));
	assert_true(windows_path_is_absolute("\\\\host\\a"));
	assert_false(windows_path_is_absolute("a\\b"));
	assert_int_equal(windows_path_write("../a/b", &written, &err), 0);
	assert_string_equal(written, ".\\..\\a\\b");
	free(written);
	assert_int_equal(windows_path_write("/a", &written, &err), -EINVAL);
	assert_int_equal(windows_path_write("a\\b", &written, &err), -EINVAL);
	assert_int_equal(windows_path_write("a:b", &written, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_bad_utf16),
		cmocka_unit_test(test_bad_utf8),
		cmocka_unit_test(test_windows_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
