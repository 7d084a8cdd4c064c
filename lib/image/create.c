/* SPDX-License-Identifier: ISC */
/* Creation: what is the same for each format. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <string.h>

const struct image_option_spec *image_create_specs(const char *name)
{
	const struct image_format *format = image_format_find(name);

	return format != NULL ? format->create_specs : NULL;
}

/* The backing image must be there, and gives its size where none is said. */
static int look_at_backing(const char *path, struct image_create_options *o,
			   struct error *err)
{
	const struct image_open_options how = {
		.format = o->backing_format,
		.flags = IMAGE_READ_ONLY,
	};
	_cleanup_free_ char *resolved = NULL;
	struct image *backing;
	int rc;

	if (image_name_has_protocol(o->backing_path))
		return error_set(err, -ENOTSUP,
				 "Backing file name '%s' is not a plain path",
				 o->backing_path);
	resolved = image_backing_resolve(path, o->backing_path);
	if (resolved == NULL)
		return -ENOMEM;
	rc = image_open(&backing, resolved, &how, err);
	if (rc < 0)
		return error_prefix(err, rc, "Could not open '%s'", resolved);
	if (!o->has_size)
		o->size = image_size(backing);
	o->has_size = true;
	image_abandon(backing);
	return 0;
}

int image_create(const char *path, const struct image_create_options *options,
		 struct error *err)
{
	struct image_create_options o = *options;
	const struct image_format *format = image_format_find(o.format);
	bool existed;
	int rc = 0;

	if (format == NULL)
		return error_set(err, -ENOENT, "Unknown file format '%s'",
				 o.format);
	if (format->create == NULL)
		return error_set(err, -ENOTSUP,
				 "Format driver '%s' does not support image "
				 "creation",
				 o.format);
	if (o.backing_path == NULL && o.backing_format != NULL)
		return error_set(err, -EINVAL,
				 "Backing format cannot be used without "
				 "backing file");
	if (o.backing_path != NULL && !o.is_backing_unchecked)
		rc = look_at_backing(path, &o, err);
	if (rc < 0)
		return rc;
	if (!o.has_size)
		return error_set(err, -EINVAL,
				 "Image creation needs a size parameter");
	if (o.size > INT64_MAX)
		return error_set(err, -EFBIG,
				 "Image size must be less than "
				 "8 EiB!");
	existed = access(path, F_OK) == 0;
	rc = format->create(path, &o, err);
	/* Half an image is no use, and takes what room is left. */
	if (rc < 0 && !existed)
		unlink(path);
	return rc;
}
