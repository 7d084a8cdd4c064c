/* SPDX-License-Identifier: ISC */
/*
 * What image.c and chain.c do for every format: bounds, and how layers lie on
 * each other. The layers here are of a format of the test's own: even blocks
 * of 4 KiB are data, odd ones are not there.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum {
	BLOCK = 4096,
	N_BLOCKS = 8,
	SIZE = N_BLOCKS * BLOCK,
};

static char path[] = "/var/tmp/image.XXXXXX";
static unsigned n_calls;

static bool is_hole(uint64_t offset)
{
	return offset / BLOCK % 2 == 1;
}

static int sparse_readv(struct image *image, uint64_t offset,
			const struct iovec *iov, unsigned n_iov,
			struct error *err)
{
	n_calls++;
	if (is_hole(offset))
		return image_backing_readv(image, offset, iov, n_iov, err);
	for (unsigned i = 0; i < n_iov; i++)
		memset(iov[i].iov_base, 'a', iov[i].iov_len);
	return 0;
}

static int sparse_writev(struct image *image, uint64_t offset,
			 const struct iovec *iov, unsigned n_iov,
			 struct error *err)
{
	(void)image;
	(void)offset;
	(void)iov;
	(void)n_iov;
	(void)err;
	n_calls++;
	return 0;
}

static int sparse_range(struct image *image, uint64_t offset, uint64_t len,
			struct error *err)
{
	(void)image;
	(void)offset;
	(void)len;
	(void)err;
	n_calls++;
	return 0;
}

static int sparse_zeroes(struct image *image, uint64_t offset, uint64_t len,
			 unsigned flags, struct error *err)
{
	(void)flags;
	return sparse_range(image, offset, len, err);
}

static int sparse_map(struct image *image, uint64_t offset, uint64_t len,
		      unsigned flags, struct image_extent *extent,
		      struct error *err)
{
	(void)image;
	(void)flags;
	(void)err;
	extent->kind = is_hole(offset) ? IMAGE_EXTENT_HOLE : IMAGE_EXTENT_DATA;
	extent->len = BLOCK - offset % BLOCK;
	extent->is_writable_in_place = true;
	/* A format may answer for more than was asked. */
	(void)len;
	return 0;
}

static const struct image_format sparse = {
	.name = "sparse",
	.readv = sparse_readv,
	.writev = sparse_writev,
	.write_zeroes = sparse_zeroes,
	.discard = sparse_range,
	.map = sparse_map,
};

struct layers {
	struct image_file file, read_only_file;
	struct image top, middle;
	struct image *base; /* raw, and shorter: blocks 0 to 4 and a bit */
};

