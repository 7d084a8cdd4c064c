/* SPDX-License-Identifier: ISC */
/* What the formats with a table share: the table's cache, checksums, UUIDs,
 * and that several threads can write to one image of each. */
#include "lib/base/error.h"
#include "lib/image/crc32c.h"
#include "lib/image/file.h"
#include "lib/image/guid.h"
#include "lib/image/image.h"
#include "lib/image/table.h"
#include "tests/support/temp_file.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	THREADS = 4,
	PIECE = 24 << 10, /* of a disk that is theirs in turn */
	DISK = 6 << 20,
};

static void make_path(char *path)
{
	assert_true(temp_file_make(path, "/tmp/pipevisor-blocks.XXXXXX"));
}

/* RFC 3720 §B.4. */
static void test_crc32c(void **state)
{
	uint8_t data[32] = { 0 };

	(void)state;
	assert_int_equal(crc32c(0, data, sizeof(data)), 0x8a9136aa);
	memset(data, 0xff, sizeof(data));
	assert_int_equal(crc32c(0, data, sizeof(data)), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, data, sizeof(data)), 0x46dd794e);
	assert_int_equal(crc32c(crc32c(0, data, 5), data + 5, 27), 0x46dd794e);
}

static void test_guid(void **state)
{
	uint8_t a[GUID_LEN], b[GUID_LEN];

	(void)state;
	guid_generate(a);
	guid_generate(b);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(a[6] >> 4, 4);
	assert_int_equal(a[8] >> 6, 2);
}

/* Of a new file, which is empty. */
static void open_table(struct table *table, struct image_file **file,
		       char path[64])
{
	make_path(path);
	assert_int_equal(image_file_open(file, path, IMAGE_FILE_CREATE, NULL),
			 0);
	table_init(table, *file);
}

static void close_table(struct table *table, struct image_file *file,
			const char *path)
{
	table_deinit(table);
	image_file_close(file);
	unlink(path);
}

static void test_table(void **state)
{
	const uint64_t far = (uint64_t)TABLE_PAGE_LEN * TABLE_PAGES;
	uint8_t data[20], back[20];
	struct image_file *file;
	struct table table;
	char path[64];

	(void)state;
	open_table(&table, &file, path);
	memset(data, 7, sizeof(data));
	/* Over the border of two pages, neither of which is there. */
	assert_int_equal(table_read(&table, TABLE_PAGE_LEN - 10, back, 20,
				    true),
			 -EAGAIN);
	assert_int_equal(
		table_read(&table, TABLE_PAGE_LEN - 10, back, 20, false), 0);
	assert_int_equal(back[15], 0);
	assert_int_equal(table_write(&table, TABLE_PAGE_LEN - 10, data, 20), 0);
	assert_int_equal(
		table_read(&table, TABLE_PAGE_LEN - 10, back, 20, true), 0);
	assert_memory_equal(back, data, 20);
	/* Another page in the first one's slot. */
	assert_int_equal(table_read(&table, far, back, 20, false), 0);
	assert_int_equal(back[0], 0);
	assert_int_equal(table_read(&table, TABLE_PAGE_LEN - 10, back, 20,
				    true),
			 -EAGAIN);
	assert_int_equal(table_clear(&table, TABLE_PAGE_LEN, 5), 0);
	assert_int_equal(
		table_read(&table, TABLE_PAGE_LEN - 10, back, 20, false), 0);
	assert_int_equal(back[9], 7);
	assert_int_equal(back[14], 0);
	assert_int_equal(back[15], 7);
	close_table(&table, file, path);
}

static void assert_in_file(const struct image_file *file, uint64_t offset,
			   uint32_t wanted)
{
	uint32_t entry = 1;

	assert_int_equal(image_file_read(file, offset, &entry, sizeof(entry)),
			 0);
	assert_int_equal(entry, wanted);
}

/* Entries arrive all at once, when another page is written to or has to be
 * where theirs is, and are to be read all the while. */
