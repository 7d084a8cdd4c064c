/* SPDX-License-Identifier: ISC */
/* compact: an image gives back, in place, what its file does not need. */
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

const struct option_spec compact_options[] = {
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ 'q', "quiet", NULL, "print errors only" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

/* Of the image's own file. */
static void print_lengths(uint64_t before, uint64_t after)
{
	char from[16], to[16];

	printf("Image compacted: from %s to %s.\n",
	       size_format(before, from, sizeof(from)),
	       size_format(after, to, sizeof(to)));
}

static uint64_t length_of(const struct image *image)
{
	struct stat st;

	return stat(image_path(image), &st) == 0 ? (uint64_t)st.st_size : 0;
}

int compact_run(int argc, char **argv)
{
	struct arguments a = { .specs = compact_options,
			       .argc = argc,
			       .argv = argv };
	struct error err = ERROR_INIT;
	const char *format = NULL;
	uint64_t before, after = 0;
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
	before = length_of(image);
	rc = image_compact(image, &err);
	if (rc == 0)
		after = length_of(image);
	close_rc = image_close(image, rc == 0 ? &err : NULL);
	if (rc == 0)
		rc = close_rc;
	if (rc < 0)
		report_error("%s: %s", a.operands[0], error_text(&err, rc));
	else if (!is_quiet)
		print_lengths(before, after);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
