/* SPDX-License-Identifier: ISC */
#include "lib/image/layer.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blkdebug.h"
#include "lib/image/file_internal.h"
#include "lib/image/lock.h"
#include "lib/image/null.h"
#include "lib/image/quorum.h"

static int open_file(struct image_file **file, const char *path,
		     const struct image_open_options *options, unsigned flags,
		     struct error *err)
{
	int rc = image_file_open(file, path, flags, err);

	/* No O_DIRECT here. */
	if (rc == -EINVAL && flags & IMAGE_FILE_DIRECT)
		rc = image_file_open(file, path,
				     flags & ~(unsigned)IMAGE_FILE_DIRECT, err);
	if (rc < 0 || flags & IMAGE_FILE_DIRECT || (*file)->fd < 0 ||
	    !(options->flags & IMAGE_NATIVE_AIO))
		return rc;
	image_file_close(steal_ptr(file));
	return error_set(err, -EINVAL,
			 "aio=native was specified, but it requires "
			 "cache.direct=on, which was not specified.");
}

static int open_lowest(struct image_file **file, const char *path,
		       const struct image_open_options *options, unsigned flags,
		       struct error *err)
{
	if (options->null != NULL)
		return null_open(file, path, options->null, flags, err);
	if (options->quorum != NULL && options->quorum->is_verify)
		return verify_open(file, options->quorum, options, flags, err);
	if (options->quorum != NULL)
		return quorum_open(file, options->quorum, options, flags, err);
	if (options->nbd_context != NULL)
		return image_file_open_nbd(file, path, options->nbd_context,
					   flags, err);
	return open_file(file, path, options, flags, err);
}

static int put_over(struct image_file **file, const char *path,
		    const struct image_layer *layer,
		    const struct image_open_options *options, unsigned flags,
		    struct error *err)
{
	int rc = 0;

	if (layer == NULL)
		return 0;
	rc = put_over(file, path, layer->under, options, flags, err);
	if (rc < 0)
		return rc;
	switch (layer->kind) {
	case IMAGE_LAYER_BLKDEBUG:
		return blkdebug_put_over(file, path, layer->blkdebug, flags,
					 err);
	case IMAGE_LAYER_WINDOW:
		return window_put_over(file, path, &layer->window, flags, err);
	case IMAGE_LAYER_THROTTLE:
		return throttle_put_over(file, path, layer->throttle, flags);
	case IMAGE_LAYER_DISK:
		return disk_put_over(file, path, layer, options, err);
	case IMAGE_LAYER_COMPRESS:
		return compress_put_over(file, path, flags, err);
	case IMAGE_LAYER_LOG_WRITES:
		return log_writes_put_over(file, path, layer->log, options,
					   flags, err);
	case IMAGE_LAYER_COPY_BEFORE_WRITE:
		return copy_before_write_put_over(file, path, layer->copy,
						  options, flags, err);
	case IMAGE_LAYER_PREALLOCATE:
		return preallocate_put_over(file, path, &layer->preallocate,
					    flags, err);
	}
	return 0;
}

int layer_open(struct image_file **file, const char *path,
	       const struct image_open_options *options, unsigned flags,
	       struct error *err)
{
	_cleanup_(image_file_cleanup) struct image_file *made = NULL;
	int rc = open_lowest(&made, path, options, flags, err);

	if (rc == 0)
		rc = put_over(&made, path, options->layers, options, flags,
			      err);
	if (rc == 0)
		*file = steal_ptr(&made);
	return rc;
}

int layer_open_child(struct image_file **child, const struct image_under *how,
		     const struct image_open_options *options, unsigned flags,
		     struct error *err)
{
	const struct image_locks locks = {
		.used = flags & IMAGE_FILE_READ_ONLY ? IMAGE_LOCK_READER
						     : IMAGE_LOCK_WRITER,
		.unshared = IMAGE_LOCK_UNSHARED,
	};
	struct image_open_options under = *options;
	int rc;

	under.flags &= ~(unsigned)IMAGE_NATIVE_AIO;
	under.flags |= how->flags & IMAGE_NATIVE_AIO;
	if (how->flags & IMAGE_DIRECT)
		flags |= IMAGE_FILE_DIRECT;
	under.format = NULL;
	under.data_file = NULL;
	under.header_path = NULL;
	under.layers = how->layers;
	under.nbd_context = how->nbd_context;
	under.null = how->null;
	under.quorum = how->quorum;
	rc = layer_open(child, how->path, &under, flags, err);
	if (rc < 0 || options->flags & (IMAGE_FORCE_SHARE | IMAGE_NO_LOCK) ||
	    how->flags & IMAGE_NO_LOCK)
		return rc;
	rc = image_file_lock(*child, how->path, &locks, err);
	if (rc < 0) {
		image_file_close(*child);
		*child = NULL;
	}
	return rc;
}

/* As in QEMU a child's rules hear of no step; but their requests come in some
 * order, and that matters (image_is_heard()). */
static void hear_nothing(const struct image_file *file, enum image_event event)
{
	(void)file;
	(void)event;
}

void layer_add_child(struct image_file *file, const struct image_file *child)
{
	if (layer_is_heard(child))
		file->hear = hear_nothing;
	file->is_read_only |= child->is_read_only;
	file->is_direct |= child->is_direct;
	if (child->alignment > file->alignment)
		file->alignment = child->alignment;
}

struct image *layer_disk(const struct image_file *file)
{
	const struct file_ops *ops = file_state_of(file)->ops;

	return ops != NULL && ops->disk != NULL ? ops->disk(file) : NULL;
}

bool layer_is_heard(const struct image_file *file)
{
	const struct image *disk = layer_disk(file);

	return file->hear != NULL || (disk != NULL && image_is_heard(disk));
}

int layer_map(const struct image_file *file, uint64_t host_offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err)
{
	return file_state_of(file)->ops->map(file, host_offset, len, flags,
					     extent, err);
}
