/* SPDX-License-Identifier: ISC */
/*
 * A part of a file as if it were a file: raw's "offset" and "size". Without a
 * size it ends where the file does, and grows with it.
 */
#include "lib/image/layer.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/filter.h"
#include "lib/image/format.h"

#include <string.h>

struct window_file {
	struct filter_file filter; /* first */
	struct image_window window;
};

static struct window_file *window_of(const struct image_file *file)
{
	return container_of(file, struct window_file, filter.state.file);
}

static int window_size(const struct image_file *file, uint64_t *size)
{
	const struct window_file *w = window_of(file);
	int rc = image_file_size(w->filter.under, size);

	if (rc < 0)
		return rc;
	/* In whole sectors, as the disk that it is a part of. */
	if (*size <= INT64_MAX - IMAGE_SECTOR)
		*size = (*size + IMAGE_SECTOR - 1) &
			~(uint64_t)(IMAGE_SECTOR - 1);
	*size = *size > w->window.offset ? *size - w->window.offset : 0;
	if (w->window.has_size)
		*size = w->window.size;
	return 0;
}

/* Nothing may be changed beyond it. */
static int check_end(const struct window_file *w, uint64_t offset, uint64_t len)
{
	if (w->window.has_size &&
	    (offset > w->window.size || len > w->window.size - offset))
		return -ENOSPC;
	return offset > INT64_MAX - w->window.offset ? -EFBIG : 0;
}

/* Of iov what is before the end is read, and the rest is zeroes. */
static int read_head(const struct window_file *w, uint64_t offset,
		     const struct iovec *iov, unsigned n_iov, uint64_t len)
{
	for (; n_iov > 0; iov++, n_iov--) {
		size_t n = iov->iov_len < len ? iov->iov_len : (size_t)len;
		int rc = 0;

		if (n > 0)
			rc = image_file_read(w->filter.under,
					     w->window.offset + offset,
					     iov->iov_base, n);
		if (rc < 0)
			return rc;
		memset((char *)iov->iov_base + n, 0, iov->iov_len - n);
		offset += n;
		len -= n;
	}
	return 0;
}

static int window_readv(const struct image_file *file, uint64_t offset,
			const struct iovec *iov, unsigned n_iov)
{
	const struct window_file *w = window_of(file);
	uint64_t size = w->window.size;

	if (check_end(w, offset, iov_total(iov, n_iov)) == -ENOSPC)
		return read_head(w, offset, iov, n_iov,
				 offset < size ? size - offset : 0);
	return filter_readv(file, w->window.offset + offset, iov, n_iov);
}

static int window_writev(const struct image_file *file, uint64_t offset,
			 const struct iovec *iov, unsigned n_iov)
{
	const struct window_file *w = window_of(file);
	int rc = check_end(w, offset, iov_total(iov, n_iov));

	return rc < 0 ? rc
		      : filter_writev(file, w->window.offset + offset, iov,
				      n_iov);
}

static int window_zero(const struct image_file *file, uint64_t offset,
		       uint64_t len, bool keep_space)
{
	const struct window_file *w = window_of(file);
	int rc = check_end(w, offset, len);

	return rc < 0 ? rc
		      : filter_zero(file, w->window.offset + offset, len,
				    keep_space);
}

static int window_punch(const struct image_file *file, uint64_t offset,
			uint64_t len)
{
	const struct window_file *w = window_of(file);
	int rc = check_end(w, offset, len);

	return rc < 0 ? rc : filter_punch(file, w->window.offset + offset, len);
}

static int window_extent(const struct image_file *file, uint64_t offset,
			 uint64_t len, bool *is_data, uint64_t *extent_len)
{
	const struct window_file *w = window_of(file);

	return filter_extent(file, w->window.offset + offset, len, is_data,
			     extent_len);
}

static int window_map(const struct image_file *file, uint64_t offset,
		      uint64_t len, unsigned flags, struct image_extent *extent,
		      struct error *err)
{
	const struct window_file *w = window_of(file);
	int rc = filter_map(file, w->window.offset + offset, len, flags, extent,
			    err);

	/* What is at one offset of two disks in one file is the same, if they
	 * are not parts. */
	if (w->window.offset > 0)
		extent->host_fd = -1;
	return rc;
}

static int window_truncate(const struct image_file *file, uint64_t size)
{
	const struct window_file *w = window_of(file);

	if (w->window.has_size)
		return -ENOTSUP;
	if (size > INT64_MAX - w->window.offset)
		return -EFBIG;
	return filter_truncate(file, w->window.offset + size);
}

static int window_allocate(const struct image_file *file, uint64_t offset,
			   uint64_t len)
{
	const struct window_file *w = window_of(file);
	int rc = check_end(w, offset, len);

	return rc < 0 ? rc
		      : filter_allocate(file, w->window.offset + offset, len);
}

/* As in QEMU: who knows where it ends lets nobody change that. */
static int window_lock(const struct image_file *file,
		       const struct image_locks *locks, struct error *err)
{
	const struct image_window *window = &window_of(file)->window;
	struct image_locks all = *locks;

	if (window->offset > 0 || window->has_size)
		all.unshared |= IMAGE_PERM_RESIZE;
	return filter_lock(file, &all, err);
}

static int window_close(struct image_file *file)
{
	struct window_file *w = window_of(file);
	int rc = filter_close(&w->filter);

	free(w);
	return rc;
}

static const struct file_ops ops = {
	.driver = "raw",
	.size = window_size,
	.usage = filter_usage,
	.readv = window_readv,
	.writev = window_writev,
	.zero = window_zero,
	.punch = window_punch,
	.flush = filter_flush,
	.extent = window_extent,
	.truncate = window_truncate,
	.allocate = window_allocate,
	.identify = filter_identify,
	.lock = window_lock,
	.disk = filter_disk,
	.map = window_map,
	.close = window_close,
};

static int check(const struct image_file *file, const struct image_window *w,
		 struct error *err)
{
	unsigned long long offset = w->offset, size = w->size;
	uint64_t whole;
	int rc = image_file_size(file, &whole);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (offset > whole)
		return error_set(err, -EINVAL,
				 "Offset (%llu) cannot be greater than size "
				 "of the containing file (%llu)",
				 offset, (unsigned long long)whole);
	if (w->has_size && size > whole - offset)
		return error_set(err, -EINVAL,
				 "The sum of offset (%llu) and size (%llu) has "
				 "to be smaller or equal to the  actual size "
				 "of the containing file (%llu)",
				 offset, size, (unsigned long long)whole);
	if (w->has_size && size % IMAGE_SECTOR != 0)
		return error_set(err, -EINVAL,
				 "Specified size is not multiple of %d",
				 IMAGE_SECTOR);
	return 0;
}

int window_put_over(struct image_file **file, const char *path,
		    const struct image_window *window, unsigned flags,
		    struct error *err)
{
	struct window_file *w;
	int rc = check(*file, window, err);

	if (rc < 0)
		return rc;
	w = calloc(1, sizeof(*w));
	if (w == NULL ||
	    filter_init(&w->filter, *file, path, &ops, flags) < 0) {
		free(w);
		return -ENOMEM;
	}
	w->window = *window;
	w->filter.state.file.base += window->offset;
	*file = &w->filter.state.file;
	return 0;
}
