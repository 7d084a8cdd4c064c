/* SPDX-License-Identifier: ISC */
/* amend: creation options of an image that is there already. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/bitmaps.h"
#include "vm-img/format_options.h"
#include "vm-img/object.h"
#include "vm-img/progress.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

const struct option_spec amend_options[] = {
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ 't', "cache", "MODE", "for writing (default: writeback)" },
	{ 'o', "options", "OPTIONS", "NAME=VALUE,... to set, or help" },
	{ 'p', "progress", NULL, "show how far it is" },
	{ 'q', "quiet", NULL, "print errors only" },
	{ OPTION_FORCE, "force", NULL, "also what may lose the last key" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *format, *cache;
	bool has_options, wants_progress, is_quiet, is_forced;
	struct format_options options;
	struct progress progress;
};

static void free_request(struct request *request)
{
	format_options_deinit(&request->options);
}

static int refuse_format(const char *format)
{
	report_error("Format driver '%s' does not support option amendment",
		     format);
	return EXIT_FAILURE;
}

static int show_help(const char *format)
{
	const struct image_option_spec *specs = image_amend_specs(format);

	if (!format_options_is_driver(format)) {
		report_error("Unknown file format '%s'", format);
		return EXIT_FAILURE;
	}
	if (specs == NULL)
		return refuse_format(format);
	printf("Amend options for '%s':\n", format);
	format_options_help(specs);
	return EXIT_SUCCESS;
}

/* What a new image could have been given is named, if all else is right. */
static int check_names(struct format_options *options, const char *format)
{
	const struct image_option_spec *specs = image_amend_specs(format);
	int rc = format_options_check_or_report(options, specs);

	if (rc < 0 &&
	    format_options_check(options, specs, image_create_specs(format),
				 NULL) == 0)
		report_hint("This option is only supported for image creation");
	return rc;
}

static void show(void *context, uint64_t done, uint64_t total)
{
	progress_show(context, done, total);
}

static int amend(struct image *image, struct request *request)
{
	struct image_option list[FORMAT_OPTIONS_MAX];
	const struct image_amend_options options = {
		.options = list,
		.n_options = format_options_list(
			&request->options,
			image_amend_specs(image_format_name(image)), list),
		.is_forced = request->is_forced,
		.secrets = object_secrets(),
		.progress = { show, &request->progress },
	};
	struct error err = ERROR_INIT;
	int rc;

	progress_begin(&request->progress);
	rc = image_amend(image, &options, &err);
	if (rc == 0) {
		progress_show(&request->progress, 1, 1);
		return 0;
	}
	if (report_cause(&err, "Snapshot L1 table "))
		error_set_errno(&err, rc,
				"Failed to turn zero into data clusters");
	report_error("%s", error_text(&err, rc));
	if (strcmp(err.text, "Cannot amend the backing file") == 0)
		report_hint("You can use 'qemu-img rebase' instead.");
	bitmaps_hint(&err);
	return rc;
}

static int amend_open(struct image *image, struct request *request)
{
	const char *format = image_format_name(image);

	if (request->options.wants_help)
		return show_help(format);
	if (image_amend_specs(format) == NULL)
		return refuse_format(format);
	if (check_names(&request->options, format) < 0 ||
	    amend(image, request) < 0)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}

static int run_request(struct request *request, const char *path)
{
	struct image *image;
	unsigned flags;
	int status;

	if (argument_cache(request->cache, &flags) < 0) {
		report_error("Invalid cache option: %s", request->cache);
		return EXIT_FAILURE;
	}
	/* It is no image that is made anew. */
	flags &= ~(unsigned)IMAGE_UNSAFE;
	image = open_or_report(path, request->format, flags);
	if (image == NULL)
		return EXIT_FAILURE;
	status = amend_open(image, request);
	if (status != EXIT_SUCCESS)
		image_close(image, NULL);
	else if (close_or_report(image) < 0)
		status = EXIT_FAILURE;
	return status;
}

static int take_option(struct request *request, int id, const char *value)
{
	switch (id) {
	case 'f':
		request->format = value;
		return 0;
	case 't':
		request->cache = value;
		return 0;
	case 'p':
		request->wants_progress = true;
		return 0;
	case 'q':
		request->is_quiet = true;
		return 0;
	case OPTION_FORCE:
		request->is_forced = true;
		return 0;
	default:
		request->has_options = true;
		return format_options_parse(&request->options, value);
	}
}

int amend_run(int argc, char **argv)
{
	_cleanup_(free_request) struct request request = {
		.cache = "writeback",
	};
	struct arguments a = { .specs = amend_options,
			       .argc = argc,
			       .argv = argv };
	int id, status = EXIT_FAILURE;

	while ((id = arguments_next(&a)) >= 0)
		if (take_option(&request, id, a.value) < 0)
			return EXIT_FAILURE;
	if (!request.has_options)
		report_usage("Must specify options (-o)");
	progress_init(&request.progress,
		      request.wants_progress && !request.is_quiet);
	if (request.format != NULL && request.options.wants_help)
		status = show_help(request.format);
	else if (a.n_operands != 1)
		report_error("Expecting one image file name");
	else
		status = run_request(&request, a.operands[0]);
	progress_end(&request.progress, false);
	return status;
}
