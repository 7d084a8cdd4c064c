/* SPDX-License-Identifier: ISC */
/* Guest memory: the table, the translation, the dirty log, the guard. */
#include "lib/virtio/memory.h"
#include "tests/support/virtq_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	PAGE = 4096,
};

static int setup(void **state)
{
	static struct driver_memory file;
	int r = driver_memory_init(&file, 0, 4096 * PAGE);

	*state = &file;
	return r;
}

static int teardown(void **state)
{
	driver_memory_deinit(*state);
	return 0;
}

static int file_of(void **state)
{
	return ((struct driver_memory *)*state)->fd;
}

/* What is no region is refused, and nothing of it stays. */
static void test_refuses_bad_regions(void **state)
{
	struct guest_memory memory;
	int fd = file_of(state);

	guest_memory_init(&memory);
	assert_int_equal(guest_memory_add(&memory, 0, 0, 0, fd, 0), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, UINT64_MAX - PAGE + 2, PAGE,
					  0, fd, 0),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, UINT64_MAX - 1, fd,
					  0),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, 0, fd,
					  UINT64_MAX - PAGE + 1),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, 0, fd, 4096 * PAGE),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, 4097 * PAGE, 0, fd, 0),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE, 0, -1, 0), -EBADF);
	assert_int_equal(memory.n_regions, 0);
	/* The very last page of the address space is a region. */
	assert_int_equal(guest_memory_add(&memory, UINT64_MAX - PAGE + 1, PAGE,
					  0, fd, 0),
			 0);
	assert_int_equal(guest_memory_add(&memory, PAGE, 2 * PAGE, PAGE, fd, 0),
			 0);
	assert_int_equal(guest_memory_add(&memory, 2 * PAGE, PAGE, 0, fd, 0),
			 -EEXIST);
	assert_int_equal(guest_memory_add(&memory, 0, PAGE + 1, 0, fd, 0),
			 -EEXIST);
	assert_int_equal(guest_memory_add(&memory, 8 * PAGE, PAGE, 2 * PAGE, fd,
					  0),
			 -EEXIST);
	assert_int_equal(memory.n_regions, 2);
	guest_memory_deinit(&memory);
	guest_memory_deinit(&memory);
}

/* 509 regions in any order, every one found, and one more refused. */
static void test_full_table(void **state)
{
	struct guest_memory memory;
	struct driver_memory *file = *state;
	int fd = file->fd;

	guest_memory_init(&memory);
	/* 509 is prime: every seventh place in turn is every place. */
	for (uint64_t k = 0; k < GUEST_MEMORY_REGIONS_MAX; k++) {
		uint64_t i = k * 7 % GUEST_MEMORY_REGIONS_MAX;

		assert_int_equal(guest_memory_add(&memory, i * 2 * PAGE, PAGE,
						  (i + 1) << 32, fd, i * PAGE),
				 0);
		memcpy(file->host + i * PAGE, &i, sizeof(i));
	}
	assert_int_equal(guest_memory_add(&memory, 1ULL << 40, PAGE, 0, fd, 0),
			 -ENOSPC);
	for (uint64_t i = 0; i < GUEST_MEMORY_REGIONS_MAX; i++) {
		uint64_t gpa = 0;
		uint64_t *there =
			guest_memory_at(&memory, i * 2 * PAGE, PAGE, 8);

		assert_int_equal(*there, i);
		assert_ptr_equal(guest_memory_at_user(&memory, (i + 1) << 32, 8,
						      8, &gpa),
				 there);
		assert_int_equal(gpa, i * 2 * PAGE);
		assert_null(
			guest_memory_at(&memory, i * 2 * PAGE + PAGE, 1, 1));
	}
	for (uint64_t i = 0; i < GUEST_MEMORY_REGIONS_MAX; i += 2)
		assert_int_equal(
			guest_memory_remove(&memory, i * 2 * PAGE, PAGE), 0);
	assert_int_equal(guest_memory_remove(&memory, 0, PAGE), -ENOENT);
	assert_int_equal(guest_memory_remove(&memory, 2 * PAGE, PAGE - 1),
			 -ENOENT);
	assert_null(guest_memory_at(&memory, 0, 1, 1));
	assert_non_null(guest_memory_at(&memory, 2 * PAGE, 1, 1));
	guest_memory_deinit(&memory);
}

/* Pieces: adjoining regions, holes, wraps, too many. */
static void test_map(void **state)
{
	struct guest_memory memory;
	struct iovec pieces[3];
	int fd = file_of(state);

	guest_memory_init(&memory);
	assert_int_equal(guest_memory_map(&memory, 0, 1, pieces, 3), -EFAULT);
	guest_memory_add(&memory, 2 * PAGE, PAGE, 0, fd, 0);
	guest_memory_add(&memory, 0, PAGE, 0, fd, 5 * PAGE);
	guest_memory_add(&memory, PAGE, PAGE, 0, fd, 9 * PAGE);
	guest_memory_add(&memory, 4 * PAGE, PAGE, 0, fd, 0);
	assert_int_equal(guest_memory_map(&memory, 0, 0, pieces, 0), 0);
	assert_int_equal(guest_memory_map(&memory, 0, 3 * PAGE, pieces, 3), 3);
	assert_int_equal(pieces[1].iov_len, PAGE);
	assert_ptr_equal(pieces[0].iov_base, memory.regions[0].host);
	assert_int_equal(guest_memory_map(&memory, 10, PAGE, pieces, 2), 2);
	assert_int_equal(pieces[0].iov_len, PAGE - 10);
	assert_int_equal(pieces[1].iov_len, 10);
	assert_int_equal(guest_memory_map(&memory, 0, 3 * PAGE, pieces, 2),
			 -E2BIG);
	assert_int_equal(guest_memory_map(&memory, 0, 1, pieces, 0), -E2BIG);
	assert_int_equal(guest_memory_map(&memory, 0, 3 * PAGE + 1, pieces, 3),
			 -EFAULT);
	assert_int_equal(guest_memory_map(&memory, 3 * PAGE, 1, pieces, 3),
			 -EFAULT);
	assert_int_equal(guest_memory_map(&memory, 4 * PAGE, PAGE, pieces, 3),
			 1);
	assert_int_equal(guest_memory_map(&memory, 5 * PAGE - 1, 2, pieces, 3),
			 -EFAULT);
	assert_int_equal(guest_memory_map(&memory, PAGE, UINT64_MAX, pieces, 3),
			 -EFAULT);
	assert_int_equal(guest_memory_map(&memory, UINT64_MAX, 1, pieces, 3),
			 -EFAULT);
	/* One piece, aligned. */
	assert_null(guest_memory_at(&memory, PAGE - 1, 2, 1));
	assert_null(guest_memory_at(&memory, 1, 2, 2));
	assert_non_null(guest_memory_at(&memory, 2, 2, 2));
	assert_null(guest_memory_at_user(&memory, 1ULL << 50, 1, 1, NULL));
	guest_memory_deinit(&memory);
}

