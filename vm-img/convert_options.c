/* SPDX-License-Identifier: ISC */
/* convert's command line. */
#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "vm-img/arguments.h"
#include "vm-img/convert.h"
#include "vm-img/copy.h"
#include "vm-img/report.h"
#include "vm-img/snapshot.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

enum {
	SPARSE_DEFAULT = 4096,
	SPARSE_MAX = 16 * 1024 * 1024,
	WORKERS_DEFAULT = 8,
	SECTOR = 512,
};

const struct option_spec convert_options[] = {
	{ 'U', "force-share", NULL, "open although another one writes it" },
	{ 'C', "copy-offload", NULL, "copying may be left to the file system" },
	{ 'c', "compress", NULL, "compress" },
	{ 'p', "progress", NULL, "show how far it is" },
	{ 'q', "quiet", NULL, "print errors only" },
	{ 'n', "no-create", NULL, "the output is there already" },
	{ 'f', "source-format", "FMT", "the input's format (default: guess)" },
	{ 't', "target-cache", "MODE", "for writing (default: unsafe)" },
	{ 'T', "source-cache", "MODE", "for reading (default: writeback)" },
	{ 'O', "target-format", "FMT", "the output's format (default: raw)" },
	{ 'B', "backing", "FILENAME", "the image under the output" },
	{ 'b', "backing", "FILENAME", "the same as -B" },
	{ 'F', "backing-format", "FMT", "the format of that one" },
	{ OPTION_ALIAS + 'o', "target-format-options", "OPTIONS",
	  "the same as -o" },
	{ OPTION_ALIAS + 'W', "oob-writes", NULL, "the same as -W" },
	{ OPTION_ALIAS + 'C', "copy-range-offloading", NULL, "the same as -C" },
	{ 'o', "options", "OPTIONS", "NAME=VALUE,... of the output, or help" },
	{ 'l', "snapshot", "SNAPSHOT", "convert that instead of the disk" },
	{ 'S', "sparse-size", "SIZE",
	  "zeroes that make a hole (default: 4k); 0: none do" },
	{ 'r', "rate-limit", "RATE", "bytes per second" },
	{ 'm', "parallel", "N", "pieces at work at a time (default: 8)" },
	{ 'W', "out-of-order", NULL, "write pieces as they come" },
	{ OPTION_TARGET_IS_ZERO, "target-is-zero", NULL,
	  "with -n: the output reads as zeroes" },
	{ OPTION_TARGET_IMAGE_OPTS, "target-image-opts", NULL,
	  "OUTPUT_FILENAME is a list of options" },
	{ OPTION_BITMAPS, "bitmaps", NULL, "copy bitmaps too" },
	{ OPTION_SALVAGE, "salvage", NULL, "what cannot be read is zero" },
	{ OPTION_SKIP_BROKEN, "skip-broken-bitmaps", NULL,
	  "with --bitmaps: leave such out" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

static void free_request(struct convert *request)
{
	format_options_deinit(&request->options);
}

static void take_sparse(struct convert *request, const char *value)
{
	if (argument_size("buffer size for sparse output", value,
			  &request->min_sparse) < 0)
		exit(EXIT_FAILURE);
	request->has_sparse = true;
	if (request->min_sparse % SECTOR == 0 &&
	    request->min_sparse <= SPARSE_MAX)
		return;
	report_error("Invalid buffer size for sparse output specified. Valid "
		     "sizes are multiples of %d up to %d. Select 0 to disable "
		     "sparse detection (fully allocates output).",
		     SECTOR, SPARSE_MAX);
	exit(EXIT_FAILURE);
}

static void take_workers(struct convert *request, const char *value)
{
	if (arguments_compat() == COMPAT_10_2) {
		if (argument_count("number of coroutines", value, 1,
				   COPY_WORKERS_MAX, &request->n_workers) == 0)
			return;
		exit(EXIT_FAILURE);
	}
	if (number_parse(value, 1, COPY_WORKERS_MAX, &request->n_workers) == 0)
		return;
	report_error("Invalid number of coroutines. Allowed number of "
		     "coroutines is between 1 and %d",
		     COPY_WORKERS_MAX);
	exit(EXIT_FAILURE);
}

static bool take_flag(struct convert *request, int id)
{
	switch (id) {
	case 'U':
		return request->is_forced = true;
	case 'C':
		return request->has_copy_offload = true;
	case 'c':
		return request->wants_compression = true;
	case 'p':
		return request->wants_progress = true;
	case 'q':
		return request->is_quiet = true;
	case 'n':
		return request->has_no_create = true;
	case 'W':
		return request->is_unordered = true;
	case OPTION_TARGET_IS_ZERO:
		return request->is_target_zero = true;
	case OPTION_SALVAGE:
		return request->is_salvaged = true;
	case OPTION_SKIP_BROKEN:
		return request->skips_broken = true;
	case OPTION_BITMAPS:
		return request->wants_bitmaps = true;
	case OPTION_TARGET_IMAGE_OPTS:
		return request->is_target_options = true;
	default:
		return false;
	}
}

static int take_option(struct convert *request, int id, const char *value)
{
	switch (id) {
	case 'f':
		request->format = value;
		return 0;
	case 't':
		request->cache = value;
		return 0;
	case 'T':
		request->source_cache = value;
		return 0;
	case 'O':
		request->has_target_format = true;
		request->target_format = value;
		return 0;
	case 'S':
		take_sparse(request, value);
		return 0;
	case 'm':
		take_workers(request, value);
		return 0;
	case 'l':
		request->snapshot = value;
		return snapshot_check_or_report(value);
	case 'r':
		return argument_size("rate limit", value, &request->rate_limit);
	case 'b':
	case 'B':
		request->backing = value;
		return 0;
	case 'F':
		request->backing_format = value;
		return 0;
	default:
		request->has_options = true;
		return format_options_parse(&request->options, value);
	}
}

static void check_combination(const struct convert *request)
{
	const char *text = NULL;

	if (request->skips_broken && !request->wants_bitmaps)
		text = "Use of --skip-broken-bitmaps requires --bitmaps";
	else if (request->has_copy_offload && request->wants_compression)
		text = "Cannot enable copy offloading when -c is used";
	else if (request->has_copy_offload && request->has_sparse)
		text = "Cannot enable copy offloading when -S is used";
	else if (request->has_copy_offload && request->is_salvaged)
		text = "Cannot use copy offloading in salvaging mode";
	else if (request->is_target_options && !request->has_no_create)
		text = "--target-image-opts requires use of -n flag";
	else if (request->has_no_create && request->has_options)
		text = "-o has no effect when skipping image creation";
	else if (request->is_target_zero && !request->has_no_create)
		text = "--target-is-zero requires use of -n flag";
	if (text == NULL)
		return;
	report_error("%s", text);
	exit(EXIT_FAILURE);
}

int convert_run(int argc, char **argv)
{
	_cleanup_(free_request) struct convert request = {
		.target_format = "raw",
		.cache = "unsafe",
		.source_cache = "writeback",
		.min_sparse = SPARSE_DEFAULT,
		.n_workers = WORKERS_DEFAULT,
	};
	struct arguments a = { .specs = convert_options,
			       .argc = argc,
			       .argv = argv };
	int id;

	while ((id = arguments_next(&a)) >= 0)
		if (!take_flag(&request, id) &&
		    take_option(&request, id, a.value) < 0)
			return EXIT_FAILURE;
	check_combination(&request);
	if (a.n_operands > 1)
		request.target = a.operands[a.n_operands - 1];
	if (request.options.wants_help)
		return format_options_help_new(request.target_format,
					       request.target);
	if (request.target == NULL) {
		report_error("Must specify image file name");
		return EXIT_FAILURE;
	}
	request.sources = a.operands;
	request.n_sources = (unsigned)a.n_operands - 1;
	return convert_do(&request);
}
