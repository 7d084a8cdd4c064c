/* SPDX-License-Identifier: ISC */
#include "lib/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_texts(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_string_equal(error_text(&err, -ENOENT), strerror(ENOENT));
	assert_string_equal(error_text(NULL, -EIO), strerror(EIO));
	assert_int_equal(error_set(&err, -EINVAL, "bad %s", "header"), -EINVAL);
	assert_string_equal(error_text(&err, -EINVAL), "bad header");
	assert_int_equal(error_set_errno(&err, -EACCES, "a.raw"), -EACCES);
	assert_string_equal(err.text, "a.raw: Permission denied");
	assert_int_equal(error_prefix(&err, -EACCES, "disk %d", 1), -EACCES);
	assert_string_equal(err.text, "disk 1: a.raw: Permission denied");
}

/* A callee that left no text still gets a sentence around its number. */
static void test_prefix_alone(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	error_prefix(&err, -ENOSPC, "log");
	assert_string_equal(err.text, "log: No space left on device");
}

static void test_null(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_set_errno(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_prefix(NULL, -EIO, "x"), -EIO);
}

/* Long texts are cut, never written past the end. */
static void test_long(void **state)
{
	char text[2000];
	struct error err = ERROR_INIT;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	error_set(&err, -EIO, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	error_set_errno(&err, -EIO, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	/* A long name must not hide what is wrong with it. */
	assert_non_null(strstr(err.text, "xxx...: Input/output error"));
	error_prefix(&err, -EIO, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	error_set(&err, -EIO, "too long");
	error_prefix(&err, -EIO, "%s", text);
	assert_non_null(strstr(err.text, "xxx...: too long"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_prefix_alone),
		cmocka_unit_test(test_null),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
