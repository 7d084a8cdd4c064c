/* SPDX-License-Identifier: ISC */
/*
 * Worker threads of an image queue: they call the synchronous image, so that
 * metadata I/O, decompression and flushes do not hold up the loop. Threads are
 * started as jobs find none idle, up to a bound, and stay until the end.
 *
 * Jobs and results are lists under one lock; a result that finds its list
 * empty writes the eventfd, which the loop waits for. While a job is with a
 * worker its request belongs to that thread.
 */
#include "lib/image/queue_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	WORKERS_MAX = 16,
};

struct image_workers {
	struct image_queue *queue;
	struct event_source source;
	int event_fd;
	unsigned n_threads; /* the loop's own */
	pthread_t threads[WORKERS_MAX];

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t work;
	struct image_request_fifo jobs, results;
	unsigned n_jobs, n_idle;
	bool is_stopping;
};

static int run_operation(struct image *image, struct image_request *request,
			 struct error *err)
{
	switch (request->operation) {
	case IMAGE_OP_READ:
		return image_readv(image, request->offset, request->iov,
				   request->n_iov, err);
	case IMAGE_OP_WRITE:
		return image_writev(image, request->offset, request->iov,
				    request->n_iov, err);
	case IMAGE_OP_FLUSH:
		return image_flush(image, err);
	case IMAGE_OP_DISCARD:
		return image_discard(image, request->offset, request->len, err);
	case IMAGE_OP_WRITE_ZEROES:
		return image_write_zeroes(image, request->offset, request->len,
					  request->flags, err);
	}
	return -EINVAL;
}

static void run_job(struct image *image, struct image_request *request)
{
	struct error err = ERROR_INIT;
	int r = run_operation(image, request, &err);

	request->result = r < 0 ? r : 0;
	if (r < 0 && err.text[0])
		request->text = strdup(err.text); /* NULL: number alone */
}

void image_workers_wake(struct image_workers *workers)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the loop wakes. */
	if (write(workers->event_fd, &one, sizeof(one)) < 0)
		return;
}

static void *work(void *context)
{
	struct image_workers *workers = context;
	struct image *image = image_queue_image(workers->queue);

	pthread_mutex_lock(&workers->lock);
	for (;;) {
		struct image_request *job;
		bool is_first;

		workers->n_idle++;
		while (!workers->jobs.first && !workers->is_stopping)
			pthread_cond_wait(&workers->work, &workers->lock);
		workers->n_idle--;
		job = image_request_fifo_take(&workers->jobs);
		if (!job)
			break;
		workers->n_jobs--;
		pthread_mutex_unlock(&workers->lock);
		run_job(image, job);
		pthread_mutex_lock(&workers->lock);
		is_first = !workers->results.first;
		image_request_fifo_add(&workers->results, job);
		if (is_first)
			image_workers_wake(workers);
	}
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

/* Signals are the loop's: a worker takes none. */
static int start_thread(struct image_workers *workers)
{
	sigset_t all, before;
	int r;

	if (workers->n_threads == WORKERS_MAX)
		return 0;
	sigfillset(&all);
	/* A fault in guest memory is handled where it happens. */
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&workers->threads[workers->n_threads], NULL, work,
			   workers);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return -r;
	workers->n_threads++;
	return 0;
}

static void take_results(struct event_source *source, uint32_t events)
{
	struct image_workers *workers =
		container_of(source, struct image_workers, source);
	struct image_queue *queue = workers->queue;
	struct image_request_fifo results;
	struct image_request *request;
	uint64_t count;

	(void)events;
	if (read(workers->event_fd, &count, sizeof(count)) < 0)
		count = 0; /* somebody else's wake-up: look anyway */
	pthread_mutex_lock(&workers->lock);
	results = workers->results;
	workers->results = (struct image_request_fifo){ NULL, NULL };
	pthread_mutex_unlock(&workers->lock);
	while ((request = image_request_fifo_take(&results)))
		image_queue_finished(request, request->result);
	image_queue_deliver(queue);
}

void image_workers_add(struct image_workers *workers,
		       struct image_request *request)
{
	bool is_short;

	pthread_mutex_lock(&workers->lock);
	image_request_fifo_add(&workers->jobs, request);
	workers->n_jobs++;
	is_short = workers->n_jobs > workers->n_idle;
	pthread_cond_signal(&workers->work);
	pthread_mutex_unlock(&workers->lock);
	/* Where no more can be had, those that are there take longer. */
	if (is_short)
		start_thread(workers);
}

int image_workers_new(struct image_workers **workers_out,
		      struct image_queue *queue, struct event_loop *loop,
		      struct error *err)
{
	struct image_workers *workers = calloc(1, sizeof(*workers));
	int r;

	if (!workers)
		return error_set_errno(err, -ENOMEM, "worker threads");
	workers->queue = queue;
	workers->source = (struct event_source)EVENT_SOURCE_INIT;
	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->work, NULL);
	workers->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = workers->event_fd < 0 ? -errno : 0;
	if (r == 0)
		r = event_source_add(loop, &workers->source, workers->event_fd,
				     EPOLLIN, take_results);
	/* The first one now: with it every request will end. */
	if (r == 0)
		r = start_thread(workers);
	if (r < 0) {
		image_workers_free(workers);
		return error_set_errno(err, r, "worker threads");
	}
	*workers_out = workers;
	return 0;
}

void image_workers_free(struct image_workers *workers)
{
	if (!workers)
		return;
	pthread_mutex_lock(&workers->lock);
	workers->is_stopping = true;
	pthread_cond_broadcast(&workers->work);
	pthread_mutex_unlock(&workers->lock);
	for (unsigned i = 0; i < workers->n_threads; i++)
		pthread_join(workers->threads[i], NULL);
	event_source_remove(&workers->source);
	close_fd(&workers->event_fd);
	pthread_cond_destroy(&workers->work);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}
