/* SPDX-License-Identifier: ISC */
/*
 * Two kinds of I/O: buffered, where any offset and length will do, and
 * O_DIRECT, where the kernel wants all of them aligned. What is not aligned
 * then takes a way through an aligned buffer (file_bounce.c), so that callers
 * need not care.
 */
#include "lib/image/file.h"

#include "lib/image/file_internal.h"
#include "lib/image/iov.h"
#include "lib/image/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum {
	FIRST_BLOCK = 4096,
};

int image_file_identify(const struct image_file *file, struct stat *st)
{
	const struct file_ops *ops = file_state_of(file)->ops;

	if (ops != NULL)
		return ops->identify != NULL ? ops->identify(file, st)
					     : -ENOTSUP;
	return fstat(file->fd, st) < 0 ? -errno : 0;
}

/* A character device has an end as well, if it can seek. */
static int device_size(int fd, uint64_t *size)
{
	off_t end;

	if (ioctl(fd, BLKGETSIZE64, size) == 0)
		return 0;
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	*size = (uint64_t)end;
	return 0;
}

int image_file_size(const struct image_file *file, uint64_t *size)
{
	const struct file_ops *ops = file_state_of(file)->ops;
	struct stat st;

	if (ops != NULL)
		return ops->size(file, size);
	if (file->is_block_device)
		return device_size(file->fd, size);
	if (fstat(file->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

int image_file_check_end(const struct image_file *file, uint64_t host_offset)
{
	struct file_state *state = file_state_of(file);

	if (host_offset >= atomic_load(&state->least_size))
		return 0;
	atomic_store(&state->file.is_cut, true);
	return -EIO;
}

int image_file_usage(const struct image_file *file, uint64_t *usage)
{
	const struct file_ops *ops = file_state_of(file)->ops;
	struct stat st;

	if (ops != NULL)
		return ops->usage != NULL ? ops->usage(file, usage) : -ENOTSUP;
	if (fstat(file->fd, &st) < 0)
		return -errno;
	*usage = (uint64_t)st.st_blocks * 512;
	return 0;
}

/* Offsets are off_t to the kernel. */
static bool is_in_range(uint64_t host_offset, uint64_t len)
{
	uint64_t end;

	return !__builtin_add_overflow(host_offset, len, &end) &&
	       end <= INT64_MAX;
}

int image_file_read(const struct image_file *file, uint64_t host_offset,
		    void *buf, size_t len)
{
	const struct iovec iov = { .iov_base = buf, .iov_len = len };

	return image_file_readv(file, host_offset, &iov, 1);
}

int image_file_write(const struct image_file *file, uint64_t host_offset,
		     const void *buf, size_t len)
{
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
				   .iov_len = len };

	return image_file_writev(file, host_offset, &iov, 1);
}

int image_file_readv(const struct image_file *file, uint64_t host_offset,
		     const struct iovec *iov, unsigned n_iov)
{
	const struct file_ops *ops = file_state_of(file)->ops;
	uint64_t len = iov_total(iov, n_iov);

	if (!is_in_range(host_offset, len))
		return -EINVAL;
	image_trace(IMAGE_TRACE_READ, file, host_offset, len, 0);
	if (ops != NULL)
		return ops->readv(file, host_offset, iov, n_iov);
	if (!image_file_is_aligned(file, host_offset, iov, n_iov))
		return image_file_bounce_read(file, host_offset, iov, n_iov);
	return image_file_transfer(file, preadv, host_offset, iov, n_iov);
}

int image_file_writev(const struct image_file *file, uint64_t host_offset,
		      const struct iovec *iov, unsigned n_iov)
{
	struct file_state *state = file_state_of(file);
	uint64_t len = iov_total(iov, n_iov);
	int rc;

	if (!is_in_range(host_offset, len))
		return -EFBIG;
	image_trace(IMAGE_TRACE_WRITE, file, host_offset, len, 0);
	if (state->ops != NULL)
		return state->ops->writev(file, host_offset, iov, n_iov);
	if (!file->is_direct)
		return image_file_transfer(file, pwritev, host_offset, iov,
					   n_iov);
	if (!image_file_is_aligned(file, host_offset, iov, n_iov)) {
		pthread_rwlock_wrlock(&state->edges);
		rc = image_file_bounce_write(file, host_offset, iov, n_iov);
	} else {
		pthread_rwlock_rdlock(&state->edges);
		rc = image_file_transfer(file, pwritev, host_offset, iov,
					 n_iov);
	}
	pthread_rwlock_unlock(&state->edges);
	return rc;
}

int image_file_write_zeroes(const struct image_file *file, uint64_t host_offset,
			    uint64_t len)
{
	while (len > 0) {
		size_t n = len < IOV_ZEROES_LEN ? (size_t)len : IOV_ZEROES_LEN;
		int rc = image_file_write(file, host_offset, iov_zeroes, n);

		if (rc < 0)
			return rc;
		host_offset += n;
		len -= n;
	}
	return 0;
}

static void share_edges(const struct image_file *file)
{
	if (file->is_direct)
		pthread_rwlock_rdlock(&file_state_of(file)->edges);
}

static void leave_edges(const struct image_file *file)
{
	if (file->is_direct)
		pthread_rwlock_unlock(&file_state_of(file)->edges);
}

/* As the system call, but -errno. */
static int change_space(const struct image_file *file, int mode,
			uint64_t host_offset, uint64_t len)
{
	int rc;

	share_edges(file);
	rc = fallocate(file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)host_offset,
		       (off_t)len) < 0
		     ? -errno
		     : 0;
	leave_edges(file);
	return rc;
}

/*
 * The size must grow as a write would have made it grow. Not by ftruncate():
 * another thread may have grown it further meanwhile.
 */
static int cover(const struct image_file *file, uint64_t end)
{
	uint64_t size = 0;
	int rc;

	if (file->is_block_device)
		return 0;
	rc = image_file_size(file, &size);
	if (rc < 0 || size >= end)
		return rc;
	return image_file_write(file, end - 1, "", 1);
}

int image_file_zero(const struct image_file *file, uint64_t host_offset,
		    uint64_t len, bool keep_space)
{
	int mode = keep_space ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
	const struct file_ops *ops = file_state_of(file)->ops;
	int rc;

	if (!is_in_range(host_offset, len))
		return -EFBIG;
	if (len == 0)
		return 0;
	image_trace(IMAGE_TRACE_ZEROES, file, host_offset, len, 0);
	if (ops != NULL)
		return ops->zero(file, host_offset, len, keep_space);
	rc = change_space(file, mode, host_offset, len);
	if (rc == 0)
		return cover(file, host_offset + len);
	/* A block device wants whole sectors: EINVAL. */
	if (rc != -EOPNOTSUPP && rc != -ENOSYS && rc != -EINVAL &&
	    rc != -ENODEV)
		return rc;
	return image_file_write_zeroes(file, host_offset, len);
}

int image_file_punch(const struct image_file *file, uint64_t host_offset,
		     uint64_t len)
{
	const struct file_ops *ops = file_state_of(file)->ops;
	int rc;

	if (!is_in_range(host_offset, len))
		return -EINVAL;
	if (len == 0)
		return 0;
	image_trace(IMAGE_TRACE_DISCARD, file, host_offset, len, 0);
	if (ops != NULL)
		return ops->punch(file, host_offset, len);
	rc = change_space(file, FALLOC_FL_PUNCH_HOLE, host_offset, len);
	return rc == -ENOSYS || rc == -ENODEV || rc == -EINVAL ? -EOPNOTSUPP
							       : rc;
}

/* A reader beside it must never miss what is being cut off here; nor may what
 * another process has cut off become zeroes. */
static int set_length(const struct image_file *file, uint64_t size)
{
	struct file_state *state = file_state_of(file);
	uint64_t now = 0;
	int rc = image_file_size(file, &now);

	if (rc == 0)
		rc = image_file_check_end(file, now);
	if (rc < 0)
		return rc;
	if (size < atomic_load(&state->least_size))
		atomic_store(&state->least_size, size);
	if (ftruncate(file->fd, (off_t)size) < 0)
		return -errno;
	atomic_store(&state->least_size, size);
	return 0;
}

int image_file_truncate(const struct image_file *file, uint64_t size)
{
	const struct file_ops *ops = file_state_of(file)->ops;
	uint64_t now;
	int rc;

	if (!is_in_range(size, 0))
		return -EFBIG;
	if (ops != NULL && ops->truncate != NULL)
		return ops->truncate(file, size);
	if (!file->is_block_device) {
		share_edges(file);
		rc = set_length(file, size);
		leave_edges(file);
		return rc;
	}
	rc = image_file_size(file, &now);
	if (rc < 0)
		return rc;
	return size <= now ? 0 : -ENOSPC;
}

int image_file_allocate(const struct image_file *file, uint64_t host_offset,
			uint64_t len)
{
	const struct file_ops *ops = file_state_of(file)->ops;
	int rc;

	if (!is_in_range(host_offset, len))
		return -EFBIG;
	if (len == 0 || file->is_block_device)
		return 0;
	if (ops != NULL)
		return ops->allocate != NULL
			       ? ops->allocate(file, host_offset, len)
			       : -EOPNOTSUPP;
	share_edges(file);
	rc = -posix_fallocate(file->fd, (off_t)host_offset, (off_t)len);
	leave_edges(file);
	return rc;
}

int image_file_write_first_block(const struct image_file *file, uint64_t size)
{
	size_t len = size < FIRST_BLOCK ? (size_t)size : FIRST_BLOCK;

	return file->is_block_device || len == 0
		       ? 0
		       : image_file_write(file, 0, iov_zeroes, len);
}

int image_file_flush(const struct image_file *file)
{
	struct file_state *state = file_state_of(file);
	int rc = atomic_load(&state->flush_error);

	if (state->is_unsafe)
		return 0;
	if (rc < 0)
		return rc;
	image_trace(IMAGE_TRACE_FLUSH, file, 0, 0, 0);
	if (state->ops != NULL)
		rc = state->ops->flush(file);
	else if (fdatasync(file->fd) < 0)
		rc = -errno;
	if (rc == 0)
		return 0;
	atomic_store(&state->flush_error, rc);
	return rc;
}

static ssize_t pwritev_durable(int fd, const struct iovec *iov, int n_iov,
			       off_t offset)
{
	return pwritev2(fd, iov, n_iov, offset, RWF_DSYNC);
}

int image_file_write_durable(const struct image_file *file,
			     uint64_t host_offset, const void *buf, size_t len)
{
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
				   .iov_len = len };
	int rc = -EOPNOTSUPP;

	if (!is_in_range(host_offset, len))
		return -EFBIG;
	image_trace(IMAGE_TRACE_WRITE, file, host_offset, len, 0);
	if (!file->is_direct && !file_state_of(file)->is_unsafe &&
	    file_state_of(file)->ops == NULL)
		rc = image_file_transfer(file, pwritev_durable, host_offset,
					 &iov, 1);
	if (rc != -EOPNOTSUPP)
		return rc;
	rc = image_file_write(file, host_offset, buf, len);
	return rc < 0 ? rc : image_file_flush(file);
}

