/* SPDX-License-Identifier: ISC */
/*
 * Waiting: for stable storage (barriers), and for one another (flights).
 *
 * Flushes are numbered as they begin, and one runs at a time. What was written
 * before a call is on stable storage, guest data before metadata, once a flush
 * that began after the call has ended well; everyone who waits for the same
 * number shares it. What L2 tables in the cache are ahead of the file by is
 * written as a flush begins, so that what waits for its number (clusters to be
 * freed) waits for that as well.
 *
 * A flight is data I/O on some guest clusters by a thread that does not hold
 * the lock. Reads and overwrites in place share their clusters; whoever
 * changes a mapping has them alone. So a host cluster is never freed under
 * somebody's I/O, and two writers of one new cluster come one after the other.
 */
#include "lib/image/qcow2.h"

#include <errno.h>

static void flush_once(struct qcow2 *q)
{
	uint64_t number = ++q->n_flush_begun;
	int rc;

	q->is_flushing = true;
	rc = qcow2_cache_write_behind(&q->l2_cache);
	pthread_mutex_unlock(&q->lock);
	if (rc == 0 && q->has_data_file)
		rc = image_file_flush(q->data_file);
	if (rc == 0)
		rc = image_file_flush(q->file);
	pthread_mutex_lock(&q->lock);
	q->is_flushing = false;
	q->n_flush_ended = number;
	if (rc < 0) {
		q->n_flush_failed = number;
		q->flush_error = rc;
	}
	pthread_cond_broadcast(&q->changed);
}

int qcow2_barrier(struct qcow2 *q)
{
	uint64_t number = q->n_flush_begun + 1;

	if (q->is_unsafe)
		return qcow2_cache_write_behind(&q->l2_cache);
	while (q->n_flush_ended < number) {
		if (q->is_flushing)
			pthread_cond_wait(&q->changed, &q->lock);
		else
			flush_once(q);
	}
	/* A later failure counts too: the kernel reports a lost write once,
	 * to whichever flush comes first. */
	return q->n_flush_failed >= number ? q->flush_error : 0;
}

int qcow2_data_barrier(struct qcow2 *q)
{
	return q->is_unsafe ? 0 : qcow2_barrier(q);
}

static bool is_blocked(const struct qcow2 *q, uint64_t first, uint64_t last,
		       bool is_exclusive)
{
	for (const struct qcow2_flight *f = q->flights; f; f = f->next)
		if (f->first <= last && first <= f->last &&
		    (is_exclusive || f->is_exclusive))
			return true;
	return false;
}

bool qcow2_flight_wait(struct qcow2 *q, uint64_t first, uint64_t last,
		       bool is_exclusive)
{
	bool has_waited = false;

	while (is_blocked(q, first, last, is_exclusive)) {
		q->n_waiting++;
		pthread_cond_wait(&q->changed, &q->lock);
		q->n_waiting--;
		has_waited = true;
	}
	return has_waited;
}

void qcow2_flight_begin(struct qcow2 *q, struct qcow2_flight *flight,
			uint64_t first, uint64_t last, bool is_exclusive)
{
	flight->first = first;
	flight->last = last;
	flight->is_exclusive = is_exclusive;
	flight->next = q->flights;
	q->flights = flight;
}

void qcow2_flight_end(struct qcow2 *q, struct qcow2_flight *flight)
{
	struct qcow2_flight **at = &q->flights;

	while (*at != flight)
		at = &(*at)->next;
	*at = flight->next;
	if (q->n_waiting > 0)
		pthread_cond_broadcast(&q->changed);
}

void qcow2_begin_alone(struct qcow2 *q, struct qcow2_flight *flight)
{
	pthread_mutex_lock(&q->lock);
	qcow2_flight_wait(q, 0, UINT64_MAX, true);
	qcow2_flight_begin(q, flight, 0, UINT64_MAX, true);
	qcow2_begin_table(q);
}

void qcow2_end_alone(struct qcow2 *q, struct qcow2_flight *flight)
{
	qcow2_end_table(q);
	qcow2_flight_end(q, flight);
	pthread_mutex_unlock(&q->lock);
}
