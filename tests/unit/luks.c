/* SPDX-License-Identifier: ISC */
/* The LUKS header from and to bytes, and sectors through a cipher. */
#include "lib/image/luks.h"

#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct luks_wire_header good(void)
{
	struct luks_wire_header w = {
		.magic = LUKS_MAGIC,
		.version = htobe16(1),
		.cipher_name = "aes",
		.cipher_mode = "xts-plain64:md5",
		.hash_name = "sha256",
		.payload_sector = htobe32(4040),
		.key_len = htobe32(64),
		.master_iterations = htobe32(1000),
		.uuid = "0123456789012345678901234567890123456789",
	};

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		w.slots[i] = (struct luks_wire_slot){
			.state = htobe32(LUKS_SLOT_INACTIVE),
			.key_sector = htobe32(8 + i * 504),
			.stripes = htobe32(LUKS_STRIPES),
		};
	return w;
}

static void test_bytes_come_back(void **state)
{
	struct luks_wire_header w = good(), back;
	struct luks luks;

	(void)state;
	w.slots[3].state = htobe32(LUKS_SLOT_ACTIVE);
	w.slots[3].iterations = htobe32(77);
	assert_int_equal(luks_parse(&luks, &w, NULL), 0);
	assert_int_equal(luks.cipher.key_len, 32);
	assert_string_equal(luks.iv_hash, "md5");
	assert_true(luks.slots[3].is_active);
	luks_encode(&luks, &back);
	assert_memory_equal(&w, &back, sizeof(w));
}

static void test_no_more_work_than_allowed(void **state)
{
	struct luks_wire_header w = good();
	struct error err = ERROR_INIT;
	struct luks luks;

	(void)state;
	/* Two blocks of SHA-256 are a key: half of the limit, less the master
	 * key's digest. */
	w.slots[0].state = htobe32(LUKS_SLOT_ACTIVE);
	w.slots[0].iterations = htobe32(LUKS_WORK_MAX / 2 - 1000);
	assert_int_equal(luks_parse(&luks, &w, &err), 0);
	w.slots[0].iterations = htobe32(LUKS_WORK_MAX / 2 - 999);
	assert_int_equal(luks_parse(&luks, &w, &err), -EINVAL);
	assert_non_null(strstr(err.text, "iterations"));
	/* One that is not active may say what it likes. */
	w.slots[0].state = htobe32(LUKS_SLOT_INACTIVE);
	assert_int_equal(luks_parse(&luks, &w, NULL), 0);
}

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
		{ 16, CIPHER_XTS, CIPHER_PLAIN64, NULL },
		{ 32, CIPHER_XTS, CIPHER_PLAIN, NULL },
		{ 16, CIPHER_CBC, CIPHER_ESSIV, "sha256" },
		{ 24, CIPHER_CBC, CIPHER_PLAIN64, NULL },
		{ 32, CIPHER_CTR, CIPHER_PLAIN64, NULL },
		{ 32, CIPHER_ECB, CIPHER_PLAIN64, NULL },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		round_trip(&specs[i]);
}

/* NIST SP 800-38A §F.2.1, AES-128-CBC, with the number of a sector that is
 * its initial vector's first half: none there is, so the vector is XORed into
 * the first block. */
static void test_known_bytes(void **state)
{
	static const uint8_t key[] = {
		0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
		0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c,
	};
	static const uint8_t expected[] = {
		0x76, 0x49, 0xab, 0xac, 0x81, 0x19, 0xb2, 0x46,
		0xce, 0xe9, 0x8e, 0x9b, 0x12, 0xe9, 0x19, 0x7d,
	};
	static const struct cipher_spec spec = { 16, CIPHER_CBC, CIPHER_PLAIN64,
						 NULL };
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_come_back),
		cmocka_unit_test(test_no_more_work_than_allowed),
		cmocka_unit_test(test_sectors_come_back),
		cmocka_unit_test(test_known_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
