/* SPDX-License-Identifier: ISC */
#include "lib/image/filter.h"

#include "lib/image/layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int filter_init(struct filter_file *filter, struct image_file *under,
		const char *path, const struct file_ops *ops, unsigned flags)
{
	filter->path = strdup(path);
	if (filter->path == NULL)
		return -ENOMEM;
	filter->under = under;
	filter->state.ops = ops;
	filter->state.is_unsafe = flags & IMAGE_FILE_UNSAFE;
	filter->state.file = (struct image_file){
		.fd = -1,
		.is_read_only = under->is_read_only,
		.is_block_device = under->is_block_device,
		.is_direct = under->is_direct,
		.alignment = under->alignment,
		.base = under->base,
		.is_nowhere = under->is_nowhere,
	};
	return 0;
}

int filter_close(struct filter_file *filter)
{
	int rc = image_file_close(filter->under);

	free(filter->path);
	return rc;
}

int filter_size(const struct image_file *file, uint64_t *size)
{
	return image_file_size(filter_of(file)->under, size);
}

int filter_usage(const struct image_file *file, uint64_t *usage)
{
	return image_file_usage(filter_of(file)->under, usage);
}

int filter_readv(const struct image_file *file, uint64_t host_offset,
		 const struct iovec *iov, unsigned n_iov)
{
	return image_file_readv(filter_of(file)->under, host_offset, iov,
				n_iov);
}

int filter_writev(const struct image_file *file, uint64_t host_offset,
		  const struct iovec *iov, unsigned n_iov)
{
	return image_file_writev(filter_of(file)->under, host_offset, iov,
				 n_iov);
}

int filter_zero(const struct image_file *file, uint64_t host_offset,
		uint64_t len, bool keep_space)
{
	return image_file_zero(filter_of(file)->under, host_offset, len,
			       keep_space);
}

int filter_punch(const struct image_file *file, uint64_t host_offset,
		 uint64_t len)
{
	return image_file_punch(filter_of(file)->under, host_offset, len);
}

int filter_flush(const struct image_file *file)
{
	return image_file_flush(filter_of(file)->under);
}

int filter_extent(const struct image_file *file, uint64_t host_offset,
		  uint64_t len, bool *is_data, uint64_t *extent_len)
{
	return image_file_extent(filter_of(file)->under, host_offset, len,
				 is_data, extent_len);
}

int filter_truncate(const struct image_file *file, uint64_t size)
{
	return image_file_truncate(filter_of(file)->under, size);
}

int filter_allocate(const struct image_file *file, uint64_t host_offset,
		    uint64_t len)
{
	return image_file_allocate(filter_of(file)->under, host_offset, len);
}

int filter_identify(const struct image_file *file, struct stat *st)
{
	return image_file_identify(filter_of(file)->under, st);
}

int filter_lock(const struct image_file *file, const struct image_locks *locks,
		struct error *err)
{
	const struct filter_file *filter = filter_of(file);

	return image_file_lock(filter->under, filter->path, locks, err);
}

struct image *filter_disk(const struct image_file *file)
{
	return layer_disk(filter_of(file)->under);
}

int filter_map(const struct image_file *file, uint64_t host_offset,
	       uint64_t len, unsigned flags, struct image_extent *extent,
	       struct error *err)
{
	return layer_map(filter_of(file)->under, host_offset, len, flags,
			 extent, err);
}
