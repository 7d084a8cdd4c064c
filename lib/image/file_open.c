/* SPDX-License-Identifier: ISC */
/* How a file is opened: by what its name is, with its locks, and closed. */
#include "lib/image/file.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blkdebug.h"
#include "lib/image/file_internal.h"
#include "lib/image/image.h"
#include "lib/image/lock.h"
#include "lib/image/null.h"
#include "lib/image/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum {
	DEFAULT_ALIGNMENT = 4096,
};

static uint32_t find_alignment(int fd, bool is_block_device)
{
	int size = 0;

	if (is_block_device && ioctl(fd, BLKSSZGET, &size) == 0 && size > 0)
		return (uint32_t)size;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
	    sx.stx_mask & STATX_DIOALIGN && sx.stx_dio_offset_align > 0)
		return sx.stx_dio_offset_align > sx.stx_dio_mem_align
			       ? sx.stx_dio_offset_align
			       : sx.stx_dio_mem_align;
#endif
	return DEFAULT_ALIGNMENT;
}

/* QEMU's order and texts: its users' scripts know them. Character devices are
 * for who names them: opening one that an image names may do anything. */
static int check_type(const struct stat *st, const char *path, unsigned flags,
		      struct error *err)
{
	bool is_own = flags & (IMAGE_FILE_NBD | IMAGE_FILE_CREATE);

	if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) ||
	    (S_ISCHR(st->st_mode) && is_own))
		return 0;
	return error_set(err, -EINVAL,
			 "'file' driver requires '%s' to be a regular file",
			 path);
}

static int open_path(const char *path, unsigned flags, struct error *err)
{
	/* A FIFO would wait for its other end before it can be refused. */
	int how = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	const char *doing = "open";
	struct stat st;
	int fd, rc;

	if (stat(path, &st) == 0 && S_ISCHR(st.st_mode)) {
		rc = check_type(&st, path, flags, err);
		if (rc < 0)
			return rc;
	}
	how |= flags & IMAGE_FILE_READ_ONLY ? O_RDONLY : O_RDWR;
	if (flags & IMAGE_FILE_DIRECT)
		how |= O_DIRECT;
	if (flags & IMAGE_FILE_CREATE) {
		how |= O_CREAT;
		doing = "create";
	}
	fd = open(path, how, 0644);
	if (fd < 0)
		return error_set_errno(err, -errno, "Could not %s '%s'", doing,
				       path);
	return fd;
}

int image_file_open(struct image_file **file, const char *path, unsigned flags,
		    struct error *err)
{
	int fd, rc;

	if (flags & (IMAGE_FILE_NBD | IMAGE_FILE_CREATE) &&
	    image_name_is_nbd(path)) {
		rc = image_file_open_nbd(file, path, NULL, flags, err);
		if (rc == 0)
			image_trace_open(*file, path, "nbd", flags);
		else if (flags & IMAGE_FILE_CREATE)
			error_prefix(err, rc,
				     "Protocol driver 'nbd' does not support "
				     "image creation, and opening the image "
				     "failed");
		return rc;
	}
	if (flags & IMAGE_FILE_BLKDEBUG && blkdebug_is_name(path))
		return blkdebug_open(file, path, flags, err);
	if (image_name_is_null(path))
		return null_open(file, path, NULL, flags, err);
	fd = open_path(path, flags, err);
	if (fd < 0)
		return fd;
	rc = image_file_open_fd(file, fd, path, flags, err);
	if (rc == 0)
		image_trace_open(*file, path, "file", flags);
	return rc;
}

/* A new image must not be emptied before its locks say that it may. */
static int empty(const struct image_file *file, const char *path,
		 struct error *err)
{
	int rc = file->is_block_device ? 0 : image_file_truncate(file, 0);

	return rc < 0 ? error_set_errno(err, rc, "Could not empty '%s'", path)
		      : 0;
}

