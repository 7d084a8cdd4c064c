/* SPDX-License-Identifier: ISC */
/*
 * convert: the content of one image or several to a new one. If that fails
 * there is no new one: half an image looks too much like a whole.
 */
#include "vm-img/convert.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/bitmaps.h"
#include "vm-img/copy.h"
#include "vm-img/object.h"
#include "vm-img/progress.h"
#include "vm-img/report.h"
#include "vm-img/snapshot.h"
#include "vm-img/source.h"
#include "vm-img/standard.h"
#include "vm-img/workers.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	FED_SIZE_FIRST = 1 << 30, /* as long as nobody knows */
	CLUSTER_MIN = 512,
};

struct job {
	struct image **sources;
	unsigned n_sources;
	struct image *target;
	struct image_companions companions; /* that the target has */
	uint64_t total;
	bool is_fed;
	struct progress progress;
};

/* What failed leaves no target, unless it was there to be kept. */
static void end_job(struct job *job, const struct convert *request,
		    bool is_good, bool is_created)
{
	progress_end(&job->progress, is_good);
	image_abandon(job->target);
	for (unsigned i = 0; i < job->n_sources; i++)
		image_abandon(job->sources[i]);
	free(job->sources);
	if (!is_good && is_created)
		image_remove_unfinished(image_plain_path(request->target),
					&job->companions);
	image_companions_deinit(&job->companions);
}

static struct image *open_source(const char *path, const char *format,
				 unsigned flags)
{
	struct error err = ERROR_INIT;
	struct image *image;
	int rc;

	if (!standard_is(path))
		return open_or_report(path, format, flags);
	rc = standard_open(&image, format, flags, &err);
	if (rc == 0)
		return image;
	report_error("%s", error_text(&err, rc));
	return NULL;
}

/* With it the disk may have another size. */
static int load_snapshot(struct job *job, const char *snapshot)
{
	if (snapshot != NULL && job->n_sources > 1) {
		report_error("No support for concatenating multiple snapshot");
		return -ENOTSUP;
	}
	if (snapshot != NULL &&
	    snapshot_load_or_report(job->sources[0], snapshot) < 0)
		return -ENOENT;
	for (unsigned i = 0; i < job->n_sources; i++)
		if (__builtin_add_overflow(job->total,
					   image_size(job->sources[i]),
					   &job->total)) {
			report_error("The sources are too big together");
			return -EFBIG;
		}
	return 0;
}

static int open_sources(struct job *job, const struct convert *request,
			unsigned flags)
{
	flags |= IMAGE_READ_ONLY | IMAGE_UNSHARED;
	if (request->is_forced)
		flags |= IMAGE_FORCE_SHARE;
	job->sources = calloc(request->n_sources + 1U, sizeof(struct image *));
	if (job->sources == NULL) {
		report_error("Out of memory");
		return -ENOMEM;
	}
	while (job->n_sources < request->n_sources) {
		struct image *source =
			open_source(request->sources[job->n_sources],
				    request->format, flags);

		if (source == NULL)
			return -EIO;
		job->sources[job->n_sources++] = source;
	}
	return load_snapshot(job, request->snapshot);
}

static int check_bitmaps(const struct job *job, const struct convert *request)
{
	const char *text = NULL;

	if (!request->wants_bitmaps)
		return 0;
	if (request->n_sources > 1)
		text = "Copying bitmaps only possible with single source";
	else if (job->is_fed || !image_can_have_bitmaps(job->sources[0]))
		text = "Source lacks bitmap support";
	if (text != NULL) {
		report_error("%s", text);
		return -ENOTSUP;
	}
	return bitmaps_check(job->sources[0], request->skips_broken);
}

static int refuse_bitmaps(const char *format)
{
	report_error("Format driver '%s' does not support bitmaps", format);
	return -ENOTSUP;
}

/* Before a file is made: qcow2 of version 3 has them, and nothing else. */
static int check_new_bitmaps(const struct convert *request)
{
	const char *compat = format_options_get(&request->options, "compat");

	if (!request->wants_bitmaps || request->has_no_create)
		return 0;
	if (strcmp(request->target_format, "qcow2") == 0 &&
	    (compat == NULL ||
	     (strcmp(compat, "0.10") != 0 && strcmp(compat, "v2") != 0)))
		return 0;
	return refuse_bitmaps(request->target_format);
}

