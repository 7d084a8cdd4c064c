/* SPDX-License-Identifier: ISC */
/*
 * A write to qcow2's header that says it failed and has been done, as of a
 * device whose answer was lost. What is flushed afterwards must be there when
 * the image is opened again, whichever header that finds.
 */
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "tests/support/temp_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	HEADER_LEN = 112,
	SIZE = 4 << 20,
	PLACE = 1 << 20, /* where nothing is, and no L2 table */
	LEN = 512,
};

static char path[] = "/tmp/qcow2-test.XXXXXX";
static struct image *image;
static int n_faults;

/* In place of the C library's: the image library calls it. */
ssize_t pwritev(int fd, const struct iovec *iov, int n_iov, off_t offset)
{
	ssize_t n = syscall(SYS_pwritev, fd, iov, (long)n_iov, offset, 0L);

	if (offset >= HEADER_LEN || n_faults == 0)
		return n;
	n_faults--;
	errno = EIO;
	return -1;
}

static void open_image(void)
{
	struct error err = ERROR_INIT;

	if (image_open(&image, path, NULL, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	const struct image_option option = { "cluster_size", "512" };
	const struct image_create_options how = { .format = "qcow2",
						  .size = SIZE,
						  .has_size = true,
						  .options = &option,
						  .n_options = 1 };
	struct error err = ERROR_INIT;

	(void)state;
	n_faults = 0;
	assert_true(temp_file_make(path, "/tmp/qcow2-test.XXXXXX"));
	if (image_create(path, &how, &err) < 0)
		fail_msg("%s", err.text);
	open_image();
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

static int grow(int faults)
{
	const struct image_resize_options how = { .may_shrink = false };
	int rc;

	n_faults = faults;
	rc = image_resize(image, 16ULL * SIZE, &how, NULL);
	n_faults = 0;
	return rc;
}

static void test_the_old_one_is_put_back(void **state)
{
	char buf[LEN];

	(void)state;
	assert_int_equal(grow(1), -EIO);
	memset(buf, 'x', LEN);
	assert_int_equal(image_write(image, PLACE, buf, LEN, NULL), 0);
	assert_int_equal(image_flush(image, NULL), 0);
	image_abandon(image);
	open_image();
	assert_int_equal(image_size(image), SIZE);
	assert_int_equal(image_read(image, PLACE, buf, LEN, NULL), 0);
	assert_int_equal(buf[0], 'x');
	assert_int_equal(grow(0), 0);
}

static void test_or_nothing_is_written(void **state)
{
	struct image_check check = { .n_corruptions = 0 };
	struct error err = ERROR_INIT;
	char buf[LEN] = { 1 };

	(void)state;
	assert_int_equal(grow(2), -EIO);
	assert_int_equal(image_write(image, PLACE, buf, LEN, &err), -EIO);
	assert_string_equal(err.text,
			    "Writing the header failed; nothing is written "
			    "until the image is opened again");
	assert_int_equal(image_read(image, PLACE, buf, LEN, NULL), 0);
	image_abandon(image);
	open_image();
	assert_int_equal(image_check(image, &check, NULL), 0);
	assert_int_equal(check.n_corruptions, 0);
	assert_int_equal(image_write(image, PLACE, buf, LEN, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_old_one_is_put_back,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_or_nothing_is_written,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
