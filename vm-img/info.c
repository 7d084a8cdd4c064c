/* SPDX-License-Identifier: ISC */
/*
 * info: what an image says of itself. Nothing but the file itself is opened
 * unless --backing-chain asks for it, so that a look at an image of unknown
 * origin touches no file of its maker's choice.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/encryption.h"
#include "vm-img/info_bitmaps.h"
#include "vm-img/json.h"
#include "vm-img/report.h"
#include "vm-img/snapshot.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	NS_PER_S = 1000000000,
	CHAIN_MAX = 256,
};

const struct option_spec info_options[] = {
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ OPTION_OUTPUT, "output", "OFMT", "human (default) or json" },
	{ OPTION_BACKING_CHAIN, "backing-chain", NULL,
	  "the images under this one too" },
	{ OPTION_INTEGRITY, "integrity", NULL,
	  "name backing and data files that are missing" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *path, *format;
	bool is_json, wants_chain, wants_integrity;
	unsigned flags;
};

/* One image's part of the chain. */
struct link {
	struct image *image;
	struct image_info info;
	dev_t device;
	ino_t inode;
};

static void print_backing(const struct image_info *info)
{
	if (info->backing_name == NULL)
		return;
	printf("backing file: %s", info->backing_name);
	if (info->backing_path == NULL)
		printf(" (cannot determine actual path)");
	else if (strcmp(info->backing_path, info->backing_name) != 0)
		printf(" (actual path: %s)", info->backing_path);
	printf("\n");
	if (info->backing_format != NULL)
		printf("backing file format: %s\n", info->backing_format);
}

static bool has_specifics(const struct image_info *info)
{
	return info->n_rows > 0 || info->encryption != NULL;
}

/* Where QEMU's dictionary has them. */
static bool is_after_bitmaps(const struct image_info_row *row)
{
	return strcmp(row->json_name, "refcount-bits") == 0;
}

static bool is_before_encryption(const struct image_info_row *row)
{
	return strcmp(row->json_name, "refcount-bits") == 0;
}

static void print_row(const struct image_info_row *row)
{
	printf("    %s: ", row->name);
	switch (row->kind) {
	case IMAGE_INFO_TEXT:
		printf("%s\n", row->text);
		break;
	case IMAGE_INFO_NUMBER:
		printf("%llu\n", (unsigned long long)row->number);
		break;
	case IMAGE_INFO_BOOL:
		printf("%s\n", row->number != 0 ? "true" : "false");
		break;
	}
}

static void print_extents(const struct image_info *info)
{
	printf("    extents:\n");
	for (unsigned i = 0; i < info->n_extents; i++) {
		const struct image_info_extent *e = &info->extents[i];

		printf("        [%u]:\n", i);
		if (e->is_compressed)
			printf("            compressed: true\n");
		printf("            virtual size: %llu\n"
		       "            filename: %s\n",
		       (unsigned long long)e->size, e->path);
		if (e->cluster_size > 0)
			printf("            cluster size: %llu\n",
			       (unsigned long long)e->cluster_size);
		printf("            format: %s\n", e->format);
	}
}

static void print_human(const struct link *link)
{
	const struct image_info *info = &link->info;
	char virtual[16], actual[16];

	printf("image: %s\nfile format: %s\n"
	       "virtual size: %s (%llu bytes)\ndisk size: %s\n",
	       image_path(link->image), image_format_name(link->image),
	       size_format(image_size(link->image), virtual, sizeof(virtual)),
	       (unsigned long long)image_size(link->image),
	       info->actual_size == UINT64_MAX
		       ? "unavailable"
		       : size_format(info->actual_size, actual,
				     sizeof(actual)));
	if (info->is_encrypted)
		printf("encrypted: yes\n");
	if (info->cluster_size > 0)
		printf("cluster_size: %llu\n",
		       (unsigned long long)info->cluster_size);
	if (info->is_dirty)
		printf("cleanly shut down: no\n");
	print_backing(info);
	snapshot_list_print(info);
	if (has_specifics(info))
		printf("Format specific information:\n");
	for (unsigned i = 0; i < info->n_rows; i++) {
		if (is_after_bitmaps(&info->rows[i]))
			info_bitmaps_print(info);
		print_row(&info->rows[i]);
		if (is_before_encryption(&info->rows[i]))
			encryption_print(info);
	}
	if (info->n_rows == 0)
		encryption_print(info);
	if (info->n_extents > 0)
		print_extents(info);
}

/* QEMU's dictionaries keep their own order, and so do these. */
static void json_snapshot(struct json *json,
			  const struct image_snapshot_info *s)
{
	json_open(json, NULL, '{');
	if (s->icount != UINT64_MAX)
		json_number(json, "icount", s->icount);
	json_number(json, "vm-clock-nsec", s->vm_clock_nsec % NS_PER_S);
	json_text(json, "name", s->name);
	json_number(json, "date-sec", s->date_sec);
	json_number(json, "date-nsec", s->date_nsec);
	json_number(json, "vm-clock-sec", s->vm_clock_nsec / NS_PER_S);
	json_text(json, "id", s->id);
	json_number(json, "vm-state-size", s->vm_state_size);
	json_close(json, '}');
}

