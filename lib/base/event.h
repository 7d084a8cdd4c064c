/* SPDX-License-Identifier: ISC */
/*
 * The event loop: one epoll, level-triggered. A source is embedded in its
 * owner, which is found again with container_of(). Signals and timers are
 * sources too. A loop and all of its sources belong to one thread.
 *
 * A callback may add, change, remove and free any source, its own included:
 * events already fetched for a removed source are dropped.
 */
#ifndef LIB_BASE_EVENT_H
#define LIB_BASE_EVENT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct event_loop;
struct event_source;

typedef void event_handler(struct event_source *source, uint32_t events);

struct event_source {
	struct event_loop *loop; /* NULL while not added */
	int fd;			 /* not owned */
	uint32_t events;	 /* EPOLLIN, EPOLLOUT, ...; 0: none, not
				    even EPOLLHUP and EPOLLERR */
	event_handler *handle;
};

#define EVENT_SOURCE_INIT \
	{ \
		.fd = -1 \
	}

enum {
	EVENT_BATCH = 64, /* events fetched at a time */
};

struct event_loop {
	int epoll_fd;
	int n_fetched, next; /* of the batch being handled */
	/* data.ptr is the source; NULL once it was removed or changed. */
	struct epoll_event fetched[EVENT_BATCH];
	bool is_stopped;
	int status;
};

#define EVENT_LOOP_INIT \
	{ \
		.epoll_fd = -1 \
	}

int event_loop_init(struct event_loop *loop);
void event_loop_deinit(struct event_loop *loop);

/*
 * Run until event_loop_stop(), whose status is returned; or -errno. A stop
 * from before is kept: set-up may already decide to end.
 */
int event_loop_run(struct event_loop *loop);
void event_loop_stop(struct event_loop *loop, int status);

/*
 * Wait once, at most timeout_ms (-1: for ever), and handle. 0 or -errno. A
 * callback may call it too: it then handles the rest of the batch first.
 */
int event_loop_step(struct event_loop *loop, int timeout_ms);

/* Add fd; the caller keeps owning it and removes the source before closing. */
int event_source_add(struct event_loop *loop, struct event_source *source,
		     int fd, uint32_t events, event_handler *handle);
/* Change what is waited for; no system call if it is the same. */
int event_source_set(struct event_source *source, uint32_t events);
/* Idempotent. */
void event_source_remove(struct event_source *source);

struct event_timer {
	struct event_source source; /* owns its timerfd */
	void (*expired)(struct event_timer *timer);
};

#define EVENT_TIMER_INIT \
	{ \
		.source = EVENT_SOURCE_INIT \
	}

/* A timer, not armed, on CLOCK_MONOTONIC. */
int event_timer_init(struct event_loop *loop, struct event_timer *timer,
		     void (*expired)(struct event_timer *timer));
/* First expiry in first_ms (0 disarms), then every interval_ms (0: once). */
int event_timer_set(struct event_timer *timer, uint64_t first_ms,
		    uint64_t interval_ms);
void event_timer_deinit(struct event_timer *timer);

struct event_signals {
	struct event_source source; /* owns its signalfd */
	sigset_t previous;	    /* mask before, put back by deinit */
	void (*received)(struct event_signals *signals, int number);
};

#define EVENT_SIGNALS_INIT \
	{ \
		.source = EVENT_SOURCE_INIT \
	}

/*
 * Block the signals of the zero-terminated list and deliver them through the
 * loop. Call before threads are made, so that they inherit the mask.
 */
int event_signals_init(struct event_loop *loop, struct event_signals *signals,
		       const int *list,
		       void (*received)(struct event_signals *, int number));
void event_signals_deinit(struct event_signals *signals);

#endif
