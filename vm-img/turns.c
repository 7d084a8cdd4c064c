/* SPDX-License-Identifier: ISC */
/* Each waits for a condition of its own, so that only the one whose turn it is
 * wakes up. */
#include "vm-img/turns.h"

#include <stddef.h>

struct turns_waiter {
	struct turns_waiter *next;
	uint64_t mine;
	pthread_cond_t woken;
};

static void wake(struct turns *turns)
{
	for (struct turns_waiter *w = turns->waiters; w != NULL; w = w->next)
		if (turns->is_over || w->mine == turns->now)
			pthread_cond_signal(&w->woken);
}

static void add(struct turns *turns, struct turns_waiter *waiter)
{
	waiter->next = turns->waiters;
	turns->waiters = waiter;
}

static void remove_from(struct turns *turns, const struct turns_waiter *waiter)
{
	struct turns_waiter **at = &turns->waiters;

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
}

bool turns_await(struct turns *turns, uint64_t mine, pthread_mutex_t *lock)
{
	struct turns_waiter waiter = { .mine = mine };

	if (turns->is_over || turns->now == mine)
		return !turns->is_over;
	pthread_cond_init(&waiter.woken, NULL);
	add(turns, &waiter);
	while (!turns->is_over && turns->now != mine)
		pthread_cond_wait(&waiter.woken, lock);
	remove_from(turns, &waiter);
	pthread_cond_destroy(&waiter.woken);
	return !turns->is_over;
}

void turns_pass(struct turns *turns, uint64_t n)
{
	turns->now += n;
	wake(turns);
}

void turns_end(struct turns *turns)
{
	turns->is_over = true;
	wake(turns);
}
