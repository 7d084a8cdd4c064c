/* SPDX-License-Identifier: ISC */
/* Sectors through each of the ciphers. */
#include "lib/image/cipher.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void round_trip(const struct cipher_spec *spec)
{
	uint8_t key[CIPHER_KEY_MAX], buf[4 * CIPHER_SECTOR], twice[512];
	struct cipher *cipher;

	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(cipher_new(&cipher, spec, key, NULL), 0);
	assert_int_equal(cipher_encrypt(cipher, 7, buf, sizeof(buf)), 0);
	/* Each sector differs from the next, though the data does not. */
	if (spec->mode != CIPHER_ECB)
		assert_memory_not_equal(buf, buf + 512, 512);
	/* A sector by itself is what it is among others. */
	memset(twice, 0x5a, sizeof(twice));
	assert_int_equal(cipher_encrypt(cipher, 9, twice, 512), 0);
	assert_memory_equal(twice, buf + 1024, 512);
	assert_int_equal(cipher_decrypt(cipher, 7, buf, sizeof(buf)), 0);
	for (unsigned i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0x5a);
	cipher_free(cipher);
}

static void test_sectors_come_back(void **state)
{
	static const struct cipher_spec specs[] = {
		{ CIPHER_AES, 16, CIPHER_XTS, CIPHER_PLAIN64, NULL },
		{ CIPHER_AES, 24, CIPHER_XTS, CIPHER_ESSIV, "sha256" },
		{ CIPHER_AES, 32, CIPHER_XTS, CIPHER_PLAIN, NULL },
		{ CIPHER_AES, 16, CIPHER_CBC, CIPHER_ESSIV, "sha256" },
		{ CIPHER_AES, 24, CIPHER_CBC, CIPHER_PLAIN64, NULL },
		{ CIPHER_AES, 32, CIPHER_CTR, CIPHER_PLAIN64, NULL },
		{ CIPHER_AES, 32, CIPHER_ECB, CIPHER_PLAIN64, NULL },
		{ CIPHER_SERPENT, 32, CIPHER_XTS, CIPHER_PLAIN64, NULL },
		{ CIPHER_SERPENT, 16, CIPHER_CTR, CIPHER_PLAIN, NULL },
		{ CIPHER_TWOFISH, 24, CIPHER_XTS, CIPHER_PLAIN64, NULL },
		{ CIPHER_TWOFISH, 32, CIPHER_CBC, CIPHER_ESSIV, "sha256" },
		{ CIPHER_CAST5, 16, CIPHER_CBC, CIPHER_ESSIV, "md5" },
		{ CIPHER_CAST5, 16, CIPHER_CTR, CIPHER_PLAIN64, NULL },
		{ CIPHER_CAST5, 16, CIPHER_ECB, CIPHER_PLAIN64, NULL },
	};

	(void)state;
	for (unsigned i = 0; i < array_size(specs); i++)
		round_trip(&specs[i]);
}

/* NIST SP 800-38A §F.2.1, AES-128-CBC, with the number of a sector that is
 * its initial vector's first half: none there is, so the vector is XORed into
 * the first block. */
