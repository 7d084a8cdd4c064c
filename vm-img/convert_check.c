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

static int check_new(struct convert *request)
{
	const struct image_option_spec *specs = format_options_of_new(
		request->target_format, request->target, NULL);
	struct format_options *options = &request->options;
	struct error err = ERROR_INIT;
	int rc;

	if (specs == NULL)
		return -ENOENT;
	if (check_new_or_report(request->target) < 0 ||
	    format_options_check_or_report(options, specs) < 0)
		return -EINVAL;
	rc = format_options_set_backing(options, request->target_format,
					request->backing,
					request->backing_format, &err);
	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc;
}

/* What is there already has a format, and options, of its own. */
int convert_check_target(struct convert *request)
{
	struct format_options *options = &request->options;
	int rc = 0;

	if (!request->has_no_create)
		rc = check_new(request);
	else if (request->backing != NULL)
		rc = format_options_set(options, "backing_file",
					request->backing);
	if (rc == 0)
		rc = check_backing(request);
	if (rc < 0 || request->has_no_create || !request->wants_compression)
		return rc;
	if (image_format_compresses(request->target_format))
		return check_compression(options);
	return convert_refuse_compression();
}

int convert_refuse_compression(void)
{
	report_error("Compression not supported for this file format");
	return -ENOTSUP;
}
