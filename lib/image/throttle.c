/* SPDX-License-Identifier: ISC */
#include "lib/image/throttle.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/image/filter.h"
#include "lib/image/layer.h"

#include <string.h>
#include <time.h>

enum {
	NS_PER_S = 1000000000,
	/* Without a burst a bucket holds what a tenth of a second lets out, so
	 * that a limit is kept to in short times as well. */
	PART_OF_SECOND = 10,
};

struct throttle {
	struct throttle_config config;
	pthread_mutex_t lock;
	/* All below is under the lock. */
	uint64_t looked_ns;
	double levels[THROTTLE_N_LIMITS];
};

struct throttled_file {
	struct filter_file filter; /* first */
	struct throttle *throttle;
};

static struct throttled_file *file_of(const struct image_file *file)
{
	return container_of(file, struct throttled_file, filter.state.file);
}

static double capacity(const struct throttle_rate *rate)
{
	uint64_t length = rate->burst_length > 0 ? rate->burst_length : 1;

	if (rate->maximum == 0)
		return (double)rate->average / PART_OF_SECOND;
	return (double)rate->maximum * (double)length;
}

/* With the lock. */
static void leak(struct throttle *t)
{
	uint64_t now = clock_ns();
	double seconds = (double)(now - t->looked_ns) / NS_PER_S;

	t->looked_ns = now;
	for (unsigned i = 0; i < THROTTLE_N_LIMITS; i++) {
		double out = (double)t->config.rates[i].average * seconds;

		t->levels[i] = t->levels[i] > out ? t->levels[i] - out : 0;
	}
}

/* With the lock: until what is too much in any of them is out. */
static double seconds_to_wait(const struct throttle *t, unsigned limits)
{
	double longest = 0;

	for (unsigned i = 0; i < THROTTLE_N_LIMITS; i++) {
		const struct throttle_rate *rate = &t->config.rates[i];
		double too_much = t->levels[i] - capacity(rate);

		if (!(limits & 1U << i) || rate->average == 0 || too_much <= 0)
			continue;
		if (too_much / (double)rate->average > longest)
			longest = too_much / (double)rate->average;
	}
	return longest;
}

static void fill(struct throttle *t, unsigned limits, uint64_t len)
{
	double requests = 1;

	if (t->config.request_size > 0 && len > t->config.request_size)
		requests = (double)len / (double)t->config.request_size;
	for (unsigned i = 0; i < THROTTLE_N_LIMITS; i++)
		if (limits & 1U << i)
			t->levels[i] +=
				i < THROTTLE_REQUESTS ? (double)len : requests;
}

static void take(struct throttle *t, bool is_write, uint64_t len)
{
	unsigned limits = 1U << THROTTLE_BYTES | 1U << THROTTLE_REQUESTS;
	struct timespec ts;
	double seconds;

	limits |= is_write
			  ? 1U << THROTTLE_BYTES_WRITTEN | 1U << THROTTLE_WRITES
			  : 1U << THROTTLE_BYTES_READ | 1U << THROTTLE_READS;
	for (;;) {
		pthread_mutex_lock(&t->lock);
		leak(t);
		seconds = seconds_to_wait(t, limits);
		if (seconds <= 0)
			break;
		pthread_mutex_unlock(&t->lock);
		/* Others may come in between: it is looked at again. */
		if (seconds > 1)
			seconds = 1;
		ts.tv_sec = (time_t)seconds;
		ts.tv_nsec =
			(long)((seconds - (double)ts.tv_sec) * NS_PER_S) + 1;
		if (ts.tv_nsec >= NS_PER_S)
			ts.tv_nsec = NS_PER_S - 1;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	}
	fill(t, limits, len);
	pthread_mutex_unlock(&t->lock);
}

static int throttled_readv(const struct image_file *file, uint64_t offset,
			   const struct iovec *iov, unsigned n_iov)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, false, iov_total(iov, n_iov));
	return filter_readv(file, offset, iov, n_iov);
}

static int throttled_writev(const struct image_file *file, uint64_t offset,
			    const struct iovec *iov, unsigned n_iov)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, true, iov_total(iov, n_iov));
	return filter_writev(file, offset, iov, n_iov);
}

static int throttled_zero(const struct image_file *file, uint64_t offset,
			  uint64_t len, bool keep_space)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, true, len);
	return filter_zero(file, offset, len, keep_space);
}