static void test_known_bytes_of_aes(void **state)
{
	static const uint8_t key[] = {
		0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
		0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c,
	};
	static const uint8_t expected[] = {
		0x76, 0x49, 0xab, 0xac, 0x81, 0x19, 0xb2, 0x46,
		0xce, 0xe9, 0x8e, 0x9b, 0x12, 0xe9, 0x19, 0x7d,
	};
	static const struct cipher_spec spec = { CIPHER_AES, 16, CIPHER_CBC,
						 CIPHER_PLAIN64, NULL };
	/* 6bc1bee22e409f96e93d7e117393172a XOR 000102...0f, and sector 0. */
	uint8_t buf[CIPHER_SECTOR] = {
		0x6b, 0xc0, 0xbc, 0xe1, 0x2a, 0x45, 0x99, 0x91,
		0xe1, 0x34, 0x74, 0x1a, 0x7f, 0x9e, 0x19, 0x25,
	};
	struct cipher *cipher;

	(void)state;
	assert_int_equal(cipher_new(&cipher, &spec, key, NULL), 0);
	assert_int_equal(cipher_encrypt(cipher, 0, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, expected, sizeof(expected));
	cipher_free(cipher);
}

/* How a sector begins that is all zero but for what is given. */
struct vector {
	enum cipher_alg alg;
	unsigned key_len, len;
	uint8_t key[32], plain[16], expected[16];
};

static const struct vector vectors[] = {
	/* The NESSIE project's test vectors, set 1, vector 0. */
	{
		.alg = CIPHER_SERPENT,
		.key_len = 24,
		.len = 16,
		.key = { 0x80 },
		.expected = { 0x9e, 0x27, 0x4e, 0xad, 0x9b, 0x73, 0x7b, 0xb2,
			      0x1e, 0xfc, 0xfc, 0xa5, 0x48, 0x60, 0x26, 0x89 },
	},
	{
		.alg = CIPHER_SERPENT,
		.key_len = 32,
		.len = 16,
		.key = { 0x80 },
		.expected = { 0xa2, 0x23, 0xaa, 0x12, 0x88, 0x46, 0x3c, 0x0e,
			      0x2b, 0xe3, 0x8e, 0xbd, 0x82, 0x56, 0x16, 0xc0 },
	},
	/* Twofish: A 128-Bit Block Cipher, "Test Vectors". */
	{
		.alg = CIPHER_TWOFISH,
		.key_len = 16,
		.len = 16,
		.expected = { 0x9f, 0x58, 0x9f, 0x5c, 0xf6, 0x12, 0x2c, 0x32,
			      0xb6, 0xbf, 0xec, 0x2f, 0x2a, 0xe8, 0xc3, 0x5a },
	},
	{
		.alg = CIPHER_TWOFISH,
		.key_len = 24,
		.len = 16,
		.key = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
			 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10,
			 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77 },
		.expected = { 0xcf, 0xd1, 0xd2, 0xe5, 0xa9, 0xbe, 0x9c, 0xdf,
			      0x50, 0x1f, 0x13, 0xb8, 0x92, 0xbd, 0x22, 0x48 },
	},
	/* RFC 2144, B.1. */
	{
		.alg = CIPHER_CAST5,
		.key_len = 16,
		.len = 8,
		.key = { 0x01, 0x23, 0x45, 0x67, 0x12, 0x34, 0x56, 0x78, 0x23,
			 0x45, 0x67, 0x89, 0x34, 0x56, 0x78, 0x9a },
		.plain = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef },
		.expected = { 0x23, 0x8b, 0x4f, 0xe5, 0x84, 0x7e, 0x44, 0xb2 },
	},
};

static void test_known_blocks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < array_size(vectors); i++) {
		const struct vector *v = &vectors[i];
		const struct cipher_spec spec = { v->alg, v->key_len,
						  CIPHER_ECB, CIPHER_PLAIN64,
						  NULL };
		uint8_t buf[CIPHER_SECTOR] = { 0 };
		struct cipher *cipher;

		memcpy(buf, v->plain, sizeof(v->plain));
		assert_int_equal(cipher_new(&cipher, &spec, v->key, NULL), 0);
		assert_int_equal(cipher_encrypt(cipher, 0, buf, sizeof(buf)),
				 0);
		assert_memory_equal(buf, v->expected, v->len);
		cipher_free(cipher);
	}
}

static void refuse(const struct cipher_spec *spec, const char *text)
{
	static const uint8_t key[CIPHER_KEY_MAX];
	struct error err = ERROR_INIT;
	struct cipher *cipher;

	assert_int_equal(cipher_new(&cipher, spec, key, &err), -ENOTSUP);
	assert_string_equal(err.text, text);
}

static void test_what_there_is_not(void **state)
{
	(void)state;
	refuse(&(struct cipher_spec){ CIPHER_CAST5, 16, CIPHER_XTS,
				      CIPHER_PLAIN64, NULL },
	       "Unsupported cipher mode xts");
	refuse(&(struct cipher_spec){ CIPHER_CAST5, 16, CIPHER_CBC,
				      CIPHER_ESSIV, "sha256" },
	       "Cipher cast5-128 not supported with essiv");
	refuse(&(struct cipher_spec){ CIPHER_SERPENT, 16, CIPHER_CBC,
				      CIPHER_ESSIV, "sha1" },
	       "No Serpent cipher with key size 20 available");
	refuse(&(struct cipher_spec){ CIPHER_AES, 16, CIPHER_CBC, CIPHER_ESSIV,
				      "foo" },
	       "Hash algorithm 'foo' not supported");
	assert_true(cipher_has_key_len(CIPHER_SERPENT, 24));
	assert_false(cipher_has_key_len(CIPHER_SERPENT, 20));
	assert_false(cipher_has_key_len(CIPHER_SERPENT, 40));
	assert_false(cipher_has_key_len(CIPHER_CAST5, 24));
	assert_false(cipher_has_key_len(CIPHER_CAST5, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sectors_come_back),
		cmocka_unit_test(test_known_bytes_of_aes),
		cmocka_unit_test(test_known_blocks),
		cmocka_unit_test(test_what_there_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
