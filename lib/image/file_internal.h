/* SPDX-License-Identifier: ISC */
/* The hidden half of struct image_file, shared by the sources of file.h. */
#ifndef LIB_IMAGE_FILE_INTERNAL_H
#define LIB_IMAGE_FILE_INTERNAL_H

#include "lib/base/cleanup.h"
#include "lib/image/file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

struct image;
struct image_extent;

/* What is not a file of this host; as image_file_*() but for what those have
 * checked. */
struct file_ops {
	const char *driver; /* QEMU's name; NULL: its image's format has it */
	int (*size)(const struct image_file *file, uint64_t *size);
	/* NULL: nobody knows. */
	int (*usage)(const struct image_file *file, uint64_t *usage);
	int (*readv)(const struct image_file *file, uint64_t host_offset,
		     const struct iovec *iov, unsigned n_iov);
	int (*writev)(const struct image_file *file, uint64_t host_offset,
		      const struct iovec *iov, unsigned n_iov);
	int (*zero)(const struct image_file *file, uint64_t host_offset,
		    uint64_t len, bool keep_space);
	int (*punch)(const struct image_file *file, uint64_t host_offset,
		     uint64_t len);
	int (*flush)(const struct image_file *file);
	int (*extent)(const struct image_file *file, uint64_t host_offset,
		      uint64_t len, bool *is_data, uint64_t *extent_len);
	/* NULL: it has none. */
	int (*marks)(const struct image_file *file, uint64_t host_offset,
		     uint64_t len, unsigned *marks, uint64_t *run_len);
	/* NULL in the next four: it has one size, is no file of this host, and
	 * its server's business to lock. */
	int (*truncate)(const struct image_file *file, uint64_t size);
	int (*allocate)(const struct image_file *file, uint64_t host_offset,
			uint64_t len);
	int (*identify)(const struct image_file *file, struct stat *st);
	int (*lock)(const struct image_file *file,
		    const struct image_locks *locks, struct error *err);
	/* As layer.h has them; NULL in both: it is not an image's disk. */
	struct image *(*disk)(const struct image_file *file);
	int (*map)(const struct image_file *file, uint64_t host_offset,
		   uint64_t len, unsigned flags, struct image_extent *extent,
		   struct error *err);
	int (*close)(struct image_file *file);
};

struct file_state {
	struct image_file file;
	const struct file_ops *ops; /* NULL: a descriptor */
	/*
	 * O_DIRECT only. A write that is not aligned reads and writes back
	 * its neighbours' bytes, and the file's size: it holds this
	 * exclusively. Aligned ones, and what makes holes or another size of
	 * the file, hold it shared.
	 */
	pthread_rwlock_t edges;
	bool is_unsafe, was_locked;
	atomic_int flush_error; /* the first one, for ever */
	/*
	 * Bytes that the file had when it was opened, or was last made shorter
	 * or longer here: a read that ends before them is of a file that
	 * another process has cut off, and its zeroes would be made up. 0 of a
	 * block device.
	 */
	_Atomic uint64_t least_size;
};

/* struct image_file is const to callers of I/O; its hidden half is not. */
static inline struct file_state *file_state_of(const struct image_file *file)
{
	return container_of(file, struct file_state, file);
}

static inline void image_file_cleanup(struct image_file **file)
{
	image_file_close(*file);
}

static inline uint64_t iov_total(const struct iovec *iov, unsigned n_iov)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < n_iov; i++)
		len += iov[i].iov_len;
	return len;
}

/* context: of NBD, for image_file_marks(); NULL: none. */
int image_file_open_nbd(struct image_file **file, const char *uri,
			const char *context, unsigned flags, struct error *err);

/* Will the kernel take it as it is? */
bool image_file_is_aligned(const struct image_file *file, uint64_t host_offset,
			   const struct iovec *iov, unsigned n_iov);

/* The file ends at host_offset, or before: -EIO if it did not use to. */
int image_file_check_end(const struct image_file *file, uint64_t host_offset);

typedef ssize_t image_file_io(int fd, const struct iovec *iov, int n_iov,
			      off_t offset);
/*
 * preadv() or pwritev() until all of it is done. A read beyond the end gives
 * zeroes, unless the file has been cut off; a write that makes no headway is
 * -EIO.
 */
int image_file_transfer(const struct image_file *file, image_file_io *io,
			uint64_t host_offset, const struct iovec *iov,
			unsigned n_iov);

int image_file_bounce_read(const struct image_file *file, uint64_t host_offset,
			   const struct iovec *iov, unsigned n_iov);
/* With edges held exclusively. */
int image_file_bounce_write(const struct image_file *file, uint64_t host_offset,
			    const struct iovec *iov, unsigned n_iov);

#endif
