/* SPDX-License-Identifier: ISC */
/* Ranges that overlap, come as pieces, each with how many cover it. */
#include "lib/image/qcow2_spans.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum {
	FILE_LEN = 4096
};

static int note(void *context, uint64_t offset, uint64_t len, uint64_t n)
{
	uint64_t *covered = context;

	assert_true(len > 0 && len <= FILE_LEN && offset <= FILE_LEN - len);
	for (uint64_t i = offset; i < offset + len; i++) {
		assert_int_equal(covered[i], 0);
		covered[i] = n;
	}
	return 0;
}

static uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

static void test_any_ranges(void **state)
{
	struct qcow2_spans s = { .edges = NULL };
	uint64_t seed = 1;

	(void)state;
	for (unsigned round = 0; round < 100; round++) {
		uint64_t wanted[FILE_LEN] = { 0 }, covered[FILE_LEN] = { 0 };

		for (unsigned i = 0; i < 1 + round * 10; i++) {
			uint64_t len = 1 + next(&seed) % 100;
			uint64_t at = next(&seed) % (FILE_LEN - len);
			uint64_t n = 1 + next(&seed) % 3;

			assert_int_equal(qcow2_spans_add(&s, at, len, n), 0);
			for (uint64_t j = at; j < at + len; j++)
				wanted[j] += n;
		}
		assert_int_equal(qcow2_spans_walk(&s, note, covered), 0);
		assert_memory_equal(covered, wanted, sizeof(wanted));
	}
	qcow2_spans_deinit(&s);
}

static void test_one_range_takes_no_more_room(void **state)
{
	uint64_t covered[FILE_LEN] = { 0 };
	struct qcow2_spans s = { .edges = NULL };

	(void)state;
	for (unsigned i = 0; i < 1000000; i++)
		assert_int_equal(qcow2_spans_add(&s, 512, 512, 1), 0);
	assert_int_equal(s.room, 1024);
	assert_int_equal(qcow2_spans_walk(&s, note, covered), 0);
	assert_int_equal(covered[511], 0);
	assert_int_equal(covered[512], 1000000);
	assert_int_equal(covered[1023], 1000000);
	assert_int_equal(covered[1024], 0);
	qcow2_spans_deinit(&s);
}

static int count(void *context, uint64_t offset, uint64_t len, uint64_t n)
{
	(void)offset;
	*(uint64_t *)context += len * n;
	return 0;
}

static void test_room_has_an_end(void **state)
{
	struct qcow2_spans s = { .edges = NULL };
	uint64_t n = 0, seen = 0;
	int rc;

	(void)state;
	while ((rc = qcow2_spans_add(&s, n * 1024, 512, 1)) == 0)
		n++;
	assert_int_equal(rc, QCOW2_SPANS_FULL);
	assert_int_equal(qcow2_spans_walk(&s, count, &seen), 0);
	assert_int_equal(seen, n * 512);
	assert_int_equal(qcow2_spans_add(&s, 0, 512, 1), 0);
	qcow2_spans_deinit(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_ranges),
		cmocka_unit_test(test_one_range_takes_no_more_room),
		cmocka_unit_test(test_room_has_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
