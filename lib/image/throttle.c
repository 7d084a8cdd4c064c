/* SPDX-License-Identifier: ISC */
#include "lib/image/throttle.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/image/file_internal.h"
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
	struct file_state state; /* first */
	struct image_file *under;
	char *path; /* of that */
	struct throttle *throttle;
};

static struct throttled_file *file_of(const struct image_file *file)
{
	return container_of(file, struct throttled_file, state.file);
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

static int throttled_size(const struct image_file *file, uint64_t *size)
{
	return image_file_size(file_of(file)->under, size);
}

static int throttled_usage(const struct image_file *file, uint64_t *usage)
{
	return image_file_usage(file_of(file)->under, usage);
}

static int throttled_readv(const struct image_file *file, uint64_t offset,
			   const struct iovec *iov, unsigned n_iov)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, false, iov_total(iov, n_iov));
	return image_file_readv(f->under, offset, iov, n_iov);
}

static int throttled_writev(const struct image_file *file, uint64_t offset,
			    const struct iovec *iov, unsigned n_iov)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, true, iov_total(iov, n_iov));
	return image_file_writev(f->under, offset, iov, n_iov);
}

static int throttled_zero(const struct image_file *file, uint64_t offset,
			  uint64_t len, bool keep_space)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, true, len);
	return image_file_zero(f->under, offset, len, keep_space);
}

static int throttled_punch(const struct image_file *file, uint64_t offset,
			   uint64_t len)
{
	struct throttled_file *f = file_of(file);

	take(f->throttle, true, len);
	return image_file_punch(f->under, offset, len);
}

static int throttled_flush(const struct image_file *file)
{
	return image_file_flush(file_of(file)->under);
}

static int throttled_extent(const struct image_file *file, uint64_t offset,
			    uint64_t len, bool *is_data, uint64_t *extent_len)
{
	return image_file_extent(file_of(file)->under, offset, len, is_data,
				 extent_len);
}

static int throttled_truncate(const struct image_file *file, uint64_t size)
{
	return image_file_truncate(file_of(file)->under, size);
}

static int throttled_allocate(const struct image_file *file, uint64_t offset,
			      uint64_t len)
{
	return image_file_allocate(file_of(file)->under, offset, len);
}

static int throttled_identify(const struct image_file *file, struct stat *st)
{
	return image_file_identify(file_of(file)->under, st);
}

static int throttled_lock(const struct image_file *file, struct error *err)
{
	return image_file_lock(file_of(file)->under, file_of(file)->path, err);
}

static void throttled_close(struct image_file *file)
{
	struct throttled_file *f = file_of(file);

	image_file_close(f->under);
	free(f->path);
	free(f);
}

static const struct file_ops ops = {
	.size = throttled_size,
	.usage = throttled_usage,
	.readv = throttled_readv,
	.writev = throttled_writev,
	.zero = throttled_zero,
	.punch = throttled_punch,
	.flush = throttled_flush,
	.extent = throttled_extent,
	.truncate = throttled_truncate,
	.allocate = throttled_allocate,
	.identify = throttled_identify,
	.lock = throttled_lock,
	.close = throttled_close,
};

int throttle_put_over(struct image_file **file, const char *path,
		      struct throttle *throttle, unsigned flags,
		      struct error *err)
{
	struct throttled_file *f = calloc(1, sizeof(*f));
	struct image_file *under = *file;

	(void)err;
	if (f == NULL)
		return -ENOMEM;
	f->path = strdup(path);
	if (f->path == NULL) {
		free(f);
		return -ENOMEM;
	}
	f->under = under;
	f->throttle = throttle;
	f->state.ops = &ops;
	f->state.is_unsafe = flags & IMAGE_FILE_UNSAFE;
	f->state.file = (struct image_file){
		.fd = -1,
		.is_read_only = under->is_read_only,
		.is_block_device = under->is_block_device,
		.is_direct = under->is_direct,
		.alignment = under->alignment,
	};
	*file = &f->state.file;
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
