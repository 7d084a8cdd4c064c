/* SPDX-License-Identifier: ISC */
/*
 * QEMU's filter "preallocate": a file that grows, in steps that are larger than
 * what is written, so that its file system has less to do. What is too much
 * goes when the file is closed:
 *
 *	|- data -------|- space, zeroes ------|
 *	            data_end               file_end
 *
 * A kill leaves that space behind.
 */
#include "lib/image/layer.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/filter.h"
#include "lib/image/format.h"

#include <pthread.h>

struct preallocate_file {
	struct filter_file filter; /* first */
	struct image_preallocate how;

	/* What makes the file longer or shorter is under the lock. */
	pthread_mutex_t lock;
	uint64_t data_end, file_end;
	bool is_off; /* there is no such space to be had */
};

static struct preallocate_file *preallocate_of(const struct image_file *file)
{
	return container_of(file, struct preallocate_file, filter.state.file);
}

static int preallocate_size(const struct image_file *file, uint64_t *size)
{
	struct preallocate_file *p = preallocate_of(file);

	if (file->is_read_only)
		return filter_size(file, size);
	pthread_mutex_lock(&p->lock);
	*size = p->data_end;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

/* With the lock. Who gets none writes without. */
static void make_room(struct preallocate_file *p, uint64_t end)
{
	uint64_t want, rest;

	if (end <= p->file_end || p->is_off)
		return;
	p->is_off = true;
	if (__builtin_add_overflow(end, p->how.size, &want))
		return;
	rest = want % p->how.alignment;
	if (rest > 0 &&
	    __builtin_add_overflow(want, p->how.alignment - rest, &want))
		return;
	if (want > INT64_MAX ||
	    image_file_allocate(p->filter.under, p->file_end,
				want - p->file_end) < 0)
		return;
	p->file_end = want;
	p->is_off = false;
}

static int grow(struct preallocate_file *p, uint64_t offset, uint64_t len)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, len, &end) || end > INT64_MAX)
		return -EFBIG;
	pthread_mutex_lock(&p->lock);
	make_room(p, end);
	if (end > p->data_end)
		p->data_end = end;
	if (end > p->file_end)
		p->file_end = end;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static int preallocate_writev(const struct image_file *file, uint64_t offset,
			      const struct iovec *iov, unsigned n_iov)
{
	int rc = grow(preallocate_of(file), offset, iov_total(iov, n_iov));

	return rc < 0 ? rc : filter_writev(file, offset, iov, n_iov);
}

static int preallocate_zero(const struct image_file *file, uint64_t offset,
			    uint64_t len, bool keep_space)
{
	int rc = grow(preallocate_of(file), offset, len);

	return rc < 0 ? rc : filter_zero(file, offset, len, keep_space);
}

static int preallocate_truncate(const struct image_file *file, uint64_t size)
{
	struct preallocate_file *p = preallocate_of(file);
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	if (size > p->data_end)
		make_room(p, size);
	if (size > p->data_end && size <= p->file_end) {
		p->data_end = size;
	} else {
		rc = filter_truncate(file, size);
		if (rc == 0)
			p->data_end = p->file_end = size;
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static int preallocate_allocate(const struct image_file *file, uint64_t offset,
				uint64_t len)
{
	int rc = grow(preallocate_of(file), offset, len);

	return rc < 0 ? rc : filter_allocate(file, offset, len);
}

static int preallocate_close(struct image_file *file)
{
	struct preallocate_file *p = preallocate_of(file);
	int rc;

	if (p->file_end > p->data_end)
		(void)image_file_truncate(p->filter.under, p->data_end);
	rc = filter_close(&p->filter);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return rc;
}

static const struct file_ops ops = {
	.driver = "preallocate",
	.size = preallocate_size,
	.usage = filter_usage,
	.readv = filter_readv,
	.writev = preallocate_writev,
	.zero = preallocate_zero,
	.punch = filter_punch,
	.flush = filter_flush,
	.extent = filter_extent,
	.truncate = preallocate_truncate,
	.allocate = preallocate_allocate,
	.identify = filter_identify,
	.lock = filter_lock,
	.disk = filter_disk,
	.map = filter_map,
	.close = preallocate_close,
};

static int check(const struct image_file *file,
		 const struct image_preallocate *how, struct error *err)
{
	if (how->alignment == 0 || how->alignment % IMAGE_SECTOR != 0)
		return error_set(err, -EINVAL,
				 "prealloc-align parameter of preallocate "
				 "filter is not aligned to %d",
				 IMAGE_SECTOR);
	if (how->alignment % file->alignment != 0)
		return error_set(err, -EINVAL,
				 "prealloc-align parameter of preallocate "
				 "filter is not aligned to underlying node "
				 "request alignment (%u)",
				 file->alignment);
	return 0;
}

int preallocate_put_over(struct image_file **file, const char *path,
			 const struct image_preallocate *how, unsigned flags,
			 struct error *err)
{
	struct preallocate_file *p;
	uint64_t size;
	int rc = check(*file, how, err);

	if (rc < 0)
		return rc;
	rc = image_file_size(*file, &size);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	p = calloc(1, sizeof(*p));
	if (p == NULL ||
	    filter_init(&p->filter, *file, path, &ops, flags) < 0) {
		free(p);
		return -ENOMEM;
	}
	pthread_mutex_init(&p->lock, NULL);
	p->how = *how;
	p->data_end = p->file_end = size;
	/* What has one size does not grow. */
	p->is_off = (*file)->is_block_device;
	*file = &p->filter.state.file;
	return 0;
}
