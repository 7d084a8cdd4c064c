/* SPDX-License-Identifier: ISC */
/* Secrets: found by their ids, any bytes, each id once. */
#include "lib/image/secret.h"

#include "lib/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_finds_what_was_added(void **state)
{
	struct secrets *secrets = secrets_new();
	struct secret found;

	(void)state;
	assert_int_equal(secrets_add(secrets, "a", "x\0y", 3, NULL), 0);
	assert_int_equal(secrets_add(secrets, "b", "", 0, NULL), 0);
	assert_int_equal(secrets_find(secrets, "a", &found, NULL), 0);
	assert_int_equal(found.len, 3);
	assert_memory_equal(found.data, "x\0y", 3);
	assert_int_equal(secrets_find(secrets, "b", &found, NULL), 0);
	assert_int_equal(found.len, 0);
	secrets_free(secrets);
}

static void test_an_id_is_there_once(void **state)
{
	struct secrets *secrets = secrets_new();
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(secrets_add(secrets, "a", "x", 1, &err), 0);
	assert_int_equal(secrets_add(secrets, "a", "y", 1, &err), -EEXIST);
	assert_non_null(strstr(err.text, "duplicate"));
	secrets_free(secrets);
}

static void test_says_what_is_missing(void **state)
{
	struct error err = ERROR_INIT;
	struct secret found;

	(void)state;
	assert_int_equal(secrets_find(NULL, "key0", &found, &err), -ENOENT);
	assert_string_equal(err.text, "No secret with id 'key0'");
	secrets_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_what_was_added),
		cmocka_unit_test(test_an_id_is_there_once),
		cmocka_unit_test(test_says_what_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