/* Whoever had it open before may have made it shorter until the first locks are
 * taken; nobody may later. */
static void note_size(const struct image_file *file)
{
	uint64_t size;

	if (!file->is_block_device && image_file_size(file, &size) == 0)
		atomic_store(&file_state_of(file)->least_size, size);
}

/* Of a new one QEMU's file driver lets nobody else change the size. */
static int lock_opened(const struct image_file *file, const char *path,
		       unsigned flags, struct error *err)
{
	struct image_locks locks = {
		.used = file->is_read_only ? IMAGE_LOCK_READER
					   : IMAGE_LOCK_WRITER,
		.unshared = IMAGE_LOCK_UNSHARED,
	};

	if (flags & IMAGE_FILE_SHARED) {
		locks.used = IMAGE_PERM_WRITE | IMAGE_PERM_RESIZE;
		locks.unshared = IMAGE_PERM_RESIZE;
	}
	return image_file_lock(file, path, &locks, err);
}

int image_file_open_fd(struct image_file **file, int fd, const char *path,
		       unsigned flags, struct error *err)
{
	_cleanup_fd_ int owned = fd;
	_cleanup_(image_file_cleanup) struct image_file *made = NULL;
	struct file_state *state;
	struct stat st;
	int rc, how;

	how = fcntl(fd, F_GETFL);
	if (how < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, -errno, "Could not open '%s'",
				       path);
	rc = check_type(&st, path, flags, err);
	if (rc < 0)
		return rc;
	if ((how & O_ACCMODE) == O_RDONLY && !(flags & IMAGE_FILE_READ_ONLY))
		return error_set(err, -EACCES,
				 "Descriptor of '%s' is for reading only",
				 path);
	state = calloc(1, sizeof(*state));
	if (state == NULL)
		return -ENOMEM;
	pthread_rwlock_init(&state->edges, NULL);
	made = &state->file;
	made->fd = steal_fd(&owned);
	made->is_read_only = flags & IMAGE_FILE_READ_ONLY;
	made->is_block_device = image_file_is_device(st.st_mode);
	made->is_direct = how & O_DIRECT;
	made->alignment =
		made->is_direct ? find_alignment(fd, made->is_block_device) : 1;
	state->is_unsafe = flags & IMAGE_FILE_UNSAFE;
	if (flags & IMAGE_FILE_NO_LOCK)
		note_size(made);
	else
		rc = lock_opened(made, path, flags, err);
	if (rc == 0 && flags & IMAGE_FILE_CREATE)
		rc = empty(made, path, err);
	if (rc == 0)
		*file = steal_ptr(&made);
	return rc;
}

int image_file_close(struct image_file *file)
{
	struct file_state *state;
	int rc;

	if (file == NULL)
		return 0;
	state = file_state_of(file);
	if (state->ops != NULL)
		return state->ops->close(file);
	rc = close(file->fd) < 0 ? -errno : 0;
	pthread_rwlock_destroy(&state->edges);
	free(state);
	return rc;
}

int image_file_lock(const struct image_file *file, const char *path,
		    const struct image_locks *locks, struct error *err)
{
	struct file_state *state = file_state_of(file);
	const struct file_ops *ops = state->ops;
	int rc;

	if (ops != NULL)
		return ops->lock != NULL ? ops->lock(file, locks, err) : 0;
	rc = image_lock(file->fd, path, locks->used, locks->unshared, err);
	if (rc < 0)
		return rc;
	if (!state->was_locked)
		note_size(file);
	state->was_locked = true;
	return 0;
}

int image_file_lock_alone(const struct image_file *file, const char *path,
			  struct error *err)
{
	return file_state_of(file)->ops != NULL
		       ? 0
		       : image_lock(file->fd, path, IMAGE_LOCK_WRITER,
				    IMAGE_LOCK_UNSHARED |
					    IMAGE_PERM_CONSISTENT_READ,
				    err);
}
