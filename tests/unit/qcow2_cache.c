/* SPDX-License-Identifier: ISC */
/* Writes of tables, by whole blocks where the file takes nothing less. */
#include "lib/image/qcow2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	FILE_LEN = 64 * 1024,
	BLOCK = 4096,
	CACHE_LEN = 64 * 1024,
};

static uint8_t before(uint64_t at)
{
	return (uint8_t)(at * 7 + at / 251);
}

static struct image_file *make_file(void)
{
	static uint8_t data[FILE_LEN];
	struct image_file *file = NULL;
	int fd = memfd_create("tables", MFD_CLOEXEC);

	for (unsigned i = 0; i < FILE_LEN; i++)
		data[i] = before(i);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, FILE_LEN, 0), FILE_LEN);
	assert_int_equal(image_file_open_fd(&file, fd, "tables", 0, NULL), 0);
	/* As one that is open directly. */
	file->is_direct = true;
	file->alignment = BLOCK;
	return file;
}

/* Eight bytes of an entry of entry_len, the first of which is at 0x2000. */
static void write_at(uint32_t entry_len, uint64_t offset)
{
	static uint8_t data[FILE_LEN];
	struct image_file *file = make_file();
	struct qcow2_cache cache;
	uint8_t *entry;

	assert_int_equal(qcow2_cache_init(&cache, file, IMAGE_EVENT_L2_LOAD,
					  IMAGE_EVENT_L2_UPDATE, entry_len,
					  CACHE_LEN),
			 0);
	assert_int_equal(qcow2_cache_get(&cache, offset, &entry), 0);
	assert_int_equal(qcow2_cache_write(&cache, offset, "12345678", 8), 0);
	assert_memory_equal(entry, "12345678", 8);
	assert_int_equal(image_file_read(file, 0, data, FILE_LEN), 0);
	for (uint64_t i = 0; i < FILE_LEN; i++)
		if (i < offset || i >= offset + 8)
			assert_int_equal(data[i], before(i));
	assert_memory_equal(data + offset, "12345678", 8);
	qcow2_cache_deinit(&cache);
	image_file_close(file);
}

/* Tables shorter than a block have others in the same block, which are not
 * here to be written. */
static void test_what_is_around_stays(void **state)
{
	(void)state;
	for (uint32_t entry_len = 512; entry_len <= 16384; entry_len *= 2)
		for (uint64_t offset = 0x2000; offset < 0x8000; offset += 504)
			write_at(entry_len, offset & ~7ULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_around_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
