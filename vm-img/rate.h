/* SPDX-License-Identifier: ISC */
/* -r: not more than so many bytes a second. */
#ifndef VM_IMG_RATE_H
#define VM_IMG_RATE_H

#include <stdint.h>

struct rate {
	uint64_t limit;	  /* bytes per second; 0: none */
	uint64_t next_ns; /* when the next byte may be written */
};

/* Wait as long as len more bytes need. The caller keeps threads apart: the
 * time is taken with its lock held, and slept without. */
uint64_t rate_take(struct rate *rate, uint64_t len);
void rate_sleep(uint64_t until_ns);

#endif
