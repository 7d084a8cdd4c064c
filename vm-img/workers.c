/* SPDX-License-Identifier: ISC */
#include "vm-img/workers.h"

#include "lib/base/clock.h"
#include "lib/image/image.h"

#include <unistd.h>

enum {
	/* Memory is copied faster, even on a machine of little. */
	FAST_BYTES_PER_NS = 1,
	/* Of reading, by all of them: more than twice what one waits that has
	 * to give its processor to somebody else now and then. */
	PATIENCE_NS = 16000000,
};

unsigned workers_processors(unsigned max)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 1)
		return 1;
	return (unsigned long)n < max ? (unsigned)n : max;
}

unsigned workers_limit(unsigned max, struct image *const *images, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (images[i] != NULL && image_is_heard(images[i]))
			return 1;
	return max;
}

/* With the lock held. Without another thread it goes on with those it has. */
static void hire(struct crew *crew)
{
	if (crew->n + 1 < crew->max &&
	    pthread_create(&crew->threads[crew->n], NULL, crew->work,
			   crew->context) == 0)
		crew->n++;
}

/* Those that are waited for may still hire. */
static void wait_for_all(struct crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	for (unsigned i = 0; i < crew->n; i++) {
		pthread_t thread = crew->threads[i];

		pthread_mutex_unlock(&crew->lock);
		pthread_join(thread, NULL);
		pthread_mutex_lock(&crew->lock);
	}
	pthread_mutex_unlock(&crew->lock);
}

void crew_run(struct crew *crew, unsigned n, unsigned max,
	      void *(*work)(void *), void *context)
{
	crew->work = work;
	crew->context = context;
	crew->n = 0;
	crew->max = max < WORKERS_MAX ? max : WORKERS_MAX;
	crew->n_processors = workers_processors(WORKERS_MAX);
	crew->took_ns = 0;
	crew->waited_ns = 0;
	pthread_mutex_init(&crew->lock, NULL);
	pthread_mutex_lock(&crew->lock);
	for (unsigned i = 1; i < n; i++)
		hire(crew);
	pthread_mutex_unlock(&crew->lock);
	work(context);
	wait_for_all(crew);
	pthread_mutex_destroy(&crew->lock);
}

void workers_run(unsigned n, void *(*work)(void *), void *context)
{
	struct crew crew;

	crew_run(&crew, n, n, work, context);
}

unsigned crew_size(struct crew *crew)
{
	unsigned n;

	pthread_mutex_lock(&crew->lock);
	n = crew->n + 1;
	pthread_mutex_unlock(&crew->lock);
	return n;
}

struct crew_time crew_time(void)
{
	return (struct crew_time){ clock_ns(), clock_thread_ns() };
}

/* With the lock held. With more workers than processors, each waits for the
 * others too, but for less time than it runs. */
static bool has_all_processors(const struct crew *crew)
{
	return crew->n + 1 >= crew->n_processors;
}

void crew_report(struct crew *crew, struct crew_time since, uint64_t len)
{
	uint64_t took_ns = clock_ns() - since.ns;
	uint64_t busy_ns = clock_thread_ns() - since.thread_ns;
	uint64_t fast_ns = len / FAST_BYTES_PER_NS;

	pthread_mutex_lock(&crew->lock);
	crew->took_ns += took_ns;
	if (took_ns > fast_ns &&
	    (!has_all_processors(crew) || took_ns > 2 * busy_ns))
		crew->waited_ns += took_ns - fast_ns;
	if (crew->took_ns >= PATIENCE_NS) {
		if (crew->waited_ns > crew->took_ns / 2)
			hire(crew);
		crew->took_ns = 0;
		crew->waited_ns = 0;
	}
	pthread_mutex_unlock(&crew->lock);
}
