/* SPDX-License-Identifier: ISC */
/*
 * Extended L2 entries, bitmaps and data files of the qcow2 engine, from
 * inside: which subclusters a write takes along, what bitmaps of different
 * granularities say, and who decides about a data file.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"
#include "tests/support/temp_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	SUBCLUSTER = 2048, /* of clusters of 64 KiB */
	CLUSTER = 64 << 10,
	SIZE = 1 << 20,
};

static char path[] = "/tmp/qcow2-test.XXXXXX";
static struct image *image;

static void make_image(const char *name, const char *value)
{
	const struct image_option option = { name, value };
	const struct image_create_options how = { .format = "qcow2",
						  .size = SIZE,
						  .has_size = true,
						  .options = &option,
						  .n_options = name != NULL };
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

static void do_write(uint64_t offset, size_t len)
{
	char *buf = malloc(len);

	assert_non_null(buf);
	memset(buf, 'x', len);
	assert_int_equal(image_write(image, offset, buf, len, NULL), 0);
	free(buf);
}

/* The second word of a guest cluster's entry. */
static uint64_t bitmap_of(uint64_t index)
{
	struct qcow2 *q = image->state;
	struct qcow2_run run;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_map_clusters(q, index, 1, &run, NULL);
	pthread_mutex_unlock(&q->lock);
	assert_int_equal(rc, 0);
	return run.bitmap;
}

static void test_a_write_takes_its_subclusters(void **state)
{
	(void)state;
	make_image("extended_l2", "on");
	do_write(5 * SUBCLUSTER + 100, 10);
	assert_true(bitmap_of(0) == 1 << 5);
	do_write(7 * SUBCLUSTER - 1, 2);
	assert_true(bitmap_of(0) == 7 << 5);
	do_write(CLUSTER - 1, 1);
	assert_true(bitmap_of(0) == (7 << 5 | 1U << 31));
	do_write(CLUSTER, 3 * CLUSTER);
	assert_true(bitmap_of(3) == QCOW2_SUBCLUSTERS_ALLOCATED);
	assert_true(bitmap_of(4) == 0);
}

static void test_zeroes_are_bits(void **state)
{
	uint64_t expected = 1 << 9 | 15ULL << (32 + 5);

	(void)state;
	make_image("extended_l2", "on");
	do_write(5 * SUBCLUSTER, 5 * SUBCLUSTER);
	assert_int_equal(image_write_zeroes(image, 5 * SUBCLUSTER,
					    4 * SUBCLUSTER, 0, NULL),
			 0);
	assert_true(bitmap_of(0) == expected);
	assert_int_equal(image_write_zeroes(image, 0, CLUSTER, 0, NULL), 0);
	assert_true(bitmap_of(0) == QCOW2_SUBCLUSTERS_ZERO);
	do_write(SUBCLUSTER, 1);
	assert_true(bitmap_of(0) ==
		    ((QCOW2_SUBCLUSTERS_ZERO & ~(2ULL << 32)) | 2));
}

/* The disk's new cluster takes along what the old one had, and no more. */
static void test_snapshots_share_subclusters(void **state)
{
	const struct image_snapshot_info what = { .name = "s" };

	(void)state;
	make_image("extended_l2", "on");
	do_write(2 * SUBCLUSTER, SUBCLUSTER);
	do_write(6 * SUBCLUSTER, SUBCLUSTER);
	assert_int_equal(image_snapshot_create(image, &what, NULL), 0);
	do_write(6 * SUBCLUSTER, SUBCLUSTER);
	assert_true(bitmap_of(0) == (31 << 2));
	do_write(20 * SUBCLUSTER, SUBCLUSTER);
	assert_true(bitmap_of(0) == (31 << 2 | 1 << 20));
	assert_int_equal(image_snapshot_apply(image, 0, NULL), 0);
	assert_true(bitmap_of(0) == (1 << 2 | 1 << 6));
}

static void test_entries_that_cannot_be(void **state)
{
	struct qcow2 q = { .has_subclusters = true };

	(void)state;
	assert_true(qcow2_is_bitmap_valid(&q, 0, QCOW2_SUBCLUSTERS_ZERO));
	assert_true(qcow2_is_bitmap_valid(&q, 1 << 16, 1));
	assert_true(qcow2_is_bitmap_valid(&q, 1 << 16, 1 | 2ULL << 32));
	assert_false(qcow2_is_bitmap_valid(&q, 1 << 16, 1 | 1ULL << 32));
	assert_false(qcow2_is_bitmap_valid(&q, 0, 1));
	assert_true(qcow2_is_bitmap_valid(&q, QCOW2_COMPRESSED, 0));
	assert_false(qcow2_is_bitmap_valid(&q, QCOW2_COMPRESSED, 1ULL << 32));
}

static void assert_bits(const char *name, uint64_t offset, bool is_set,
			uint64_t len)
{
	uint64_t n = 0;
	bool is = !is_set;

	assert_int_equal(image_bitmap_get(image, name, offset, &is, &n, NULL),
			 0);
	assert_int_equal(is, is_set);
	assert_int_equal(n, len);
}

static void test_bitmaps_of_two_granularities(void **state)
{
	(void)state;
	make_image(NULL, NULL);
	assert_int_equal(image_bitmap_add(image, "fine", 512, true, NULL), 0);
	assert_int_equal(image_bitmap_add(image, "coarse", 65536, false, NULL),
			 0);
	do_write(70000, 1000);
	assert_bits("fine", 0, false, 136 * 512);
	assert_bits("fine", 136 * 512, true, 3 * 512);
	assert_bits("coarse", 0, false, SIZE);
	assert_int_equal(
		image_bitmap_merge(image, "coarse", image, "fine", NULL), 0);
	assert_bits("coarse", 0, false, 65536);
	assert_bits("coarse", 65536, true, 65536);
	assert_int_equal(image_bitmap_clear(image, "fine", NULL), 0);
	assert_bits("fine", 100, false, SIZE - 100);
	assert_int_equal(
		image_bitmap_merge(image, "fine", image, "coarse", NULL), 0);
	assert_bits("fine", 65536, true, 65536);
	assert_int_equal(image_bitmap_add(image, "fine", 512, true, NULL),
			 -EEXIST);
	assert_int_equal(image_bitmap_remove(image, "none", NULL), -ENOENT);
}

/* What is marked on the disk while there is a writer is worth nothing after
 * it is gone. */
static void test_bitmaps_survive_a_close_alone(void **state)
{
	struct image_info info;

	(void)state;
	make_image(NULL, NULL);
	assert_int_equal(image_bitmap_add(image, "b", 512, true, NULL), 0);
	do_write(512, 512);
	assert_int_equal(image_close(image, NULL), 0);
	assert_int_equal(image_open(&image, path, NULL, NULL), 0);
	assert_bits("b", 512, true, 512);
	do_write(4096, 512);
	/* As if killed: its descriptor goes, with what it had in memory. */
	assert_int_equal(image_flush(image, NULL), 0);
	close(image->file->fd);
	image_abandon(image);
	assert_int_equal(image_open(&image, path, NULL, NULL), 0);
	assert_int_equal(image_get_info(image, &info, NULL), 0);
	assert_int_equal(info.n_bitmaps, 1);
	assert_true(info.bitmaps[0].is_in_use);
	assert_int_equal(image_bitmap_clear(image, "b", NULL), -EINVAL);
	assert_int_equal(image_bitmap_remove(image, "b", NULL), 0);
}

static bool deny(void *context, const char *name)
{
	(void)name;
	++*(unsigned *)context;
	return false;
}

static void test_policy_decides_about_a_data_file(void **state)
{
	unsigned n_asked = 0;
	const struct image_open_options how = { .may_open = deny,
						.policy_context = &n_asked };
	char data[sizeof(path) + 8];
	struct image *refused;

	(void)state;
	snprintf(data, sizeof(data), "%s.data", path);
	make_image("data_file", data);
	image_abandon(image);
	image = NULL;
	assert_int_equal(image_open(&refused, path, &how, NULL), -EACCES);
	assert_int_equal(n_asked, 1);
	assert_int_equal(image_open(&image, path, NULL, NULL), 0);
	unlink(data);
}

#define IN_IMAGE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_IMAGE(test_a_write_takes_its_subclusters),
		IN_IMAGE(test_zeroes_are_bits),
		IN_IMAGE(test_snapshots_share_subclusters),
		cmocka_unit_test(test_entries_that_cannot_be),
		IN_IMAGE(test_bitmaps_of_two_granularities),
		IN_IMAGE(test_bitmaps_survive_a_close_alone),
		IN_IMAGE(test_policy_decides_about_a_data_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
