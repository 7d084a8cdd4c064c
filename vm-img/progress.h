/* SPDX-License-Identifier: ISC */
/*
 * "    (12.34/100%)" on one line of standard output, as qemu-img -p; or, where
 * that is not shown, on standard error when SIGUSR1 asks for it. A program has
 * one at a time.
 */
#ifndef VM_IMG_PROGRESS_H
#define VM_IMG_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool is_shown;
	double last;
};

/* From now on SIGUSR1 is answered. Prints nothing yet: the line that
 * progress_end() ends may stay empty, as qemu-img's does where it fails early.
 */
void progress_init(struct progress *progress, bool is_shown);
/* Prints that nothing is done. */
void progress_begin(struct progress *progress);
/* Not more often than each hundredth, or as asked. */
void progress_show(struct progress *progress, uint64_t done, uint64_t total);
void progress_end(struct progress *progress, bool is_complete);

#endif