/* One that goes on to the end of the file, or lies beyond it. */
static int check_hole(const struct image_file *file, uint64_t host_offset)
{
	uint64_t size = 0;
	int rc;

	if (host_offset >= atomic_load(&file_state_of(file)->least_size))
		return 0;
	rc = image_file_size(file, &size);
	return rc < 0 ? rc : image_file_check_end(file, size);
}

int image_file_extent(const struct image_file *file, uint64_t host_offset,
		      uint64_t len, bool *is_data, uint64_t *extent_len)
{
	const struct file_ops *ops = file_state_of(file)->ops;
	off_t next;

	if (!is_in_range(host_offset, len))
		return -EINVAL;
	if (ops != NULL)
		return ops->extent(file, host_offset, len, is_data, extent_len);
	*is_data = true;
	*extent_len = len;
	next = lseek(file->fd, (off_t)host_offset, SEEK_DATA);
	if (next < 0 && errno == ENXIO) {
		*is_data = false; /* up to the end of the file, and beyond */
		return check_hole(file, host_offset);
	}
	if (next > (off_t)host_offset)
		*is_data = false;
	else if (next == (off_t)host_offset)
		next = lseek(file->fd, (off_t)host_offset, SEEK_HOLE);
	if (next < 0) /* cannot tell */
		return errno == EINVAL || errno == EOPNOTSUPP ? 0 : -errno;
	/* A hole that was made since the first question: as good as data. */
	if (next > (off_t)host_offset && (uint64_t)next - host_offset < len)
		*extent_len = (uint64_t)next - host_offset;
	return 0;
}

int image_file_marks(const struct image_file *file, uint64_t host_offset,
		     uint64_t len, unsigned *marks, uint64_t *run_len)
{
	const struct file_ops *ops = file_state_of(file)->ops;

	if (ops == NULL || ops->marks == NULL)
		return -ENOTSUP;
	return ops->marks(file, host_offset, len, marks, run_len);
}
