/* SPDX-License-Identifier: ISC */
/*
 * check: the metadata's consistency, reported, or with -r repaired and then
 * checked again.
 * Exit status: 0 clean, 1 the check failed, 2 corruption, 3 leaks, 63 the
 * format has no check.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/json.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"

#include <stdio.h>
#include <string.h>

enum {
	EXIT_CORRUPT = 2,
	EXIT_LEAKS = 3,
	EXIT_NO_CHECK = 63,
};

const struct option_spec check_options[] = {
	{ 'q', "quiet", NULL, "print errors only" },
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ OPTION_OUTPUT, "output", "OFMT", "human (default) or json" },
	{ 'r', "repair", "WHAT", "repair leaks, or all that can be" },
	{ 'T', "cache", "MODE", "cache mode for reading" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

static unsigned long long number(uint64_t n)
{
	return n;
}

static void print_totals(const struct image_check *c)
{
	if (c->total_clusters != 0 && c->allocated_clusters != 0)
		printf("%llu/%llu = %0.2f%% allocated, %0.2f%% fragmented, "
		       "%0.2f%% compressed clusters\n",
		       number(c->allocated_clusters), number(c->total_clusters),
		       (double)c->allocated_clusters * 100 /
			       (double)c->total_clusters,
		       (double)c->fragmented_clusters * 100 /
			       (double)c->allocated_clusters,
		       (double)c->compressed_clusters * 100 /
			       (double)c->allocated_clusters);
	if (c->image_end_offset > 0)
		printf("Image end offset: %llu\n", number(c->image_end_offset));
}

static void print_human(const struct image_check *c)
{
	if (c->n_corruptions == 0 && c->n_leaks == 0 && c->n_check_errors == 0)
		printf("No errors were found on the image.\n");
	if (c->n_corruptions > 0)
		printf("\n%llu errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image "
		       "may corrupt it.\n",
		       number(c->n_corruptions));
	if (c->n_leaks > 0)
		printf("\n%llu leaked clusters were found on the image.\n"
		       "This means waste of disk space, but no harm to "
		       "data.\n",
		       number(c->n_leaks));
	if (c->n_check_errors > 0)
		printf("\n%llu internal errors have occurred during the "
		       "check.\n",
		       number(c->n_check_errors));
	print_totals(c);
}

static void json_count(struct json *json, const char *key, uint64_t n)
{
	if (n != 0)
		json_number(json, key, n);
}

/* QEMU's dictionary keeps its own order, and so does this. */
static void print_json(const struct image_check *c, const char *name,
		       const char *format)
{
	struct json json = { .depth = 0 };

	json_open(&json, NULL, '{');
	json_count(&json, "image-end-offset", c->image_end_offset);
	json_count(&json, "compressed-clusters", c->compressed_clusters);
	json_count(&json, "total-clusters", c->total_clusters);
	json_count(&json, "corruptions", c->n_corruptions);
	json_count(&json, "corruptions-fixed", c->n_corruptions_fixed);
	json_number(&json, "check-errors", c->n_check_errors);
	json_count(&json, "leaks", c->n_leaks);
	json_count(&json, "leaks-fixed", c->n_leaks_fixed);
	json_count(&json, "allocated-clusters", c->allocated_clusters);
	json_text(&json, "filename", name);
	json_text(&json, "format", format);
	json_count(&json, "fragmented-clusters", c->fragmented_clusters);
	json_close(&json, '}');
}

/* Check, or repair and look again; what was fixed is told by both. */
static int examine(struct image *image, unsigned repair, bool is_human,
		   struct image_check *result, struct error *err)
{
	struct image_check again = { .found = report_found };
	int rc;

	if (repair == 0)
		return image_check(image, result, err);
	rc = image_repair(image, repair, result, err);
	if (result->n_corruptions_fixed + result->n_leaks_fixed == 0)
		return rc;
	if (is_human)
		printf("The following inconsistencies were found and "
		       "repaired:\n\n    %llu leaked clusters\n"
		       "    %llu corruptions\n\n"
		       "Double checking the fixed image now...\n",
		       number(result->n_leaks_fixed),
		       number(result->n_corruptions_fixed));
	again.n_leaks_fixed = result->n_leaks_fixed;
	again.n_corruptions_fixed = result->n_corruptions_fixed;
	*result = again;
	return image_check(image, result, err);
}

static int check(struct image *image, const char *name, unsigned repair,
		 bool is_json, bool is_quiet)
{
	struct image_check result = { .found = report_found };
	struct error err = ERROR_INIT;
	int rc = examine(image, repair, !is_json && !is_quiet, &result, &err);

	if (rc == -ENOTSUP) {
		report_error("%s", error_text(&err, rc));
		return EXIT_NO_CHECK;
	}
	if (rc == 0 && !is_quiet) {
		if (is_json)
			print_json(&result, name, image_format_name(image));
		else
			print_human(&result);
	}
	if (rc < 0 && report_cause(&err, "ERROR "))
		report_error("Check failed: %s", strerror(-rc));
	else if (rc < 0)
		report_error("Check failed: %s", error_text(&err, rc));
	else if (result.n_check_errors > 0)
		report_error("Check failed");
	if (rc < 0 || result.n_check_errors > 0)
		return EXIT_FAILURE;
	if (result.n_corruptions > 0)
		return EXIT_CORRUPT;
	return result.n_leaks > 0 ? EXIT_LEAKS : EXIT_SUCCESS;
}

static unsigned parse_repair(const char *what)
{
	if (strcmp(what, "leaks") == 0)
		return IMAGE_REPAIR_LEAKS;
	if (strcmp(what, "all") == 0)
		return IMAGE_REPAIR_LEAKS | IMAGE_REPAIR_ERRORS;
	if (arguments_compat() == COMPAT_10_2)
		report_usage("--repair (-r) expects 'leaks' or 'all', not "
			     "'%s'",
			     what);
	report_usage("Unknown option value for -r (expecting 'leaks' or "
		     "'all'): %s",
		     what);
}

int check_run(int argc, char **argv)
{
	struct arguments a = { .specs = check_options,
			       .argc = argc,
			       .argv = argv };
	const char *format = NULL, *output = "human", *cache = "writeback";
	unsigned flags = IMAGE_READ_ONLY | IMAGE_CHECK, cache_flags, repair = 0;
	bool is_quiet = false, is_json;
	struct image *image;
	int id, status;

	while ((id = arguments_next(&a)) >= 0) {
		if (id == 'f')
			format = a.value;
		else if (id == 'q')
			is_quiet = true;
		else if (id == 'r')
			repair = parse_repair(a.value);
		else if (id == 'T')
			cache = a.value;
		else if (id == 'U')
			flags |= IMAGE_FORCE_SHARE;
		else if (id == OPTION_OUTPUT)
			output = a.value;
	}
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	is_json = argument_is_json(output);
	if (argument_cache(cache, &cache_flags) < 0) {
		report_error("Invalid source cache option: %s", cache);
		return EXIT_FAILURE;
	}
	if (repair != 0)
		flags &= ~(unsigned)IMAGE_READ_ONLY;
	image = open_or_report(a.operands[0], format,
			       flags | (cache_flags & IMAGE_DIRECT));
	if (image == NULL)
		return EXIT_FAILURE;
	status = check(image, a.operands[0], repair, is_json, is_quiet);
	if (repair == 0)
		image_close(image, NULL);
	else if (close_or_report(image) < 0)
		return EXIT_FAILURE;
	return status;
}
