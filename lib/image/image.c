/* SPDX-License-Identifier: ISC */
/*
 * What every format has in common: opening and closing in order, and the
 * checks that let a format trust its arguments. Chains are chain.c's.
 */
#include "lib/image/image.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/chain.h"
#include "lib/image/file_internal.h"
#include "lib/image/format.h"
#include "lib/image/layer.h"
#include "lib/image/limits.h"
#include "lib/image/null.h"
#include "lib/image/trace.h"

#include <string.h>

enum {
	TRANSFER_LEN = 256 << 10,
	TRANSFER_LEN_DIRECT = 2 << 20,
};

static const struct image_open_options default_options;

static void abandon(struct image **image)
{
	image_abandon(*image);
}

static int replace_text(char **text, const char *with)
{
	char *copy = NULL;

	if (with != NULL && (copy = strdup(with)) == NULL)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
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

static int take_locks(const struct image *image, struct error *err)
{
	if (image->flags & (IMAGE_FORCE_SHARE | IMAGE_NO_LOCK))
		return 0;
	if (image->flags & IMAGE_METADATA_ONLY &&
	    image->format->readv == image_format_raw.readv)
		return 0;
	return image_file_lock(image->file, image->path, err);
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
	image->data_path = options->data_path;
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
	image->secrets = NULL;
	image->key_secret = NULL;
	image->data_path = NULL;
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
	unsigned flags = file_flags(options->flags);
	struct image_file *file = NULL;
	int rc;

	path = image_plain_path(path);
	if (options->null != NULL)
		rc = null_open(&file, options->null, flags, err);
	else if (options->nbd_context != NULL)
		rc = image_file_open_nbd(&file, path, options->nbd_context,
					 flags, err);
	else
		rc = image_file_open(&file, path, flags, err);

	/* No O_DIRECT here. */
	if (rc == -EINVAL && flags & IMAGE_FILE_DIRECT)
		rc = image_file_open(&file, path, flags & ~IMAGE_FILE_DIRECT,
				     err);
	if (rc == 0)
		rc = layer_put_over(&file, path, options->layers, options,
				    flags, err);
	if (rc < 0) {
		image_file_close(file);
		return rc;
	}
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
	int rc = 0;

	if (image == NULL)
		return 0;
	if (image->format != NULL)
		rc = image->format->close(image, err);
	image_abandon(image->backing);
	image_file_close(image->file);
	free(image->backing_name);
	free(image->backing_format);
	free(image->backing_path);
	free(image->path);
	free(image->name);
	free(image);
	return rc;
}

void image_abandon(struct image *image)
{
	image_close(image, NULL);
}

const char *image_path(const struct image *image)
{
	return image->path;
}

const char *image_name(const struct image *image)
{
	return image->name != NULL ? image->name : image->path;
}

int image_set_name(struct image *image, const char *name)
{
	return replace_text(&image->name, name);
}

const char *image_format_name(const struct image *image)
{
	return image->format->name;
}

uint64_t image_size(const struct image *image)
{
	return image->size;
}

bool image_is_read_only(const struct image *image)
{
	return image->file->is_read_only;
}

uint32_t image_cluster_size(const struct image *image)
{
	return image->cluster_size;
}

uint32_t image_host_alignment(const struct image *image)
{
	return image->file->alignment;
}

bool image_is_uncached(const struct image *image)
{
	for (; image != NULL; image = image->backing)
		if (image->file->is_direct || image->file->fd < 0)
			return true;
	return false;
}

uint32_t image_transfer_len(const struct image *image)
{
	return image_is_uncached(image) ? TRANSFER_LEN_DIRECT : TRANSFER_LEN;
}

struct image *image_backing(const struct image *image)
{
	return image->backing;
}

static int check_range(const struct image *image, uint64_t offset, uint64_t len,
		       struct error *err)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, len, &end) || end > image->size)
		return error_set(err, -EINVAL,
				 "Request is beyond the end of the image");
	return 0;
}

static int check_iov(const struct image *image, uint64_t offset,
		     const struct iovec *iov, unsigned n_iov, uint64_t *len,
		     struct error *err)
{
	*len = 0;
	for (unsigned i = 0; i < n_iov; i++)
		if (__builtin_add_overflow(*len, iov[i].iov_len, len))
			return error_set(err, -EINVAL, "Request is too long");
	return check_range(image, offset, *len, err);
}

