/* SPDX-License-Identifier: ISC */
/* A new file that is a disk. */
#include "lib/image/raw.h"

#include "lib/base/error.h"
#include "lib/image/companions.h"
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

/* The preallocation mode of options that a raw image has. */
static int take_mode(const struct image_create_options *options,
		     const char **mode, struct error *err)
{
	*mode = NULL;
	for (unsigned i = 0; i < options->n_options; i++) {
		const struct image_option *o = &options->options[i];

		if (strcmp(o->name, "preallocation") != 0)
			return error_set(err, -EINVAL, "Invalid parameter '%s'",
					 o->name);
		*mode = o->value;
	}
	if (options->backing_path != NULL)
		return error_set(err, -ENOTSUP,
				 "Backing file not supported for file format "
				 "'%s'",
				 options->format);
	return 0;
}

/* Where nothing can be made there is no room to be had either. */
static int check_mode(const char *path, const char *mode, struct error *err)
{
	bool is_mode = mode == NULL || strcmp(mode, "off") == 0 ||
		       strcmp(mode, "metadata") == 0 ||
		       strcmp(mode, "falloc") == 0 || strcmp(mode, "full") == 0;

	if (image_file_specs(path) == &file_options_of_file[1] || !is_mode)
		return file_options_check_preallocation(mode, err);
	if (mode == NULL || strcmp(mode, "off") == 0)
		return 0;
	return error_set(err, -ENOTSUP, "Unsupported preallocation mode '%s'",
			 mode);
}

static int create(const char *path, unsigned flags,
		  const struct image_create_options *options, struct error *err)
{
	/* Whole sectors, as a disk has them. */
	uint64_t size = (options->size + IMAGE_SECTOR - 1) &
			~(uint64_t)(IMAGE_SECTOR - 1);
	struct image_file *file;
	const char *mode;
	int close_rc, rc = take_mode(options, &mode, err);

	if (rc == 0)
		rc = check_mode(path, mode, err);
	if (rc < 0)
		return rc;
	rc = flags & IMAGE_FILE_CREATE
		     ? new_image_open(&file, path, flags, options, err)
		     : image_file_open(&file, path, flags, err);
	if (rc < 0)
		return rc;
	rc = raw_set_length(file, size, err);
	if (rc == -ENOSPC && image_name_is_nbd(path))
		error_set(err, rc, "Cannot grow NBD nodes");
	if (rc == 0)
		rc = write_first_block(file, size, err);
	if (rc == 0)
		rc = file_options_preallocate(file, mode, 0, size, err);
	close_rc = image_file_close(file);
	if (rc == 0 && close_rc < 0)
		rc = error_set_errno(err, close_rc, "Could not close file");
	return rc;
}

int raw_create(const char *path, const struct image_create_options *options,
	       struct error *err)
{
	return create(path, IMAGE_FILE_CREATE | IMAGE_FILE_SHARED, options,
		      err);
}

static int refuse_name(const char *format, struct error *err)
{
	return error_prefix(err, -EINVAL,
			    "Protocol driver '%s' does not support image "
			    "creation, and opening the image failed",
			    format);
}

int raw_create_on_device(const char *path,
			 const struct image_create_options *options,
			 struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		error_set_errno(err, -errno, "Could not open '%s'", path);
	else if (!image_file_is_device(st.st_mode))
		error_set(err, -EINVAL,
			  "'%s' driver requires '%s' to be either a character "
			  "or block device",
			  options->format, path);
	else
		return create(path, IMAGE_FILE_NBD, options, err);
	return refuse_name(options->format, err);
}

int raw_create_in_export(const char *path,
			 const struct image_create_options *options,
			 struct error *err)
{
	if (image_name_is_nbd(path))
		return raw_create(path, options, err);
	error_set(err, -EINVAL,
		  "File name string for NBD must start with 'nbd:'");
	return refuse_name(options->format, err);
}
