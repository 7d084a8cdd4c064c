/* SPDX-License-Identifier: ISC */
/* resize: a new size, or a change of it with a sign before. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/bitmaps.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

const struct option_spec resize_options[] = {
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ OPTION_PREALLOCATION, "preallocation", "MODE",
	  "of what is added: off, metadata, falloc or full" },
	{ 'q', "quiet", NULL, "print errors only" },
	{ OPTION_SHRINK, "shrink", NULL,
	  "a smaller size is meant: what is beyond it is deleted" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *path, *format, *preallocation;
	char sign; /* '+', '-', or '\0' */
	uint64_t size;
	bool may_shrink, is_quiet;
};

static int parse_size(struct request *request, const char *text)
{
	struct error err = ERROR_INIT;
	int rc;

	if (*text == '+' || *text == '-')
		request->sign = *text++;
	rc = image_size_parse("size", text, &request->size, &err);
	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	report_hint_of(err.text);
	return rc;
}

static int check_preallocation(const char *mode)
{
	static const char *const modes[] = { "off", "metadata", "falloc",
					     "full" };

	for (unsigned i = 0; i < array_size(modes); i++)
		if (strcmp(mode, modes[i]) == 0)
			return 0;
	report_error("Invalid preallocation mode '%s'", mode);
	return -EINVAL;
}

/* 0: not a size that an image can have. */
static uint64_t new_size(const struct request *request, uint64_t now)
{
	uint64_t size = request->size;

	if (request->sign == '-')
		size = size < now ? now - size : 0;
	else if (request->sign == '+' &&
		 __builtin_add_overflow(now, size, &size))
		size = 0;
	return size <= INT64_MAX ? size : 0;
}

/* The library knows when a guessed raw image is guarded; its user should. */
static int check_shrink(const struct request *request, uint64_t now,
			uint64_t size)
{
	if (size > now)
		return 0;
	if (request->preallocation != NULL &&
	    strcmp(request->preallocation, "off") != 0) {
		report_error("Preallocation can only be used for growing "
			     "images");
		return -EINVAL;
	}
	if (size == now || request->may_shrink)
		return 0;
	report_error("Use the --shrink option to perform a shrink operation.");
	report_warning("Shrinking an image will delete all data beyond the "
		       "shrunken image's end. Before performing such an "
		       "operation, make sure there is no important data "
		       "there.");
	return -EINVAL;
}

static int resize(struct image *image, const struct request *request)
{
	const struct image_resize_options options = {
		.preallocation = request->preallocation,
		.may_shrink = request->may_shrink,
	};
	uint64_t now = image_size(image), size = new_size(request, now);
	struct error err = ERROR_INIT;
	int rc;

	if (size == 0) {
		report_error("New image size must be positive");
		return -EINVAL;
	}
	rc = check_shrink(request, now, size);
	if (rc < 0)
		return rc;
	rc = image_resize(image, size, &options, &err);
	if (rc < 0) {
		report_error("%s", error_text(&err, rc));
		bitmaps_hint(&err);
	}
	return rc;
}

static int run_request(const struct request *request)
{
	struct error err = ERROR_INIT;
	struct image *image = open_or_report(request->path, request->format, 0);
	int rc;

	if (image == NULL)
		return EXIT_FAILURE;
	if (resize(image, request) < 0) {
		image_abandon(image);
		return EXIT_FAILURE;
	}
	rc = image_close(image, &err);
	if (rc < 0) {
		report_error("%s", error_text(&err, rc));
		return EXIT_FAILURE;
	}
	if (!request->is_quiet)
		printf("Image resized.\n");
	return EXIT_SUCCESS;
}

int resize_run(int argc, char **argv)
{
	struct request request = { .sign = '\0' };
	struct arguments a = { .specs = resize_options, .argv = argv };
	const char *size;
	int id;

	/* "-1M" is no option: the size is the last word, whatever it is. */
	if (argc > 1 && (strcmp(argv[argc - 1], "-h") == 0 ||
			 strcmp(argv[argc - 1], "--help") == 0))
		verb_help();
	if (argc < 3)
		report_usage("Not enough arguments");
	size = argv[argc - 1];
	argv[argc - 1] = NULL;
	a.argc = argc - 1;
	while ((id = arguments_next(&a)) >= 0) {
		if (id == 'f')
			request.format = a.value;
		else if (id == 'q')
			request.is_quiet = true;
		else if (id == OPTION_PREALLOCATION)
			request.preallocation = a.value;
		else if (id == OPTION_SHRINK)
			request.may_shrink = true;
		if (id == OPTION_PREALLOCATION &&
		    check_preallocation(a.value) < 0)
			return EXIT_FAILURE;
	}
	if (a.n_operands != 1)
		report_usage("Expecting image file name and size");
	request.path = a.operands[0];
	if (parse_size(&request, size) < 0)
		return EXIT_FAILURE;
	return run_request(&request);
}
