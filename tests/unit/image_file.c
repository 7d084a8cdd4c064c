/* SPDX-License-Identifier: ISC */
/* Whole I/O on files, aligned or not, buffered or direct; holes. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file.h"
#include "lib/image/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum {
	KIB = 1024,
	BIG = 700 * KIB, /* more than one bounce buffer */
};

static char dir[] = "/var/tmp/image_file.XXXXXX";

static const char *path(const char *name)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s/%s", dir, name);
	return text;
}

static struct image_file *open_new(unsigned flags)
{
	struct image_file *file = NULL;

	assert_int_equal(image_file_open(&file, path("a"),
					 IMAGE_FILE_CREATE | flags, NULL),
			 0);
	return file;
}

static uint64_t size_of(const struct image_file *file)
{
	uint64_t size = 0;

	assert_int_equal(image_file_size(file, &size), 0);
	return size;
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed + i * 7 + i / 251);
}

static void read_beyond_end_is_zero(void **state)
{
	struct image_file *file = open_new(0);
	uint8_t buf[16];

	(void)state;
	assert_int_equal(image_file_write(file, 0, "abc", 3), 0);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(image_file_read(file, 1, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, "bc\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(image_file_read(file, 1 << 20, buf, sizeof(buf)), 0);
	assert_int_equal(buf[0], 0);
	image_file_close(file);
}

/* What was there is not zero because another process has cut it off. */
static void a_cut_file_is_an_error(void **state)
{
	const struct image_locks locks = { .used = IMAGE_LOCK_WRITER };
	struct image_file *file = open_new(0);
	uint64_t len = 0;
	bool is_data;
	uint8_t buf[16];

	(void)state;
	assert_int_equal(image_file_truncate(file, 8 * KIB), 0);
	assert_int_equal(image_file_write(file, 100, "abc", 3), 0);
	assert_int_equal(truncate(path("a"), 103), 0);
	assert_false(file->is_cut);
	assert_int_equal(image_file_read(file, 100, buf, 3), 0);
	assert_int_equal(image_file_read(file, 8 * KIB, buf, 16), 0);
	assert_int_equal(image_file_read(file, 100, buf, 16), -EIO);
	assert_int_equal(image_file_extent(file, 4 * KIB, KIB, &is_data, &len),
			 -EIO);
	assert_true(file->is_cut);
	/* It does not become longer by zeroes either, whatever it is locked
	 * for by now. */
	assert_int_equal(image_file_lock(file, path("a"), &locks, NULL), 0);
	assert_int_equal(image_file_read(file, 100, buf, 16), -EIO);
	assert_int_equal(image_file_truncate(file, 16 * KIB), -EIO);
	image_file_close(file);
}

static void what_is_cut_off_here_is_no_error(void **state)
{
	struct image_file *file = open_new(0);
	uint64_t len = 0;
	bool is_data;
	uint8_t buf[16];

	(void)state;
	assert_int_equal(image_file_truncate(file, 8 * KIB), 0);
	assert_int_equal(image_file_truncate(file, 100), 0);
	assert_int_equal(image_file_read(file, 100, buf, 16), 0);
	assert_int_equal(image_file_truncate(file, 8 * KIB), 0);
	assert_int_equal(image_file_extent(file, 4 * KIB, KIB, &is_data, &len),
			 0);
	image_file_close(file);
}

static void a_cut_direct_file_is_an_error(void **state)
{
	struct image_file *file = open_new(IMAGE_FILE_DIRECT);
	uint8_t buf[16];

	(void)state;
	assert_int_equal(image_file_truncate(file, 8 * KIB), 0);
	assert_int_equal(image_file_read(file, 8 * KIB - 8, buf, 16), 0);
	assert_int_equal(truncate(path("a"), 103), 0);
	assert_int_equal(image_file_read(file, 0, buf, 16), -EIO);
	assert_int_equal(image_file_read(file, 5 * KIB, buf, 16), -EIO);
	image_file_close(file);
}

static void vectors_are_whole(void **state)
{
	struct image_file *file = open_new(0);
	static struct iovec iov[1500]; /* above IOV_MAX */
	static uint8_t out[1500], in[1500];

	(void)state;
	fill(out, sizeof(out), 3);
	for (size_t i = 0; i < 1500; i++)
		iov[i] = (struct iovec){ out + i, 1 };
	assert_int_equal(image_file_writev(file, 10, iov, 1500), 0);
	for (size_t i = 0; i < 1500; i++)
		iov[i] = (struct iovec){ in + i, i % 2 ? 0 : 2 };
	iov[1498].iov_len = 2;
	assert_int_equal(image_file_readv(file, 10, iov, 1500), 0);
	assert_memory_equal(in, out, sizeof(out));
	image_file_close(file);
}

static void offsets_are_checked(void **state)
{
	struct image_file *file = open_new(0);
	char c = 0;

	(void)state;
	assert_int_equal(image_file_write(file, UINT64_MAX, &c, 1), -EFBIG);
	assert_int_equal(image_file_write(file, INT64_MAX, &c, 1), -EFBIG);
	assert_int_equal(image_file_read(file, UINT64_MAX, &c, 1), -EINVAL);
	assert_int_equal(image_file_zero(file, UINT64_MAX, 2, false), -EFBIG);
	assert_int_equal(image_file_punch(file, INT64_MAX, 1), -EINVAL);
	assert_int_equal(image_file_truncate(file, UINT64_MAX), -EFBIG);
	image_file_close(file);
}

/* Every mix of offset and length, against a copy in memory. */
static void unaligned_direct_io(void **state)
{
	struct image_file *file = open_new(IMAGE_FILE_DIRECT);
	_cleanup_free_ uint8_t *model = calloc(1, 2 * BIG);
	_cleanup_free_ uint8_t *buf = malloc(2 * BIG);
	static const struct {
		uint64_t offset;
		size_t len;
	} writes[] = {
		{ 0, 4096 },  { 1, 1 },		{ 4095, 2 }, { 5000, 9000 },
		{ 17, BIG },  { 262143, 2 },	{ BIG, 10 }, { 8192, 4096 },
		{ 512, 512 }, { BIG + 5, 333 },
	};
	uint64_t end = 0;

	(void)state;
	assert_true(file->is_direct);
	assert_true(file->alignment >= 512);
	for (unsigned i = 0; i < array_size(writes); i++) {
		uint64_t offset = writes[i].offset;
		size_t len = writes[i].len;

		fill(buf, len, i * 31);
		memcpy(model + offset, buf, len);
		assert_int_equal(image_file_write(file, offset, buf, len), 0);
		if (offset + len > end)
			end = offset + len;
		assert_int_equal(size_of(file), end);
		memset(buf, 0xee, 2 * BIG);
		assert_int_equal(image_file_read(file, offset, buf, len), 0);
		assert_memory_equal(buf, model + offset, len);
	}
	assert_int_equal(image_file_read(file, 0, buf, 2 * BIG), 0);
	assert_memory_equal(buf, model, 2 * BIG);
	image_file_close(file);
}

static void zero_and_punch(void **state)
{
	struct image_file *file = open_new(0);
	_cleanup_free_ uint8_t *buf = malloc(BIG);
	uint64_t before = 0, after = 0;

	(void)state;
	fill(buf, BIG, 1);
	assert_int_equal(image_file_write(file, 0, buf, BIG), 0);
	assert_int_equal(image_file_flush(file), 0);
	assert_int_equal(image_file_usage(file, &before), 0);
	assert_int_equal(image_file_zero(file, 100, BIG - 300, true), 0);
	assert_int_equal(image_file_flush(file), 0);
	assert_int_equal(image_file_usage(file, &after), 0);
	assert_true(after >= BIG / 4096 * 4096);
	assert_int_equal(image_file_punch(file, 0, BIG / 2), 0);
	assert_int_equal(image_file_usage(file, &after), 0);
	assert_true(after < before);
	assert_int_equal(size_of(file), BIG);
	memset(buf, 0xff, BIG);
	assert_int_equal(image_file_read(file, 0, buf, BIG), 0);
	for (size_t i = 0; i < BIG - 200; i++)
		assert_int_equal(buf[i], 0);
	/* The tail is as it was written. */
	assert_int_equal(buf[BIG - 1],
			 (uint8_t)(1 + (BIG - 1) * 7 + (BIG - 1) / 251));
	image_file_close(file);
}

static void zero_beyond_end_grows(void **state)
{
	struct image_file *file = open_new(0);

	(void)state;
	assert_int_equal(image_file_zero(file, 8192, 4096, false), 0);
	assert_int_equal(size_of(file), 12288);
	assert_int_equal(image_file_zero(file, 12288, 4096, true), 0);
	assert_int_equal(size_of(file), 16384);
	assert_int_equal(image_file_write_zeroes(file, 16384, 100001), 0);
	assert_int_equal(size_of(file), 116385);
	assert_int_equal(image_file_allocate(file, 116385, 65536), 0);
	assert_int_equal(size_of(file), 181921);
	image_file_close(file);
}

static void extents_tell_holes(void **state)
{
	struct image_file *file = open_new(0);
	_cleanup_free_ uint8_t *buf = calloc(1, 65536);
	uint64_t len = 0;
	bool is_data = false;

	(void)state;
	buf[0] = 1;
	assert_int_equal(image_file_write(file, 1 << 20, buf, 65536), 0);
	assert_int_equal(image_file_truncate(file, 4 << 20), 0);
	assert_int_equal(image_file_extent(file, 0, 8 << 20, &is_data, &len),
			 0);
	assert_false(is_data);
	assert_int_equal(len, 1 << 20);
	assert_int_equal(
		image_file_extent(file, 1 << 20, 8 << 20, &is_data, &len), 0);
	assert_true(is_data);
	assert_int_equal(len, 65536);
	assert_int_equal(image_file_extent(file, 1 << 20, 4096, &is_data, &len),
			 0);
	assert_true(is_data);
	assert_int_equal(len, 4096);
	assert_int_equal(
		image_file_extent(file, 2 << 20, 8 << 20, &is_data, &len), 0);
	assert_false(is_data);
	assert_int_equal(len, 8 << 20); /* to the end, and what follows */
	image_file_close(file);
}

static void assert_refused(const char *name, unsigned flags, int code,
			   const char *before, const char *after)
{
	struct image_file *file = NULL;
	struct error err = ERROR_INIT;
	char text[512];

	assert_int_equal(image_file_open(&file, path(name), flags, &err), code);
	snprintf(text, sizeof(text), "%s'%s'%s", before, path(name), after);
	assert_string_equal(err.text, text);
	assert_null(file);
}

static void other_files_are_refused(void **state)
{
	(void)state;
	assert_int_equal(mkdir(path("d"), 0700), 0);
	assert_int_equal(mkfifo(path("f"), 0600), 0);
	assert_refused("d", IMAGE_FILE_READ_ONLY, -EINVAL,
		       "'file' driver requires ", " to be a regular file");
	assert_refused("f", 0, -EINVAL, "'file' driver requires ",
		       " to be a regular file");
	assert_refused("d", 0, -EISDIR, "Could not open ", ": Is a directory");
	assert_refused("none", 0, -ENOENT, "Could not open ",
		       ": No such file or directory");
	assert_refused("none/x", IMAGE_FILE_CREATE, -ENOENT,
		       "Could not create ", ": No such file or directory");
	rmdir(path("d"));
	unlink(path("f"));
}

/* An image in use must not be emptied by who may not have it. */
static void creation_respects_locks(void **state)
{
	struct image_file *file = open_new(0), *other = NULL;

	(void)state;
	assert_int_equal(image_file_write(file, 0, "abc", 3), 0);
	assert_int_equal(image_file_open(&other, path("a"), IMAGE_FILE_CREATE,
					 NULL),
			 -EAGAIN);
	assert_int_equal(size_of(file), 3);
	image_file_close(file);
	file = open_new(0);
	assert_int_equal(size_of(file), 0);
	image_file_close(file);
}

static void read_only_descriptor(void **state)
{
	struct image_file *file = NULL;
	int fd;

	(void)state;
	image_file_close(open_new(0));
	fd = open(path("a"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(image_file_open_fd(&file, fd, "a", 0, NULL), -EACCES);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over */
	fd = open(path("a"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(image_file_open_fd(&file, fd, "a",
					    IMAGE_FILE_READ_ONLY, NULL),
			 0);
	assert_int_equal(image_file_write(file, 0, "a", 1), -EBADF);
	image_file_close(file);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path("a"));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_beyond_end_is_zero),
		cmocka_unit_test(a_cut_file_is_an_error),
		cmocka_unit_test(what_is_cut_off_here_is_no_error),
		cmocka_unit_test(a_cut_direct_file_is_an_error),
		cmocka_unit_test(vectors_are_whole),
		cmocka_unit_test(offsets_are_checked),
		cmocka_unit_test(unaligned_direct_io),
		cmocka_unit_test(zero_and_punch),
		cmocka_unit_test(zero_beyond_end_grows),
		cmocka_unit_test(extents_tell_holes),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(creation_respects_locks),
		cmocka_unit_test(read_only_descriptor),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
