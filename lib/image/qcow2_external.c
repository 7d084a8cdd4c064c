/* SPDX-License-Identifier: ISC */
/*
 * An external data file (incompatible bit 2): guest data is there, each
 * cluster where it is on the disk, and nothing counts references to it; the
 * image's own file holds metadata alone. A raw one (autoclear bit 1) must at
 * any time read as the disk does.
 *
 * The name is a plain path. Unlike a backing file's it is taken from the folder
 * that the program runs in, as QEMU does, and then from the image's own. The
 * data file is flushed before the image's own (qcow2_barrier.c), so that
 * metadata is never newer than what it promises.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/layer.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int check_name(const char *name, struct error *err)
{
	if (!image_name_has_protocol(name))
		return 0;
	return error_set(err, -ENOTSUP,
			 "Data file name '%s' is not a plain path", name);
}

static bool is_same_file(const struct image_file *a, const struct image_file *b)
{
	struct stat x, y;

	return image_file_identify(a, &x) == 0 &&
	       image_file_identify(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* What the image names. */
static int open_named(struct qcow2 *q, struct error *err)
{
	const struct image *image = q->image;
	int rc = check_name(q->header.data_file, err);

	if (rc < 0)
		return rc;
	q->data_path = image_data_file_resolve(
		image->file->is_nowhere ? NULL : image->path,
		q->header.data_file);
	if (q->data_path == NULL)
		return -ENOMEM;
	if (image->may_open != NULL &&
	    !image->may_open(image->policy_context, q->data_path))
		return error_set(err, -EACCES, "Data file '%s' is not allowed",
				 q->data_path);
	return image_file_open(&q->own_data_file, q->data_path,
			       image_other_file_flags(image), err);
}

/* What the user says. */
static int open_said(struct qcow2 *q, struct error *err)
{
	const struct image *image = q->image;
	const struct image_open_options options = {
		.flags = image->flags,
		.may_open = image->may_open,
		.policy_context = image->policy_context,
		.secrets = image->secrets,
	};
	unsigned flags = image_other_file_flags(image) | IMAGE_FILE_NO_LOCK |
			 IMAGE_FILE_NBD | IMAGE_FILE_BLKDEBUG;

	q->data_path = strdup(image->data_file->path);
	if (q->data_path == NULL)
		return -ENOMEM;
	return layer_open_child(&q->own_data_file, image->data_file, &options,
				flags, err);
}

/* That comes before what the image does. */
static int open_file(struct qcow2 *q, struct error *err)
{
	int rc = q->image->data_file != NULL ? open_said(q, err)
					     : open_named(q, err);

	if (rc < 0)
		return rc;
	if (is_same_file(q->own_data_file, q->file))
		return error_set(err, -EINVAL,
				 "Data file '%s' is the image itself",
				 q->data_path);
	q->data_file = q->own_data_file;
	return 0;
}

static int refuse_path(const struct image *image, struct error *err)
{
	if (image->data_file == NULL || image->flags & IMAGE_METADATA_ONLY)
		return 0;
	return error_set(err, -EINVAL,
			 "'data-file' can only be set for images with an "
			 "external data file");
}

int qcow2_external_open(struct qcow2 *q, struct error *err)
{
	q->data_file = q->file;
	if (!(q->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE))
		return refuse_path(q->image, err);
	q->has_data_file = true;
	q->is_data_raw = q->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	if (q->image->flags & IMAGE_METADATA_ONLY)
		return 0;
	if (q->header.data_file == NULL && q->image->data_file == NULL)
		return error_set(err, -EINVAL,
				 "'data-file' is required for this image");
	return open_file(q, err);
}

int qcow2_external_close(struct qcow2 *q)
{
	int rc = image_file_close(q->own_data_file);

	q->own_data_file = NULL;
	free(q->data_path);
	q->data_path = NULL;
	return rc;
}

int qcow2_external_create(const char *image_path, const char *name,
			  uint64_t size,
			  const struct image_create_options *options,
			  struct error *err)
{
	struct image_file *file;
	int rc = check_name(name, err);

	if (rc < 0)
		return rc;
	if (strcmp(name, image_plain_path(image_path)) == 0)
		return error_set(err, -EINVAL,
				 "Data file '%s' is the image itself", name);
	rc = companion_open(&file, name, options, err);
	if (rc < 0)
		return rc;
	rc = image_file_truncate(file, size);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not resize data file")
		      : 0;
}

bool qcow2_external_is_fresh(const struct qcow2 *q, uint64_t offset,
			     uint64_t len)
{
	uint64_t hole_len;
	bool is_data;

	return image_file_extent(q->data_file, offset, len, &is_data,
				 &hole_len) == 0 &&
	       !is_data && hole_len == len;
}

void qcow2_external_punch(struct qcow2 *q, uint64_t offset, uint64_t len)
{
	/* Space is given back where the file system can. */
	(void)image_file_punch(q->data_file, offset, len);
}

int qcow2_external_grow(struct qcow2 *q, uint64_t size, struct error *err)
{
	uint64_t now;
	int rc = 0;

	if (q->has_data_file)
		rc = image_file_size(q->data_file, &now);
	if (rc == 0 && q->has_data_file && now < size)
		rc = image_file_truncate(q->data_file, size);
	return rc < 0 ? error_set_errno(err, rc, "Could not resize data file")
		      : 0;
}

int qcow2_external_shrink(struct qcow2 *q, uint64_t size, struct error *err)
{
	int rc = 0;

	if (q->has_data_file && !q->data_file->is_block_device)
		rc = image_file_truncate(q->data_file, size);
	return rc < 0 ? error_set_errno(err, rc, "Could not resize data file")
		      : 0;
}

int qcow2_external_refuse(const struct qcow2 *q, const char *what,
			  struct error *err)
{
	if (!q->has_data_file)
		return 0;
	return error_set(err, -ENOTSUP,
			 "%s not supported with an external data file", what);
}
