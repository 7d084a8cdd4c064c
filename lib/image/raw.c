/* SPDX-License-Identifier: ISC */
/*
 * The raw format: the file is the disk. Its size counts in whole sectors; a
 * last sector that the file holds in part reads as zeroes past the end.
 */
#include "lib/image/raw.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/file_options.h"
#include "lib/image/format.h"
#include "lib/image/layer.h"
#include "lib/image/null.h"
#include "lib/image/quorum.h"
#include "lib/image/raw_guard.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

struct raw {
	pthread_mutex_t block_0; /* raw_guard.c's */
	uint64_t file_end;	 /* when it was opened or resized */
};

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	(void)head;
	(void)len;
	(void)file_size;
	return 1;
}

static int set_size(struct image *image, struct error *err)
{
	struct raw *raw = image->state;
	int rc = image_file_size(image->file, &raw->file_end);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (raw->file_end > INT64_MAX - IMAGE_SECTOR)
		return error_set(err, -EFBIG, "Image is too big");
	image->size = (raw->file_end + IMAGE_SECTOR - 1) &
		      ~(uint64_t)(IMAGE_SECTOR - 1);
	return 0;
}

static int raw_open(struct image *image, struct error *err)
{
	const struct image *disk = layer_disk(image->file);
	struct raw *raw = calloc(1, sizeof(*raw));

	if (raw == NULL)
		return -ENOMEM;
	pthread_mutex_init(&raw->block_0, NULL);
	image->state = raw;
	image->cluster_size = 1;
	if (image->format->is_filter && disk != NULL)
		image->cluster_size = image_cluster_size(disk);
	return set_size(image, err);
}

static int raw_flush(struct image *image, struct error *err)
{
	(void)err;
	image_file_tell(image->file, IMAGE_EVENT_FLUSH_TO_OS);
	image_file_tell(image->file, IMAGE_EVENT_FLUSH_TO_DISK);
	return image_file_flush(image->file);
}

static int raw_close(struct image *image, struct error *err)
{
	struct raw *raw = image->state;
	int rc = 0;

	if (raw == NULL)
		return 0;
	if (!image->file->is_read_only)
		rc = raw_flush(image, err);
	pthread_mutex_destroy(&raw->block_0);
	free(raw);
	image->state = NULL;
	return rc;
}

static int raw_readv(struct image *image, uint64_t offset,
		     const struct iovec *iov, unsigned n_iov, struct error *err)
{
	(void)err;
	image_file_tell(image->file, IMAGE_EVENT_READ_AIO);
	return image_file_readv(image->file, offset, iov, n_iov);
}

static int raw_writev(struct image *image, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov,
		      struct error *err)
{
	struct raw *raw = image->state;

	image_file_tell(image->file, IMAGE_EVENT_WRITE_AIO);
	return raw_guard_writev(image, &raw->block_0, offset, iov, n_iov, err);
}

static int raw_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
			    unsigned flags, struct error *err)
{
	struct raw *raw = image->state;
	int rc = raw_guard_begin_zero(image, &raw->block_0, offset, len, err);

	if (rc < 0)
		return rc;
	rc = image_file_zero(image->file, offset, len,
			     !(flags & IMAGE_ZERO_MAY_UNMAP));
	raw_guard_end_zero(image, &raw->block_0, offset);
	return rc;
}

static int raw_discard(struct image *image, uint64_t offset, uint64_t len,
		       struct error *err)
{
	struct raw *raw = image->state;
	int rc = raw_guard_begin_zero(image, &raw->block_0, offset, len, err);

	if (rc < 0)
		return rc;
	rc = image_file_punch(image->file, offset, len);
	raw_guard_end_zero(image, &raw->block_0, offset);
	/* No more than a hint. */
	return rc == -EOPNOTSUPP ? 0 : rc;
}

/*
 * From memory all is data, up to the end that the file had: what lies in the
 * last sector beyond it, and block 0 while it is guarded, is left to readv
 * and writev.
 */
static int map_nowait(const struct image *image, uint64_t offset,
		      struct image_extent *extent)
{
	const struct raw *raw = image->state;

	if (offset >= raw->file_end)
		return -EAGAIN;
	if (extent->len > raw->file_end - offset)
		extent->len = raw->file_end - offset;
	extent->kind = IMAGE_EXTENT_DATA;
	return 0;
}

/* With O_DIRECT less than a block cannot be looked at: the one that the file
 * ends in is data. */
static void fill_block(const struct image *image, struct image_extent *extent,
		       uint64_t len)
{
	uint64_t rest = (extent->offset + extent->len) % image->file->alignment;

	if (rest > 0)
		extent->len += image->file->alignment - rest;
	if (extent->len > len)
		extent->len = len;
}

/* Of a disk: in the files of its image. All of those are one layer, unless
 * this is a filter. */
