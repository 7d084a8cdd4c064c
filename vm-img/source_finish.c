/* SPDX-License-Identifier: ISC */
/*
 * What was opened by options, and perhaps found to be of some format then: are
 * they for that, and what is it called?
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"

#include <errno.h>
#include <string.h>

/* An option that is not for the format that was found; NULL: all of them are. */
static const char *find_unknown(const struct source *source, const char *format)
{
	const struct {
		const char *format, *option;
	} options[] = {
		{ "vpc", source->vpc_size != NULL ? "force_size_calc" : NULL },
		{ "qcow2",
		  source->data_file != NULL ? "data-file.filename" : NULL },
		{ "qcow2", source->qcow2_option },
		{ "parallels", source->parallels_option },
	};

	for (unsigned i = 0; i < array_size(options); i++)
		if (source->has_no_driver && options[i].option != NULL &&
		    strcmp(options[i].format, format) != 0)
			return options[i].option;
	if (source->unknown != NULL)
		return source->unknown;
	return source_unknown_encryption(source, format);
}

int source_accept(void *context, struct image *image, struct error *err)
{
	const struct source *source = context;
	const char *format = image_format_name(image);
	const char *unknown;
	int rc = 0;

	if (strcmp(format, "qcow2") == 0)
		rc = source_check_qcow2(source, image, err);
	if (rc == 0)
		rc = source_check_encryption(source, image, err);
	if (rc < 0)
		return rc;
	unknown = find_unknown(source, format);
	if (unknown == NULL)
		return 0;
	return error_set(err, -EINVAL,
			 "Block format '%s' does not support the option '%s'",
			 format, unknown);
}

int source_finish(struct source *source, struct image *image)
{
	_cleanup_free_ char *shown = NULL;

	if (source->node_name != NULL &&
	    image_set_node_name(image, source->node_name) < 0)
		return -ENOMEM;
	if (!source->has_name)
		return 0;
	if (source->has_no_driver)
		source_name_add(&source->name, "driver",
				image_format_name(image));
	shown = source_name_show(&source->name);
	return shown != NULL ? image_set_name(image, shown) : -ENOMEM;
}
