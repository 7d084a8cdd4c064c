/* SPDX-License-Identifier: ISC */
#include "vm-img/workers.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

enum {
	READS = 1000,
	SLOW_NS = 10000000,
	LITTLE = 4096,
};

/* However long this is kept from running. */
static const uint64_t much = UINT64_C(1) << 50;

struct job {
	struct crew crew;
	atomic_uint n_workers, n_left;
	uint64_t len; /* so much is read in SLOW_NS */
};

static void *work(void *context)
{
	struct job *job = context;

	job->n_workers++;
	while ((int)job->n_left-- > 0)
		crew_report(&job->crew, clock_ns() - SLOW_NS, job->len);
	return NULL;
}

static unsigned count_workers(unsigned n, unsigned max, uint64_t len)
{
	struct job job = { .len = len };

	job.n_left = READS;
	crew_run(&job.crew, n, max, work, &job);
	return job.n_workers;
}

static void test_memory_needs_one(void **state)
{
	(void)state;
	assert_int_equal(count_workers(1, 8, much), 1);
}

static void test_a_device_takes_all(void **state)
{
	(void)state;
	assert_int_equal(count_workers(1, 8, LITTLE), 8);
	assert_int_equal(count_workers(1, 1, LITTLE), 1);
	assert_int_equal(count_workers(1, 1000, LITTLE), WORKERS_MAX);
}

static void test_all_at_once(void **state)
{
	(void)state;
	assert_int_equal(count_workers(8, 8, much), 8);
	assert_int_equal(count_workers(1000, 1000, much), WORKERS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_needs_one),
		cmocka_unit_test(test_a_device_takes_all),
		cmocka_unit_test(test_all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
