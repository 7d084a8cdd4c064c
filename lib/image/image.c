/* SPDX-License-Identifier: ISC */
/*
 * What every format has in common: the checks that let a format trust its
 * arguments. Opening is image_open.c's, chains are chain.c's.
 */
#include "lib/image/image.h"

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/base/zero.h"
#include "lib/image/chain.h"
#include "lib/image/format.h"
#include "lib/image/layer.h"
#include "lib/image/limits.h"
#include "lib/image/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	TRANSFER_LEN = 512 << 10,
	TRANSFER_LEN_PACKED = 256 << 10,
	TRANSFER_LEN_DIRECT = 2 << 20,
};

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
	return text_replace(&image->name, name);
}

const char *image_node_name(const struct image *image)
{
	return image->node_name != NULL ? image->node_name : "#block100";
}

int image_set_node_name(struct image *image, const char *name)
{
	return text_replace(&image->node_name, name);
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

bool image_has_holes(struct image *image)
{
	return image->format->has_holes != NULL &&
	       image->format->has_holes(image);
}

uint32_t image_host_alignment(const struct image *image)
{
	return image->file->alignment;
}

static bool is_direct(const struct image *image)
{
	for (; image != NULL; image = image->backing)
		if (image->file->is_direct)
			return true;
	return false;
}

bool image_is_uncached(const struct image *image)
{
	for (; image != NULL; image = image->backing)
		if (image->file->is_direct || image->file->fd < 0)
			return true;
	return false;
}

bool image_is_heard(const struct image *image)
{
	for (; image != NULL; image = image->backing)
		if (layer_is_heard(image->file))
			return true;
	return false;
}

uint32_t image_transfer_len(const struct image *image)
{
	if (is_direct(image))
		return TRANSFER_LEN_DIRECT;
	return image->is_packed && !image_is_uncached(image)
		       ? TRANSFER_LEN_PACKED
		       : TRANSFER_LEN;
}

struct image *image_unfiltered(struct image *image)
{
	struct image *disk;

	while (image->format->is_filter &&
	       (disk = layer_disk(image->file)) != NULL)
		image = disk;
	return image;
}

struct image *image_backing(struct image *image)
{
	return image_unfiltered(image)->backing;
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

/* An error whose reason the number does not say. */
static int explain(const struct image *image, int rc, struct error *err)
{
	if (rc != -EIO || !atomic_load(&image->file->is_cut))
		return rc;
	return error_set(err, rc,
			 "File has become shorter since it was opened");
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
	rc = image->format->readv(image, offset, iov, n_iov, err);
	return rc < 0 ? explain(image, rc, err) : rc;
}

/* Zeroes, which are to be written as such? */
static bool is_detected(const struct image *image, const struct iovec *iov,
			unsigned n_iov)
{
	if (!(image->flags & IMAGE_DETECT_ZEROES) ||
	    !image->format->detects_zeroes)
		return false;
	for (unsigned i = 0; i < n_iov; i++)
		if (!is_zero(iov[i].iov_base, iov[i].iov_len))
			return false;
	return true;
}

/* turn: NULL, or one that the format can pass. */
static int write_iov(struct image *image, uint64_t offset,
		     const struct iovec *iov, unsigned n_iov,
		     const struct image_turn *turn, struct error *err)
{
	const struct image_format *format = image->format;
	uint64_t len = 0;
	int rc = check_writable(image, err);

	if (rc == 0)
		rc = check_iov(image, offset, iov, n_iov, &len, err);
	if (rc < 0 || len == 0)
		return rc;
	if (is_detected(image, iov, n_iov))
		return image_write_zeroes(image, offset, len,
					  image->flags & IMAGE_UNMAP_ZEROES
						  ? IMAGE_ZERO_MARK |
							    IMAGE_ZERO_MAY_UNMAP
						  : IMAGE_ZERO_MARK,
					  err);
	image_trace(IMAGE_TRACE_WRITE, image, offset, len, 0);
	return turn != NULL ? format->write_in_turn(image, offset, iov, n_iov,
						    turn, err)
			    : format->writev(image, offset, iov, n_iov, err);
}

int image_writev(struct image *image, uint64_t offset, const struct iovec *iov,
		 unsigned n_iov, struct error *err)
{
	return write_iov(image, offset, iov, n_iov, NULL, err);
}

bool image_passes_turns(const struct image *image)
{
	return image->format->write_in_turn != NULL;
}

int image_write_in_turn(struct image *image, uint64_t offset, const void *buf,
			size_t len, const struct image_turn *turn,
			struct error *err)
{
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
				   .iov_len = len };

	return write_iov(image, offset, &iov, 1,
			 image_passes_turns(image) ? turn : NULL, err);
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

/* A format with metadata has had that lock from the start. If it is refused,
 * who goes on with the image needs those that it had. */
static int lock_size(struct image *image, struct error *err)
{
	const struct image_locks old = image->disk_locks;
	struct image_locks new = old;
	int rc;

	if (!image->format->shares_file || old.used & IMAGE_PERM_RESIZE ||
	    image->flags & (IMAGE_FORCE_SHARE | IMAGE_NO_LOCK))
		return 0;
	new.used |= IMAGE_PERM_RESIZE;
	rc = image_lock_file(image, &new, err);
	if (rc < 0)
		image_lock_file(image, &old, NULL);
	return rc;
}

int image_resize(struct image *image, uint64_t size,
		 const struct image_resize_options *options, struct error *err)
{
	static const struct image_resize_options defaults;
	/* QEMU's: the last multiple of 1 GiB below 2^63. */
	static const uint64_t max = 0x7fffffffc0000000;
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	if (options == NULL)
		options = &defaults;
	if (size > max)
		return error_set(err, -EFBIG,
				 "offset(%llu) exceeds maximum(%llu)",
				 (unsigned long long)size,
				 (unsigned long long)max);
	if (image->format->resize == NULL)
		return error_set(err, -ENOTSUP,
				 "Image format driver does not support resize");
	if (size < image->size && !options->may_shrink)
		return error_set(err, -EINVAL,
				 "Shrinking deletes data: it must be asked "
				 "for");
	rc = lock_size(image, err);
	return rc < 0 ? rc : image->format->resize(image, size, options, err);
}

int image_change_backing(struct image *image, const char *name,
			 const char *format, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc < 0)
		return rc;
	image = image_unfiltered(image);
	if (image->format->change_backing == NULL)
		return error_set(err, -ENOTSUP,
				 "This image format has no backing files");
	if (name == NULL && format != NULL)
		return error_set(err, -EINVAL,
				 "Backing format cannot be used without "
				 "backing file");
	rc = image->format->change_backing(image, name, format, err);
	if (rc == 0)
		rc = text_replace(&image->backing_name, name);
	if (rc == 0)
		rc = text_replace(&image->backing_format, format);
	if (rc < 0)
		return rc;
	free(image->backing_path);
	image->backing_path = NULL;
	if (name == NULL || image_folder_check(image, name, NULL) < 0)
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
	rc = chain_map(image, offset, len, flags, extent, err);
	return rc < 0 ? explain(image, rc, err) : rc;
}

int image_get_info(struct image *image, struct image_info *info,
		   struct error *err)
{
	int rc;

	*info = (struct image_info){
		.backing_name = image->backing_name,
		.backing_format = image->backing_format,
		.backing_path = image->backing_path,
		.has_no_dirty_flag = image->format->has_no_dirty_flag,
	};
	limits_get(image, &info->limits);
	rc = image_file_usage(image->file, &info->actual_size);
	if (rc == -ENOTSUP)
		info->actual_size = UINT64_MAX;
	else if (rc < 0)
		return error_set_errno(err, rc, "Could not get the disk size");
	if (image->format->get_info == NULL)
		return 0;
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

const char image_no_snapshots[] = "Block driver does not support snapshots";

static int check_snapshots(const struct image *image, struct error *err)
{
	int rc = check_writable(image, err);

	if (rc == 0 && image->format->snapshot_create == NULL)
		rc = error_set(err, -ENOTSUP, "%s", image_no_snapshots);
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
