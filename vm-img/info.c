/* SPDX-License-Identifier: ISC */
/*
 * info: what an image says of itself. Nothing but the file itself, and a VMDK
 * disk's extents beside it, is opened unless --backing-chain asks for it, so
 * that a look at an image of unknown origin touches no file of its maker's
 * choice.
 */
#include "vm-img/info.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/arguments.h"
#include "vm-img/json.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	CHAIN_MAX = 256,
};

const struct option_spec info_options[] = {
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ OPTION_OUTPUT, "output", "OFMT", "human (default) or json" },
	{ OPTION_BACKING_CHAIN, "backing-chain", NULL,
	  "the images under this one too" },
	{ OPTION_LIMITS, "limits", NULL,
	  "how requests should be aligned, and how long they may be" },
	{ 't', "cache", "MODE", "how it would be opened (default: writeback)" },
	{ OPTION_INTEGRITY, "integrity", NULL,
	  "name backing, data and extent files that are missing" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *path, *format;
	bool is_json, wants_chain, wants_integrity;
	struct info_wishes wishes;
	unsigned flags;
};

/* One image's part of the chain. */
struct link {
	struct image *image;
	struct image_info info;
	dev_t device;
	ino_t inode;
};

static void print_links(const struct link *links, unsigned n,
			const struct request *request)
{
	struct json json = { .depth = 0 };

	if (request->is_json && request->wants_chain)
		json_open(&json, NULL, '[');
	for (unsigned i = 0; i < n; i++) {
		if (request->is_json) {
			info_json(&json, links[i].image, &links[i].info,
				  &request->wishes);
			continue;
		}
		if (i > 0)
			printf("\n");
		info_print(links[i].image, &links[i].info, &request->wishes);
	}
	if (request->is_json && request->wants_chain)
		json_close(&json, ']');
}

static int look_at(struct link *link, const struct request *request,
		   const char *path, const char *format)
{
	unsigned flags = IMAGE_READ_ONLY | IMAGE_NO_BACKING |
			 IMAGE_METADATA_ONLY | request->flags;
	struct error err = ERROR_INIT;
	struct stat st;
	int rc;

	if (!request->wants_chain)
		flags |= IMAGE_ALONE;
	if (path == request->path)
		link->image = open_or_report(path, format, flags);
	else if (image_backing_name_check(path, NULL) < 0)
		link->image = open_inside_or_report(path, format, flags);
	else
		link->image = open_path_or_report(path, format, flags);
	if (link->image == NULL)
		return -EIO;
	rc = image_get_info(link->image, &link->info, &err);
	if (rc < 0) {
		report_error("%s: %s", path, error_text(&err, rc));
		return rc;
	}
	if (stat(image_plain_path(image_path(link->image)), &st) == 0) {
		link->device = st.st_dev;
		link->inode = st.st_ino;
	}
	return 0;
}

/* Is the last one, which is of a file, among those before it? */
static bool is_loop(const struct link *links, unsigned last)
{
	for (unsigned i = 0; i < last && links[last].inode != 0; i++)
		if (links[i].device == links[last].device &&
		    links[i].inode == links[last].inode)
			return true;
	return false;
}

static bool is_missing(const char *image, const char *what, const char *path)
{
	if (path == NULL || image_backing_name_check(path, NULL) < 0 ||
	    access(image_plain_path(path), R_OK) == 0)
		return false;
	report_error("%s: %s '%s' is missing: %s", image, what, path,
		     strerror(errno));
	return true;
}

/* Files that this image names, and that are not there. */
static bool find_missing(const struct link *link)
{
	const struct image_info *info = &link->info;
	const char *image = image_path(link->image);
	_cleanup_free_ char *data_file = NULL;
	bool is_whole;

	for (unsigned i = 0; i < info->n_rows; i++)
		if (strcmp(info->rows[i].json_name, "data-file") == 0) {
			free(data_file);
			data_file = image_data_file_resolve(image,
							    info->rows[i].text);
		}
	is_whole = !is_missing(image, "Data file", data_file);
	for (unsigned i = 0; i < info->n_extents; i++)
		if (*info->extents[i].path != '\0' &&
		    is_missing(image, "Extent", info->extents[i].path))
			is_whole = false;
	if (is_missing(image, "Backing file", info->backing_path))
		is_whole = false;
	return !is_whole;
}

/* The image under this one; NULL: none, or nobody asks for it. */
static int find_next(const struct link *link, const struct request *request,
		     const char **path)
{
	const char *name = link->info.backing_name;

	*path = NULL;
	if (name == NULL ||
	    (!request->wants_chain && !request->wants_integrity))
		return 0;
	*path = link->info.backing_path;
	if (*path == NULL) {
		report_error("Could not determine absolute backing filename, "
			     "but backing filename '%s' present",
			     name);
		return -EINVAL;
	}
	return 0;
}

/* The chain is followed here, image by image, each opened alone: the last
 * good answer is still one when something under it is missing. */
static int run_request(const struct request *request, struct link *links,
		       unsigned *n)
{
	const char *path = request->path, *format = request->format;
	int status = EXIT_SUCCESS;

	while (path != NULL) {
		const struct image_info *info = &links[*n].info;

		if (*n == CHAIN_MAX) {
			report_error("Backing chain is longer than %d images",
				     CHAIN_MAX);
			return EXIT_FAILURE;
		}
		++*n;
		if (look_at(&links[*n - 1], request, path, format) < 0)
			return EXIT_FAILURE;
		if (is_loop(links, *n - 1)) {
			report_error("Backing file '%s' creates an infinite "
				     "loop.",
				     path);
			return EXIT_FAILURE;
		}
		if (request->wants_integrity && find_missing(&links[*n - 1])) {
			status = EXIT_FAILURE;
			break;
		}
		if (find_next(&links[*n - 1], request, &path) < 0)
			return EXIT_FAILURE;
		format = info->backing_format;
	}
	print_links(links, request->wants_chain ? *n : 1, request);
	return status;
}

int info_run(int argc, char **argv)
{
	struct arguments a = { .specs = info_options,
			       .argc = argc,
			       .argv = argv };
	struct request request = { .flags = 0 };
	_cleanup_free_ struct link *links = calloc(CHAIN_MAX, sizeof(*links));
	const char *output = "human", *cache = "writeback";
	unsigned n = 0, cache_flags;
	int id, status;

	while ((id = arguments_next(&a)) >= 0) {
		if (id == 'f')
			request.format = a.value;
		else if (id == 'U')
			request.flags |= IMAGE_FORCE_SHARE;
		else if (id == OPTION_OUTPUT)
			output = a.value;
		else if (id == OPTION_BACKING_CHAIN)
			request.wants_chain = true;
		else if (id == OPTION_INTEGRITY)
			request.wants_integrity = true;
		else if (id == OPTION_LIMITS)
			request.wishes.limits = true;
		else if (id == 't')
			cache = a.value;
	}
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	request.path = a.operands[0];
	request.is_json = argument_is_json(output);
	if (argument_cache(cache, &cache_flags) < 0) {
		report_error("Invalid cache option: %s", cache);
		return EXIT_FAILURE;
	}
	request.flags |= cache_flags & IMAGE_DIRECT;
	request.wishes.nodes = arguments_compat() == COMPAT_10_2;
	if (links == NULL) {
		report_error("Out of memory");
		return EXIT_FAILURE;
	}
	status = run_request(&request, links, &n);
	for (unsigned i = 0; i < n; i++)
		image_abandon(links[i].image);
	return status;
}
