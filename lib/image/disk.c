/* SPDX-License-Identifier: ISC */
/*
 * The disk of an image as a file, so that another format or a window may look
 * into it: an image within an image, or a partition of one.
 */
#include "lib/image/chain.h"
#include "lib/image/layer.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file_internal.h"

#include <pthread.h>
#include <string.h>

struct disk_file {
	struct file_state state; /* first */
	struct image *image;
	pthread_mutex_t growing; /* or another change of its size */
};

static struct disk_file *disk_of(const struct image_file *file)
{
	return container_of(file, struct disk_file, state.file);
}

static struct image *image_of(const struct image_file *file)
{
	return disk_of(file)->image;
}

static int disk_size(const struct image_file *file, uint64_t *size)
{
	*size = image_size(image_of(file));
	return 0;
}

static int disk_usage(const struct image_file *file, uint64_t *usage)
{
	return image_file_usage(image_of(file)->file, usage);
}

/* What is beyond its end is zeroes. */
static int disk_readv(const struct image_file *file, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov)
{
	struct image *image = image_of(file);
	uint64_t size = image_size(image);

	if (offset <= size && iov_total(iov, n_iov) <= size - offset)
		return image_readv(image, offset, iov, n_iov, NULL);
	for (; n_iov > 0; iov++, n_iov--) {
		uint64_t left = offset < size ? size - offset : 0;
		size_t n = iov->iov_len < left ? iov->iov_len : (size_t)left;
		int rc = image_read(image, offset < size ? offset : size,
				    iov->iov_base, n, NULL);

		if (rc < 0)
			return rc;
		memset((char *)iov->iov_base + n, 0, iov->iov_len - n);
		offset += iov->iov_len;
	}
	return 0;
}

/* Of two that go beyond the end at once the smaller one must not shrink what
 * the other made. */
static int grow(struct disk_file *d, uint64_t offset, uint64_t len)
{
	static const struct image_resize_options options;
	int rc = 0;

	pthread_mutex_lock(&d->growing);
	if (offset > image_size(d->image) ||
	    len > image_size(d->image) - offset)
		rc = image_resize(d->image, offset + len, &options, NULL);
	pthread_mutex_unlock(&d->growing);
	return rc;
}

static int disk_writev(const struct image_file *file, uint64_t offset,
		       const struct iovec *iov, unsigned n_iov)
{
	struct image *image = image_of(file);
	int rc = grow(disk_of(file), offset, iov_total(iov, n_iov));

	return rc < 0 ? rc : image_writev(image, offset, iov, n_iov, NULL);
}

static int disk_zero(const struct image_file *file, uint64_t offset,
		     uint64_t len, bool keep_space)
{
	struct image *image = image_of(file);
	int rc = grow(disk_of(file), offset, len);

	return rc < 0 ? rc
		      : image_write_zeroes(
				image, offset, len,
				keep_space ? 0 : IMAGE_ZERO_MAY_UNMAP, NULL);
}

/* A hole in a file is zeroes, which what is discarded need not be. */
static int disk_punch(const struct image_file *file, uint64_t offset,
		      uint64_t len)
{
	struct image *image = image_of(file);

	if (offset > image_size(image) || len > image_size(image) - offset)
		return -EOPNOTSUPP;
	return image_write_zeroes(image, offset, len, IMAGE_ZERO_MAY_UNMAP,
				  NULL);
}

static int disk_flush(const struct image_file *file)
{
	return image_flush(image_of(file), NULL);
}

static int disk_extent(const struct image_file *file, uint64_t offset,
		       uint64_t len, bool *is_data, uint64_t *extent_len)
{
	struct image *image = image_of(file);
	uint64_t size = image_size(image);
	struct image_extent extent;
	int rc;

	*is_data = false;
	*extent_len = len;
	if (offset >= size)
		return 0;
	if (len > size - offset)
		len = size - offset;
	rc = image_map(image, offset, len, IMAGE_MAP_CHAIN, &extent, NULL);
	if (rc < 0)
		return rc;
	*is_data = extent.kind == IMAGE_EXTENT_DATA ||
		   extent.kind == IMAGE_EXTENT_COMPRESSED;
	*extent_len = extent.len;
	return 0;
}

