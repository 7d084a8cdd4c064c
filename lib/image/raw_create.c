/* SPDX-License-Identifier: ISC */
/* A new file that is a disk. */
#include "lib/image/raw.h"

#include "lib/base/error.h"
#include "lib/image/file_options.h"

#include <errno.h>
#include <string.h>

int raw_set_length(struct image_file *file, uint64_t size, struct error *err)
{
	int rc = image_file_truncate(file, size);

	if (rc == -ENOSPC && file->is_block_device)
		return error_set(err, rc, "Cannot grow %s",
				 file->fd < 0 ? "NBD nodes" : "device files");
	if (rc == -EFBIG)
		return error_set(err, rc,
				 "The image size is too large for file format "
				 "'raw'");
	if (rc == -ENOTSUP)
		return error_set(err, rc, "Cannot resize fixed-size raw disks");
	return rc < 0 ? error_set_errno(err, rc, "Could not resize file") : 0;
}

int raw_check_length(const struct image *image, uint64_t size,
		     struct error *err)
{
	bool is_export = image_name_is_nbd(image->path);
	uint64_t now;
	int rc;

	if (!image->file->is_block_device ||
	    (image->file->fd < 0 && !is_export))
		return 0;
	rc = image_file_size(image->file, &now);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (now == size)
		return 0;
	return error_set(err, -ENOTSUP, "Cannot resize %s",
			 is_export ? "NBD nodes" : "device files");
}

static int write_first_block(const struct image_file *file, uint64_t size,
			     struct error *err)
{
	int rc = image_file_write_first_block(file, size);

	return rc < 0 ? error_set_errno(err, rc, "Could not write") : 0;
}

int raw_create(const char *path, const struct image_create_options *options,
	       struct error *err)
{
	/* Whole sectors, as a disk has them. */
	uint64_t size = (options->size + IMAGE_SECTOR - 1) &
			~(uint64_t)(IMAGE_SECTOR - 1);
	struct image_file *file;
	const char *mode = NULL;
	int rc = 0;

	for (unsigned i = 0; i < options->n_options; i++) {
		const struct image_option *o = &options->options[i];

		if (strcmp(o->name, "preallocation") != 0)
			return error_set(err, -EINVAL, "Invalid parameter '%s'",
					 o->name);
		mode = o->value;
	}
	if (options->backing_path != NULL)
		return error_set(err, -ENOTSUP,
				 "Backing file not supported for file format "
				 "'raw'");
	rc = file_options_check_preallocation(mode, err);
	if (rc < 0)
		return rc;
	rc = image_file_open(&file, path, IMAGE_FILE_CREATE | IMAGE_FILE_SHARED,
			     err);
	if (rc < 0)
		return rc;
	rc = raw_set_length(file, size, err);
	if (rc == -ENOSPC && image_name_is_nbd(path))
		error_set(err, rc, "Cannot grow NBD nodes");
	if (rc == 0)
		rc = write_first_block(file, size, err);
	if (rc == 0)
		rc = file_options_preallocate(file, mode, 0, size, err);
	image_file_close(file);
	return rc;
}
