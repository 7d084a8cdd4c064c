/* SPDX-License-Identifier: ISC */
/*
 * bitmap: bitmaps of what changed, inside an image. Actions are done one after
 * the other, as they stand in the command; the first that fails ends it.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/bitmaps.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

enum {
	ACTIONS_MAX = 256,
};

const struct option_spec bitmap_options[] = {
	{ OPTION_ADD, "add", NULL, "make it" },
	{ OPTION_REMOVE, "remove", NULL, "delete it" },
	{ OPTION_CLEAR, "clear", NULL, "set no bit" },
	{ OPTION_ENABLE, "enable", NULL, "writes set bits from now on" },
	{ OPTION_DISABLE, "disable", NULL, "writes set none from now on" },
	{ OPTION_MERGE, "merge", "SOURCE", "set the bits of that one as well" },
	{ 'b', "source-file", "FILENAME", "the image that SOURCE is in" },
	{ 'F', "source-format", "FMT", "the format of that one" },
	{ 'g', "granularity", "SIZE", "with --add: bytes for each bit" },
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct action {
	int id;
	const char *source; /* of --merge */
	bool is_disabled;   /* of --add */
};

struct request {
	const char *path, *format, *bitmap;
	const char *source_path, *source_format;
	uint64_t granularity;
	struct action actions[ACTIONS_MAX];
	unsigned n_actions;
	bool adds, merges;
};

static const char *name_of(int id)
{
	const struct option_spec *spec = bitmap_options;

	while (spec->id != id)
		spec++;
	return spec->name;
}

static int act(const struct request *request, const struct action *action,
	       struct image *image, struct image *source, struct error *err)
{
	switch (action->id) {
	case OPTION_ADD:
		return image_bitmap_add(image, request->bitmap,
					request->granularity,
					!action->is_disabled, err);
	case OPTION_REMOVE:
		return image_bitmap_remove(image, request->bitmap, err);
	case OPTION_CLEAR:
		return image_bitmap_clear(image, request->bitmap, err);
	case OPTION_MERGE:
		return image_bitmap_merge(image, request->bitmap,
					  source != NULL ? source : image,
					  action->source, err);
	default:
		return image_bitmap_enable(image, request->bitmap,
					   action->id == OPTION_ENABLE, err);
	}
}

static int act_all(const struct request *request, struct image *image,
		   struct image *source)
{
	for (unsigned i = 0; i < request->n_actions; i++) {
		const struct action *action = &request->actions[i];
		struct error err = ERROR_INIT;
		int rc = act(request, action, image, source, &err);

		if (rc == 0)
			continue;
		report_error("Operation %s on bitmap %s failed: %s",
			     name_of(action->id), request->bitmap,
			     error_text(&err, rc));
		bitmaps_hint(&err);
		return rc;
	}
	return 0;
}

static int run_request(const struct request *request)
{
	struct image *image, *source = NULL;
	int rc = 0;

	image = open_or_report(request->path, request->format, 0);
	if (image == NULL)
		return EXIT_FAILURE;
	if (request->source_path != NULL) {
		source = open_target_or_report(
			request->source_path, request->source_format,
			IMAGE_READ_ONLY | IMAGE_NO_BACKING, false);
		if (source == NULL)
			rc = -EIO;
	}
	if (rc == 0)
		rc = act_all(request, image, source);
	image_abandon(source);
	if (rc < 0) {
		image_abandon(image);
		return EXIT_FAILURE;
	}
	return close_or_report(image) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void add_action(struct request *request, int id, const char *source)
{
	struct action *last =
		request->n_actions > 0
			? &request->actions[request->n_actions - 1]
			: NULL;

	/* Made as it is to be, in one step. */
	if (id == OPTION_DISABLE && last != NULL && last->id == OPTION_ADD) {
		last->is_disabled = true;
		return;
	}
	if (request->n_actions == ACTIONS_MAX)
		report_usage("Too many actions");
	request->actions[request->n_actions++] =
		(struct action){ .id = id, .source = source };
	request->adds |= id == OPTION_ADD;
	request->merges |= id == OPTION_MERGE;
}

static int take_option(struct request *request, int id, const char *value)
{
	switch (id) {
	case 'b':
		request->source_path = value;
		return 0;
	case 'F':
		request->source_format = value;
		return 0;
	case 'f':
		request->format = value;
		return 0;
	case 'g':
		return argument_number("granularity", value, 0, INT64_MAX,
				       &request->granularity);
	default:
		add_action(request, id, value);
		return 0;
	}
}

static const char *find_fault(const struct request *request, int n_operands)
{
	if (request->n_actions == 0)
		return "Need at least one of --add, --remove, --clear, "
		       "--enable, --disable, or --merge";
	if (request->granularity != 0 && !request->adds)
		return "granularity only supported with --add";
	if (request->source_format != NULL && request->source_path == NULL)
		return "-F only supported with -b";
	if (request->source_path != NULL && !request->merges)
		return "Merge bitmap source file only supported with --merge";
	if (n_operands != 2)
		return "Expecting filename and bitmap name";
	return NULL;
}

int bitmap_run(int argc, char **argv)
{
	struct request request = { .n_actions = 0 };
	struct arguments a = { .specs = bitmap_options,
			       .argc = argc,
			       .argv = argv };
	const char *fault;
	int id;

	while ((id = arguments_next(&a)) >= 0)
		if (take_option(&request, id, a.value) < 0)
			return EXIT_FAILURE;
	fault = find_fault(&request, a.n_operands);
	if (fault != NULL) {
		report_error("%s", fault);
		return EXIT_FAILURE;
	}
	request.path = a.operands[0];
	request.bitmap = a.operands[1];
	return run_request(&request);
}
