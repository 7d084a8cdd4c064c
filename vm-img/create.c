/* SPDX-License-Identifier: ISC */
/* create: a new image, empty or over a backing file. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/format_options.h"
#include "vm-img/object.h"
#include "vm-img/report.h"
#include "vm-img/source.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

const struct option_spec create_options[] = {
	{ 'q', "quiet", NULL, "print errors only" },
	{ 'f', "format", "FMT", "the new image's format (default: raw)" },
	{ 'b', "backing", "FILENAME", "the image under the new one" },
	{ 'F', "backing-format", "FMT", "the format of that one" },
	{ 'B', "backing-format", "FMT", "the same as -F" },
	{ 'u', "backing-unsafe", NULL, "do not look at the backing file" },
	{ 'o', "options", "OPTIONS", "NAME=VALUE,... of the format, or help" },
	OPTIONS_OBJECT,
	OPTIONS_END,
};

struct request {
	const char *path, *format, *size;
	const char *backing, *backing_format; /* of -b and -F, or NULL */
	bool is_unchecked, is_quiet;
	struct format_options options;
};

static void free_request(struct request *request)
{
	format_options_deinit(&request->options);
}

/* The backing file's size, unless one is given; and that it is there. */
static int look_at_backing(struct request *request, const char *name)
{
	const char *format =
		format_options_get(&request->options, "backing_fmt");
	struct error err = ERROR_INIT;
	struct image *image;
	char size[24];
	int rc;

	if (format != NULL && !format_options_is_driver(format)) {
		report_error("%s: Unknown driver '%s'", request->path, format);
		report_hint("Could not open backing image.");
		return -ENOENT;
	}
	/* A guest may be running on it: only its size matters. */
	rc = open_backing(&image, request->path, name, format,
			  IMAGE_READ_ONLY | IMAGE_METADATA_ONLY |
				  IMAGE_FORCE_SHARE,
			  &err);
	if (rc < 0) {
		report_error("%s: %s", request->path, error_text(&err, rc));
		report_hint("Could not open backing image.");
		return rc;
	}
	if (format == NULL) {
		report_error("%s: Backing file specified without backing "
			     "format",
			     request->path);
		report_open_hint("Detected format of %s.",
				 image_format_name(image));
		rc = -EINVAL;
	} else if (format_options_get(&request->options, "size") == NULL) {
		snprintf(size, sizeof(size), "%llu",
			 (unsigned long long)image_size(image));
		rc = format_options_set(&request->options, "size", size);
	}
	image_abandon(image);
	return rc;
}

static int check_backing(struct request *request)
{
	const char *name =
		format_options_get(&request->options, "backing_file");

	if (name == NULL)
		return 0;
	if (name[0] == '\0') {
		report_error("%s: Expected backing file name, got empty string",
			     request->path);
		return -EINVAL;
	}
	if (strcmp(name, request->path) == 0) {
		report_error("%s: Error: Trying to create an image with the "
			     "same filename as the backing file",
			     request->path);
		return -EINVAL;
	}
	if (!request->is_unchecked)
		return look_at_backing(request, name);
	if (format_options_get(&request->options, "backing_fmt") != NULL)
		return 0;
	report_error("%s: Backing file specified without backing format",
		     request->path);
	return -EINVAL;
}

