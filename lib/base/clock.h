/* SPDX-License-Identifier: ISC */
#ifndef LIB_BASE_CLOCK_H
#define LIB_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds since some moment, whatever happens to the time of day. */
uint64_t clock_ns(void);
/* Nanoseconds for which this thread has run on a processor. */
uint64_t clock_thread_ns(void);

#endif
