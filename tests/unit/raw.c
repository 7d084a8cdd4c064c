/* SPDX-License-Identifier: ISC */
/* Raw images: what they show, how they grow, and the guard of block 0. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum {
	SIZE = 1024 * 1024,
};

static char path[] = "/var/tmp/raw.XXXXXX";

static const struct image_open_options as_raw = { .format = "raw" };

static void make_file(uint64_t size)
{
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(truncate(path, (off_t)size), 0);
}

static struct image *open_image(const struct image_open_options *options)
{
	struct image *image = NULL;

	assert_int_equal(image_open(&image, path, options, NULL), 0);
	return image;
}

static uint64_t file_size(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

/* The disk ends with a whole sector, whatever the file does. */
static void size_is_in_sectors(void **state)
{
	struct image *image;
	uint8_t sector[512], zero[512] = { 0 };

	(void)state;
	make_file(1000);
	image = open_image(&as_raw);
	assert_int_equal(image_size(image), 1024);
	assert_string_equal(image_format_name(image), "raw");
	memset(sector, 1, sizeof(sector));
	assert_int_equal(image_read(image, 512, sector, 512, NULL), 0);
	assert_memory_equal(sector, zero, 512);
	assert_int_equal(image_read(image, 513, sector, 512, NULL), -EINVAL);
	memset(sector, 1, sizeof(sector));
	assert_int_equal(image_write(image, 512, sector, 512, NULL), 0);
	assert_int_equal(file_size(), 1024);
	assert_int_equal(image_close(image, NULL), 0);
}

static void holes_are_zero_extents(void **state)
{
	struct image *image;
	struct image_extent extent;
	uint8_t block[4096];

	(void)state;
	make_file(SIZE);
	image = open_image(&as_raw);
	memset(block, 7, sizeof(block));
	assert_int_equal(image_write(image, 65536, block, 4096, NULL), 0);
	assert_int_equal(image_map(image, 0, SIZE, 0, &extent, NULL), 0);
	assert_int_equal(extent.kind, IMAGE_EXTENT_ZERO);
	assert_int_equal(extent.len, 65536);
	assert_int_equal(image_map(image, 65536, 4096, IMAGE_MAP_CHAIN, &extent,
				   NULL),
			 0);
	assert_int_equal(extent.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(extent.len, 4096);
	assert_true(extent.has_host_offset && extent.is_writable_in_place);
	assert_int_equal(extent.host_offset, 65536);
	assert_ptr_equal(extent.layer, image);
	assert_int_equal(
		image_map(image, 0, SIZE, IMAGE_MAP_NOWAIT, &extent, NULL), 0);
	assert_int_equal(extent.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(extent.len, SIZE);
	assert_int_equal(image_map(image, 0, 0, 0, &extent, NULL), -EINVAL);
	assert_int_equal(image_map(image, SIZE, 1, 0, &extent, NULL), -EINVAL);
	image_abandon(image);
}

/* What the file does not hold is not mapped for reading in place. */
static void tail_is_not_mapped_from_memory(void **state)
{
	struct image *image;
	struct image_extent extent;

	(void)state;
	make_file(1000);
	image = open_image(&as_raw);
	assert_int_equal(
		image_map(image, 0, 1024, IMAGE_MAP_NOWAIT, &extent, NULL), 0);
	assert_int_equal(extent.len, 1000);
	assert_int_equal(image_map(image, 1000, 24, IMAGE_MAP_NOWAIT, &extent,
				   NULL),
			 -EAGAIN);
	image_abandon(image);
}

static void zeroes_and_discard(void **state)
{
	struct image *image;
	uint8_t buf[8192];

	(void)state;
	make_file(SIZE);
	image = open_image(&as_raw);
	memset(buf, 7, sizeof(buf));
	assert_int_equal(image_write(image, 0, buf, sizeof(buf), NULL), 0);
	assert_int_equal(image_write_zeroes(image, 100, 4000, 0, NULL), 0);
	assert_int_equal(image_write_zeroes(image, 4100, 4000,
					    IMAGE_ZERO_MAY_UNMAP, NULL),
			 0);
	assert_int_equal(image_read(image, 0, buf, sizeof(buf), NULL), 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], i < 100 || i >= 8100 ? 7 : 0);
	assert_int_equal(image_discard(image, 0, SIZE, NULL), 0);
	assert_int_equal(image_flush(image, NULL), 0);
	assert_int_equal(image_close(image, NULL), 0);
	assert_int_equal(file_size(), SIZE);
}

static void guessed_raw_guards_block_0(void **state)
{
	struct image *image;
	struct image_extent extent;
	struct error err = ERROR_INIT;
	uint8_t sector[512] = "QFI\xfb\0\0\0\2";

	(void)state;
	make_file(SIZE);
	image = open_image(NULL);
	assert_string_equal(image_format_name(image), "raw");
	assert_int_equal(image_write(image, 0, sector, 512, &err), -EPERM);
	assert_non_null(strstr(err.text, "block 0"));
	/* The same in two halves. */
	assert_int_equal(image_write(image, 0, sector, 4, NULL), 0);
	assert_int_equal(image_write(image, 4, sector + 4, 4, NULL), -EPERM);
	/* Elsewhere it is only data. */
	assert_int_equal(image_write(image, 512, sector, 512, NULL), 0);
	assert_int_equal(image_write(image, 0, "no magic", 8, NULL), 0);
	assert_int_equal(image_write_zeroes(image, 0, 512, 0, NULL), 0);
	/* And nobody may go round the guard. */
	assert_int_equal(
		image_map(image, 0, SIZE, IMAGE_MAP_NOWAIT, &extent, NULL), 0);
	assert_false(extent.is_writable_in_place);
	assert_int_equal(extent.len, 512);
	assert_int_equal(
		image_map(image, 512, 512, IMAGE_MAP_NOWAIT, &extent, NULL), 0);
	assert_true(extent.is_writable_in_place);
	image_abandon(image);

	image = open_image(&as_raw);
	assert_int_equal(image_write(image, 0, sector, 512, NULL), 0);
	image_abandon(image);
}

/* A container must not be shown as a disk, least of all a damaged one. */
static void other_formats_are_not_raw(void **state)
{
	static const struct {
		off_t offset;
		const char *magic;
	} formats[] = {
		{ 0, "KDMV" },	       { 0, "vhdxfile" },
		{ 0, "conectix" },     { 64, "\x7f\x10\xda\xbe" },
		{ 0, "LUKS\xba\xbe" },
	};
	struct image *image = NULL;

	(void)state;
	for (unsigned i = 0; i < array_size(formats); i++) {
		struct error err = ERROR_INIT;
		_cleanup_fd_ int fd = open(path, O_RDWR | O_CLOEXEC);
		size_t len = strlen(formats[i].magic);

		make_file(SIZE);
		assert_int_equal(pwrite(fd, formats[i].magic, len,
					formats[i].offset),
				 len);
		assert_int_not_equal(image_open(&image, path, NULL, &err), 0);
		assert_string_not_equal(err.text, "");
		image_abandon(open_image(&as_raw));
	}
}

static void read_only_is_only_read(void **state)
{
	const struct image_open_options how = { .format = "raw",
						.flags = IMAGE_READ_ONLY };
	struct image *image;

	(void)state;
	make_file(SIZE);
	image = open_image(&how);
	assert_true(image_is_read_only(image));
	assert_int_equal(image_write(image, 0, "a", 1, NULL), -EROFS);
	assert_int_equal(image_write_zeroes(image, 0, 1, 0, NULL), -EROFS);
	assert_int_equal(image_discard(image, 0, 1, NULL), -EROFS);
	assert_int_equal(image_resize(image, 2, NULL, NULL), -EROFS);
	assert_int_equal(image_flush(image, NULL), 0);
	assert_int_equal(image_close(image, NULL), 0);
}

static void resizes(void **state)
{
	struct image_resize_options how = { .preallocation = "falloc" };
	struct image *image;
	struct stat st;

	(void)state;
	make_file(SIZE);
	image = open_image(&as_raw);
	assert_int_equal(image_resize(image, 2 * SIZE, &how, NULL), 0);
	assert_int_equal(image_size(image), 2 * SIZE);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 >= SIZE);
	assert_int_equal(image_resize(image, SIZE, NULL, NULL), -EINVAL);
	how = (struct image_resize_options){ .may_shrink = true };
	assert_int_equal(image_resize(image, SIZE / 2, &how, NULL), 0);
	assert_int_equal(file_size(), SIZE / 2);
	how.preallocation = "metadata";
	assert_int_equal(image_resize(image, SIZE, &how, NULL), -ENOTSUP);
	how.preallocation = "much";
	assert_int_equal(image_resize(image, SIZE, &how, NULL), -EINVAL);
	assert_int_equal(image_resize(image, UINT64_MAX, &how, NULL), -EFBIG);
	assert_int_equal(image_size(image), SIZE / 2);
	assert_int_equal(image_close(image, NULL), 0);
}

