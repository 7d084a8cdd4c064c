/* SPDX-License-Identifier: ISC */
/*
 * How much may be done in a second, by all files of a group together: a bucket
 * for each limit, which leaks at the limit's rate. What does not fit waits
 * until it does.
 */
#ifndef LIB_IMAGE_THROTTLE_H
#define LIB_IMAGE_THROTTLE_H

#include <stdint.h>

struct error;
struct throttle;

enum throttle_limit {
	THROTTLE_BYTES,
	THROTTLE_BYTES_READ,
	THROTTLE_BYTES_WRITTEN,
	THROTTLE_REQUESTS,
	THROTTLE_READS,
	THROTTLE_WRITES,
	THROTTLE_N_LIMITS,
};

struct throttle_config {
	struct throttle_rate {
		uint64_t average;      /* in a second; 0: no limit */
		uint64_t maximum;      /* the same, for a burst; 0: none */
		uint64_t burst_length; /* seconds; 0: as 1 */
	} rates[THROTTLE_N_LIMITS];
	/* A longer request counts as several, of so many bytes; 0: as one. */
	uint64_t request_size;
};

/* Texts are QEMU's. */
int throttle_check(const struct throttle_config *config, struct error *err);
/* NULL: out of memory. config was checked. */
struct throttle *throttle_new(const struct throttle_config *config);
void throttle_free(struct throttle *throttle);

#endif