static int check_writable(const struct image *image, struct error *err)
{
	if (image->file->is_read_only)
		return error_set(err, -EROFS, "Image is read-only");
	return 0;
}

int image_read(struct image *image, uint64_t offset, void *buf, size_t len,
	       struct error *err)
{
	const struct iovec iov = { .iov_base = buf, .iov_len = len };

	return image_readv(image, offset, &iov, 1, err);
}

int image_write(struct image *image, uint64_t offset, const void *buf,
		size_t len, struct error *err)
{
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
				   .iov_len = len };

	return image_writev(image, offset, &iov, 1, err);
}

int image_readv(struct image *image, uint64_t offset, const struct iovec *iov,
		unsigned n_iov, struct error *err)
{
	uint64_t len = 0;
	int rc = check_iov(image, offset, iov, n_iov, &len, err);

	if (rc < 0 || len == 0)
		return rc;
	image_trace(IMAGE_TRACE_READ, image, offset, len, 0);
	return image->format->readv(image, offset, iov, n_iov, err);
}

int image_writev(struct image *image, uint64_t offset, const struct iovec *iov,
		 unsigned n_iov, struct error *err)
{
	uint64_t len = 0;
	int rc = check_writable(image, err);

	if (rc == 0)
		rc = check_iov(image, offset, iov, n_iov, &len, err);
	if (rc < 0 || len == 0)
		return rc;
	image_trace(IMAGE_TRACE_WRITE, image, offset, len, 0);
	return image->format->writev(image, offset, iov, n_iov, err);
}

int image_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
		       unsigned flags, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc == 0)
		rc = check_range(image, offset, len, err);
	if (rc < 0 || len == 0)
		return rc;
	image_trace(IMAGE_TRACE_ZEROES, image, offset, len, flags);
	return image->format->write_zeroes(image, offset, len, flags, err);
}

int image_discard(struct image *image, uint64_t offset, uint64_t len,
		  struct error *err)
{
	int rc = check_writable(image, err);

	if (rc == 0)
		rc = check_range(image, offset, len, err);
	if (rc < 0 || len == 0)
		return rc;
	image_trace(IMAGE_TRACE_DISCARD, image, offset, len, 0);
	return image->format->discard(image, offset, len, err);
}

bool image_is_packed(const struct image *image)
{
	return image->is_packed;
}

int image_write_compressed(struct image *image, uint64_t offset,
			   const void *buf, size_t len,
			   const struct image_turn *turn, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc == 0)
		rc = check_range(image, offset, len, err);
	if (rc < 0 || len == 0)
		return rc;
	if (image->format->write_compressed == NULL)
		return error_set(err, -ENOTSUP,
				 "Compression not supported for this file "
				 "format");
	if (offset % image->cluster_size != 0 ||
	    (len != image->cluster_size &&
	     (len > image->cluster_size || offset + len != image->size)))
		return error_set(err, -EINVAL,
				 "A compressed write is one cluster");
	image_trace(IMAGE_TRACE_WRITE, image, offset, len, 0);
	return image->format->write_compressed(image, offset, buf, len, turn,
					       err);
}

int image_flush(struct image *image, struct error *err)
{
	if (image->file->is_read_only || image->flags & IMAGE_UNSAFE)
		return 0;
	image_trace(IMAGE_TRACE_FLUSH, image, 0, 0, 0);
	return image->format->flush(image, err);
}

int image_resize(struct image *image, uint64_t size,
		 const struct image_resize_options *options, struct error *err)
{
	static const struct image_resize_options defaults;
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	if (options == NULL)
		options = &defaults;
	if (image->format->resize == NULL)
		return error_set(err, -ENOTSUP,
				 "Image format driver does not support resize");
	if (size > INT64_MAX)
		return error_set(err, -EFBIG, "Required too big image size");
	if (size < image->size && !options->may_shrink)
		return error_set(err, -EINVAL,
				 "Shrinking deletes data: it must be asked "
				 "for");
	return image->format->resize(image, size, options, err);
}