static int set_up(void **state)
{
	static struct layers l;
	const struct image_open_options how = { .format = "raw",
						.flags = IMAGE_READ_ONLY };
	int fd;

	strcpy(path, "/var/tmp/image.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	for (int i = 0; i < 5 * BLOCK + 512; i++)
		assert_int_equal(write(fd, "b", 1), 1);
	close(fd);
	l = (struct layers){ .file.alignment = 1,
			     .read_only_file = { .is_read_only = true,
						 .alignment = 1 } };
	assert_int_equal(image_open(&l.base, path, &how, NULL), 0);
	l.middle = (struct image){ .format = &sparse,
				   .file = &l.read_only_file,
				   .size = SIZE,
				   .backing_path = path,
				   .backing = l.base };
	l.top = l.middle;
	l.top.file = &l.file;
	l.top.backing = &l.middle;
	n_calls = 0;
	*state = &l;
	return 0;
}

static int tear_down(void **state)
{
	struct layers *l = *state;

	image_abandon(l->base);
	return unlink(path);
}

static void requests_outside_never_reach_the_format(void **state)
{
	struct layers *l = *state;
	static const struct {
		uint64_t offset;
		size_t len;
	} bad[] = {
		{ SIZE, 1 },	       { SIZE - 1, 2 },
		{ 0, SIZE + 1 },       { UINT64_MAX, 1 },
		{ 1, SIZE_MAX },       { SIZE_MAX, SIZE_MAX },
		{ UINT64_MAX - 1, 2 }, { INT64_MAX, BLOCK },
	};
	struct image_extent extent;
	char c;

	for (unsigned i = 0; i < array_size(bad); i++) {
		uint64_t offset = bad[i].offset;
		size_t len = bad[i].len;

		assert_int_equal(image_read(&l->top, offset, &c, len, NULL),
				 -EINVAL);
		assert_int_equal(image_write(&l->top, offset, &c, len, NULL),
				 -EINVAL);
		assert_int_equal(image_write_zeroes(&l->top, offset, len, 0,
						    NULL),
				 -EINVAL);
		assert_int_equal(image_discard(&l->top, offset, len, NULL),
				 -EINVAL);
		assert_int_equal(image_map(&l->top, offset, len, 0, &extent,
					   NULL),
				 -EINVAL);
	}
	assert_int_equal(n_calls, 0);
}

static void vectors_that_wrap_are_refused(void **state)
{
	struct layers *l = *state;
	const struct iovec iov[2] = { { .iov_len = SIZE_MAX },
				      { .iov_len = 2 } };

	assert_int_equal(image_readv(&l->top, 0, iov, 2, NULL), -EINVAL);
	assert_int_equal(image_writev(&l->top, 0, iov, 2, NULL), -EINVAL);
	assert_int_equal(n_calls, 0);
}

static void empty_requests_do_nothing(void **state)
{
	struct layers *l = *state;

	assert_int_equal(image_read(&l->top, SIZE, NULL, 0, NULL), 0);
	assert_int_equal(image_write(&l->top, 0, NULL, 0, NULL), 0);
	assert_int_equal(image_write_zeroes(&l->top, 3, 0, 0, NULL), 0);
	assert_int_equal(image_discard(&l->top, 3, 0, NULL), 0);
	assert_int_equal(n_calls, 0);
}

static void holes_show_what_is_under_them(void **state)
{
	struct layers *l = *state;
	uint8_t buf[BLOCK];

	assert_int_equal(image_read(&l->top, 0, buf, BLOCK, NULL), 0);
	assert_int_equal(buf[0], 'a');
	assert_int_equal(image_read(&l->top, BLOCK, buf, BLOCK, NULL), 0);
	assert_int_equal(buf[0], 'b');
	/* Past the end of the raw base. */
	assert_int_equal(image_read(&l->top, 7 * BLOCK, buf, BLOCK, NULL), 0);
	assert_int_equal(buf[0], 0);
	assert_int_equal(buf[BLOCK - 1], 0);
}

/* One read, of three pieces, that the base's end cuts in two. */
static void short_backing_ends_in_zeroes(void **state)
{
	struct layers *l = *state;
	uint8_t a[300], b[500], c[BLOCK - 800];
	const struct iovec iov[] = { { a, sizeof(a) },
				     { b, sizeof(b) },
				     { c, sizeof(c) } };

	memset(a, 1, sizeof(a));
	memset(b, 1, sizeof(b));
	memset(c, 1, sizeof(c));
	assert_int_equal(image_readv(&l->top, 5 * BLOCK, iov, 3, NULL), 0);
	for (size_t i = 0; i < sizeof(a); i++)
		assert_int_equal(a[i], 'b');
	for (size_t i = 0; i < sizeof(b); i++)
		assert_int_equal(b[i], i < 212 ? 'b' : 0);
	for (size_t i = 0; i < sizeof(c); i++)
		assert_int_equal(c[i], 0);
}

static void map_finds_the_layer(void **state)
{
	struct layers *l = *state;
	struct image_extent e;

	assert_int_equal(image_map(&l->top, 0, SIZE, IMAGE_MAP_CHAIN, &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(e.depth, 0);
	assert_true(e.is_writable_in_place);
	assert_int_equal(image_map(&l->top, BLOCK + 96, SIZE - BLOCK - 96,
				   IMAGE_MAP_CHAIN, &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(e.depth, 2);
	assert_int_equal(e.offset, BLOCK + 96);
	assert_int_equal(e.len, BLOCK - 96); /* no longer than the hole */
	assert_ptr_equal(e.layer, l->base);
	assert_false(e.is_writable_in_place); /* read-only */
	/* This layer alone. */
	assert_int_equal(image_map(&l->top, BLOCK, BLOCK, 0, &e, NULL), 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_HOLE);
	assert_int_equal(e.depth, 0);
}

static void map_ends_where_the_backing_ends(void **state)
{
	struct layers *l = *state;
	struct image_extent e;

	assert_int_equal(image_map(&l->top, 5 * BLOCK, BLOCK, IMAGE_MAP_CHAIN,
				   &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(e.len, 512);
	assert_int_equal(image_map(&l->top, 5 * BLOCK + 512, BLOCK - 512,
				   IMAGE_MAP_CHAIN, &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_HOLE);
	assert_int_equal(e.len, BLOCK - 512);
	/* Asked for less than there is. */
	assert_int_equal(image_map(&l->top, 7 * BLOCK, 100, IMAGE_MAP_CHAIN, &e,
				   NULL),
			 0);
	assert_int_equal(e.len, 100);
}

static void names_are_relative_to_the_image(void **state)
{
	static const struct {
		const char *image, *name, *path;
	} names[] = {
		{ "a", "b", "b" },
		{ "d/a", "b", "d/b" },
		{ "/d/e/a", "../b", "/d/e/../b" },
		{ "/a", "b", "/b" },
		{ "d/a", "/b", "/b" },
	};

	(void)state;
	for (unsigned i = 0; i < array_size(names); i++) {
		_cleanup_free_ char *got =
			image_backing_resolve(names[i].image, names[i].name);

		assert_string_equal(got, names[i].path);
	}
	assert_true(image_name_has_protocol("nbd://host/x"));
	assert_true(image_name_has_protocol("json:{}"));
	assert_false(image_name_has_protocol("./a:b"));
	assert_false(image_name_has_protocol("/d/a:b"));
	assert_false(image_name_has_protocol("plain"));
}

/* Sharing what another writes is for readers. */
static void force_share_is_read_only(void **state)
{
	struct image_open_options how = { .flags = IMAGE_FORCE_SHARE };
	struct layers *l = *state;
	struct image *image = NULL;

	(void)l;
	assert_int_equal(image_open(&image, path, &how, NULL), -EINVAL);
	how.flags |= IMAGE_READ_ONLY;
	assert_int_equal(image_open(&image, path, &how, NULL), 0);
	assert_int_equal(image_close(image, NULL), 0);
	assert_int_equal(image_close(NULL, NULL), 0);
}

static void unknown_formats_are_named(void **state)
{
	struct image_open_options how = { .format = "vhdy" };
	struct error err = ERROR_INIT;
	struct image *image = NULL;

	(void)state;
	assert_int_equal(image_open(&image, path, &how, &err), -ENOENT);
	assert_string_equal(err.text, "Unknown driver 'vhdy'");
}

/* The descriptor is taken over in any case. */
static void descriptors_are_taken_over(void **state)
{
	struct image_open_options how = { .flags = IMAGE_READ_ONLY };
	struct image *image = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	(void)state;
	how.format = "none";
	assert_true(image_open_fd(&image, fd, path, &how, NULL) < 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	how.format = NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(image_open_fd(&image, fd, path, &how, NULL), 0);
	assert_int_equal(image_size(image), 5 * BLOCK + 512);
	assert_int_equal(image_close(image, NULL), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(requests_outside_never_reach_the_format),
		TEST(vectors_that_wrap_are_refused),
		TEST(empty_requests_do_nothing),
		TEST(holes_show_what_is_under_them),
		TEST(short_backing_ends_in_zeroes),
		TEST(map_finds_the_layer),
		TEST(map_ends_where_the_backing_ends),
		TEST(names_are_relative_to_the_image),
		TEST(force_share_is_read_only),
		TEST(unknown_formats_are_named),
		TEST(descriptors_are_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
