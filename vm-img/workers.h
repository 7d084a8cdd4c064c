/* SPDX-License-Identifier: ISC */
/* Threads that all do the same until there is nothing left. */
#ifndef VM_IMG_WORKERS_H
#define VM_IMG_WORKERS_H

enum {
	WORKERS_MAX = 64,
};

/*
 * Call work(context) in as many as n threads at once (WORKERS_MAX at most),
 * this one among them, so that it is called at least once. Returns when all
 * are done.
 */
void workers_run(unsigned n, void *(*work)(void *), void *context);

#endif