int image_change_backing(struct image *image, const char *name,
			 const char *format, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	if (image->format->change_backing == NULL)
		return error_set(err, -ENOTSUP,
				 "This image format has no backing files");
	if (name == NULL && format != NULL)
		return error_set(err, -EINVAL,
				 "Backing format cannot be used without "
				 "backing file");
	rc = image->format->change_backing(image, name, format, err);
	if (rc == 0)
		rc = replace_text(&image->backing_name, name);
	if (rc == 0)
		rc = replace_text(&image->backing_format, format);
	if (rc < 0)
		return rc;
	free(image->backing_path);
	image->backing_path = NULL;
	if (name == NULL)
		return 0;
	image->backing_path = image_backing_resolve(image->path, name);
	return image->backing_path == NULL ? -ENOMEM : 0;
}

int image_compact(struct image *image, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	if (image->format->compact == NULL)
		return error_set(err, -ENOTSUP,
				 "Format driver '%s' cannot be compacted",
				 image->format->name);
	return image->format->compact(image, err);
}

int image_amend(struct image *image, const struct image_amend_options *options,
		struct error *err)
{
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	if (image->format->amend == NULL)
		return error_set(err, -ENOTSUP,
				 "Format driver '%s' does not support option "
				 "amendment",
				 image->format->name);
	return image->format->amend(image, options, err);
}

int image_make_empty(struct image *image, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	if (image->format->make_empty == NULL)
		return error_set(err, -ENOTSUP,
				 "This image format cannot be emptied");
	return image->format->make_empty(image, err);
}

int image_map(struct image *image, uint64_t offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err)
{
	int rc = check_range(image, offset, len, err);

	if (rc < 0)
		return rc;
	if (len == 0)
		return error_set(err, -EINVAL, "Nothing to map");
	return chain_map(image, offset, len, flags, extent, err);
}

int image_get_info(struct image *image, struct image_info *info,
		   struct error *err)
{
	int rc;

	*info = (struct image_info){
		.backing_name = image->backing_name,
		.backing_format = image->backing_format,
		.backing_path = image->backing_path,
	};
	limits_get(image, &info->limits);
	rc = image_file_usage(image->file, &info->actual_size);
	if (rc == -ENOTSUP)
		info->actual_size = UINT64_MAX;
	else if (rc < 0)
		return error_set_errno(err, rc, "Could not get the disk size");
	return image->format->get_info(image, info, err);
}

int image_check(struct image *image, struct image_check *check,
		struct error *err)
{
	if (image->format->check == NULL)
		return error_set(err, -ENOTSUP,
				 "This image format does not support checks");
	return image->format->check(image, check, err);
}

int image_repair(struct image *image, unsigned what, struct image_check *check,
		 struct error *err)
{
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	if (image->format->repair == NULL)
		return error_set(err, -ENOTSUP,
				 "This image format does not support checks");
	return image->format->repair(image, what, check, err);
}

static int check_snapshots(const struct image *image, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc == 0 && image->format->snapshot_create == NULL)
		rc = error_set(err, -ENOTSUP,
			       "Block driver does not support snapshots");
	return rc;
}

bool image_has_snapshots(const struct image *image)
{
	return image->format->snapshot_load != NULL;
}

int image_snapshot_create(struct image *image,
			  const struct image_snapshot_info *what,
			  struct error *err)
{
	int rc = check_snapshots(image, err);

	return rc < 0 ? rc : image->format->snapshot_create(image, what, err);
}

int image_snapshot_apply(struct image *image, unsigned index, struct error *err)
{
	int rc = check_snapshots(image, err);

	return rc < 0 ? rc : image->format->snapshot_apply(image, index, err);
}

int image_snapshot_delete(struct image *image, unsigned index,
			  struct error *err)
{
	int rc = check_snapshots(image, err);

	return rc < 0 ? rc : image->format->snapshot_delete(image, index, err);
}

int image_snapshot_load(struct image *image, unsigned index, struct error *err)
{
	if (!image_has_snapshots(image))
		return error_set(err, -ENOTSUP,
				 "Block format '%s' used by device '' does not "
				 "support temporarily loading internal "
				 "snapshots",
				 image->format->name);
	return image->format->snapshot_load(image, index, err);
}
