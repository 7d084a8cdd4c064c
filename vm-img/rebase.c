/* SPDX-License-Identifier: ISC */
/*
 * rebase: another image under this one, which keeps reading the same. Where
 * it holds nothing itself, and the old backing image reads other than the new
 * one, it is given what the old one says; then the name is changed. A kill on
 * the way leaves the old name, and an image that reads as it did.
 */
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/progress.h"
#include "vm-img/rebase_copy.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option_spec rebase_options[] = {
	{ 'q', "quiet", NULL, "print errors only" },
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ 't', "cache", "MODE", "for writing (default: writeback)" },
	{ 'T', "backing-cache", "MODE", "for reading the new backing file" },
	{ 'p', "progress", NULL, "show how far it is" },
	{ 'u', "backing-unsafe", NULL, "change the name alone" },
	{ 'c', "compress", NULL, "compress what is copied" },
	{ 'b', "backing", "FILENAME", "the new backing file; \"\": none" },
	{ 'F', "backing-format", "FMT", "the format of that one" },
	{ 'B', "backing-format", "FMT", "the same as -F" },
	{ 'U', "force-share", NULL, "open that one although it is written" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *path, *format, *backing, *backing_format;
	const char *cache, *source_cache;
	bool is_quiet, wants_progress, is_unsafe, is_compressed, is_forced;
};

struct run {
	const struct request *request;
	struct rebase_copy copy;
	struct progress progress;
};

static int change_name(const struct run *run)
{
	const char *name = run->request->backing;
	const char *format = run->request->backing_format;
	struct error err = ERROR_INIT;
	bool has_backing = name != NULL && name[0] != '\0';
	int rc =
		image_change_backing(run->copy.image, has_backing ? name : NULL,
				     has_backing ? format : NULL, &err);

	if (rc == -ENOSPC)
		report_error("Could not change the backing file to '%s': No "
			     "space left in the file header",
			     name);
	else if (rc < 0)
		report_error("Could not change the backing file to '%s': %s",
			     name != NULL ? name : "(null)",
			     rc == -ENOTSUP ? strerror(-rc)
					    : error_text(&err, rc));
	return rc;
}

static int check_request(const struct request *request, unsigned *flags,
			 unsigned *source_flags)
{
	if (argument_cache(request->cache, flags) < 0) {
		report_error("Invalid cache option: %s", request->cache);
		return -EINVAL;
	}
	if (argument_cache(request->source_cache, source_flags) < 0) {
		report_error("Invalid source cache option: %s",
			     request->source_cache);
		return -EINVAL;
	}
	/* What is there already must not be lost by a crash. */
	*flags &= IMAGE_DIRECT;
	*source_flags &= IMAGE_DIRECT;
	*source_flags |= IMAGE_READ_ONLY;
	if (request->is_forced)
		*source_flags |= IMAGE_FORCE_SHARE;
	return 0;
}

/* Of 7.2, which knows no -c, nobody expects that it fails. */
static int check_compression(const struct run *run)
{
	struct image *image = image_unfiltered(run->copy.image);

	if (!run->request->is_compressed || arguments_compat() == COMPAT_7_2 ||
	    image_format_compresses(image_format_name(image)))
		return 0;
	report_error("Compression not supported for this file format");
	return -ENOTSUP;
}

static int check_format(const struct request *request)
{
	if (request->backing_format == NULL ||
	    image_driver_is_known(request->backing_format))
		return 0;
	report_error("Invalid format name: '%s'", request->backing_format);
	return -EINVAL;
}

static int open_new(struct run *run, unsigned flags)
{
	const struct request *request = run->request;
	struct error err = ERROR_INIT;
	int rc;

	if (request->backing[0] == '\0')
		return 0;
	rc = open_backing(&run->copy.new, request->path, request->backing,
			  request->backing_format, flags, &err);
	if (rc < 0)
		report_error("Could not open new backing file '%s': %s",
			     request->backing, error_text(&err, rc));
	return rc;
}

/* QEMU says so at the very end; nothing should be copied for it. */
static int check_name(const struct request *request)
{
	if (request->backing == NULL || request->backing[0] == '\0' ||
	    request->backing_format != NULL)
		return 0;
	report_error("Could not change the backing file to '%s': backing "
		     "format must be specified",
		     request->backing);
	return -EINVAL;
}

static int rebase(struct run *run, unsigned source_flags)
{
	const struct request *request = run->request;
	int rc = check_compression(run);

	if (rc == 0)
		rc = check_format(request);
	run->copy.old = image_backing(run->copy.image);
	if (rc == 0 && !request->is_unsafe)
		rc = open_new(run, source_flags);
	if (rc == 0)
		rc = check_name(request);
	if (rc == 0 && !request->is_unsafe)
		rc = rebase_copy(&run->copy);
	if (rc == 0)
		rc = change_name(run);
	image_abandon(run->copy.new);
	return rc;
}

static int run_request(const struct request *request)
{
	struct run run = {
		.request = request,
		.copy = { .is_compressed = request->is_compressed,
			  .progress = &run.progress },
	};
	struct error err = ERROR_INIT;
	unsigned flags = 0, source_flags = 0;
	int rc = -EIO;

	progress_init(&run.progress,
		      request->wants_progress && !request->is_quiet);
	progress_begin(&run.progress);
	if (check_request(request, &flags, &source_flags) == 0)
		run.copy.image = open_or_report(
			request->path, request->format,
			flags | (request->is_unsafe ? IMAGE_NO_BACKING : 0));
	if (run.copy.image != NULL)
		rc = rebase(&run, source_flags);
	if (rc < 0)
		image_abandon(run.copy.image);
	else
		rc = close_or_report(run.copy.image);
	if (err.text[0] != '\0')
		report_error("%s", err.text);
	progress_end(&run.progress, rc == 0);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void take_value(struct request *request, int id, const char *value)
{
	switch (id) {
	case 'f':
		request->format = value;
		break;
	case 't':
		request->cache = value;
		break;
	case 'T':
		request->source_cache = value;
		break;
	case 'b':
		request->backing = value;
		break;
	default:
		request->backing_format = value;
		break;
	}
}

static bool take_flag(struct request *request, int id)
{
	switch (id) {
	case 'q':
		return request->is_quiet = true;
	case 'p':
		return request->wants_progress = true;
	case 'u':
		return request->is_unsafe = true;
	case 'c':
		return request->is_compressed = true;
	case 'U':
		return request->is_forced = true;
	default:
		return false;
	}
}

int rebase_run(int argc, char **argv)
{
	struct arguments a = { .specs = rebase_options,
			       .argc = argc,
			       .argv = argv };
	struct request request = { .cache = "writeback",
				   .source_cache = "writeback" };
	int id;

	while ((id = arguments_next(&a)) >= 0)
		if (!take_flag(&request, id))
			take_value(&request, id, a.value);
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	if (!request.is_unsafe && request.backing == NULL)
		report_usage("Must specify backing file (-b) or use unsafe "
			     "mode (-u)");
	request.path = a.operands[0];
	return run_request(&request);
}
