/* SPDX-License-Identifier: ISC */
/* Opening an image, of a format that is known or guessed, and closing it. */
#include "lib/image/image.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/chain.h"
#include "lib/image/file_internal.h"
#include "lib/image/format.h"
#include "lib/image/layer.h"
#include "lib/image/trace.h"

#include <string.h>

static const struct image_open_options default_options;

static void abandon(struct image **image)
{
	image_abandon(*image);
}

static unsigned file_flags(unsigned flags)
{
	/* Which locks are needed is known when the format is. */
	unsigned result = IMAGE_FILE_NO_LOCK;

	if (flags & IMAGE_READ_ONLY)
		result |= IMAGE_FILE_READ_ONLY;
	if (flags & IMAGE_DIRECT)
		result |= IMAGE_FILE_DIRECT;
	if (flags & IMAGE_UNSAFE)
		result |= IMAGE_FILE_UNSAFE;
	if (flags & IMAGE_NBD)
		result |= IMAGE_FILE_NBD;
	if (flags & IMAGE_BLKDEBUG)
		result |= IMAGE_FILE_BLKDEBUG;
	return result;
}

unsigned image_other_file_flags(const struct image *image)
{
	unsigned flags = 0;

	if (image->file->is_read_only)
		flags |= IMAGE_FILE_READ_ONLY;
	if (image->flags & IMAGE_DIRECT && image->file->is_direct)
		flags |= IMAGE_FILE_DIRECT;
	if (image->flags & IMAGE_UNSAFE)
		flags |= IMAGE_FILE_UNSAFE;
	if (image->flags &
	    (IMAGE_FORCE_SHARE | IMAGE_METADATA_ONLY | IMAGE_NO_LOCK))
		flags |= IMAGE_FILE_NO_LOCK;
	return flags;
}

/* What one is stands at its end: as QEMU, go by the name. */
static bool is_dmg_name(const char *path)
{
	static const char suffix[] = ".dmg";
	size_t len = strlen(path);

	return len > strlen(suffix) &&
	       strcmp(path + len - strlen(suffix), suffix) == 0;
}

static int choose_format(struct image *image, const char *name,
			 struct error *err)
{
	uint8_t head[IMAGE_PROBE_LEN];
	uint64_t size;
	int rc;

	if (name != NULL) {
		image->format = image_format_find(name);
		if (image->format != NULL)
			return 0;
		error_set(err, -ENOENT, "Unknown driver '%s'", name);
		return -ENOENT;
	}
	rc = image_file_size(image->file, &size);
	if (rc == 0)
		rc = image_file_read(image->file, 0, head, sizeof(head));
	if (rc < 0) {
		error_set_errno(err, rc,
				"Could not read image for determining its "
				"format");
		return rc;
	}
	image->is_probed = true;
	rc = image_format_probe(
		&image->format, head,
		size < sizeof(head) ? (size_t)size : sizeof(head), size, err);
	if (rc == 0 && image->format == &image_format_raw &&
	    is_dmg_name(image->path))
		image->format = &image_format_dmg;
	return rc;
}

int image_lock_file(struct image *image, const struct image_locks *disk,
		    struct error *err)
{
	struct image_locks locks = *disk;
	int rc = 0;

	if (!image->format->shares_file) {
		locks.used |= image->file->is_read_only ? IMAGE_LOCK_READER
							: IMAGE_LOCK_WRITER;
		locks.unshared |= IMAGE_LOCK_UNSHARED;
	}
	/* Nor need the file system have locks then. */
	if (image->file->fd < 0 || (locks.used | locks.unshared) != 0)
		rc = image_file_lock(image->file, image->path, &locks, err);
	if (rc == 0)
		image->disk_locks = *disk;
	return rc;
}

static int take_locks(struct image *image, struct error *err)
{
	struct image_locks disk = { 0 };

	if (image->flags & (IMAGE_FORCE_SHARE | IMAGE_NO_LOCK))
		return 0;
	if (!(image->flags & IMAGE_METADATA_ONLY))
		disk.used |= IMAGE_PERM_CONSISTENT_READ;
	if (!(image->flags & IMAGE_READ_ONLY))
		disk.used |= IMAGE_PERM_WRITE;
	if (image->flags & IMAGE_RESIZE)
		disk.used |= IMAGE_PERM_RESIZE;
	if (image->flags & IMAGE_UNSHARED_WRITE)
		disk.unshared |= IMAGE_PERM_WRITE;
	if (image->flags & IMAGE_UNSHARED_RESIZE)
		disk.unshared |= IMAGE_PERM_RESIZE;
	return image_lock_file(image, &disk, err);
}