/* A region need not begin at a page of its file. */
static void test_odd_offset(void **state)
{
	struct driver_memory *file = *state;
	struct guest_memory memory;
	char *there;

	strcpy((char *)file->host + PAGE + 100, "here");
	guest_memory_init(&memory);
	assert_int_equal(
		guest_memory_add(&memory, 0, 5, 0, file->fd, PAGE + 100), 0);
	there = guest_memory_at(&memory, 0, 5, 1);
	assert_string_equal(there, "here");
	guest_memory_deinit(&memory);
}

static void test_log(void **state)
{
	struct guest_memory memory;
	struct driver_memory log;

	(void)state;
	assert_int_equal(driver_memory_init(&log, 0, 2 * PAGE), 0);
	guest_memory_init(&memory);
	guest_memory_write_done(&memory, 0, 10);
	assert_int_equal(guest_memory_set_log(&memory, log.fd, 2 * PAGE, 1),
			 -EINVAL);
	/* Two bytes of log, 16 pages, from byte 100 of the file on. */
	assert_int_equal(guest_memory_set_log(&memory, log.fd, 2, 100), 0);
	guest_memory_write_done(&memory, PAGE - 1, 2);
	assert_int_equal(log.host[100], 0x03);
	guest_memory_write_done(&memory, 9 * PAGE, 0);
	assert_int_equal(log.host[101], 0);
	guest_memory_write_done(&memory, 9 * PAGE, PAGE);
	assert_int_equal(log.host[101], 0x02);
	/* Beyond the log, and around the address space. */
	guest_memory_write_done(&memory, 15 * PAGE, UINT64_MAX);
	guest_memory_write_done(&memory, 16 * PAGE, PAGE);
	assert_int_equal(log.host[101], 0x82);
	assert_int_equal(log.host[102], 0);
	guest_memory_enable_log(&memory, false);
	guest_memory_write_done(&memory, 3 * PAGE, 1);
	guest_memory_enable_log(&memory, true);
	assert_int_equal(log.host[100], 0x03);
	assert_int_equal(guest_memory_set_log(&memory, -1, 0, 0), 0);
	guest_memory_write_done(&memory, 3 * PAGE, 1);
	guest_memory_enable_log(&memory, true);
	guest_memory_write_done(&memory, 3 * PAGE, 1);
	assert_int_equal(log.host[100], 0x03);
	guest_memory_deinit(&memory);
	driver_memory_deinit(&log);
}

/* The peer cuts its file short: zeros, and a flag; the others' is whole. */
static void test_guard(void **state)
{
	struct guest_memory cut, whole;
	struct driver_memory file;
	uint8_t *lost, *kept;

	assert_int_equal(guest_memory_guard(), 0);
	assert_int_equal(driver_memory_init(&file, 0, 4 * PAGE), 0);
	guest_memory_init(&cut);
	guest_memory_init(&whole);
	guest_memory_add(&cut, 0, 4 * PAGE, 0, file.fd, 0);
	guest_memory_add(&whole, 0, PAGE, 0, file_of(state), 0);
	kept = guest_memory_at(&cut, 0, PAGE, 1);
	lost = guest_memory_at(&cut, 3 * PAGE, PAGE, 1);
	memset(kept, 1, PAGE);
	memset(lost, 2, PAGE);
	assert_int_equal(ftruncate(file.fd, PAGE), 0);
	assert_int_equal(lost[5], 0);
	lost[5] = 7;
	assert_int_equal(lost[5], 7);
	assert_int_equal(kept[5], 1);
	assert_true(guest_memory_is_damaged(&cut));
	assert_false(guest_memory_is_damaged(&whole));
	guest_memory_deinit(&cut);
	guest_memory_deinit(&whole);
	driver_memory_deinit(&file);
	signal(SIGBUS, SIG_DFL);
}

/* A SIGBUS that is nobody's still ends the process. */
static void test_guard_leaves_others(void **state)
{
	int status;
	pid_t child;

	(void)state;
	child = fork();
	if (child == 0) {
		struct driver_memory file;
		volatile uint8_t *lost;

		if (driver_memory_init(&file, 0, PAGE) != 0 ||
		    guest_memory_guard() != 0 || ftruncate(file.fd, 0) != 0)
			_exit(1);
		lost = file.host;
		_exit(lost[0] + 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses_bad_regions),
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_odd_offset),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_guard_leaves_others),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
