/* SPDX-License-Identifier: ISC */
/* Encrypted secrets: what comes out of them, and those that are refused. The
 * ciphertexts were made with openssl enc -aes-256-cbc. */
#include "lib/image/secret_cipher.h"

#include "lib/base/error.h"
#include "lib/image/secret.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define IV "ZmVkY2JhOTg3NjU0MzIxMA==" /* fedcba9876543210 */
#define ABC "QkxejulPQDYQV8AVjqhrug=="

static const uint8_t key_bytes[] = "0123456789abcdef0123456789abcdef";

static int decrypt(size_t key_len, const char *iv, const char *text,
		   uint8_t *to, size_t *len, struct error *err)
{
	struct secret key = { .data = key_bytes, .len = key_len };
	size_t text_len = strlen(text);
	/* It ends where the text does. */
	uint8_t *copy = malloc(text_len + (text_len == 0));
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, text_len);
	*len = text_len;
	rc = secret_decrypt(&key, iv, true, copy, len, err);
	assert_true(*len <= text_len);
	memcpy(to, copy, *len);
	free(copy);
	return rc;
}

static void test_decrypts(void **state)
{
	static const struct {
		const char *from, *to;
		size_t len;
	} cases[] = {
		{ ABC, "abc", 3 },
		{ "9E7Ti56IJCxF5VJXx8nSST3ybvJT3meXJ3GJaofiI4I=",
		  "0123456789abcdef", 16 },
		/* As QEMU: no padding, nothing but padding, and nothing. */
		{ "Y8vsRgAthxmDJIfwAbjRmA==", "fifteen bytes..\0", 16 },
		{ "Rn3+6zUcRbR2cW/yLWr6ig==", "", 0 },
		{ "", "", 0 },
		/* The bytes before the last are not looked at. */
		{ "sNlt1Rf6WIPQoOsIUCUt0A==", "fifteen bytes.", 14 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t to[64];
		size_t len;

		assert_int_equal(decrypt(32, IV, cases[i].from, to, &len, NULL),
				 0);
		assert_int_equal(len, cases[i].len);
		assert_memory_equal(to, cases[i].to, len);
	}
}

static void test_decrypts_bytes(void **state)
{
	static const uint8_t bytes[16] = "\x42\x4c\x5e\x8e\xe9\x4f\x40\x36"
					 "\x10\x57\xc0\x15\x8e\xa8\x6b\xba";
	struct secret key = { .data = key_bytes, .len = 32 };
	uint8_t data[sizeof(bytes)];
	size_t len = sizeof(data);

	(void)state;
	memcpy(data, bytes, sizeof(data));
	assert_int_equal(secret_decrypt(&key, IV, false, data, &len, NULL), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(data, "abc", 3);
	len = 15;
	assert_int_equal(secret_decrypt(&key, IV, false, data, &len, NULL),
			 -EINVAL);
}

static void test_refuses(void **state)
{
	static const struct {
		size_t key_len;
		const char *iv, *from, *text;
	} cases[] = {
		{ 31, IV, ABC, "Key should be 32 bytes in length" },
		{ 0, NULL, ".", "Key should be 32 bytes in length" },
		{ 32, NULL, ABC, "IV is required to decrypt secret" },
		{ 32, ".", ABC, "Base64 data contains invalid characters" },
		{ 32, "AAAA", ABC, "IV should be 16 bytes in length not 3" },
		{ 32, IV "AAAA", ABC,
		  "IV should be 16 bytes in length not 19" },
		{ 32, IV, ".", "Base64 data contains invalid characters" },
		{ 32, IV, "AAAA",
		  "Length 3 must be a multiple of block size 16" },
		{ 32, IV, "5v8x2vuq4qopmLvq4IIlKg==",
		  "Incorrect number of padding bytes (17) found on decrypted "
		  "data" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err = ERROR_INIT;
		uint8_t to[64];
		size_t len;

		assert_int_equal(decrypt(cases[i].key_len, cases[i].iv,
					 cases[i].from, to, &len, &err),
				 -EINVAL);
		assert_string_equal(err.text, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decrypts),
		cmocka_unit_test(test_decrypts_bytes),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
