/* SPDX-License-Identifier: ISC */
/*
 * The qcow2 engine from inside: the cache, refcounts of each width, what a
 * mapping says without waiting, how many flushes a write costs.
 */
#include "lib/image/qcow2.h"
#include "lib/base/error.h"
#include "tests/support/temp_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/qcow2-test.XXXXXX";
static struct image *image;

static void make_image(uint64_t size, const struct image_option *options,
		       unsigned n_options)
{
	const struct image_create_options how = { .format = "qcow2",
						  .size = size,
						  .has_size = true,
						  .options = options,
						  .n_options = n_options };
	struct error err = ERROR_INIT;

	if (image_create(path, &how, &err) < 0 ||
	    image_open(&image, path, NULL, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	(void)state;
	assert_true(temp_file_make(path, "/tmp/qcow2-test.XXXXXX"));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	image_abandon(image);
	image = NULL;
	unlink(path);
	return 0;
}

/* Neighbours keep their values, in each width. */
static void test_refcount_widths(void **state)
{
	(void)state;
	for (unsigned bits = 1; bits <= 64; bits *= 2) {
		uint8_t block[64] = { 0 };
		uint64_t max = bits == 64 ? UINT64_MAX : (1ULL << bits) - 1;

		qcow2_refcount_store(block, bits, 3, max);
		assert_true(qcow2_refcount_load(block, bits, 3) == max);
		assert_true(qcow2_refcount_load(block, bits, 2) == 0);
		assert_true(qcow2_refcount_load(block, bits, 4) == 0);
		qcow2_refcount_store(block, bits, 4, max);
		qcow2_refcount_store(block, bits, 3, 0);
		assert_true(qcow2_refcount_load(block, bits, 3) == 0);
		assert_true(qcow2_refcount_load(block, bits, 4) == max);
	}
}

/* "bit 0 means the least significant bit", wider ones are big-endian. */
static void test_refcount_order(void **state)
{
	uint8_t block[16] = { 0 };

	(void)state;
	qcow2_refcount_store(block, 2, 1, 3);
	assert_int_equal(block[0], 0x0c);
	qcow2_refcount_store(block, 16, 1, 0x1234);
	assert_int_equal(block[2], 0x12);
	assert_int_equal(block[3], 0x34);
	qcow2_refcount_store(block, 32, 1, 0xabcdef01);
	assert_int_equal(block[4], 0xab);
	assert_int_equal(block[7], 0x01);
}

static struct qcow2 *engine(void)
{
	return image->state;
}

static void test_cache_replaces_the_oldest(void **state)
{
	struct qcow2_cache cache;
	uint8_t *data;

	(void)state;
	make_image(1 << 20, NULL, 0);
	assert_int_equal(qcow2_cache_init(&cache, engine()->file,
					  IMAGE_EVENT_L2_LOAD,
					  IMAGE_EVENT_L2_UPDATE, 512, 8 * 512),
			 0);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(qcow2_cache_get(&cache, i * 512, &data), 0);
	assert_non_null(qcow2_cache_peek(&cache, 0)); /* the newest again */
	assert_int_equal(qcow2_cache_get(&cache, 8 * 512, &data), 0);
	assert_null(qcow2_cache_peek(&cache, 512));
	assert_non_null(qcow2_cache_peek(&cache, 0));
	assert_non_null(qcow2_cache_peek(&cache, 2 * 512));
	qcow2_cache_forget(&cache, 0, 1);
	assert_null(qcow2_cache_peek(&cache, 0));
	qcow2_cache_deinit(&cache);
}

static void test_cache_writes_through(void **state)
{
	struct qcow2_cache cache;
	uint8_t *data, on_disk[4];

	(void)state;
	make_image(1 << 20, NULL, 0);
	assert_int_equal(qcow2_cache_init(&cache, engine()->file,
					  IMAGE_EVENT_L2_LOAD,
					  IMAGE_EVENT_L2_UPDATE, 512, 4096),
			 0);
	assert_int_equal(qcow2_cache_get(&cache, 1 << 20, &data), 0);
	/* Over the end of one entry: only the first is cached. */
	assert_int_equal(qcow2_cache_write(&cache, (1 << 20) + 510, "abcd", 4),
			 0);
	assert_memory_equal(qcow2_cache_peek(&cache, (1 << 20) + 510), "ab", 2);
	assert_null(qcow2_cache_peek(&cache, (1 << 20) + 512));
	assert_int_equal(image_file_read(engine()->file, (1 << 20) + 510,
					 on_disk, 4),
			 0);
	assert_memory_equal(on_disk, "abcd", 4);
	qcow2_cache_deinit(&cache);
}

static void test_map_without_waiting(void **state)
{
	struct image_extent e;
	char byte = 1;

	(void)state;
	make_image(64 << 20, NULL, 0);
	/* No L2 table: known from the L1 table alone. */
	assert_int_equal(
		image_map(image, 0, 1 << 20, IMAGE_MAP_NOWAIT, &e, NULL), 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_HOLE);
	assert_int_equal(e.len, 1 << 20);
	assert_int_equal(image_write(image, 70000, &byte, 1, NULL), 0);
	assert_int_equal(image_close(image, NULL), 0);
	assert_int_equal(image_open(&image, path, NULL, NULL), 0);
	assert_int_equal(image_map(image, 65536, 10, IMAGE_MAP_NOWAIT, &e,
				   NULL),
			 -EAGAIN);
	assert_int_equal(image_map(image, 65536, 10, 0, &e, NULL), 0);
	assert_int_equal(image_map(image, 65540, 1 << 20, IMAGE_MAP_NOWAIT, &e,
				   NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(e.len, 65536 - 4);
	assert_true(e.is_writable_in_place && e.has_host_offset);
	assert_int_equal(e.host_offset % 65536, 4);
}

/* A run goes on over the end of an L2 table where the file goes on too. */
static void test_map_joins_tables(void **state)
{
	const struct image_option options[] = { { "cluster_size", "512" } };
	struct image_extent e;
	char *data = calloc(1, 128 << 10);

	(void)state;
	make_image(1 << 20, options, 1);
	assert_non_null(data);
	assert_int_equal(image_write(image, 0, data, 128 << 10, NULL), 0);
	assert_int_equal(image_map(image, 200 << 10, 800 << 10, 0, &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_HOLE);
	assert_int_equal(e.len, 800 << 10);
	free(data);
}

static uint64_t flushes_of_write(uint64_t offset, size_t len)
{
	uint64_t before = engine()->n_flush_begun;
	char *data = calloc(1, len);

	assert_non_null(data);
	memset(data, 'x', len);
	assert_int_equal(image_write(image, offset, data, len, NULL), 0);
	free(data);
	return engine()->n_flush_begun - before;
}

/* New clusters cost no flush of the file, zeroes around them neither. */
static void test_plain_writes_do_not_flush(void **state)
{
	(void)state;
	make_image(64 << 20, NULL, 0);
	flushes_of_write(0, 1);
	assert_int_equal(flushes_of_write(10 << 20, 1000), 0);
	assert_int_equal(flushes_of_write(20 << 20, 300000), 0);
	assert_int_equal(flushes_of_write(20 << 20, 4096), 0);
}

static void test_flush_is_one_flush(void **state)
{
	uint64_t before;

	(void)state;
	make_image(64 << 20, NULL, 0);
	flushes_of_write(0, 1 << 20);
	assert_int_equal(image_discard(image, 0, 1 << 19, NULL), 0);
	before = engine()->n_flush_begun;
	assert_int_equal(image_flush(image, NULL), 0);
	assert_int_equal(engine()->n_flush_begun - before, 1);
}

/* What a discard frees may be used again only after a flush. */
static void test_freed_clusters_wait_for_a_flush(void **state)
{
	struct image_extent before, after;
	uint64_t count;

	(void)state;
	make_image(64 << 20, NULL, 0);
	flushes_of_write(0, 65536);
	assert_int_equal(image_map(image, 0, 65536, 0, &before, NULL), 0);
	assert_int_equal(image_discard(image, 0, 65536, NULL), 0);
	assert_int_equal(image_map(image, 0, 65536, 0, &after, NULL), 0);
	assert_int_equal(after.kind, IMAGE_EXTENT_ZERO);
	assert_int_equal(qcow2_get_refcount(engine(),
					    before.host_offset / 65536, &count,
					    NULL),
			 0);
	assert_int_equal(count, 1);
	assert_int_equal(image_flush(image, NULL), 0);
	assert_int_equal(qcow2_get_refcount(engine(),
					    before.host_offset / 65536, &count,
					    NULL),
			 0);
	assert_int_equal(count, 0);
}

static void test_overlap_is_found(void **state)
{
	struct qcow2 *q;

	(void)state;
	make_image(64 << 20, NULL, 0);
	flushes_of_write(0, 1);
	q = engine();
	assert_int_equal(qcow2_find_overlap(q, 0, 100, 1),
			 QCOW2_SECTION_HEADER);
	assert_int_equal(qcow2_find_overlap(q, 0, q->header.l1_offset + 4000,
					    1),
			 QCOW2_SECTION_L1);
	assert_int_equal(qcow2_find_overlap(q, 0, q->l1[0] & QCOW2_OFFSET_MASK,
					    8),
			 QCOW2_SECTION_L2);
	assert_int_equal(qcow2_find_overlap(q, 0, q->refcount_table[0], 65536),
			 QCOW2_SECTION_REFCOUNT_BLOCK);
	assert_int_equal(qcow2_find_overlap(q, QCOW2_SECTION_REFCOUNT_BLOCK,
					    q->refcount_table[0], 65536),
			 QCOW2_SECTION_NONE);
	assert_int_equal(qcow2_find_overlap(q, 0, 40 << 20, 1 << 20),
			 QCOW2_SECTION_NONE);
}

static void test_options_are_checked_before_the_file(void **state)
{
	const struct image_option options[] = { { "cluster_size", "1000" } };
	const struct image_create_options how = {
		.format = "qcow2",
		.has_size = true,
		.options = options,
		.n_options = 1,
	};
	struct error err = ERROR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(truncate(path, 77), 0);
	assert_int_equal(image_create(path, &how, &err), -EINVAL);
	assert_string_equal(err.text, "Cluster size must be a power of two "
				      "between 512 and 2048k");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refcount_widths),
		cmocka_unit_test(test_refcount_order),
		cmocka_unit_test_setup_teardown(test_cache_replaces_the_oldest,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_cache_writes_through,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_map_without_waiting, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_map_joins_tables, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_plain_writes_do_not_flush,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush_is_one_flush, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_freed_clusters_wait_for_a_flush, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlap_is_found, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_options_are_checked_before_the_file, setup,
			teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