static void creates(void **state)
{
	const struct image_option full = { "preallocation", "full" };
	const struct image_option wrong = { "cluster_size", "65536" };
	struct image_create_options how = { .format = "raw",
					    .size = SIZE,
					    .has_size = true };
	struct stat st;

	(void)state;
	make_file(77);
	assert_int_equal(image_create(path, &how, NULL), 0);
	assert_int_equal(file_size(), SIZE);
	how.options = &wrong;
	how.n_options = 1;
	assert_int_equal(image_create(path, &how, NULL), -EINVAL);
	how.options = &full;
	assert_int_equal(image_create(path, &how, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 >= SIZE);
	how.backing_path = path;
	how.is_backing_unchecked = true;
	assert_int_equal(image_create(path, &how, NULL), -ENOTSUP);
	how = (struct image_create_options){ .format = "raw" };
	assert_int_equal(image_create(path, &how, NULL), -EINVAL);
	how.format = "none";
	assert_int_equal(image_create(path, &how, NULL), -ENOENT);
}

static int set_up(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	if (fd >= 0)
		close(fd);
	return fd < 0;
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_is_in_sectors),
		cmocka_unit_test(holes_are_zero_extents),
		cmocka_unit_test(tail_is_not_mapped_from_memory),
		cmocka_unit_test(zeroes_and_discard),
		cmocka_unit_test(guessed_raw_guards_block_0),
		cmocka_unit_test(other_formats_are_not_raw),
		cmocka_unit_test(read_only_is_only_read),
		cmocka_unit_test(resizes),
		cmocka_unit_test(creates),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
