/* SPDX-License-Identifier: ISC */
#include "vm-img/workers.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	READS = 1000,
	SLOW_NS = 10000000,
	SHORT_NS = 1000000,
	LITTLE = 4096,
};

/* However long this is kept from running. */
static const uint64_t much = UINT64_C(1) << 50;

struct job {
	struct crew crew;
	atomic_uint n_workers, n_left;
	uint64_t ns;	/* that a read takes */
	uint64_t len;	/* of so much */
	unsigned every; /* so many-th time, and otherwise much */
	bool is_busy;	/* for longer */
};

static void *work(void *context)
{
	struct job *job = context;

	job->n_workers++;
	for (int left = (int)job->n_left--; left > 0;
	     left = (int)job->n_left--) {
		struct crew_time since = crew_time();

		since.ns -= job->ns;
		if (job->is_busy)
			since.thread_ns -= much;
		crew_report(&job->crew, since,
			    left % (int)job->every == 0 ? job->len : much);
	}
	return NULL;
}

static unsigned count_workers(unsigned n, unsigned max, uint64_t len,
			      bool is_busy)
{
	struct job job = {
		.ns = SLOW_NS, .len = len, .every = 1, .is_busy = is_busy
	};

	job.n_left = READS;
	crew_run(&job.crew, n, max, work, &job);
	return job.n_workers;
}

static void test_memory_needs_one(void **state)
{
	(void)state;
	assert_int_equal(count_workers(1, 8, much, false), 1);
}

static void test_a_device_takes_all(void **state)
{
	(void)state;
	assert_int_equal(count_workers(1, 8, LITTLE, false), 8);
	assert_int_equal(count_workers(1, 1, LITTLE, false), 1);
	assert_int_equal(count_workers(1, 1000, LITTLE, false), WORKERS_MAX);
}

/* By somebody else who has work for this processor. */
static void test_being_kept_is_not_waiting(void **state)
{
	struct job job = { .ns = SHORT_NS, .len = LITTLE, .every = 16 };

	(void)state;
	job.n_left = READS;
	crew_run(&job.crew, 1, 8, work, &job);
	assert_int_equal(job.n_workers, 1);
}

static void test_who_computes_takes_processors(void **state)
{
	unsigned n = workers_processors(8);

	(void)state;
	assert_int_equal(count_workers(1, 8, LITTLE, true), n);
	assert_int_equal(count_workers(8, 8, LITTLE, true), 8);
}

static void test_all_at_once(void **state)
{
	(void)state;
	assert_int_equal(count_workers(8, 8, much, false), 8);
	assert_int_equal(count_workers(1000, 1000, much, false), WORKERS_MAX);
}

static struct image *open_raw(const char *prefix, const char *path)
{
	const struct image_open_options options = {
		.flags = IMAGE_BLKDEBUG | IMAGE_READ_ONLY, .format = "raw"
	};
	struct error err = ERROR_INIT;
	struct image *image = NULL;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", prefix, path);
	if (image_open(&image, name, &options, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	return image;
}

static void test_rules_see_one_at_a_time(void **state)
{
	char path[] = "/tmp/pipevisor-workers-XXXXXX";
	int fd = mkstemp(path);
	struct image *images[3] = { NULL };

	(void)state;
	assert_true(fd >= 0);
	images[1] = open_raw("", path);
	assert_int_equal(workers_limit(8, images, 3), 8);
	images[2] = open_raw("blkdebug::", path);
	assert_int_equal(workers_limit(8, images, 2), 8);
	assert_int_equal(workers_limit(8, images, 3), 1);
	assert_int_equal(image_close(images[1], NULL), 0);
	assert_int_equal(image_close(images[2], NULL), 0);
	unlink(path);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_needs_one),
		cmocka_unit_test(test_a_device_takes_all),
		cmocka_unit_test(test_being_kept_is_not_waiting),
		cmocka_unit_test(test_who_computes_takes_processors),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_rules_see_one_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