static void test_table_later(void **state)
{
	const uint64_t far = (uint64_t)TABLE_PAGE_LEN * TABLE_PAGES;
	const uint32_t entry = 7;
	uint32_t back = 0;
	struct image_file *file;
	struct table table;
	char path[64];

	(void)state;
	open_table(&table, &file, path);
	assert_int_equal(table_write_later(&table, 40, &entry, 4), 0);
	assert_int_equal(table_write_later(&table, 20, &entry, 4), 0);
	assert_int_equal(table_write_later(&table, 60, &entry, 4), 0);
	assert_in_file(file, 40, 0);
	assert_int_equal(table_read(&table, 20, &back, 4, true), 0);
	assert_int_equal(back, entry);
	assert_int_equal(table_write_later(&table, TABLE_PAGE_LEN, &entry, 4),
			 0);
	for (uint64_t at = 20; at <= 60; at += 20)
		assert_in_file(file, at, entry);
	assert_in_file(file, TABLE_PAGE_LEN, 0);
	assert_int_equal(
		table_read(&table, far + TABLE_PAGE_LEN, &back, 4, false), 0);
	assert_in_file(file, TABLE_PAGE_LEN, entry);
	assert_int_equal(table_write_later(&table, 3 * far, &entry, 4), 0);
	assert_int_equal(table_write_back(&table), 0);
	assert_int_equal(table_write_back(&table), 0);
	assert_in_file(file, 3 * far, entry);
	close_table(&table, file, path);
}

/* In a page, in holes of the file, behind its end, and after a write. */
static void test_table_zeroes(void **state)
{
	const uint64_t far = UINT64_C(1) << 30, entry = 7;
	struct image_file *file;
	struct table table;
	uint64_t back = 1;
	char path[64];

	(void)state;
	open_table(&table, &file, path);
	assert_int_equal(table_write(&table, far, &entry, sizeof(entry)), 0);
	assert_int_equal(table_count_zeroes(&table, far, 80), 0);
	assert_int_equal(table_count_zeroes(&table, far - 20, 80), 20);
	assert_int_equal(table_count_zeroes(&table, far + 8, 80), 80);
	/* The whole hole at once, or what was asked for of it. */
	assert_int_equal(table_count_zeroes(&table, 0, 1000), 1000);
	assert_true(table_count_zeroes(&table, 0, 2 * far) > far / 2);
	assert_true(table_count_zeroes(&table, 0, 2 * far) <= far);
	assert_int_equal(table_read(&table, far / 4, &back, sizeof(back), true),
			 0);
	assert_int_equal(back, 0);
	assert_int_equal(table_count_zeroes(&table, 2 * far, far), far);
	/* A hole is one no longer when something is written to it. */
	assert_int_equal(table_write(&table, 3 * far, &entry, sizeof(entry)),
			 0);
	assert_int_equal(table_count_zeroes(&table, 2 * far + 8, 2 * far),
			 far - 8);
	assert_int_equal(
		table_read(&table, 3 * far, &back, sizeof(back), false), 0);
	assert_int_equal(back, entry);
	close_table(&table, file, path);
}

struct walked {
	unsigned n_shown; /* entries, of which so many are not zero */
	unsigned n_set;
	uint32_t last;
	uint64_t last_index;
	uint32_t end_at; /* this one */
};

static int look(void *context, const struct table_part *part)
{
	struct walked *w = context;
	const uint32_t *entries = part->entries;

	for (uint64_t i = 0; i < part->n; i++) {
		w->n_shown++;
		if (entries[i] == 0)
			continue;
		w->n_set++;
		w->last = entries[i];
		w->last_index = part->first + i;
		if (entries[i] == w->end_at)
			return 5;
	}
	return 0;
}

/* All entries that are not zero, and few of the others. */
static void test_table_walk(void **state)
{
	const uint64_t first = 1000, n = UINT64_C(1) << 30;
	const uint64_t places[] = { 0, 1, 3, 5000, n / 2, n - 1 };
	struct image_file *file;
	struct walked w = { .n_shown = 0 };
	struct table table;
	char path[64];

	(void)state;
	open_table(&table, &file, path);
	assert_int_equal(table_walk(&table, first, n, 4, look, &w), 0);
	assert_int_equal(w.n_shown, 2);
	for (uint32_t i = 1; i <= 6; i++)
		assert_int_equal(table_write(&table, first + places[i - 1] * 4,
					     &i, sizeof(i)),
				 0);
	w.n_shown = 0;
	assert_int_equal(table_walk(&table, first, n, 4, look, &w), 0);
	assert_int_equal(w.n_set, 6);
	assert_int_equal(w.last, 6);
	assert_int_equal(w.last_index, n - 1);
	assert_true(w.n_shown < 1000000);
	/* Not the last one, which is another table's. */
	w = (struct walked){ .n_shown = 0 };
	assert_int_equal(table_walk(&table, first, n - 1, 4, look, &w), 0);
	assert_int_equal(w.last, 5);
	w = (struct walked){ .end_at = 3 };
	assert_int_equal(table_walk(&table, first, n, 4, look, &w), 5);
	assert_int_equal(w.last, 3);
	assert_int_equal(table_walk(&table, first, 0, 4, look, &w), 0);
	close_table(&table, file, path);
}

