/* SPDX-License-Identifier: ISC */
/*
 * dd: part of an image to a new one, block by block, with dd(1)'s operands.
 * Everything is written, holes too. Blocks go together, many in one piece:
 * that changes nothing but the time it takes. If it fails there is no new one.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/report.h"
#include "vm-img/source.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

enum {
	BLOCK_DEFAULT = 512,
	PIECE = 1024 * 1024,
};

const struct option_spec dd_options[] = {
	{ 'f', "format", "FMT", "the input's format (default: guess)" },
	{ 'O', "output-format", "FMT", "the output's format (default: raw)" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *input, *output, *format, *output_format;
	uint64_t block_len, count, skip;
	bool has_count;
	unsigned flags;
};

/* "name=value". */
static int take_operand(struct request *r, const char *operand)
{
	const char *value = strchr(operand, '=');
	size_t len = value != NULL ? (size_t)(value - operand) : 0;

	if (len == 2 && strncmp(operand, "if", len) == 0) {
		r->input = value + 1;
		return 0;
	}
	if (len == 2 && strncmp(operand, "of", len) == 0) {
		r->output = value + 1;
		return 0;
	}
	if (len == 2 && strncmp(operand, "bs", len) == 0)
		return argument_number("bs", value + 1, 1, INT32_MAX,
				       &r->block_len);
	if (len == 5 && strncmp(operand, "count", len) == 0) {
		r->has_count = true;
		return argument_size("count", value + 1, &r->count);
	}
	if (len == 4 && strncmp(operand, "skip", len) == 0)
		return argument_size("skip", value + 1, &r->skip);
	report_error("unrecognized operand %.*s",
		     value != NULL ? (int)len : (int)strlen(operand), operand);
	return -EINVAL;
}

static int check_output_format(const char *format)
{
	const char *const *name = image_format_names();

	if (image_create_specs(format) != NULL)
		return 0;
	while (*name != NULL && strcmp(*name, format) != 0)
		name++;
	if (*name == NULL)
		report_error("Unknown file format");
	else
		report_error("Format driver '%s' does not support image "
			     "creation",
			     format);
	return -ENOTSUP;
}

static int copy(struct image *from, struct image *to, uint64_t skip,
		uint64_t end)
{
	_cleanup_free_ uint8_t *buf = aligned_alloc(4096, PIECE);
	struct error err = ERROR_INIT;

	if (buf == NULL) {
		report_error("Out of memory");
		return -ENOMEM;
	}
	for (uint64_t at = skip; at < end; at += PIECE) {
		size_t len = end - at < PIECE ? (size_t)(end - at) : PIECE;
		int rc = image_read(from, at, buf, len, &err);

		if (rc < 0) {
			report_error("error while reading from input image "
				     "file: %s",
				     error_text(&err, rc));
			return rc;
		}
		rc = image_write(to, at - skip, buf, len, &err);
		if (rc < 0) {
			report_error("error while writing to output image "
				     "file: %s",
				     error_text(&err, rc));
			return rc;
		}
	}
	return 0;
}

static int fill(const struct request *r, struct image *from, uint64_t skip,
		uint64_t end)
{
	struct image *to =
		open_target_or_report(r->output, r->output_format, 0, false);
	struct error err = ERROR_INIT;
	int rc;

	if (to == NULL)
		return -EIO;
	rc = copy(from, to, skip, end);
	if (rc < 0) {
		image_abandon(to);
		return rc;
	}
	rc = image_close(to, &err);
	if (rc < 0)
		report_error("error while writing to output image file: %s",
			     error_text(&err, rc));
	return rc;
}

static int write_output(const struct request *r, struct image *from,
			uint64_t skip, uint64_t end)
{
	struct image_companions companions = IMAGE_COMPANIONS_INIT;
	const struct image_create_options create = {
		.format = r->output_format,
		.size = end - skip,
		.has_size = true,
		.companions = &companions,
	};
	struct error err = ERROR_INIT;
	int rc = source_create(r->output, &create, &err);

	if (rc < 0) {
		report_error("%s: error while creating output image: %s",
			     r->output, error_text(&err, rc));
		return rc;
	}
	rc = fill(r, from, skip, end);
	if (rc < 0)
		image_remove_unfinished(image_plain_path(r->output),
					&companions);
	image_companions_deinit(&companions);
	return rc;
}

static int run_request(const struct request *r)
{
	struct image *from =
		open_or_report(r->input, r->format, IMAGE_READ_ONLY | r->flags);
	uint64_t end, skip, limit;
	bool is_beyond;
	int rc;

	if (from == NULL)
		return EXIT_FAILURE;
	rc = check_output_format(r->output_format);
	end = image_size(from);
	if (r->has_count &&
	    !__builtin_mul_overflow(r->count, r->block_len, &limit) &&
	    limit < end)
		end = limit;
	is_beyond = __builtin_mul_overflow(r->skip, r->block_len, &skip) ||
		    skip > end;
	if (is_beyond)
		skip = end;
	if (rc == 0)
		rc = check_new_or_report(r->output);
	if (rc == 0)
		rc = write_output(r, from, skip, end);
	/* As dd(1): said, and no failure. */
	if (rc == 0 && is_beyond)
		report_error("%s: cannot skip to specified offset", r->input);
	image_abandon(from);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int dd_run(int argc, char **argv)
{
	struct arguments a = { .specs = dd_options,
			       .argc = argc,
			       .argv = argv };
	struct request request = { .output_format = "raw",
				   .block_len = BLOCK_DEFAULT };
	int id;

	while ((id = arguments_next(&a)) >= 0) {
		if (id == 'f')
			request.format = a.value;
		else if (id == 'O')
			request.output_format = a.value;
		else if (id == 'U')
			request.flags |= IMAGE_FORCE_SHARE;
	}
	for (int i = 0; i < a.n_operands; i++)
		if (take_operand(&request, a.operands[i]) < 0)
			return EXIT_FAILURE;
	if (request.input == NULL || request.output == NULL) {
		report_error("Must specify both input and output files");
		return EXIT_FAILURE;
	}
	return run_request(&request);
}
