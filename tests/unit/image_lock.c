/* SPDX-License-Identifier: ISC */
/* Which pairs of users QEMU's byte locks keep apart, and in what words. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/lock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include <cmocka.h>

struct pair {
	char path[32];
	int first, second;
};

/* Two open file descriptions of one file, as two processes have. */
static int set_up(void **state)
{
	static struct pair pair;

	pair = (struct pair){ .path = "/tmp/image_lock.XXXXXX" };
	pair.first = mkstemp(pair.path);
	assert_true(pair.first >= 0);
	pair.second = open(pair.path, O_RDWR | O_CLOEXEC);
	assert_true(pair.second >= 0);
	*state = &pair;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *pair = *state;

	close_fd(&pair->first);
	close_fd(&pair->second);
	unlink(pair->path);
	return 0;
}

static void readers_share(void **state)
{
	struct pair *p = *state;

	assert_int_equal(image_lock(p->first, "a", IMAGE_LOCK_READER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
	assert_int_equal(image_lock(p->second, "a", IMAGE_LOCK_READER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
}

static void writer_excludes_reader(void **state)
{
	struct pair *p = *state;
	struct error err = ERROR_INIT;

	assert_int_equal(image_lock(p->first, "a", IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
	assert_int_equal(image_lock(p->second, "dir/a", IMAGE_LOCK_READER,
				    IMAGE_LOCK_UNSHARED, &err),
			 -EAGAIN);
	assert_string_equal(err.text,
			    "Failed to get shared \"write\" lock: "
			    "Is another process using the image [dir/a]?");
}

static void reader_excludes_writer(void **state)
{
	struct pair *p = *state;
	struct error err = ERROR_INIT;

	assert_int_equal(image_lock(p->first, "a", IMAGE_LOCK_READER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
	assert_int_equal(image_lock(p->second, "a", IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED, &err),
			 -EAGAIN);
	assert_string_equal(err.text,
			    "Failed to get \"write\" lock: "
			    "Is another process using the image [a]?");
}

/* What failed must not stand in the way of the next one. */
static void failure_holds_nothing(void **state)
{
	struct pair *p = *state;

	assert_int_equal(image_lock(p->first, "a", IMAGE_LOCK_READER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
	assert_int_equal(image_lock(p->second, "a", IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 -EAGAIN);
	assert_int_equal(image_lock(p->first, "a", IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
}

static void release_lets_others_in(void **state)
{
	struct pair *p = *state;

	assert_int_equal(image_lock(p->first, "a", IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
	assert_int_equal(image_lock(p->first, "a", 0, 0, NULL), 0);
	assert_int_equal(image_lock(p->second, "a", IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
}

/* Writers that share writing (qemu-io on raw) may be two. */
static void sharing_writers_share(void **state)
{
	struct pair *p = *state;
	unsigned used = IMAGE_PERM_CONSISTENT_READ | IMAGE_PERM_WRITE;

	assert_int_equal(image_lock(p->first, "a", used, 0, NULL), 0);
	assert_int_equal(image_lock(p->second, "a", used, 0, NULL), 0);
	assert_int_equal(image_lock(p->second, "a", used, IMAGE_LOCK_UNSHARED,
				    NULL),
			 -EAGAIN);
}

static bool is_locked(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	return lock.l_type != F_UNLCK;
}

/* The bytes themselves are the protocol: as traced from QEMU. */
static void bytes_are_qemus(void **state)
{
	struct pair *p = *state;

	assert_int_equal(image_lock(p->first, "a", IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED, NULL),
			 0);
	for (int i = 0; i < 300; i++)
		assert_int_equal(is_locked(p->second, i),
				 i == 100 || i == 101 || i == 103 || i == 201 ||
					 i == 203);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(readers_share),	      TEST(writer_excludes_reader),
		TEST(reader_excludes_writer), TEST(failure_holds_nothing),
		TEST(release_lets_others_in), TEST(sharing_writers_share),
		TEST(bytes_are_qemus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