static int map_disk(const struct image *image, unsigned flags,
		    struct image_extent *extent, struct error *err)
{
	bool is_filter = image->format->is_filter;
	int rc = layer_map(image->file, extent->offset, extent->len,
			   is_filter ? flags : flags | IMAGE_MAP_CHAIN, extent,
			   err);

	extent->is_writable_in_place = false;
	if (!is_filter)
		extent->depth = 0;
	return rc;
}

static int raw_map(struct image *image, uint64_t offset, uint64_t len,
		   unsigned flags, struct image_extent *extent,
		   struct error *err)
{
	bool is_data = true;
	int rc;

	*extent = (struct image_extent){
		.offset = offset,
		.len = len,
		.has_host_offset = !image->file->is_nowhere,
		.host_offset = image->file->base + offset,
		.is_writable_in_place = true,
	};
	if (raw_guard_wants(image, offset)) {
		extent->is_writable_in_place = false;
		if (len > IMAGE_PROBE_LEN - offset)
			extent->len = IMAGE_PROBE_LEN - offset;
	}
	if (flags & IMAGE_MAP_NOWAIT)
		return map_nowait(image, offset, extent);
	if (layer_disk(image->file) != NULL)
		return map_disk(image, flags, extent, err);
	extent->has_marks = image->file->has_marks;
	if (extent->has_marks)
		rc = image_file_marks(image->file, offset, extent->len,
				      &extent->marks, &extent->len);
	else
		rc = image_file_extent(image->file, offset, extent->len,
				       &is_data, &extent->len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not look for holes");
	extent->kind = is_data ? IMAGE_EXTENT_DATA : IMAGE_EXTENT_ZERO;
	if (is_data)
		fill_block(image, extent, len);
	return 0;
}

/* A device has all of its blocks. */
static int check_mode(const struct image_file *file, const char *mode,
		      struct error *err)
{
	bool is_device = file->is_block_device && file->fd >= 0;

	if (is_device && mode != NULL && strcmp(mode, "off") != 0)
		return error_set(err, -ENOTSUP,
				 "Preallocation mode '%s' unsupported for this "
				 "non-regular file",
				 mode);
	return file_options_check_preallocation(mode, err);
}

static int raw_resize(struct image *image, uint64_t size,
		      const struct image_resize_options *options,
		      struct error *err)
{
	uint64_t before = image->size;
	int rc = check_mode(image->file, options->preallocation, err);

	if (rc < 0)
		return rc;
	rc = raw_check_length(image, size, err);
	if (rc == 0)
		rc = raw_set_length(image->file, size, err);
	if (rc < 0)
		return rc;
	rc = file_options_preallocate(image->file, options->preallocation,
				      before, size, err);
	if (rc < 0) {
		image_file_truncate(image->file, before);
		return rc;
	}
	if (image->file->is_block_device)
		return 0;
	return set_size(image, err);
}

static int raw_get_info(struct image *image, struct image_info *info,
			struct error *err)
{
	struct image *disk = layer_disk(image->file);
	struct image_info below = { .n_snapshots = 0 };
	struct stat st;
	int rc = 0;

	if (disk != NULL)
		rc = image_get_info(disk, &below, err);
	info->cluster_size = below.cluster_size;
	info->snapshots = below.snapshots;
	info->n_snapshots = below.n_snapshots;
	/* As QEMU, which knows nothing of an export but its size. */
	info->has_no_dirty_flag =
		image_file_identify(image->file, &st) == -ENOTSUP;
	return rc;
}

/* Snapshots are of the disk that it is a way to, or a part of. */
static int find_disk(const struct image *image, struct image **disk,
		     struct error *err)
{
	*disk = layer_disk(image->file);
	return *disk != NULL
		       ? 0
		       : error_set(err, -ENOTSUP, "%s", image_no_snapshots);
}

static int raw_snapshot_create(struct image *image,
			       const struct image_snapshot_info *what,
			       struct error *err)
{
	struct image *disk;
	int rc = find_disk(image, &disk, err);

	return rc < 0 ? rc : image_snapshot_create(disk, what, err);
}

static int raw_snapshot_apply(struct image *image, unsigned index,
			      struct error *err)
{
	struct image *disk;
	int rc = find_disk(image, &disk, err);

	if (rc == 0)
		rc = image_snapshot_apply(disk, index, err);
	return rc < 0 ? rc : set_size(image, err);
}

static int raw_snapshot_delete(struct image *image, unsigned index,
			       struct error *err)
{
	struct image *disk;
	int rc = find_disk(image, &disk, err);

	return rc < 0 ? rc : image_snapshot_delete(disk, index, err);
}

static const struct image_option_spec create_specs[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ NULL, NULL, NULL, NULL },
};

static int probe_nothing(const uint8_t *head, size_t len, uint64_t file_size)
{
	(void)head;
	(void)len;
	(void)file_size;
	return 0;
}

