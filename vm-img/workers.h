/* SPDX-License-Identifier: ISC */
/* Threads that all do the same until there is nothing left. */
#ifndef VM_IMG_WORKERS_H
#define VM_IMG_WORKERS_H

#include <pthread.h>
#include <stdint.h>

struct image;

enum {
	WORKERS_MAX = 64,
};

/* One for each processor: at most max, at least 1. */
unsigned workers_processors(unsigned max);

/* How many there may be: max, but 1 where rules of blkdebug hear of one of the
 * images, of which some may be NULL. */
unsigned workers_limit(unsigned max, struct image *const *images, unsigned n);

/*
 * Call work(context) in as many as n threads at once (WORKERS_MAX at most),
 * this one among them, so that it is called at least once. Returns when all
 * are done.
 */
void workers_run(unsigned n, void *(*work)(void *), void *context);

/*
 * Workers that write in turn. Where reading is copying from memory, one or two
 * are faster than several who wait for each other; where it waits for a device,
 * or decompresses, it pays that others go on meanwhile. So few begin, and hire
 * the next when reading turns out to be slow most of the time; one for each
 * processor where it is these that are busy.
 */
struct crew {
	void *(*work)(void *);
	void *context;
	pthread_mutex_t lock;
	unsigned n, max; /* n are there, beside the first */
	unsigned n_processors;
	/* Of late: what reading took, and what of that was more than copying
	 * takes. */
	uint64_t took_ns, waited_ns;
	pthread_t threads[WORKERS_MAX];
};

/* As workers_run(), with n at first, and up to max (WORKERS_MAX at most). */
void crew_run(struct crew *crew, unsigned n, unsigned max,
	      void *(*work)(void *), void *context);
/* How many there are, the first one among them. */
unsigned crew_size(struct crew *crew);

/* When a read began: values of clock_ns() and clock_thread_ns(). */
struct crew_time {
	uint64_t ns, thread_ns;
};
struct crew_time crew_time(void);
/* By a worker: it has read len bytes since, all in its own thread. */
void crew_report(struct crew *crew, struct crew_time since, uint64_t len);

#endif
