/* SPDX-License-Identifier: ISC */
/* convert: may the target be made as the options say? */
#include "vm-img/convert.h"

#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/report.h"

#include <errno.h>
#include <string.h>

static int check_compression(const struct format_options *options)
{
	const char *mode = format_options_get(options, "preallocation");

	if (format_options_is_on(format_options_get(options, "encryption")) ||
	    format_options_get(options, "encrypt.format") != NULL) {
		report_error("Compression and encryption not supported at the "
			     "same time");
		return -ENOTSUP;
	}
	if (mode == NULL || strcmp(mode, "off") == 0)
		return 0;
	report_error("Compression and preallocation not supported at the same "
		     "time");
	return -ENOTSUP;
}

static int check_backing(const struct convert *request)
{
	const char *text = NULL;

	if (format_options_get(&request->options, "backing_file") == NULL)
		return 0;
	if (request->is_target_zero)
		text = "Cannot use --target-is-zero when the destination image "
		       "has a backing file";
	else if (request->n_sources > 1)
		text = "Having a backing file for the target makes no sense "
		       "when concatenating multiple input images";
	else if (!request->has_no_create &&
		 format_options_get(&request->options, "backing_fmt") == NULL)
		text = "Use of backing file requires explicit backing format";
	if (text == NULL)
		return 0;
	report_error("%s", text);
	return -EINVAL;
}

int convert_check_target(struct convert *request)
{
	const struct image_option_spec *specs = format_options_of_new(
		request->target_format, request->target, NULL);
	struct format_options *options = &request->options;
	struct error err = ERROR_INIT;
	int rc;

	if (specs == NULL)
		return -ENOENT;
	if (!request->has_no_create && check_new_or_report(request->target) < 0)
		return -EINVAL;
	if (format_options_check_or_report(options, specs) < 0)
		return -EINVAL;
	rc = format_options_set_backing(options, request->target_format,
					request->backing,
					request->backing_format, &err);
	if (rc < 0) {
		report_error("%s", error_text(&err, rc));
		return rc;
	}
	if (check_backing(request) < 0)
		return -EINVAL;
	if (request->wants_compression &&
	    !image_format_compresses(request->target_format)) {
		report_error("Compression not supported for this file format");
		return -ENOTSUP;
	}
	return request->wants_compression ? check_compression(options) : 0;
}
