/* SPDX-License-Identifier: ISC */
/* The LUKS header from and to bytes. */
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
	assert_int_equal(luks_parse(&luks, &w, false, NULL), 0);
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
	assert_int_equal(luks_parse(&luks, &w, false, &err), 0);
	w.slots[0].iterations = htobe32(LUKS_WORK_MAX / 2 - 999);
	assert_int_equal(luks_parse(&luks, &w, false, &err), -EINVAL);
	assert_non_null(strstr(err.text, "iterations"));
	/* One that is not active may say what it likes. */
	w.slots[0].state = htobe32(LUKS_SLOT_INACTIVE);
	assert_int_equal(luks_parse(&luks, &w, false, NULL), 0);
}

/* Where the payload begins in another file says nothing of key slots. */
static void test_detached(void **state)
{
	struct luks_wire_header w = good(), back;
	struct error err = ERROR_INIT;
	struct luks luks;

	(void)state;
	w.payload_sector = 0;
	assert_int_equal(luks_parse(&luks, &w, false, &err), -EINVAL);
	assert_string_equal(err.text,
			    "LUKS payload is overlapping with the header");
	assert_int_equal(luks_parse(&luks, &w, true, NULL), 0);
	assert_true(luks.is_detached);
	assert_int_equal(luks.payload_offset, 0);
	luks_encode(&luks, &back);
	assert_memory_equal(&w, &back, sizeof(w));
	w.payload_sector = htobe32(UINT32_MAX);
	w.slots[7].key_sector = htobe32(UINT32_MAX);
	assert_int_equal(luks_parse(&luks, &w, true, NULL), 0);
	w.slots[7].key_sector = w.slots[6].key_sector;
	assert_int_equal(luks_parse(&luks, &w, true, NULL), -EINVAL);
	w.slots[7].key_sector = htobe32(1);
	assert_int_equal(luks_parse(&luks, &w, true, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_come_back),
		cmocka_unit_test(test_no_more_work_than_allowed),
		cmocka_unit_test(test_detached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
