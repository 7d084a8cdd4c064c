/* SPDX-License-Identifier: ISC */
/*
 * A front end before a scripted back end, and what tests of it need: memory,
 * queues, a loop that is turned until something is so. For cmocka tests.
 */
#ifndef TESTS_SUPPORT_FRONTEND_BENCH_H
#define TESTS_SUPPORT_FRONTEND_BENCH_H

#include "lib/base/error.h"
#include "lib/base/event.h"
#include "lib/vhost/frontend.h"
#include "tests/support/scripted_backend.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	BENCH_MEMORY_SIZE = 1 << 20,
	BENCH_QUEUE_SIZE = 128,
	BENCH_PATIENCE_MS = 20000,
	BENCH_TIMEOUT_MS = 500, /* for answers, on a busy machine too */
};

struct bench {
	struct scripted_backend backend;
	struct event_loop loop;
	struct vhost_frontend *frontend;
	struct vhost_frontend_options options;
	struct guest_memory memory;
	struct vhost_frontend_region regions[16];
	unsigned n_regions;
	int memory_fd;
	struct error err;
	unsigned n_changed, n_failed, n_stopped;
	char reason[256];
};

/* For cmocka: *state becomes a struct bench, not yet made. */
int bench_set_up(void **state);
int bench_tear_down(void **state);

/* Cut the memory into n regions. */
void bench_add_regions(struct bench *bench, unsigned n);
/* Start the back end and make the front end. */
int bench_make(struct bench *bench);
/* Start two queues. */
void bench_start(struct bench *bench);
/* A ring's used index, as a device would set it. */
void bench_set_used_index(struct bench *bench, unsigned i, uint16_t index);
/* Kicked and called: the sign that the back end has read all of a start. */
bool bench_is_running(struct bench *bench);
void bench_take_events(struct bench *bench);
/* For vhost_frontend_stop(). */
void bench_count_stopped(void *context);
unsigned bench_told(struct bench *bench, int connection, uint32_t request,
		    struct scripted_told *last);
int64_t bench_now_ms(void);

/* Turn the loop until condition holds; fail if it never does. */
#define bench_run_until(bench, condition) \
	do { \
		int64_t end_ = bench_now_ms() + BENCH_PATIENCE_MS; \
		while (!(condition)) { \
			assert_true(bench_now_ms() < end_); \
			event_loop_step(&(bench)->loop, 5); \
		} \
	} while (0)

extern const struct vhost_frontend_ops bench_ops;

#endif
