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
	const char *path, *format, *preallocation, *size_text;
	char sign; /* '+', '-', or '\0' */
	uint64_t size;
	bool may_shrink, is_quiet;
};

static int parse_size(struct request *request)
{
	const char *text = request->size_text;
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
	struct image *image =
		open_or_report(request->path, request->format, IMAGE_RESIZE);

	if (image == NULL)
		return EXIT_FAILURE;
	if (resize(image, request) < 0) {
		image_abandon(image);
		return EXIT_FAILURE;
	}
	if (close_or_report(image) < 0)
		return EXIT_FAILURE;
	if (!request->is_quiet)
		printf("Image resized.\n");
	return EXIT_SUCCESS;
}

static int take_option(struct request *request, int id, const char *value)
{
	switch (id) {
	case 'f':
		request->format = value;
		return 0;
	case 'q':
		request->is_quiet = true;
		return 0;
	case OPTION_SHRINK:
		request->may_shrink = true;
		return 0;
	default:
		request->preallocation = value;
		return check_preallocation(value);
	}
}

/* "-1M" is no option: the size is the last word, whatever it is. */
static int take_words(struct request *request, struct arguments *a)
{
	const char *last = a->argv[a->argc - 1];
	int id;

	if (a->argc > 1 &&
	    (strcmp(last, "-h") == 0 || strcmp(last, "--help") == 0))
		verb_help();
	if (a->argc < 3)
		report_usage("Not enough arguments");
	request->size_text = last;
	a->argv[--a->argc] = NULL;
	while ((id = arguments_next(a)) >= 0)
		if (take_option(request, id, a->value) < 0)
			return -EINVAL;
	if (a->n_operands != 1)
		report_usage("Expecting image file name and size");
	request->path = a->operands[0];
	return 0;
}

static void take_operand(struct request *request, struct arguments *a)
{
	if (request->path == NULL) {
		request->path = a->value;
		request->size_text = arguments_take_negative(a);
	} else if (request->size_text == NULL) {
		request->size_text = a->value;
	} else {
		report_usage("Extra argument(s) in command line");
	}
}

/* Later versions take options after the size as well, and "-1M" for one only
 * where it does not stand beside the name. */
static int take_words_later(struct request *request, struct arguments *a)
{
	char **word;
	int id;

	a->is_in_order = true;
	while ((id = arguments_next(a)) >= 0)
		if (id == ARGUMENTS_OPERAND)
			take_operand(request, a);
		else if (take_option(request, id, a->value) < 0)
			return -EINVAL;
	word = a->operands; /* after "--" */
	if (request->path == NULL && *word != NULL)
		request->path = *word++;
	if (request->size_text == NULL && *word != NULL)
		request->size_text = *word++;
	if (request->size_text == NULL || *word != NULL)
		report_usage("Expecting image file name and size");
	return 0;
}

int resize_run(int argc, char **argv)
{
	struct request request = { .sign = '\0' };
	struct arguments a = { .specs = resize_options,
			       .argc = argc,
			       .argv = argv };
	int rc;

	arguments_find_compat(argc, argv);
	rc = arguments_compat() == COMPAT_10_2 ? take_words_later(&request, &a)
					       : take_words(&request, &a);
	if (rc < 0 || parse_size(&request) < 0)
		return EXIT_FAILURE;
	return run_request(&request);
}
