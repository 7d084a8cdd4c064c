/* SPDX-License-Identifier: ISC */
/*
 * Whose turn it is: what several threads prepare at once is finished in order.
 * A turn is a number that somebody's work begins at. All calls are made with
 * the lock held that the caller guards its own state with.
 */
#ifndef VM_IMG_TURNS_H
#define VM_IMG_TURNS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct turns {
	uint64_t now; /* all before it is finished */
	bool is_over; /* by an error: nobody's turn comes any more */
	struct turns_waiter *waiters;
};

/* Wait, without the lock, until now is mine. False: it is over. */
bool turns_await(struct turns *turns, uint64_t mine, pthread_mutex_t *lock);
/* n more are finished. */
void turns_pass(struct turns *turns, uint64_t n);
void turns_end(struct turns *turns);

#endif