/* In QEMU no file at all is a format of its own: raw by other names. */
static int open_null(struct image *image, struct error *err)
{
	if (!null_is(image->file))
		return error_set(err, -EINVAL,
				 "The only allowed filename for this driver is "
				 "'%s://'",
				 image->format->name);
	return raw_open(image, err);
}

/* Nor has a file that is nowhere on its own a format; there is something under
 * that. */
static int open_layer(struct image *image, struct error *err)
{
	if (image->file->fd >= 0)
		return error_set(err, -EINVAL,
				 "A block device must be specified for "
				 "\"file\"");
	return raw_open(image, err);
}

static int open_quorum(struct image *image, struct error *err)
{
	if (!quorum_is(image->file))
		return error_set(err, -EINVAL,
				 "Number of provided children must be 1 or "
				 "more");
	return raw_open(image, err);
}

static int open_file(struct image *image, struct error *err)
{
	if (image->file->is_block_device && image->file->fd >= 0)
		return error_set(err, -EINVAL,
				 "'file' driver requires '%s' to be a regular "
				 "file",
				 image->path);
	return raw_open(image, err);
}

static int open_host_device(struct image *image, struct error *err)
{
	if (!image->file->is_block_device)
		return error_set(err, -EINVAL,
				 "'%s' driver requires '%s' to be either a "
				 "character or block device",
				 image->format->name, image->path);
	return raw_open(image, err);
}

/* clang-format off */
#define RAW_OPERATIONS \
	.shares_file = true, \
	.close = raw_close, \
	.readv = raw_readv, \
	.writev = raw_writev, \
	.detects_zeroes = true, \
	.write_zeroes = raw_write_zeroes, \
	.discard = raw_discard, \
	.flush = raw_flush, \
	.map = raw_map, \
	.get_info = raw_get_info, \
	.snapshot_create = raw_snapshot_create, \
	.snapshot_apply = raw_snapshot_apply, \
	.snapshot_delete = raw_snapshot_delete
/* clang-format on */

const struct image_format image_format_raw = {
	.name = "raw",
	.probe = probe,
	.open = raw_open,
	.create = raw_create,
	.preallocates = true,
	.create_specs = create_specs,
	.resize = raw_resize,
	RAW_OPERATIONS,
};

const struct image_format image_format_null_co = {
	.name = "null-co",
	.probe = probe_nothing,
	.open = open_null,
	RAW_OPERATIONS,
};

const struct image_format image_format_null_aio = {
	.name = "null-aio",
	.probe = probe_nothing,
	.open = open_null,
	RAW_OPERATIONS,
};

/* The file itself, as QEMU calls it where it is asked for without a format. */
const struct image_format image_format_file = {
	.name = "file",
	.probe = probe_nothing,
	.open = open_file,
	.create = raw_create,
	.preallocates = true,
	.create_specs = file_options_of_file,
	.resize = raw_resize,
	RAW_OPERATIONS,
};

/* clang-format off */
#define DEVICE(driver) { \
	.name = (driver), \
	.probe = probe_nothing, \
	.open = open_host_device, \
	.create = raw_create_on_device, \
	.preallocates = true, \
	.create_specs = file_options_of_device, \
	.resize = raw_resize, \
	RAW_OPERATIONS, \
}
/* clang-format on */

const struct image_format image_format_host_device = DEVICE("host_device");

/* A disc is read as any device is: what QEMU's driver adds is for guests that
 * take it out. */
const struct image_format image_format_host_cdrom = DEVICE("host_cdrom");

const struct image_format image_format_nbd = {
	.name = "nbd",
	.probe = probe_nothing,
	.open = open_layer,
	.create = raw_create_in_export,
	.preallocates = true,
	.create_specs = file_options_of_device,
	.resize = raw_resize,
	RAW_OPERATIONS,
};

/* clang-format off */
#define FILTER(driver) { \
	.name = (driver), \
	.is_filter = true, \
	.probe = probe_nothing, \
	.open = open_layer, \
	.resize = raw_resize, \
	RAW_OPERATIONS, \
}
/* clang-format on */

const struct image_format image_format_blkdebug = FILTER("blkdebug");
const struct image_format image_format_throttle = FILTER("throttle");
const struct image_format image_format_compress = FILTER("compress");
const struct image_format image_format_preallocate = FILTER("preallocate");
const struct image_format image_format_blklogwrites = FILTER("blklogwrites");
const struct image_format image_format_copy_before_write =
	FILTER("copy-before-write");

const struct image_format image_format_quorum = {
	.name = "quorum",
	.probe = probe_nothing,
	.open = open_quorum,
	RAW_OPERATIONS,
};

const struct image_format image_format_blkverify = {
	.name = "blkverify",
	.probe = probe_nothing,
	.open = open_layer,
	RAW_OPERATIONS,
};