/* The operand and -o size= say the same. bytes is 0 without an operand. */
static int take_size(struct request *request, uint64_t bytes)
{
	char text[24];

	if (request->size == NULL)
		return 0;
	if (format_options_get(&request->options, "size") != NULL) {
		report_error("%s: The image size must be specified only once",
			     request->path);
		return -EINVAL;
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	return format_options_set(&request->options, "size", text);
}

/* In the order in which qemu-img finds fault; NULL: one was reported. */
static const struct image_option_spec *check_request(struct request *request)
{
	const struct image_option_spec *specs;
	struct error err = ERROR_INIT;
	uint64_t size = 0;
	int rc = 0;

	if (request->size != NULL &&
	    argument_size("image size", request->size, &size) < 0)
		return NULL;
	if (format_options_is_driver(request->format))
		rc = source_check_new(request->path, &err);
	if (rc < 0) {
		report_error("%s: %s", request->path, error_text(&err, rc));
		return NULL;
	}
	specs = format_options_of_new(request->format, request->path,
				      request->path);
	if (specs == NULL)
		return NULL;
	rc = format_options_check(&request->options, specs, NULL, &err);
	if (rc < 0) {
		report_error("%s: %s", request->path, error_text(&err, rc));
		report_hint_of(err.text);
		return NULL;
	}
	if (take_size(request, size) < 0)
		return NULL;
	rc = format_options_set_backing(&request->options, request->format,
					request->backing,
					request->backing_format, &err);
	if (rc < 0)
		report_error("%s: %s", request->path, error_text(&err, rc));
	if (rc < 0 || check_backing(request) < 0)
		return NULL;
	return specs;
}

/* As qemu-img, whatever it was that became too large. */
static void tell_failure(const struct request *request,
			 const struct image_option_spec *spec, int rc,
			 const struct error *err)
{
	if (rc != -EFBIG) {
		report_error("%s: %s", request->path, error_text(err, rc));
		return;
	}
	while (spec->name != NULL && strcmp(spec->name, "cluster_size") != 0)
		spec++;
	report_error("%s: The image size is too large for file format '%s'%s",
		     request->path, request->format,
		     spec->name != NULL ? " (try using a larger cluster size)"
					: "");
}

static int run_request(struct request *request)
{
	struct image_option list[FORMAT_OPTIONS_MAX];
	struct image_create_options create = {
		.format = request->format,
		/* Looked at already, and perhaps gone since: no matter. */
		.is_backing_unchecked = true,
		.secrets = object_secrets(),
		.warned = report_warned,
	};
	const struct image_option_spec *specs;
	struct error err = ERROR_INIT;
	int rc;

	specs = check_request(request);
	if (specs == NULL)
		return EXIT_FAILURE;
	format_options_apply(&request->options, specs, list, &create);
	if (!create.has_size && image_create_needs_size(&create)) {
		report_error("%s: Image creation needs a size parameter",
			     request->path);
		return EXIT_FAILURE;
	}
	if (!request->is_quiet) {
		printf("Formatting '%s', fmt=%s", request->path,
		       request->format);
		format_options_print(&request->options, specs);
		printf("\n");
		fflush(stdout);
	}
	rc = source_create(request->path, &create, &err);
	if (rc == 0)
		return EXIT_SUCCESS;
	tell_failure(request, specs, rc, &err);
	return EXIT_FAILURE;
}

static int take_option(struct request *request, int id, const char *value)
{
	switch (id) {
	case 'q':
		request->is_quiet = true;
		return 0;
	case 'f':
		request->format = value;
		return 0;
	case 'u':
		request->is_unchecked = true;
		return 0;
	case 'b':
		request->backing = value;
		return 0;
	case 'B':
	case 'F':
		request->backing_format = value;
		return 0;
	default:
		return format_options_parse(&request->options, value);
	}
}

int create_run(int argc, char **argv)
{
	_cleanup_(free_request) struct request request = { .format = "raw" };
	struct arguments a = { .specs = create_options,
			       .argc = argc,
			       .argv = argv };
	uint64_t size;
	int id;

	while ((id = arguments_next(&a)) >= 0)
		if (take_option(&request, id, a.value) < 0)
			return EXIT_FAILURE;
	if (request.options.wants_help)
		return format_options_help_new(request.format,
					       a.n_operands > 0 ? a.operands[0]
								: NULL);
	if (a.n_operands < 1)
		report_usage("Expecting image file name");
	request.path = a.operands[0];
	request.size = a.n_operands > 1 ? a.operands[1] : NULL;
	if (a.n_operands > 2 &&
	    argument_size("image size", request.size, &size) < 0)
		return EXIT_FAILURE;
	if (a.n_operands > 2)
		report_usage("Unexpected argument: %s", a.operands[2]);
	return run_request(&request);
}
