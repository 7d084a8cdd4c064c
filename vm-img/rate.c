/* SPDX-License-Identifier: ISC */
#include "vm-img/rate.h"

#include "lib/base/clock.h"

#include <errno.h>
#include <time.h>

enum {
	NS_PER_S = 1000000000,
};

/* What was not used is lost: the next bytes are no faster for it. */
uint64_t rate_take(struct rate *rate, uint64_t len)
{
	uint64_t now, until;

	if (rate->limit == 0)
		return 0;
	now = clock_ns();
	until = rate->next_ns > now ? rate->next_ns : now;
	rate->next_ns = until + (uint64_t)((double)len * NS_PER_S /
					   (double)rate->limit);
	return until;
}

void rate_sleep(uint64_t until_ns)
{
	const struct timespec ts = {
		.tv_sec = (time_t)(until_ns / NS_PER_S),
		.tv_nsec = (long)(until_ns % NS_PER_S),
	};

	while (until_ns > 0 && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME,
					       &ts, NULL) == EINTR)
		;
}