static void json_extents(struct json *json, const struct image_info *info)
{
	json_open(json, "extents", '[');
	for (unsigned i = 0; i < info->n_extents; i++) {
		const struct image_info_extent *e = &info->extents[i];

		json_open(json, NULL, '{');
		if (e->is_compressed)
			json_bool(json, "compressed", true);
		json_number(json, "virtual-size", e->size);
		json_text(json, "filename", e->path);
		if (e->cluster_size > 0)
			json_number(json, "cluster-size", e->cluster_size);
		json_text(json, "format", e->format);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void json_rows(struct json *json, const char *format,
		      const struct image_info *info)
{
	json_open(json, "format-specific", '{');
	json_text(json, "type", format);
	json_open(json, "data", '{');
	for (unsigned i = 0; i < info->n_rows; i++) {
		const struct image_info_row *row = &info->rows[i];

		if (is_after_bitmaps(row))
			info_bitmaps_json(json, info);
		switch (row->kind) {
		case IMAGE_INFO_TEXT:
			json_text(json, row->json_name, row->text);
			break;
		case IMAGE_INFO_NUMBER:
			json_number(json, row->json_name, row->number);
			break;
		case IMAGE_INFO_BOOL:
			json_bool(json, row->json_name, row->number != 0);
			break;
		}
		if (is_before_encryption(row))
			encryption_json(json, info);
	}
	if (info->n_rows == 0)
		encryption_json(json, info);
	if (info->n_extents > 0)
		json_extents(json, info);
	json_close(json, '}');
	json_close(json, '}');
}

static void json_image(struct json *json, const struct link *link)
{
	const struct image_info *info = &link->info;

	json_open(json, NULL, '{');
	if (info->backing_format != NULL)
		json_text(json, "backing-filename-format",
			  info->backing_format);
	if (info->n_snapshots > 0) {
		json_open(json, "snapshots", '[');
		for (unsigned i = 0; i < info->n_snapshots; i++)
			json_snapshot(json, &info->snapshots[i]);
		json_close(json, ']');
	}
	json_number(json, "virtual-size", image_size(link->image));
	json_text(json, "filename", image_path(link->image));
	if (info->cluster_size > 0)
		json_number(json, "cluster-size", info->cluster_size);
	json_text(json, "format", image_format_name(link->image));
	if (info->actual_size != UINT64_MAX)
		json_number(json, "actual-size", info->actual_size);
	if (has_specifics(info))
		json_rows(json, image_format_name(link->image), info);
	if (info->backing_path != NULL)
		json_text(json, "full-backing-filename", info->backing_path);
	if (info->is_encrypted)
		json_bool(json, "encrypted", true);
	if (info->backing_name != NULL)
		json_text(json, "backing-filename", info->backing_name);
	if (!info->has_no_dirty_flag)
		json_bool(json, "dirty-flag", info->is_dirty);
	json_close(json, '}');
}

static void print_links(const struct link *links, unsigned n,
			const struct request *request)
{
	struct json json = { .depth = 0 };

	if (request->is_json && request->wants_chain)
		json_open(&json, NULL, '[');
	for (unsigned i = 0; i < n; i++) {
		if (request->is_json) {
			json_image(&json, &links[i]);
			continue;
		}
		if (i > 0)
			printf("\n");
		print_human(&links[i]);
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

	link->image = path == request->path
			      ? open_or_report(path, format, flags)
			      : open_path_or_report(path, format, flags);
	if (link->image == NULL)
		return -EIO;
	rc = image_get_info(link->image, &link->info, &err);
	if (rc < 0) {
		report_error("%s: %s", path, error_text(&err, rc));
		return rc;
	}
	if (stat(path, &st) == 0) {
		link->device = st.st_dev;
		link->inode = st.st_ino;
	}
	return 0;
}

static bool is_loop(const struct link *links, unsigned n, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (links[i].device == st.st_dev && links[i].inode == st.st_ino)
			return true;
	return false;
}

static bool is_missing(const char *image, const char *what, const char *path)
{
	if (path == NULL || access(path, R_OK) == 0)
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
	bool has_data, has_backing;

	for (unsigned i = 0; i < info->n_rows; i++)
		if (strcmp(info->rows[i].json_name, "data-file") == 0) {
			free(data_file);
			data_file = image_backing_resolve(image,
							  info->rows[i].text);
		}
	has_data = !is_missing(image, "Data file", data_file);
	has_backing = !is_missing(image, "Backing file", info->backing_path);
	return !has_data || !has_backing;
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

		if (is_loop(links, *n, path)) {
			report_error("Backing file '%s' creates an infinite "
				     "loop.",
				     path);
			return EXIT_FAILURE;
		}
		if (*n == CHAIN_MAX) {
			report_error("Backing chain is longer than %d images",
				     CHAIN_MAX);
			return EXIT_FAILURE;
		}
		++*n;
		if (look_at(&links[*n - 1], request, path, format) < 0)
			return EXIT_FAILURE;
		if (request->wants_integrity && find_missing(&links[*n - 1])) {
			status = EXIT_FAILURE;
			break;
		}
		path = request->wants_chain || request->wants_integrity
			       ? info->backing_path
			       : NULL;
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
	const char *output = "human";
	unsigned n = 0;
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
	}
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	request.path = a.operands[0];
	request.is_json = argument_is_json(output);
	if (links == NULL) {
		report_error("Out of memory");
		return EXIT_FAILURE;
	}
	status = run_request(&request, links, &n);
	for (unsigned i = 0; i < n; i++)
		image_abandon(links[i].image);
	return status;
}
