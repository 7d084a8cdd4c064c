/* SPDX-License-Identifier: ISC */
/*
 * The host file under an image: positioned I/O that is whole or fails,
 * sparse-file operations, and QEMU's locks on it. The one place that does
 * system calls on image files, so that tests can inject errors here. Or an
 * NBD server's export, which is like a block device without a descriptor.
 *
 * Thread-safe but for open and close.
 */
#ifndef LIB_IMAGE_FILE_H
#define LIB_IMAGE_FILE_H

#include "lib/image/file_event.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

struct error;
struct image_locks;

struct image_file {
	int fd; /* -1: it is another host's, or under a layer */
	/* Block devices are all that have the size that they have: character
	 * devices, too. */
	bool is_read_only, is_block_device, is_direct;
	uint32_t alignment; /* of offset, length and memory: 1 if buffered */
	uint64_t base; /* where it begins in the file that it is a part of */
	/* It is in several files at once, so that there is no place of it in one
	 * of them, nor a folder that it is in. */
	bool is_nowhere;
	bool has_marks; /* image_file_marks() tells something */
	/* A read has failed as another process has made it shorter since it
	 * was opened. */
	atomic_bool is_cut;
	/* Told of each step of a format's work; NULL: nobody listens. */
	void (*hear)(const struct image_file *file, enum image_event event);
};

/* Of a file whose st_mode that is. */
static inline bool image_file_is_device(mode_t mode)
{
	return S_ISBLK(mode) || S_ISCHR(mode);
}

static inline void image_file_tell(const struct image_file *file,
				   enum image_event event)
{
	if (__builtin_expect(file->hear != NULL, 0))
		file->hear(file, event);
}

enum image_file_flags {
	IMAGE_FILE_READ_ONLY = 1 << 0,
	IMAGE_FILE_DIRECT = 1 << 1,
	IMAGE_FILE_NO_LOCK = 1 << 2,
	IMAGE_FILE_CREATE = 1 << 3, /* make it, or empty what is there */
	IMAGE_FILE_UNSAFE = 1 << 4, /* image_file_flush() does nothing */
	/* The path is the user's own, and may be an NBD URI or a character
	 * device's; as a new one's always is. */
	IMAGE_FILE_NBD = 1 << 5,
	/* The same, of blkdebug:CONFIG:PATH; a new one's never is. */
	IMAGE_FILE_BLKDEBUG = 1 << 6,
	/* With _CREATE: others may read and write it at the same time, as in
	 * QEMU where a format has no metadata that they could get wrong. */
	IMAGE_FILE_SHARED = 1 << 7,
};

/*
 * Regular files, block devices and, by a path that is the user's own, character
 * devices; anything else is -EINVAL by name.
 * Takes QEMU's locks (lock.h) unless told not to: -EAGAIN with
 * QEMU's text where another process holds them.
 */
int image_file_open(struct image_file **file, const char *path, unsigned flags,
		    struct error *err);
int image_file_open_fd(struct image_file **file, int fd, const char *path,
		       unsigned flags, struct error *err);
/* -errno: something that was written is lost. A network's file system may tell
 * so only here, where nothing was flushed. Closed it is all the same. */
int image_file_close(struct image_file *file);

/* Hold these locks from now on, and no others: lock.h has what it returns. */
int image_file_lock(const struct image_file *file, const char *path,
		    const struct image_locks *locks, struct error *err);

/* The same, of a file that is open for writing, and from now on nobody else
 * may have it open, not even for reading. */
int image_file_lock_alone(const struct image_file *file, const char *path,
			  struct error *err);

/* Which file of this host it is. -ENOTSUP: none. */
int image_file_identify(const struct image_file *file, struct stat *st);
int image_file_size(const struct image_file *file, uint64_t *size);
/* Bytes of disk that it uses, as du(1) counts them. -ENOTSUP: nobody knows. */
int image_file_usage(const struct image_file *file, uint64_t *usage);
/* Whole or -errno; a read beyond the end gives zeroes there. -EIO where there
 * was something when the file was opened, and another process has made it
 * shorter since: is_cut. */
int image_file_read(const struct image_file *file, uint64_t host_offset,
		    void *buf, size_t len);
int image_file_write(const struct image_file *file, uint64_t host_offset,
		     const void *buf, size_t len);
/* On stable storage when it returns, with the size that the file has then;
 * other writes need not be: cheaper than a flush. */
int image_file_write_durable(const struct image_file *file,
			     uint64_t host_offset, const void *buf, size_t len);
int image_file_readv(const struct image_file *file, uint64_t host_offset,
		     const struct iovec *iov, unsigned n_iov);
int image_file_writev(const struct image_file *file, uint64_t host_offset,
		      const struct iovec *iov, unsigned n_iov);
/* Reads as zeroes afterwards; keep_space: blocks stay allocated. Falls back
 * to writing zeroes. */
int image_file_zero(const struct image_file *file, uint64_t host_offset,
		    uint64_t len, bool keep_space);
/* Real blocks of zeroes ("full" preallocation). */
int image_file_write_zeroes(const struct image_file *file, uint64_t host_offset,
			    uint64_t len);
/*
 * The first block of a new file of that size, zeroes: who opens it with
 * O_DIRECT learns from a read which alignment the file system wants, and one
 * that finds a hole there may allow anything (QEMU and NFS, Gluster).
 */
int image_file_write_first_block(const struct image_file *file, uint64_t size);
/* Give the space back. Best effort: -EOPNOTSUPP where holes cannot be made. */
int image_file_punch(const struct image_file *file, uint64_t host_offset,
		     uint64_t len);
int image_file_truncate(const struct image_file *file, uint64_t size);
int image_file_allocate(const struct image_file *file, uint64_t host_offset,
			uint64_t len);
/* fdatasync(). Once it has failed it goes on failing: the kernel forgets the
 * pages that it could not write, and would call the next one a success. */
int image_file_flush(const struct image_file *file);
/*
 * SEEK_DATA and SEEK_HOLE: is [host_offset, …) data, and how far does that
 * go, at most len. Everything is data where the file system cannot tell.
 */
int image_file_extent(const struct image_file *file, uint64_t host_offset,
		      uint64_t len, bool *is_data, uint64_t *extent_len);
/* What a server's bitmap says of [host_offset, …): enum image_marks. */
int image_file_marks(const struct image_file *file, uint64_t host_offset,
		     uint64_t len, unsigned *marks, uint64_t *run_len);

#endif
