/* SPDX-License-Identifier: ISC */
/*
 * The batches of a run: one for each worker, and more than that for few, so
 * that these read ahead of the one that writes. Who finds none free sleeps
 * until several are, as waking up costs as much for one.
 */
#include "vm-img/copy_internal.h"

#include <errno.h>
#include <stdlib.h>

enum {
	BATCHES_MIN = 3,
	SEVERAL = 2,
};

static bool may_add(struct copy_run *run)
{
	return run->n_batches < BATCHES_MIN ||
	       run->n_batches < crew_size(&run->crew);
}

static int add(struct copy_run *run)
{
	size_t room = run->chunk_len < COPY_PAGE ? COPY_PAGE : run->chunk_len;
	struct copy_batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return -ENOMEM;
	batch->buf = aligned_alloc(COPY_PAGE, room);
	if (batch->buf == NULL) {
		free(batch);
		return -ENOMEM;
	}
	run->batches[run->n_batches++] = batch;
	run->n_free++;
	return 0;
}

static void wake(struct copy_run *run)
{
	if (run->n_free >= SEVERAL)
		pthread_cond_signal(&run->freed);
}

static struct copy_batch *find_free(const struct copy_run *run)
{
	unsigned i = 0;

	while (run->batches[i]->state != COPY_BATCH_FREE)
		i++;
	return run->batches[i];
}

int copy_batches_get(struct copy_run *run, struct copy_batch **batch)
{
	int rc = 0;

	*batch = NULL;
	if (run->n_free == 0 && may_add(run))
		rc = add(run);
	if (rc < 0)
		return rc;
	if (run->n_free == 0)
		while (!run->is_all_taken && run->n_free < SEVERAL)
			pthread_cond_wait(&run->freed, &run->lock);
	if (run->is_all_taken)
		return 0;
	*batch = find_free(run);
	(*batch)->state = COPY_BATCH_TAKEN;
	(*batch)->n = 0;
	(*batch)->has_passed = false;
	run->n_free--;
	wake(run);
	return 0;
}

void copy_batches_put(struct copy_run *run, struct copy_batch *batch)
{
	batch->state = COPY_BATCH_FREE;
	run->n_free++;
	wake(run);
}

struct copy_batch *copy_batches_next(const struct copy_run *run)
{
	for (unsigned i = 0; i < run->n_batches; i++) {
		struct copy_batch *batch = run->batches[i];

		if (batch->state == COPY_BATCH_READ &&
		    batch->pieces[0].start == run->turns.now)
			return batch;
	}
	return NULL;
}

void copy_batches_end(struct copy_run *run)
{
	run->is_all_taken = true;
	pthread_cond_broadcast(&run->freed);
}

void copy_batches_free(struct copy_run *run)
{
	for (unsigned i = 0; i < run->n_batches; i++) {
		free(run->batches[i]->buf);
		free(run->batches[i]);
	}
}
