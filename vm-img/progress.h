/* SPDX-License-Identifier: ISC */
/* "    (12.34/100%)" on one line of standard output, as qemu-img -p. */
#ifndef VM_IMG_PROGRESS_H
#define VM_IMG_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool is_shown;
	double last;
};

/* Prints nothing yet: the line that progress_end() ends may stay empty, as
 * qemu-img's does where it fails early. */
void progress_init(struct progress *progress, bool is_shown);
/* Prints that nothing is done. */
void progress_begin(struct progress *progress);
/* Not more often than each hundredth. */
void progress_show(struct progress *progress, uint64_t done, uint64_t total);
void progress_end(struct progress *progress, bool is_complete);

#endif
