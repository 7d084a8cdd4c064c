/* SPDX-License-Identifier: ISC */
/*
 * map: where an image's data is, extent by extent. What follows one another
 * in every respect is one line.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/report.h"
#include "vm-img/status.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

const struct option_spec map_options[] = {
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ 's', "start-offset", "OFFSET", "begin there" },
	{ 'l', "max-length", "LEN", "not more than that" },
	{ OPTION_OUTPUT, "output", "OFMT", "human (default) or json" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

static unsigned long long number(uint64_t n)
{
	return n;
}

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

/* The name of the file that the data is in. */
static const char *file_of(const struct status *s)
{
	return s->file_path != NULL ? s->file_path : image_path(s->layer);
}

static int print_human(const struct status *s)
{
	if (!s->is_data)
		return 0;
	if (!s->has_offset) {
		report_error("File contains external, encrypted or compressed "
			     "clusters.");
		return -ENOTSUP;
	}
	if (s->is_zero)
		return 0;
	printf("%#-16llx%#-16llx%#-16llx%s\n", number(s->start), number(s->len),
	       number(s->offset), file_of(s));
	return 0;
}

static void print_json(const struct status *s)
{
	printf("{ \"start\": %llu, \"length\": %llu, \"depth\": %u, "
	       "\"present\": %s, \"zero\": %s, \"data\": %s",
	       number(s->start), number(s->len), s->depth, truth(s->is_present),
	       truth(s->is_zero), truth(s->is_data));
	if (arguments_compat() >= COMPAT_10_2)
		printf(", \"compressed\": %s", truth(s->is_compressed));
	if (s->has_offset)
		printf(", \"offset\": %llu", number(s->offset));
	printf("}");
}

/* A server's bitmap in place of what is there. */
static void apply_marks(struct status *s)
{
	if (!s->has_marks)
		return;
	s->is_zero = s->marks & IMAGE_MARK_ZERO;
	s->is_data = !(s->marks & IMAGE_MARK_HOLE);
	s->is_present = s->is_zero || s->is_data;
	s->has_offset = s->is_present;
}

static bool follows(const struct status *s, const struct status *next)
{
	return s->len > 0 && s->is_zero == next->is_zero &&
	       s->is_data == next->is_data && s->depth == next->depth &&
	       s->is_present == next->is_present &&
	       s->is_compressed == next->is_compressed &&
	       s->has_offset == next->has_offset &&
	       (!s->has_offset ||
		(s->offset + s->len == next->offset &&
		 s->layer == next->layer && s->file_path == next->file_path));
}

static int print(const struct status *s, bool is_json, bool is_last)
{
	if (!is_json)
		return s->len > 0 ? print_human(s) : 0;
	print_json(s);
	printf(is_last ? "]\n" : ",\n");
	return 0;
}

static int map(struct image *image, uint64_t start, uint64_t end, bool is_json)
{
	struct status current = { .start = start }, next;
	struct error err = ERROR_INIT;
	int rc = 0;

	if (is_json)
		printf("[");
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to",
		       "File");
	while (rc == 0 && current.start + current.len < end) {
		uint64_t at = current.start + current.len;

		rc = status_get(image, at, end - at, &next, &err);
		if (rc < 0) {
			report_error("Could not read file metadata: %s",
				     error_text(&err, rc));
			return rc;
		}
		apply_marks(&next);
		if (follows(&current, &next)) {
			current.len += next.len;
			continue;
		}
		if (current.len > 0)
			rc = print(&current, is_json, false);
		current = next;
	}
	return rc < 0 ? rc : print(&current, is_json, true);
}

int map_run(int argc, char **argv)
{
	struct arguments a = { .specs = map_options,
			       .argc = argc,
			       .argv = argv };
	const char *format = NULL, *output = "human";
	uint64_t start = 0, len = INT64_MAX, end;
	unsigned flags = IMAGE_READ_ONLY;
	struct image *image;
	bool is_json;
	int id, rc;

	while ((id = arguments_next(&a)) >= 0) {
		rc = 0;
		if (id == 'f')
			format = a.value;
		else if (id == 'U')
			flags |= IMAGE_FORCE_SHARE;
		else if (id == OPTION_OUTPUT)
			output = a.value;
		else if (id == 's')
			rc = argument_size("start offset", a.value, &start);
		else if (id == 'l')
			rc = argument_size("max length", a.value, &len);
		if (rc < 0)
			return EXIT_FAILURE;
	}
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	is_json = argument_is_json(output);
	image = open_or_report(a.operands[0], format, flags);
	if (image == NULL)
		return EXIT_FAILURE;
	end = image_size(image);
	/* Both are below 2^63. */
	if (start + len < end)
		end = start + len;
	/* Not even an error of a filter's is shown here. */
	rc = map(image_unfiltered(image), start, end, is_json);
	image_abandon(image);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
