/* SPDX-License-Identifier: ISC */
#include "lib/base/size.h"

#include "lib/base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		char suffix;
		int ret;
		uint64_t bytes;
	} cases[] = {
		{ "0", 'b', 0, 0 },
		{ "17", 'b', 0, 17 },
		{ "17b", 'M', 0, 17 },
		{ "64", 'M', 0, 64 << 20 },
		{ "10G", 'b', 0, UINT64_C(10) << 30 },
		{ "10g", 'b', 0, UINT64_C(10) << 30 },
		{ "1.5G", 'b', 0, UINT64_C(3) << 29 },
		{ "1.k", 'b', 0, 1024 },
		{ "1.1k", 'b', 0, 1126 },
		{ "0x10", 'b', 0, 16 },
		{ "0x10k", 'b', 0, 16384 },
		{ "15E", 'b', 0, UINT64_C(15) << 60 },
		{ "0.3333333333333333333333333G", 'b', 0, 357913941 },
		{ "18446744073709551615", 'b', 0, UINT64_MAX },
		{ "18446744073709551616", 'b', -ERANGE, 0 },
		{ "16E", 'b', -ERANGE, 0 },
		{ "99999999999999999999999", 'k', -ERANGE, 0 },
		{ "", 'b', -EINVAL, 0 },
		{ "k", 'b', -EINVAL, 0 },
		{ "-1", 'b', -EINVAL, 0 },
		{ " 1", 'b', -EINVAL, 0 },
		{ "1 ", 'b', -EINVAL, 0 },
		{ "1kk", 'b', -EINVAL, 0 },
		{ "1.5", 'b', -EINVAL, 0 },
		{ "0x", 'b', -EINVAL, 0 },
		{ "0x1.5k", 'b', -EINVAL, 0 },
		{ "1z", 'b', -EINVAL, 0 },
		{ "18446744073709551616x", 'b', -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		uint64_t bytes = 0;
		int ret = size_parse(cases[i].text, cases[i].suffix, &bytes);

		if (ret != cases[i].ret || bytes != cases[i].bytes)
			fail_msg("%s: %d, %llu", cases[i].text, ret,
				 (unsigned long long)bytes);
	}
}

static void test_numbers(void **state)
{
	uint64_t n = 0;

	(void)state;
	assert_int_equal(number_parse("64", 1, 64, &n), 0);
	assert_int_equal(n, 64);
	assert_int_equal(number_parse("0x20", 1, 64, &n), 0);
	assert_int_equal(n, 32);
	assert_int_equal(number_parse("65", 1, 64, &n), -ERANGE);
	assert_int_equal(number_parse("0", 1, 64, &n), -ERANGE);
	assert_int_equal(number_parse("1k", 1, 64, &n), -EINVAL);
	assert_int_equal(number_parse("", 0, 64, &n), -EINVAL);
	assert_int_equal(n, 32);
}

/* The form of qemu-img info: three digits, the unit that keeps them short. */
static void test_format(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 17, "17 B" },
		{ 999, "999 B" },
		{ 1000, "0.977 KiB" },
		{ 98304, "96 KiB" },
		{ UINT64_C(512) << 20, "512 MiB" },
		{ UINT64_C(3) << 29, "1.5 GiB" },
		{ UINT64_C(10) << 30, "10 GiB" },
		{ UINT64_MAX, "16 EiB" },
	};
	char text[16];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		assert_string_equal(size_format(cases[i].bytes, text,
						sizeof(text)),
				    cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
