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
	bool is_qcow2 = strcmp(format, "qcow2") == 0;

	if (source->vpc_size != NULL && strcmp(format, "vpc") != 0)
		return "force_size_calc";
	if (source->has_no_driver && source->data_file != NULL && !is_qcow2)
		return "data-file.filename";
	if (source->has_no_driver && source->qcow2_option != NULL && !is_qcow2)
		return source->qcow2_option;
	if (source->unknown != NULL)
		return source->unknown;
	return source_unknown_encryption(source, format);
}

int source_finish(struct source *source, struct image *image, struct error *err)
{
	const char *format = image_format_name(image);
	const char *unknown = find_unknown(source, format);
	_cleanup_free_ char *shown = NULL;

	if (unknown != NULL)
		return error_set(err, -EINVAL,
				 "Block format '%s' does not support the "
				 "option '%s'",
				 format, unknown);
	if (strcmp(format, "qcow2") == 0 &&
	    source_check_qcow2(source, image, err) < 0)
		return -EINVAL;
	if (source_check_encryption(source, image, err) < 0)
		return -EINVAL;
	if (source->node_name != NULL &&
	    image_set_node_name(image, source->node_name) < 0)
		return -ENOMEM;
	if (!source->has_name)
		return 0;
	if (source->has_no_driver)
		source_name_add(&source->name, "driver", format);
	shown = source_name_show(&source->name);
	return shown != NULL ? image_set_name(image, shown) : -ENOMEM;
}
