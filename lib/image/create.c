/* SPDX-License-Identifier: ISC */
/* Creation: what is the same for each format. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/companions.h"
#include "lib/image/file_options.h"
#include "lib/image/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct image_option_spec *image_amend_specs(const char *format)
{
	const struct image_format *f = image_format_find(format);

	return f != NULL ? f->amend_specs : NULL;
}

const struct image_option_spec *image_create_specs(const char *name)
{
	const struct image_format *format = image_format_find(name);

	return format != NULL ? format->create_specs : NULL;
}

bool image_format_compresses(const char *name)
{
	const struct image_format *format = image_format_find(name);

	return format != NULL && format->write_compressed != NULL;
}

const char *image_option_find(const struct image_create_options *options,
			      const char *name)
{
	const char *value = NULL;

	/* The last one counts. */
	for (unsigned i = 0; i < options->n_options; i++)
		if (strcmp(options->options[i].name, name) == 0)
			value = options->options[i].value;
	return value;
}

int image_option_bool(const struct image_create_options *options,
		      const char *name, bool *value, struct error *err)
{
	const char *text = image_option_find(options, name);

	if (text == NULL)
		return 0;
	*value = strcmp(text, "on") == 0;
	if (!*value && strcmp(text, "off") != 0)
		return error_set(err, -EINVAL,
				 "Parameter '%s' expects 'on' or 'off'", name);
	return 0;
}

int image_number_parse(const char *name, const char *text, uint64_t *value,
		       struct error *err)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (end == text || *end != '\0')
		return error_set(err, -EINVAL,
				 "Parameter '%s' expects a number", name);
	if (errno == ERANGE)
		return error_set(err, -ERANGE,
				 "Value '%s' is too large for parameter '%s'",
				 text, name);
	return 0;
}

int image_size_parse(const char *name, const char *text, uint64_t *bytes,
		     struct error *err)
{
	const char *number = text + strspn(text, " \t\n");
	int rc = size_parse(number + (*number == '+'), 'b', bytes);

	if (rc == -ERANGE)
		return error_set(err, rc,
				 "Value '%s' is out of range for parameter "
				 "'%s'",
				 text, name);
	if (rc < 0)
		return error_set(err, rc,
				 "Parameter '%s' expects a non-negative number "
				 "below 2^64",
				 name);
	return 0;
}

int image_option_number(const struct image_create_options *options,
			const char *name, uint64_t *value, struct error *err)
{
	const char *text = image_option_find(options, name);

	return text == NULL ? 0 : image_number_parse(name, text, value, err);
}

int image_options_check(const struct image_create_options *options,
			const struct image_option_spec *specs,
			struct error *err)
{
	for (unsigned i = 0; i < options->n_options; i++) {
		const struct image_option_spec *s = specs;

		while (s->name != NULL &&
		       strcmp(s->name, options->options[i].name) != 0)
			s++;
		if (s->name == NULL &&
		    !file_options_has(options->options[i].name))
			return error_set(err, -EINVAL, "Invalid parameter '%s'",
					 options->options[i].name);
	}
	return 0;
}

/* The backing image must be there, and gives its size where none is said. */
static int look_at_backing(const char *path, struct image_create_options *o,
			   struct error *err)
{
	const struct image_open_options how = {
		.format = o->backing_format,
		/* A guest may be running on it: only its size matters. */
		.flags = IMAGE_READ_ONLY | IMAGE_METADATA_ONLY |
			 IMAGE_FORCE_SHARE,
	};
	_cleanup_free_ char *resolved = NULL;
	struct image *backing;
	int rc;

	rc = image_backing_name_check(o->backing_path, err);
	if (rc < 0)
		return rc;
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

bool image_create_needs_size(const struct image_create_options *options)
{
	const struct image_format *format = image_format_find(options->format);

	return format == NULL || format->is_sizeless == NULL ||
	       !format->is_sizeless(options);
}

/* list is the options'. Half an image is no use, looks like a whole one, and takes
 * what room is left. */
static int make(const char *path, const struct image_format *format,
		const struct image_create_options *options,
		struct image_option *list, struct error *err)
{
	struct image_companions own = IMAGE_COMPANIONS_INIT;
	struct image_create_options o = *options;
	bool existed = access(path, F_OK) == 0;
	int rc = 0;

	if (o.companions == NULL)
		o.companions = &own;
	if (!image_name_has_protocol(path) &&
	    format->create_specs != file_options_of_device)
		rc = file_options_apply(path, &o, err);
	o.n_options =
		file_options_strip(list, o.n_options, format->preallocates);
	if (rc == 0)
		rc = format->create(path, &o, err);
	if (rc < 0 && (!existed || o.companions->is_emptied))
		image_remove_unfinished(path, o.companions);
	else if (rc < 0)
		image_companions_remove(o.companions);
	image_companions_deinit(&own);
	return rc;
}

int image_create(const char *path, const struct image_create_options *options,
		 struct error *err)
{
	struct image_create_options o = *options;
	const struct image_format *format = image_format_find(o.format);
	_cleanup_free_ struct image_option *list = NULL;
	int rc = 0;

	path = image_plain_path(path);
	if (format == NULL)
		return error_set(err, -ENOENT, "Unknown file format '%s'",
				 o.format);
	if (format->create == NULL)
		return error_set(err, -ENOTSUP,
				 "Format driver '%s' does not support image "
				 "creation",
				 o.format);
	if (o.backing_path != NULL && !o.is_backing_unchecked)
		rc = look_at_backing(path, &o, err);
	if (rc < 0)
		return rc;
	if (!o.has_size && image_create_needs_size(&o))
		return error_set(err, -EINVAL,
				 "Image creation needs a size parameter");
	if (o.size > INT64_MAX)
		return error_set(err, -EFBIG,
				 "Image size must be less than "
				 "8 EiB!");
	if (!format->preallocates)
		rc = file_options_check_preallocation(
			image_option_find(options, "preallocation"), err);
	if (rc < 0)
		return rc;
	list = calloc(o.n_options + 1, sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	if (o.n_options > 0)
		memcpy(list, o.options, o.n_options * sizeof(*list));
	o.options = list;
	return make(path, format, &o, list, err);
}