static int add_numbers(void *context, const struct table_part *part)
{
	const uint64_t *entries = part->entries;
	uint64_t *sum = context;

	for (uint64_t i = 0; i < part->n; i++)
		*sum += entries[i];
	return 0;
}

/* Of 8 bytes each, some of which are zero, and wherever pages end. */
static void test_table_walk_long_entries(void **state)
{
	const uint64_t first = 1004, n = 5000;
	uint64_t sum = 0, expected = 0;
	struct image_file *file;
	struct table table;
	char path[64];

	(void)state;
	open_table(&table, &file, path);
	for (uint64_t i = 0; i < n; i += 1 + i % 3) {
		uint64_t entry = UINT64_C(1) << (i * 7 % 50);

		assert_int_equal(table_write(&table, first + i * 8, &entry,
					     sizeof(entry)),
				 0);
		expected += entry;
	}
	assert_int_equal(table_walk(&table, first, n, 8, add_numbers, &sum), 0);
	assert_int_equal(sum, expected);
	close_table(&table, file, path);
}

struct writer {
	struct image *image;
	unsigned index;
	int result;
};

/* Every fourth piece is this thread's: they meet within blocks. */
static void *write_pieces(void *context)
{
	struct writer *w = context;
	uint8_t data[PIECE];

	for (uint64_t at = (uint64_t)w->index * PIECE; at < DISK;
	     at += (uint64_t)THREADS * PIECE) {
		size_t n = DISK - at < PIECE ? (size_t)(DISK - at) : PIECE;

		memset(data, (int)(at / PIECE % 251 + 1), n);
		w->result = image_write(w->image, at, data, n, NULL);
		if (w->result < 0)
			break;
	}
	return NULL;
}

static void check_pieces(struct image *image)
{
	uint8_t *disk = malloc(DISK);

	assert_non_null(disk);
	assert_int_equal(image_read(image, 0, disk, DISK, NULL), 0);
	for (uint64_t i = 0; i < DISK; i++)
		if (disk[i] != i / PIECE % 251 + 1)
			fail_msg("%s: byte %llu", image_format_name(image),
				 (unsigned long long)i);
	free(disk);
}

static void write_at_once(const char *format, const char *name,
			  const char *value)
{
	const struct image_option option = { name, value };
	const struct image_create_options how = {
		.format = format,
		.size = DISK,
		.has_size = true,
		.options = &option,
		.n_options = name != NULL,
	};
	const struct image_open_options open_how = { .format = format };
	struct writer writers[THREADS];
	pthread_t threads[THREADS];
	struct image *image;
	char path[64];

	make_path(path);
	assert_int_equal(image_create(path, &how, NULL), 0);
	assert_int_equal(image_open(&image, path, &open_how, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){ .image = image, .index = i };
		assert_int_equal(pthread_create(&threads[i], NULL, write_pieces,
						&writers[i]),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(writers[i].result, 0);
	}
	check_pieces(image);
	assert_int_equal(image_close(image, NULL), 0);
	assert_int_equal(image_open(&image, path, &open_how, NULL), 0);
	check_pieces(image);
	assert_int_equal(image_close(image, NULL), 0);
	unlink(path);
}

static void test_threads(void **state)
{
	(void)state;
	write_at_once("vdi", NULL, NULL);
	write_at_once("vpc", "force_size", "on");
	write_at_once("vmdk", NULL, NULL);
	write_at_once("vmdk", "subformat", "streamOptimized");
	write_at_once("vhdx", "block_size", "1048576");
	write_at_once("parallels", "cluster_size", "65536");
	write_at_once("qed", "cluster_size", "4096");
	write_at_once("qcow", NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c),
		cmocka_unit_test(test_guid),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_later),
		cmocka_unit_test(test_table_zeroes),
		cmocka_unit_test(test_table_walk),
		cmocka_unit_test(test_table_walk_long_entries),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