/* list, of FORMAT_OPTIONS_MAX, is the caller's. */
static struct image_create_options what_to_create(const struct job *job,
						  const struct convert *request,
						  struct image_option *list)
{
	struct image_create_options create = {
		.format = request->target_format,
		/* It is opened with the target, next. */
		.is_backing_unchecked = true,
	};

	format_options_apply(&request->options,
			     format_options_of_new(request->target_format,
						   request->target, NULL),
			     list, &create);
	create.size = job->total;
	create.secrets = object_secrets();
	create.has_size = true;
	return create;
}

static int create_target(struct job *job, const struct convert *request)
{
	struct image_option list[FORMAT_OPTIONS_MAX];
	struct image_create_options create = what_to_create(job, request, list);
	struct error err = ERROR_INIT;
	int rc;

	create.companions = &job->companions;
	create.warned = report_warned;
	rc = source_create(request->target, &create, &err);
	if (rc < 0)
		report_error("%s: error while converting %s: %s",
			     request->target, request->target_format,
			     error_text(&err, rc));
	return rc;
}

/* Of the options of a new image, which it is opened with as well. */
static const char *key_secret(const struct format_options *options)
{
	const char *id = format_options_get(options, "key-secret");

	return id != NULL ? id
			  : format_options_get(options, "encrypt.key-secret");
}

static int open_target(struct job *job, const struct convert *request,
		       unsigned flags)
{
	/* What was there before must not be lost by a crash. */
	if (request->has_no_create)
		flags &= ~(unsigned)IMAGE_UNSAFE;
	/* Half an image is no use to anybody. */
	flags |= IMAGE_WRITE_BEHIND;
	/* As QEMU: what is written last may have to be a whole block. */
	if (flags & IMAGE_DIRECT)
		flags |= IMAGE_RESIZE;
	if (!request->has_no_create)
		job->target = open_new_or_report(request->target,
						 request->target_format,
						 key_secret(&request->options),
						 flags);
	else
		job->target = open_target_or_report(
			request->target,
			request->is_target_options &&
					!request->has_target_format
				? NULL
				: request->target_format,
			flags, request->is_target_options);
	if (job->target == NULL)
		return -EIO;
	if (request->wants_bitmaps && !image_can_have_bitmaps(job->target))
		return refuse_bitmaps(image_format_name(job->target));
	if (request->wants_compression &&
	    !image_format_compresses(image_format_name(job->target)))
		return convert_refuse_compression();
	if (image_size(job->target) < job->total) {
		report_error("output file is smaller than input file");
		return -EINVAL;
	}
	/* A flat VMDK disk, of which no part could be packed. */
	if (request->wants_compression &&
	    image_cluster_size(job->target) < CLUSTER_MIN) {
		report_error("invalid cluster size");
		return -EINVAL;
	}
	return 0;
}

/* What is no more than a device reads as what was there before, and a new LUKS
 * volume as noise. */
static bool is_zero_when_new(const struct convert *request)
{
	struct stat st;

	if (strcmp(request->target_format, "luks") == 0)
		return false;
	return (strcmp(request->target_format, "raw") != 0 &&
		format_options_is_format(request->target_format)) ||
	       (stat(image_plain_path(request->target), &st) == 0 &&
		S_ISREG(st.st_mode));
}

/* A server's replies take longer than the work for them. */
static bool is_remote(const struct convert *request)
{
	bool result = source_is_nbd(request->target);

	for (unsigned i = 0; i < request->n_sources; i++)
		result |= source_is_nbd(request->sources[i]);
	return result;
}

/* Nothing is allocated in an export: the order of writes leaves no trace. */
static bool is_order_lost(const struct convert *request)
{
	return source_is_nbd(request->target) &&
	       strcmp(request->target_format, "raw") == 0;
}