/* What is beyond its end is in none of its layers. */
static int disk_map(const struct image_file *file, uint64_t offset,
		    uint64_t len, unsigned flags, struct image_extent *extent,
		    struct error *err)
{
	struct image *image = image_of(file);
	uint64_t size = image_size(image);

	*extent = (struct image_extent){
		.kind = IMAGE_EXTENT_HOLE,
		.len = len,
		.layer = image,
		.host_fd = -1,
	};
	if (offset >= size)
		return 0;
	return image_map(image, offset,
			 len < size - offset ? len : size - offset, flags,
			 extent, err);
}

static int disk_truncate(const struct image_file *file, uint64_t size)
{
	static const struct image_resize_options options = { .may_shrink =
								     true };
	struct disk_file *d = disk_of(file);
	int rc;

	pthread_mutex_lock(&d->growing);
	rc = image_resize(d->image, size, &options, NULL);
	pthread_mutex_unlock(&d->growing);
	return rc;
}

/* What is written has its place in an image of any format. */
static int disk_allocate(const struct image_file *file, uint64_t offset,
			 uint64_t len)
{
	return image_file_write_zeroes(file, offset, len);
}

static int disk_identify(const struct image_file *file, struct stat *st)
{
	return image_file_identify(image_of(file)->file, st);
}

static int disk_lock(const struct image_file *file,
		     const struct image_locks *locks, struct error *err)
{
	return image_lock_file(image_of(file), locks, err);
}

static int disk_close(struct image_file *file)
{
	struct disk_file *d = disk_of(file);
	int rc = image_close(d->image, NULL);

	pthread_mutex_destroy(&d->growing);
	free(d);
	return rc;
}

static const struct file_ops ops = {
	.size = disk_size,
	.usage = disk_usage,
	.readv = disk_readv,
	.writev = disk_writev,
	.zero = disk_zero,
	.punch = disk_punch,
	.flush = disk_flush,
	.extent = disk_extent,
	.truncate = disk_truncate,
	.allocate = disk_allocate,
	.identify = disk_identify,
	.lock = disk_lock,
	.disk = image_of,
	.map = disk_map,
	.close = disk_close,
};

/* Is the image no more than a way to this layer's? */
static bool is_filtered(const struct image_layer *layer,
			const struct image_open_options *options)
{
	const struct image_layer *above = options->layers;
	const struct image_format *format =
		options->format != NULL ? image_format_find(options->format)
					: NULL;

	while (above != layer && above->kind != IMAGE_LAYER_WINDOW &&
	       above->kind != IMAGE_LAYER_DISK)
		above = above->under;
	return above == layer && format != NULL && format->is_filter;
}

int disk_put_over(struct image_file **file, const char *path,
		  const struct image_layer *layer,
		  const struct image_open_options *options, struct error *err)
{
	struct image_open_options under = *options;
	struct disk_file *d;
	int rc;

	under.format = NULL;
	under.flags &= ~(unsigned)(IMAGE_CHECK | IMAGE_METADATA_ONLY |
				   IMAGE_DETECT_ZEROES | IMAGE_UNMAP_ZEROES);
	if (!is_filtered(layer, options))
		under.flags &= ~(unsigned)IMAGE_NO_BACKING;
	image_under_apply(layer->image, &under);
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	rc = image_open_file(&d->image, *file, path, &under, NULL, err);
	*file = NULL;
	if (rc < 0) {
		free(d);
		return rc;
	}
	pthread_mutex_init(&d->growing, NULL);
	d->state.ops = &ops;
	d->state.is_unsafe = under.flags & IMAGE_UNSAFE;
	d->state.file = (struct image_file){
		.fd = -1,
		.is_read_only = image_is_read_only(d->image),
		.alignment = 1,
		.is_nowhere = d->image->file->is_nowhere,
	};
	*file = &d->state.file;
	return 0;
}
