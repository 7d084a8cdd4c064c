/* SPDX-License-Identifier: ISC */
/*
 * A file over another one that changes some of what is asked of it and hands
 * on the rest: what a file has before its own fields, and file_ops
 * that hand on, to be taken as they are or called by its own.
 */
#ifndef LIB_IMAGE_FILTER_H
#define LIB_IMAGE_FILTER_H

#include "lib/base/cleanup.h"
#include "lib/image/file_internal.h"

struct filter_file {
	struct file_state state; /* first */
	struct image_file *under;
	char *path; /* of that */
};

static inline struct filter_file *filter_of(const struct image_file *file)
{
	return container_of(file, struct filter_file, state.file);
}

/* under is the filter's from here on, if this does not fail; flags are enum
 * image_file_flags. Fails with -ENOMEM alone. */
int filter_init(struct filter_file *filter, struct image_file *under,
		const char *path, const struct file_ops *ops, unsigned flags);
/* Closes what is under it, and returns what image_file_close() does; the filter
 * itself is the caller's to free. */
int filter_close(struct filter_file *filter);

int filter_size(const struct image_file *file, uint64_t *size);
int filter_usage(const struct image_file *file, uint64_t *usage);
int filter_readv(const struct image_file *file, uint64_t host_offset,
		 const struct iovec *iov, unsigned n_iov);
int filter_writev(const struct image_file *file, uint64_t host_offset,
		  const struct iovec *iov, unsigned n_iov);
int filter_zero(const struct image_file *file, uint64_t host_offset,
		uint64_t len, bool keep_space);
int filter_punch(const struct image_file *file, uint64_t host_offset,
		 uint64_t len);
int filter_flush(const struct image_file *file);
int filter_extent(const struct image_file *file, uint64_t host_offset,
		  uint64_t len, bool *is_data, uint64_t *extent_len);
int filter_truncate(const struct image_file *file, uint64_t size);
int filter_allocate(const struct image_file *file, uint64_t host_offset,
		    uint64_t len);
int filter_identify(const struct image_file *file, struct stat *st);
int filter_lock(const struct image_file *file, const struct image_locks *locks,
		struct error *err);
struct image *filter_disk(const struct image_file *file);
int filter_map(const struct image_file *file, uint64_t host_offset,
	       uint64_t len, unsigned flags, struct image_extent *extent,
	       struct error *err);

#endif