/* Files of 2^63 bytes and more are no files; a format must not say so. */
static int check_geometry(const struct image *image, struct error *err)
{
	if (image->size > INT64_MAX)
		return error_set(err, -EFBIG, "Image is too big");
	return 0;
}

int image_open_file(struct image **opened, struct image_file *file,
		    const char *path, const struct image_open_options *options,
		    const struct chain_link *above, struct error *err)
{
	_cleanup_(abandon) struct image *image = calloc(1, sizeof(*image));
	int rc;

	if (image == NULL) {
		image_file_close(file);
		return -ENOMEM;
	}
	image->file = file;
	image->flags = options->flags;
	image->cache_size = options->cache_size;
	image->may_open = options->may_open;
	image->policy_context = options->policy_context;
	image->secrets = options->secrets;
	image->key_secret = options->key_secret;
	image->found = options->found;
	image->found_context = options->found_context;
	image->depth = above != NULL ? above->depth + 1 : 0;
	image->path = strdup(path);
	if (image->path == NULL)
		return -ENOMEM;
	image->data_file = options->data_file;
	image->header_path = options->header_path;
	image->vpc_size = options->vpc_size;
	rc = choose_format(image, options->format, err);
	if (rc == 0)
		image_trace_open(image, path, image->format->name,
				 image->flags);
	if (rc == 0)
		rc = take_locks(image, err);
	if (rc == 0)
		rc = image->format->open(image, err);
	if (rc == 0)
		rc = check_geometry(image, err);
	if (rc == 0)
		rc = chain_open_backing(image, options, above, err);
	if (rc == 0 && options->accept != NULL)
		rc = options->accept(options->accept_context, image, err);
	image->secrets = NULL;
	image->key_secret = NULL;
	image->data_file = NULL;
	image->header_path = NULL;
	image->vpc_size = NULL;
	if (rc == 0)
		*opened = steal_ptr(&image);
	return rc;
}

static int check_flags(unsigned flags, struct error *err)
{
	if (flags & IMAGE_FORCE_SHARE && !(flags & IMAGE_READ_ONLY))
		return error_set(err, -EINVAL,
				 "force-share=on can only be used with "
				 "read-only images");
	return 0;
}

int image_open_path(struct image **image, const char *path,
		    const struct image_open_options *options,
		    const struct chain_link *above, struct error *err)
{
	struct image_file *file;
	int rc;

	path = image_plain_path(path);
	rc = layer_open(&file, path, options, file_flags(options->flags), err);
	if (rc < 0)
		return rc;
	return image_open_file(image, file, path, options, above, err);
}

int image_open(struct image **image, const char *path,
	       const struct image_open_options *options, struct error *err)
{
	int rc;

	if (options == NULL)
		options = &default_options;
	rc = check_flags(options->flags, err);
	if (rc < 0)
		return rc;
	return image_open_path(image, path, options, NULL, err);
}

int image_open_fd(struct image **image, int fd, const char *path,
		  const struct image_open_options *options, struct error *err)
{
	_cleanup_fd_ int owned = fd;
	struct image_file *file;
	int rc;

	if (options == NULL)
		options = &default_options;
	rc = check_flags(options->flags, err);
	if (rc < 0)
		return rc;
	rc = image_file_open_fd(&file, steal_fd(&owned), path,
				file_flags(options->flags), err);
	if (rc < 0)
		return rc;
	return image_open_file(image, file, path, options, NULL, err);
}

/* The format first, as it may still write; the locks, with the file, last. */
int image_close(struct image *image, struct error *err)
{
	int file_rc, rc = 0;

	if (image == NULL)
		return 0;
	if (image->format != NULL)
		rc = image->format->close(image, err);
	image_abandon(image->backing);
	file_rc = image_file_close(image->file);
	if (rc == 0 && file_rc < 0)
		rc = error_set_errno(err, file_rc, "Could not close file");
	free(image->backing_name);
	free(image->backing_format);
	free(image->backing_path);
	free(image->path);
	free(image->name);
	free(image->node_name);
	free(image);
	return rc;
}

void image_abandon(struct image *image)
{
	image_close(image, NULL);
}
