/* SPDX-License-Identifier: ISC */
/*
 * QEMU's null-co and null-aio: a file of some size without any content. What
 * is read is zeroes, though QEMU promises them only where it is asked to;
 * what is written is forgotten.
 */
#include "lib/image/null.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file_internal.h"

#include <string.h>
#include <time.h>

enum {
	NS_PER_SECOND = 1000000000,
};

struct null_file {
	struct file_state state; /* first */
	struct image_null what;
};

static const struct image_null usual = { .size = 1ULL << 30 };

bool image_name_is_null(const char *name)
{
	return strcmp(name, "null-co://") == 0 ||
	       strcmp(name, "null-aio://") == 0;
}

static const struct null_file *null_of(const struct image_file *file)
{
	return container_of(file, struct null_file, state.file);
}

static void wait_latency(const struct image_file *file)
{
	uint64_t ns = null_of(file)->what.latency_ns;
	struct timespec left = {
		.tv_sec = (time_t)(ns / NS_PER_SECOND),
		.tv_nsec = (long)(ns % NS_PER_SECOND),
	};

	while (ns > 0 &&
	       clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

static int null_size(const struct image_file *file, uint64_t *size)
{
	*size = null_of(file)->what.size;
	return 0;
}

static int null_usage(const struct image_file *file, uint64_t *usage)
{
	(void)file;
	*usage = 0;
	return 0;
}

static int null_readv(const struct image_file *file, uint64_t host_offset,
		      const struct iovec *iov, unsigned n_iov)
{
	(void)host_offset;
	for (unsigned i = 0; i < n_iov; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	wait_latency(file);
	return 0;
}

static int null_writev(const struct image_file *file, uint64_t host_offset,
		       const struct iovec *iov, unsigned n_iov)
{
	(void)host_offset;
	(void)iov;
	(void)n_iov;
	wait_latency(file);
	return 0;
}

static int null_zero(const struct image_file *file, uint64_t host_offset,
		     uint64_t len, bool keep_space)
{
	(void)host_offset;
	(void)len;
	(void)keep_space;
	wait_latency(file);
	return 0;
}

static int null_punch(const struct image_file *file, uint64_t host_offset,
		      uint64_t len)
{
	(void)file;
	(void)host_offset;
	(void)len;
	return 0;
}

static int null_flush(const struct image_file *file)
{
	wait_latency(file);
	return 0;
}

static int null_extent(const struct image_file *file, uint64_t host_offset,
		       uint64_t len, bool *is_data, uint64_t *extent_len)
{
	(void)host_offset;
	*is_data = !null_of(file)->what.reads_zeroes;
	*extent_len = len;
	return 0;
}

static int null_close(struct image_file *file)
{
	free(container_of(file, struct null_file, state.file));
	return 0;
}

/* clang-format off */
#define NULL_OPS(name) { \
	.driver = (name), \
	.size = null_size, \
	.usage = null_usage, \
	.readv = null_readv, \
	.writev = null_writev, \
	.zero = null_zero, \
	.punch = null_punch, \
	.flush = null_flush, \
	.extent = null_extent, \
	.close = null_close, \
}
/* clang-format on */
static const struct file_ops co_ops = NULL_OPS("null-co");
static const struct file_ops aio_ops = NULL_OPS("null-aio");

bool null_is(const struct image_file *file)
{
	const struct file_ops *ops = file_state_of(file)->ops;

	return ops == &co_ops || ops == &aio_ops;
}

int null_open(struct image_file **file, const char *name,
	      const struct image_null *what, unsigned flags, struct error *err)
{
	const struct file_ops *ops =
		strcmp(name, "null-aio://") == 0 ? &aio_ops : &co_ops;
	struct null_file *null;

	if (flags & IMAGE_FILE_CREATE)
		return error_set(err, -ENOTSUP,
				 "Protocol driver '%s' does not support image "
				 "creation",
				 ops->driver);
	if (what == NULL)
		what = &usual;
	if (what->size > INT64_MAX)
		return error_set(err, -EFBIG, "Image is too big");
	null = calloc(1, sizeof(*null));
	if (null == NULL)
		return -ENOMEM;
	null->what = *what;
	null->state.ops = ops;
	null->state.file = (struct image_file){
		.fd = -1,
		.is_read_only = flags & IMAGE_FILE_READ_ONLY,
		.is_block_device = true, /* it has the size that it has */
		.alignment = 1,
	};
	*file = &null->state.file;
	return 0;
}
