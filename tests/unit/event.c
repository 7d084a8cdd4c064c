/* SPDX-License-Identifier: ISC */
#include "lib/base/event.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cmocka.h>

struct probe {
	struct event_source source;
	struct probe *other;
	int n_calls;
};

static void init_loop(struct event_loop *loop)
{
	assert_int_equal(event_loop_init(loop), 0);
}

static int make_ready_fd(void)
{
	int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void count_call(struct event_source *source, uint32_t events)
{
	(void)events;
	container_of(source, struct probe, source)->n_calls++;
}

static void free_other(struct event_source *source, uint32_t events)
{
	struct probe *probe = container_of(source, struct probe, source);

	(void)events;
	probe->n_calls++;
	if (probe->other != NULL) {
		int fd = probe->other->source.fd;

		event_source_remove(&probe->other->source);
		close(fd);
		free(steal_ptr(&probe->other));
	}
}

/* Both are ready in one batch; whichever is first frees the other. */
static void test_remove_fetched(void **state)
{
	struct event_loop loop;
	struct probe *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct probe *left;
	int fd;

	(void)state;
	init_loop(&loop);
	a->other = b;
	b->other = a;
	assert_int_equal(event_source_add(&loop, &a->source, make_ready_fd(),
					  EPOLLIN, free_other),
			 0);
	assert_int_equal(event_source_add(&loop, &b->source, make_ready_fd(),
					  EPOLLIN, free_other),
			 0);
	assert_int_equal(event_loop_step(&loop, 0), 0);
	left = a; /* epoll reports in the order of readiness */
	assert_int_equal(left->n_calls, 1);
	assert_null(left->other);
	fd = left->source.fd;
	event_source_remove(&left->source);
	event_source_remove(&left->source);
	close(fd);
	free(left);
	event_loop_deinit(&loop);
}

/* Waiting for nothing means not even a hang-up, or the loop would spin. */
static void test_no_events(void **state)
{
	struct event_loop loop;
	struct probe probe = { .n_calls = 0 };
	int fds[2];

	(void)state;
	init_loop(&loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(event_source_add(&loop, &probe.source, fds[0], 0,
					  count_call),
			 0);
	close(fds[1]);
	assert_int_equal(event_loop_step(&loop, 0), 0);
	assert_int_equal(probe.n_calls, 0);
	assert_int_equal(event_source_set(&probe.source, EPOLLIN), 0);
	assert_int_equal(event_loop_step(&loop, 0), 0);
	assert_int_equal(probe.n_calls, 1);
	assert_int_equal(event_source_set(&probe.source, 0), 0);
	assert_int_equal(event_loop_step(&loop, 0), 0);
	assert_int_equal(probe.n_calls, 1);
	event_source_remove(&probe.source);
	close(fds[0]);
	event_loop_deinit(&loop);
}

struct ticker {
	struct event_timer timer;
	int n_ticks;
};

static void tick(struct event_timer *timer)
{
	struct ticker *ticker = container_of(timer, struct ticker, timer);

	if (++ticker->n_ticks == 3)
		event_loop_stop(timer->source.loop, 7);
}

static void test_timer(void **state)
{
	struct event_loop loop;
	struct ticker ticker = { .n_ticks = 0 };

	(void)state;
	init_loop(&loop);
	assert_int_equal(event_timer_init(&loop, &ticker.timer, tick), 0);
	assert_int_equal(event_timer_set(&ticker.timer, 1, 0), 0);
	assert_int_equal(event_timer_set(&ticker.timer, 0, 1), 0);
	assert_int_equal(event_loop_step(&loop, 5), 0);
	assert_int_equal(ticker.n_ticks, 0);
	assert_int_equal(event_timer_set(&ticker.timer, 1, 1), 0);
	assert_int_equal(event_loop_run(&loop), 7);
	assert_int_equal(ticker.n_ticks, 3);
	event_timer_deinit(&ticker.timer);
	event_timer_deinit(&ticker.timer);
	event_loop_deinit(&loop);
}

static int last_signal;

static void note_signal(struct event_signals *signals, int number)
{
	last_signal = number;
	event_loop_stop(signals->source.loop, 0);
}

static void test_signals(void **state)
{
	static const int list[] = { SIGUSR1, SIGTERM, 0 };
	struct event_signals signals = EVENT_SIGNALS_INIT;
	struct event_loop loop;
	sigset_t mask;

	(void)state;
	init_loop(&loop);
	assert_int_equal(event_signals_init(&loop, &signals, list, note_signal),
			 0);
	raise(SIGUSR1);
	assert_int_equal(event_loop_run(&loop), 0);
	assert_int_equal(last_signal, SIGUSR1);
	event_signals_deinit(&signals);
	event_signals_deinit(&signals);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGTERM));
	event_loop_deinit(&loop);
}

/* Set-up that decides to end is not forgotten when the loop begins. */
static void test_stop_before_run(void **state)
{
	struct event_loop loop;

	(void)state;
	init_loop(&loop);
	event_loop_stop(&loop, 5);
	assert_int_equal(event_loop_run(&loop), 5);
	event_loop_deinit(&loop);
	event_loop_deinit(&loop);
}

static void step_again(struct event_source *source, uint32_t events)
{
	count_call(source, events);
	/* The other source's event is handled in here, and only once. */
	assert_int_equal(event_loop_step(source->loop, 0), 0);
}

static void test_nested_step(void **state)
{
	struct event_loop loop;
	struct probe outer = { .n_calls = 0 }, inner = { .n_calls = 0 };
	int fds[2] = { make_ready_fd(), make_ready_fd() };

	(void)state;
	init_loop(&loop);
	event_source_add(&loop, &outer.source, fds[0], EPOLLIN, step_again);
	event_source_add(&loop, &inner.source, fds[1], EPOLLIN, count_call);
	assert_int_equal(event_loop_step(&loop, 0), 0);
	assert_int_equal(outer.n_calls, 1);
	assert_int_equal(inner.n_calls, 1);
	event_source_remove(&outer.source);
	event_source_remove(&inner.source);
	close(fds[0]);
	close(fds[1]);
	event_loop_deinit(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_remove_fetched),
		cmocka_unit_test(test_no_events),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_stop_before_run),
		cmocka_unit_test(test_nested_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