static int throttled_punch(const struct image_file *file, uint64_t offset,
			   uint64_t len)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, true, len);
	return filter_punch(file, offset, len);
}

static int throttled_close(struct image_file *file)
{
	struct throttled_file *f = file_of(file);
	int rc = filter_close(&f->filter);

	free(f);
	return rc;
}

static const struct file_ops ops = {
	.driver = "throttle",
	.size = filter_size,
	.usage = filter_usage,
	.readv = throttled_readv,
	.writev = throttled_writev,
	.zero = throttled_zero,
	.punch = throttled_punch,
	.flush = filter_flush,
	.extent = filter_extent,
	.truncate = filter_truncate,
	.allocate = filter_allocate,
	.identify = filter_identify,
	.lock = filter_lock,
	.disk = filter_disk,
	.map = filter_map,
	.close = throttled_close,
};

bool throttle_is(const struct image_file *file)
{
	return file_state_of(file)->ops == &ops;
}

void throttle_account_write(const struct image_file *file, uint64_t len)
{
	for (; throttle_is(file); file = filter_of(file)->under)
		take(file_of(file)->throttle, true, len);
}

int throttle_put_over(struct image_file **file, const char *path,
		      struct throttle *throttle, unsigned flags)
{
	struct throttled_file *f = calloc(1, sizeof(*f));

	if (f == NULL ||
	    filter_init(&f->filter, *file, path, &ops, flags) < 0) {
		free(f);
		return -ENOMEM;
	}
	f->throttle = throttle;
	*file = &f->filter.state.file;
	return 0;
}

static bool has_both(const struct throttle_rate *rates, unsigned first)
{
	return (rates[first].average > 0 && (rates[first + 1].average > 0 ||
					     rates[first + 2].average > 0)) ||
	       (rates[first].maximum > 0 &&
		(rates[first + 1].maximum > 0 || rates[first + 2].maximum > 0));
}

static int check_rate(const struct throttle_rate *rate, struct error *err)
{
	enum {
		MAX = 1000000000,
	};
	const uint64_t max = (uint64_t)MAX * 1000000;

	if (rate->average > max || rate->maximum > max)
		return error_set(err, -EINVAL,
				 "bps/iops/max values must be within [0, %llu]",
				 (unsigned long long)max);
	if (rate->burst_length == 0)
		return error_set(err, -EINVAL, "the burst length cannot be 0");
	if (rate->burst_length > 1 && rate->maximum == 0)
		return error_set(err, -EINVAL,
				 "burst length set without burst rate");
	if (rate->maximum > 0 && rate->burst_length > max / rate->maximum)
		return error_set(err, -EINVAL,
				 "burst length too high for this burst rate");
	if (rate->maximum > 0 && rate->average == 0)
		return error_set(err, -EINVAL,
				 "bps_max/iops_max require corresponding "
				 "bps/iops values");
	if (rate->maximum > 0 && rate->maximum < rate->average)
		return error_set(err, -EINVAL,
				 "bps_max/iops_max cannot be lower than "
				 "bps/iops");
	return 0;
}

int throttle_check(const struct throttle_config *config, struct error *err)
{
	int rc = 0;

	if (has_both(config->rates, THROTTLE_BYTES) ||
	    has_both(config->rates, THROTTLE_REQUESTS))
		return error_set(err, -EINVAL,
				 "bps/iops/max total values and read/write "
				 "values cannot be used at the same time");
	if (config->request_size > 0 &&
	    config->rates[THROTTLE_REQUESTS].average == 0 &&
	    config->rates[THROTTLE_READS].average == 0 &&
	    config->rates[THROTTLE_WRITES].average == 0)
		return error_set(err, -EINVAL,
				 "iops size requires an iops value to be set");
	for (unsigned i = 0; rc == 0 && i < THROTTLE_N_LIMITS; i++)
		rc = check_rate(&config->rates[i], err);
	return rc;
}

struct throttle *throttle_new(const struct throttle_config *config)
{
	struct throttle *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->config = *config;
	t->looked_ns = clock_ns();
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void throttle_free(struct throttle *throttle)
{
	if (throttle == NULL)
		return;
	pthread_mutex_destroy(&throttle->lock);
	free(throttle);
}
