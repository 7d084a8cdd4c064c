/* SPDX-License-Identifier: ISC */
/*
 * The front end against a back end that misbehaves: no misbehaviour costs
 * more than the connection, and that no more than one line in the log.
 */
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "protocols/virtio.h"
#include "tests/support/frontend_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))

/* Policies: given up at once, and after a time. */
static void test_never_reconnect(void **state)
{
	struct bench *bench = *state;

	bench->options.reconnect_seconds = FRONTEND_RECONNECT_NEVER;
	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	scripted_backend_kill(&bench->backend);
	bench_run_until(bench, bench->n_failed == 1);
	assert_string_equal(bench->reason, "closed the connection");
	assert_int_equal(bench->backend.n_connections, 1);
	vhost_frontend_stop(bench->frontend, bench_count_stopped);
	bench_run_until(bench, bench->n_stopped == 1);
}

static void test_reconnect_seconds(void **state)
{
	struct bench *bench = *state;
	int64_t begin;

	bench->options.reconnect_seconds = 1;
	assert_int_equal(bench_make(bench), 0);
	scripted_backend_refuse(&bench->backend, true);
	scripted_backend_kill(&bench->backend);
	begin = bench_now_ms();
	bench_run_until(bench, bench->n_failed == 1);
	assert_in_range(bench_now_ms() - begin, 900, 5000);
	scripted_backend_refuse(&bench->backend, false);
}

/* It comes back with less than the guest was told: wait for a better one. */
static void test_comes_back_with_less(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	bench_take_events(bench);
	bench->backend.features &= ~BIT(VIRTIO_F_EVENT_IDX);
	scripted_backend_kill(&bench->backend);
	bench_run_until(bench,
			bench_told(bench, 3, VHOST_USER_GET_CONFIG, NULL) == 1);
	assert_false(bench_is_running(bench));
	assert_int_equal(bench_told(bench, 2, VHOST_USER_SET_MEM_TABLE, NULL),
			 0);
	bench->backend.features |= BIT(VIRTIO_F_EVENT_IDX);
	bench_run_until(bench, bench_is_running(bench));
}

static const uint32_t faulty_requests[] = {
	VHOST_USER_GET_FEATURES,       VHOST_USER_GET_PROTOCOL_FEATURES,
	VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_GET_QUEUE_NUM,
	VHOST_USER_GET_CONFIG,	       VHOST_USER_SET_MEM_TABLE,
	VHOST_USER_GET_INFLIGHT_FD,    VHOST_USER_SET_INFLIGHT_FD,
	VHOST_USER_SET_VRING_ADDR,     VHOST_USER_SET_VRING_KICK,
	VHOST_USER_SET_VRING_ENABLE,
};

/* A wrong value that no front end can see as one. */
static bool is_fault(uint32_t request, enum scripted_fault fault)
{
	bool is_ack = request == VHOST_USER_SET_BACKEND_REQ_FD ||
		      request == VHOST_USER_SET_MEM_TABLE ||
		      request == VHOST_USER_SET_INFLIGHT_FD ||
		      request == VHOST_USER_GET_CONFIG;
	bool has_fd = request == VHOST_USER_GET_INFLIGHT_FD;
	bool has_no_answer = request == VHOST_USER_SET_VRING_ADDR ||
			     request == VHOST_USER_SET_VRING_KICK ||
			     request == VHOST_USER_SET_VRING_ENABLE;

	if (has_no_answer && fault == SCRIPTED_SILENT)
		return false;
	/* The inflight description may be 20 bytes as well as 24. */
	if (has_fd && fault == SCRIPTED_TOO_SHORT)
		return false;
	return fault != SCRIPTED_NEGATIVE || is_ack;
}

/* The fault comes on the first connection: making the front end fails, or
 * starting is done again with the next. */
static void test_faults(void **state)
{
	for (unsigned i = 0; i < array_size(faulty_requests); i++) {
		for (int f = SCRIPTED_CLOSE; f < SCRIPTED_FAULTS_END; f++) {
			struct bench *bench;
			int r;

			if (!is_fault(faulty_requests[i], f))
				continue;
			bench_set_up(state);
			bench = *state;
			bench->backend.fault_connection = 0;
			bench->backend.fault_request = faulty_requests[i];
			bench->backend.fault = f;
			r = bench_make(bench);
			if (f == SCRIPTED_CLOSE)
				assert_int_equal(r, 0);
			if (r == 0) {
				bench_start(bench);
				bench_run_until(
					bench,
					bench->backend.n_connections > 1 &&
						bench_is_running(bench));
				assert_true(bench->backend.is_faulty_done);
			} else {
				assert_true(bench->backend.is_faulty_done);
				assert_true(bench->err.text[0]);
			}
			bench_tear_down(state);
		}
	}
	bench_set_up(state);
	scripted_backend_start(&((struct bench *)*state)->backend);
}

/* The same faults of a back end that comes back: only one connection more. */
static void test_faults_at_reconnection(void **state)
{
	for (unsigned i = 0; i < array_size(faulty_requests); i++) {
		for (int f = SCRIPTED_CLOSE; f < SCRIPTED_FAULTS_END; f++) {
			struct bench *bench;

			/* Asked once in a life. */
			if (!is_fault(faulty_requests[i], f) ||
			    faulty_requests[i] == VHOST_USER_GET_INFLIGHT_FD)
				continue;
			bench_set_up(state);
			bench = *state;
			bench->backend.fault_connection = 1;
			bench->backend.fault_request = faulty_requests[i];
			bench->backend.fault = f;
			assert_int_equal(bench_make(bench), 0);
			bench_start(bench);
			bench_run_until(bench, bench_is_running(bench));
			bench_take_events(bench);
			scripted_backend_kill(&bench->backend);
			bench_run_until(bench,
					bench->backend.n_connections == 3 &&
						bench_is_running(bench));
			assert_true(bench->backend.is_faulty_done);
			assert_int_equal(bench->n_failed, 0);
			bench_tear_down(state);
		}
	}
	bench_set_up(state);
	scripted_backend_start(&((struct bench *)*state)->backend);
}

/* A back end that never gets past its handshake: one line, not a flood. */
static void test_one_log_line(void **state)
{
	struct bench *bench = *state;
	char path[] = "/tmp/frontend.log.XXXXXX", text[4096];
	int log = mkstemp(path), saved = dup(2);
	ssize_t len;
	unsigned n_lines = 0;

	unlink(path);
	assert_int_equal(bench_make(bench), 0);
	bench->backend.fault_request = VHOST_USER_GET_FEATURES;
	bench->backend.fault = SCRIPTED_GARBAGE;
	log_set_level(LOG_LEVEL_INFO);
	dup2(log, 2);
	scripted_backend_kill(&bench->backend);
	bench_run_until(bench, bench_told(bench, 6, VHOST_USER_GET_FEATURES,
					  NULL) == 1);
	dup2(saved, 2);
	close(saved);
	len = pread(log, text, sizeof(text), 0);
	for (ssize_t i = 0; i < len; i++)
		n_lines += text[i] == '\n';
	close(log);
	assert_int_equal(n_lines, 1);
	text[len] = 0;
	assert_non_null(strstr(text, "blk0: back end closed the connection"));
}

#define test(name) \
	cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_never_reconnect),
		test(test_reconnect_seconds),
		test(test_comes_back_with_less),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_faults_at_reconnection),
		test(test_one_log_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
