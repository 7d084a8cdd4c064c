/* SPDX-License-Identifier: ISC */
/* Writes of tables, by whole blocks where the file takes nothing less; at once
 * or behind. */
#include "lib/image/qcow2.h"

#include <errno.h>
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

enum {
	ENTRY_LEN = 4096,
	N_ENTRIES = 8, /* the fewest that there are */
};

static void open_behind(struct qcow2_cache *cache)
{
	assert_int_equal(qcow2_cache_init(cache, make_file(),
					  IMAGE_EVENT_L2_LOAD,
					  IMAGE_EVENT_L2_UPDATE, ENTRY_LEN,
					  N_ENTRIES * ENTRY_LEN),
			 0);
	cache->is_written_behind = true;
}

static void close_behind(struct qcow2_cache *cache)
{
	struct image_file *file = (struct image_file *)(uintptr_t)cache->file;

	qcow2_cache_deinit(cache);
	image_file_close(file);
}

static void change(struct qcow2_cache *cache, uint64_t offset)
{
	uint8_t *entry;

	assert_int_equal(qcow2_cache_get(cache, offset, &entry), 0);
	assert_int_equal(qcow2_cache_change(cache, offset, "12345678", 8), 0);
	assert_memory_equal(entry, "12345678", 8);
}

static bool is_in_file(const struct qcow2_cache *cache, uint64_t offset)
{
	uint8_t data[8];

	assert_int_equal(image_file_read(cache->file, offset, data, 8), 0);
	if (memcmp(data, "12345678", 8) == 0)
		return true;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(data[i], before(offset + i));
	return false;
}

/* Two neighbours, made in the wrong order, and one apart. */
static void test_changes_wait(void **state)
{
	static const uint64_t offsets[] = { 0x3ff8, 0x2000, 0x6100 };
	struct qcow2_cache cache;

	(void)state;
	open_behind(&cache);
	for (unsigned i = 0; i < 3; i++) {
		change(&cache, offsets[i]);
		assert_false(is_in_file(&cache, offsets[i]));
	}
	assert_int_equal(cache.n_dirty, 3);
	assert_int_equal(qcow2_cache_write_behind(&cache), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(is_in_file(&cache, offsets[i]));
	assert_false(is_in_file(&cache, 0x2008));
	assert_int_equal(cache.n_dirty, 0);
	close_behind(&cache);
}

static void test_changes_go_through(void **state)
{
	struct qcow2_cache cache;

	(void)state;
	open_behind(&cache);
	cache.is_written_behind = false;
	change(&cache, 0x2000);
	assert_true(is_in_file(&cache, 0x2000));
	close_behind(&cache);
}

/* No entry is given to another place before what changed in it is written. */
static void test_replaced_entries_are_written(void **state)
{
	struct qcow2_cache cache;

	(void)state;
	open_behind(&cache);
	for (uint64_t i = 0; i < N_ENTRIES + 1; i++)
		change(&cache, i * ENTRY_LEN);
	for (uint64_t i = 0; i < N_ENTRIES; i++)
		assert_true(is_in_file(&cache, i * ENTRY_LEN));
	assert_false(is_in_file(&cache, N_ENTRIES * ENTRY_LEN));
	close_behind(&cache);
}

/* A table that was freed may have become anything else. */
static void test_forgotten_changes_are_not_written(void **state)
{
	struct qcow2_cache cache;

	(void)state;
	open_behind(&cache);
	change(&cache, 0x2000);
	change(&cache, 0x5000);
	qcow2_cache_forget(&cache, 0x2000, ENTRY_LEN);
	assert_int_equal(qcow2_cache_write_behind(&cache), 0);
	assert_false(is_in_file(&cache, 0x2000));
	assert_true(is_in_file(&cache, 0x5000));
	close_behind(&cache);
}

/* What could not be written is kept for another time. */
static void test_failed_writes_stay_dirty(void **state)
{
	struct qcow2_cache cache;
	int fd;

	(void)state;
	open_behind(&cache);
	change(&cache, 0x2000);
	fd = cache.file->fd;
	((struct image_file *)(uintptr_t)cache.file)->fd = -1;
	assert_int_equal(qcow2_cache_write_behind(&cache), -EBADF);
	((struct image_file *)(uintptr_t)cache.file)->fd = fd;
	assert_int_equal(cache.n_dirty, 1);
	assert_int_equal(qcow2_cache_write_behind(&cache), 0);
	assert_true(is_in_file(&cache, 0x2000));
	close_behind(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_around_stays),
		cmocka_unit_test(test_changes_wait),
		cmocka_unit_test(test_changes_go_through),
		cmocka_unit_test(test_replaced_entries_are_written),
		cmocka_unit_test(test_forgotten_changes_are_not_written),
		cmocka_unit_test(test_failed_writes_stay_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
