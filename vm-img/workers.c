/* SPDX-License-Identifier: ISC */
#include "vm-img/workers.h"

#include <pthread.h>

void workers_run(unsigned n, void *(*work)(void *), void *context)
{
	pthread_t threads[WORKERS_MAX];
	unsigned n_started = 0;

	if (n > WORKERS_MAX)
		n = WORKERS_MAX;
	while (n_started + 1 < n &&
	       pthread_create(&threads[n_started], NULL, work, context) == 0)
		n_started++;
	work(context);
	while (n_started > 0)
		pthread_join(threads[--n_started], NULL);
}
