/* SPDX-License-Identifier: ISC */
/* compact: an image gives back, in place, what its file does not need. */
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const struct option_spec compact_options[] = {
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ 'q', "quiet", NULL, "print errors only" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct space {
	uint64_t len;	/* of the image's own file */
	uint64_t usage; /* on disk, of all its files; UINT64_MAX: unknown */
};

static struct space measure(const struct image *image)
{
	struct space s = { .usage = 0 };
	struct image_node node;
	int rc;

	for (unsigned i = 0;; i++) {
		rc = image_get_node(image, i, &node, NULL);
		if (rc < 0)
			break;
		if (i == 0)
			s.len = node.size;
		if (node.actual_size == UINT64_MAX || s.usage == UINT64_MAX)
			s.usage = UINT64_MAX;
		else
			s.usage += node.actual_size;
	}
	if (rc != -ENOENT)
		s.usage = UINT64_MAX;
	return s;
}

static void print_change(uint64_t before, uint64_t after)
{
	char from[16], to[16];

	printf("from %s to %s", size_format(before, from, sizeof(from)),
	       size_format(after, to, sizeof(to)));
}

/* Holes are made too, which no length tells of. */
static void print_result(const struct space *before, const struct space *after)
{
	printf("Image compacted: ");
	print_change(before->len, after->len);
	if (before->usage != after->usage && before->usage != UINT64_MAX &&
	    after->usage != UINT64_MAX) {
		printf(", on disk ");
		print_change(before->usage, after->usage);
	}
	printf(".\n");
}

int compact_run(int argc, char **argv)
{
	struct arguments a = { .specs = compact_options,
			       .argc = argc,
			       .argv = argv };
	struct error err = ERROR_INIT;
	const char *format = NULL;
	struct space before, after = { .len = 0 };
	bool is_quiet = false;
	struct image *image;
	int id, rc, close_rc;

	while ((id = arguments_next(&a)) >= 0) {
		if (id == 'f')
			format = a.value;
		is_quiet |= id == 'q';
	}
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	image = open_or_report(a.operands[0], format, IMAGE_NO_BACKING);
	if (image == NULL)
		return EXIT_FAILURE;
	before = measure(image);
	rc = image_compact(image, &err);
	if (rc == 0)
		after = measure(image);
	close_rc = image_close(image, rc == 0 ? &err : NULL);
	if (rc == 0)
		rc = close_rc;
	if (rc < 0)
		report_error("%s: %s", a.operands[0], error_text(&err, rc));
	else if (!is_quiet)
		print_result(&before, &after);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