static int copy(struct job *job, const struct convert *request)
{
	struct image *backing = image_backing(job->target);
	struct copy c = {
		.sources = job->sources,
		.n_sources = job->n_sources,
		.target = job->target,
		.is_fed = job->is_fed,
		.is_target_old = request->has_no_create,
		.min_sparse = request->min_sparse,
		.is_target_zero = request->has_no_create
					  ? request->is_target_zero
					  : is_zero_when_new(request),
		.has_backing = format_options_get(&request->options,
						  "backing_file") != NULL,
		.backing_size =
			backing != NULL ? image_size(backing) : UINT64_MAX,
		.is_unordered = request->is_unordered || is_order_lost(request),
		.is_compressed = request->wants_compression ||
				 image_is_packed(job->target),
		.is_salvaged = request->is_salvaged,
		.is_quiet = request->is_quiet,
		.rate_limit = request->rate_limit,
		.n_workers = (unsigned)request->n_workers,
		.progress = &job->progress,
	};
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct error err = ERROR_INIT;
	int rc;

	/* More than two for each processor only wait for each other. */
	if (!is_remote(request) && n_cpus > 0 &&
	    c.n_workers > 2 * (unsigned long)n_cpus)
		c.n_workers = 2 * (unsigned)n_cpus;
	c.n_workers = workers_limit(c.n_workers, c.sources, c.n_sources);
	c.n_workers = workers_limit(c.n_workers, &c.target, 1);
	rc = copy_run(&c, &err);
	if (rc == 0 && request->wants_bitmaps &&
	    bitmaps_copy(job->sources[0], job->target) < 0)
		return -EIO;
	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc < 0 ? rc : close_or_report(steal_ptr(&job->target));
}

/* Whose length comes last. */
static bool is_raw_pipe(const struct convert *request)
{
	return request->n_sources == 1 && standard_is(request->sources[0]) &&
	       request->snapshot == NULL && request->format != NULL &&
	       strcmp(request->format, "raw") == 0 && standard_is_pipe();
}

static int run_stream(struct convert *request, unsigned source_flags)
{
	bool is_passed_on = is_raw_pipe(request) &&
			    strcmp(request->target_format, "raw") == 0;
	struct job job = { .total = 0 };
	struct image_option list[FORMAT_OPTIONS_MAX];
	int rc = convert_stream_check(request);

	if (rc == 0)
		rc = convert_check_target(request);
	if (rc == 0 && is_passed_on)
		rc = convert_pass_on(request);
	else if (rc == 0)
		rc = open_sources(&job, request, source_flags);
	if (rc == 0 && !is_passed_on) {
		const struct image_create_options create =
			what_to_create(&job, request, list);

		rc = convert_stream(request, job.sources, &create);
	}
	end_job(&job, request, rc == 0, false);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * A pipe can go to the target at once if that can grow; else it must be known
 * first how much there is.
 */
static bool can_be_fed(const struct convert *request)
{
	const char *format = request->target_format;

	return is_raw_pipe(request) && !request->has_no_create &&
	       (strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0) &&
	       is_zero_when_new(request) &&
	       format_options_get(&request->options, "preallocation") == NULL &&
	       format_options_get(&request->options, "data_file") == NULL &&
	       format_options_get(&request->options, "backing_file") == NULL &&
	       request->backing == NULL;
}

int convert_do(struct convert *request)
{
	struct job job = { .total = 0 };
	unsigned flags, source_flags;
	bool is_created = false;
	int rc = 0;

	if (argument_cache(request->source_cache, &source_flags) < 0) {
		report_error("Invalid source cache option: %s",
			     request->source_cache);
		return EXIT_FAILURE;
	}
	if (standard_is(request->target))
		return run_stream(request, source_flags & IMAGE_DIRECT);
	progress_init(&job.progress,
		      request->wants_progress && !request->is_quiet);
	progress_begin(&job.progress);
	job.is_fed = can_be_fed(request);
	if (job.is_fed)
		job.total = FED_SIZE_FIRST;
	else
		rc = open_sources(&job, request, source_flags & IMAGE_DIRECT);
	if (rc == 0)
		rc = convert_check_target(request);
	if (rc == 0)
		rc = check_bitmaps(&job, request);
	if (rc == 0 && argument_cache(request->cache, &flags) < 0) {
		report_error("Invalid cache option: %s", request->cache);
		rc = -EINVAL;
	}
	if (rc == 0)
		rc = check_new_bitmaps(request);
	if (rc == 0 && !request->has_no_create) {
		rc = create_target(&job, request);
		is_created = rc == 0;
	}
	if (rc == 0)
		rc = open_target(&job, request, flags);
	if (rc == 0)
		rc = copy(&job, request);
	end_job(&job, request, rc == 0, is_created);
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
