/* SPDX-License-Identifier: ISC */
/*
 * The event loop.
 *
 * Events are fetched in batches, and a callback may remove (and free) a
 * source whose event is in the batch but not yet handled. So the batch is
 * part of the loop: removing a source takes its events out of it. A source
 * that waits for nothing is out of the epoll set, as epoll reports hang-ups
 * whether asked or not and a level-triggered one would never end.
 */
#include "lib/base/event.h"

#include "lib/base/cleanup.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

int event_loop_init(struct event_loop *loop)
{
	*loop = (struct event_loop)EVENT_LOOP_INIT;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll_fd < 0 ? -errno : 0;
}

void event_loop_deinit(struct event_loop *loop)
{
	close_fd(&loop->epoll_fd);
}

void event_loop_stop(struct event_loop *loop, int status)
{
	loop->is_stopped = true;
	loop->status = status;
}

int event_loop_run(struct event_loop *loop)
{
	int ret;

	while (!loop->is_stopped) {
		ret = event_loop_step(loop, -1);
		if (ret < 0)
			return ret;
	}
	loop->is_stopped = false;
	return loop->status;
}

static int fetch(struct event_loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->epoll_fd, loop->fetched, EVENT_BATCH,
			   timeout_ms);

	if (n < 0 && errno != EINTR)
		return -errno;
	loop->next = 0;
	loop->n_fetched = n < 0 ? 0 : n;
	return 0;
}

int event_loop_step(struct event_loop *loop, int timeout_ms)
{
	if (loop->next >= loop->n_fetched) {
		int ret = fetch(loop, timeout_ms);

		if (ret < 0)
			return ret;
	}
	while (loop->next < loop->n_fetched && !loop->is_stopped) {
		struct epoll_event *event = &loop->fetched[loop->next++];
		struct event_source *source = event->data.ptr;

		if (source != NULL)
			source->handle(source, event->events);
	}
	/* What a stop left over is level-triggered and comes again. */
	loop->next = loop->n_fetched = 0;
	return 0;
}

static void forget_fetched(struct event_loop *loop,
			   const struct event_source *source)
{
	for (int i = loop->next; i < loop->n_fetched; i++) {
		if (loop->fetched[i].data.ptr == source)
			loop->fetched[i].data.ptr = NULL;
	}
}

static int control_epoll(struct event_source *source, int operation,
			 uint32_t events)
{
	struct epoll_event event = {
		.events = events,
		.data.ptr = source,
	};

	if (epoll_ctl(source->loop->epoll_fd, operation, source->fd, &event))
		return -errno;
	return 0;
}

int event_source_add(struct event_loop *loop, struct event_source *source,
		     int fd, uint32_t events, event_handler *handle)
{
	int ret;

	*source = (struct event_source){
		.loop = loop,
		.fd = fd,
		.handle = handle,
	};
	ret = event_source_set(source, events);
	if (ret < 0)
		*source = (struct event_source)EVENT_SOURCE_INIT;
	return ret;
}

int event_source_set(struct event_source *source, uint32_t events)
{
	int operation = EPOLL_CTL_MOD, ret;

	if (events == source->events)
		return 0;
	if (events == 0)
		operation = EPOLL_CTL_DEL;
	else if (source->events == 0)
		operation = EPOLL_CTL_ADD;
	ret = control_epoll(source, operation, events);
	if (ret < 0)
		return ret;
	/* An event of what was waited for before is not to be seen now. */
	forget_fetched(source->loop, source);
	source->events = events;
	return 0;
}

void event_source_remove(struct event_source *source)
{
	if (source->loop == NULL)
		return;
	if (source->events != 0)
		(void)control_epoll(source, EPOLL_CTL_DEL, 0);
	forget_fetched(source->loop, source);
	*source = (struct event_source)EVENT_SOURCE_INIT;
}

static void handle_timer(struct event_source *source, uint32_t events)
{
	struct event_timer *timer =
		container_of(source, struct event_timer, source);
	uint64_t n_expired;

	(void)events;
	/* Set anew or disarmed since it was seen: then nothing is there. */
	if (read(source->fd, &n_expired, sizeof(n_expired)) > 0)
		timer->expired(timer);
}

int event_timer_init(struct event_loop *loop, struct event_timer *timer,
		     void (*expired)(struct event_timer *timer))
{
	_cleanup_fd_ int fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int ret;

	*timer = (struct event_timer)EVENT_TIMER_INIT;
	if (fd < 0)
		return -errno;
	timer->expired = expired;
	ret = event_source_add(loop, &timer->source, fd, EPOLLIN, handle_timer);
	if (ret < 0)
		return ret;
	steal_fd(&fd);
	return 0;
}

static struct timespec timespec_ms(uint64_t ms)
{
	return (struct timespec){
		.tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000) * 1000000,
	};
}

int event_timer_set(struct event_timer *timer, uint64_t first_ms,
		    uint64_t interval_ms)
{
	struct itimerspec spec = {
		.it_value = timespec_ms(first_ms),
		.it_interval = timespec_ms(first_ms != 0 ? interval_ms : 0),
	};

	if (timerfd_settime(timer->source.fd, 0, &spec, NULL) < 0)
		return -errno;
	return 0;
}

void event_timer_deinit(struct event_timer *timer)
{
	int fd = timer->source.fd;

	event_source_remove(&timer->source);
	close_fd(&fd);
}

static void handle_signals(struct event_source *source, uint32_t events)
{
	struct event_signals *signals =
		container_of(source, struct event_signals, source);
	struct signalfd_siginfo info;

	(void)events;
	/* One at a time: the callback may end all this. */
	if (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		signals->received(signals, (int)info.ssi_signo);
}

int event_signals_init(struct event_loop *loop, struct event_signals *signals,
		       const int *list,
		       void (*received)(struct event_signals *, int number))
{
	_cleanup_fd_ int fd = -1;
	sigset_t set;
	int ret;

	*signals = (struct event_signals)EVENT_SIGNALS_INIT;
	signals->received = received;
	sigemptyset(&set);
	while (*list != 0)
		sigaddset(&set, *list++);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	ret = event_source_add(loop, &signals->source, fd, EPOLLIN,
			       handle_signals);
	if (ret < 0)
		return ret;
	ret = -pthread_sigmask(SIG_BLOCK, &set, &signals->previous);
	if (ret < 0) {
		event_source_remove(&signals->source);
		return ret;
	}
	steal_fd(&fd);
	return 0;
}

void event_signals_deinit(struct event_signals *signals)
{
	int fd = signals->source.fd;

	if (fd < 0)
		return;
	event_source_remove(&signals->source);
	close_fd(&fd);
	(void)pthread_sigmask(SIG_SETMASK, &signals->previous, NULL);
}
