/* SPDX-License-Identifier: ISC */
/*
 * commit: what an image holds goes down to the image under it, or to one
 * further down (-b), which then reads as the top did. After that the top is
 * emptied, unless -d or -b says that it will not be used again.
 *
 * The images from the top to the one above the base are layers, each opened
 * alone; the first that has a range decides. Until the base has all of it on
 * stable storage nothing else is changed, so that a kill at any moment loses
 * nothing: the top still covers what was half written under it.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/object.h"
#include "vm-img/progress.h"
#include "vm-img/protocols.h"
#include "vm-img/rate.h"
#include "vm-img/report.h"
#include "vm-img/verb.h"
#include "vm-img/workers.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	PAGE = 4096,
	PIECE = 1024 * 1024,
	LAYERS_MAX = 256,
	N_WORKERS = 4,
};

const struct option_spec commit_options[] = {
	{ 'q', "quiet", NULL, "print errors only" },
	{ 'f', "format", "FMT", "the image's format (default: guess)" },
	{ 't', "cache", "MODE", "for writing (default: writeback)" },
	{ 'b', "base", "BASE", "down to that one; implies -d" },
	{ 'r', "rate-limit", "RATE", "bytes per second" },
	{ 'd', "drop", NULL, "do not empty the image" },
	{ 'p', "progress", NULL, "show how far it is" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *path, *format, *cache, *base;
	uint64_t rate_limit;
	bool is_quiet, wants_progress, is_dropped;
	unsigned flags;
};

struct run {
	const struct request *request;
	struct image *layers[LAYERS_MAX], *base;
	unsigned n_layers;
	/* What the user says of the one under the lowest. */
	const struct image_under *under;
	uint64_t size;

	pthread_mutex_t lock;
	uint64_t cursor, done;
	struct rate rate;
	int result;
	struct error error;
	struct progress progress;
	struct crew crew;
};

struct piece {
	uint64_t start, len;
	struct image *layer; /* NULL: zeroes */
	uint64_t ready_ns;   /* not before */
};

static void fail(struct run *run, int rc, const struct error *err)
{
	pthread_mutex_lock(&run->lock);
	if (run->result == 0)
		run->result = error_set(&run->error, rc, "Block job failed: %s",
					report_reason(err, rc));
	pthread_mutex_unlock(&run->lock);
}

/*
 * Which layer has what is at cursor, or that none does. A layer that is
 * shorter than the one above reads as zeroes there: nothing under it shows.
 */
static int look_up(const struct run *run, struct piece *piece, bool *is_there,
		   struct error *err)
{
	uint64_t len = run->size - run->cursor;

	*piece = (struct piece){ .start = run->cursor };
	*is_there = true;
	for (unsigned i = 0; i < run->n_layers; i++) {
		uint64_t size = image_size(run->layers[i]);
		struct image_extent extent;
		int rc;

		piece->len = len;
		if (run->cursor >= size)
			return 0;
		if (len > size - run->cursor)
			len = size - run->cursor;
		rc = image_map(run->layers[i], run->cursor, len, 0, &extent,
			       err);
		if (rc < 0)
			return rc;
		piece->len = len = extent.len;
		if (extent.kind == IMAGE_EXTENT_ZERO)
			return 0;
		piece->layer = run->layers[i];
		if (extent.kind != IMAGE_EXTENT_HOLE)
			return 0;
		piece->layer = NULL;
	}
	*is_there = false;
	return 0;
}

/* With the lock held. 1: there is one; 0: none is left. */
static int take_locked(struct run *run, struct piece *piece, struct error *err)
{
	bool is_there;

	while (run->result == 0 && run->cursor < run->size) {
		int rc = look_up(run, piece, &is_there, err);

		if (rc < 0)
			return rc;
		if (is_there && piece->layer != NULL &&
		    piece->len > PIECE - run->cursor % PIECE)
			piece->len = PIECE - run->cursor % PIECE;
		run->cursor += piece->len;
		if (is_there) {
			piece->ready_ns = rate_take(&run->rate, piece->len);
			return 1;
		}
		run->done += piece->len;
		progress_show(&run->progress, run->done, run->size);
	}
	return 0;
}

static bool take(struct run *run, struct piece *piece)
{
	struct error err = ERROR_INIT;
	int rc;

	pthread_mutex_lock(&run->lock);
	rc = take_locked(run, piece, &err);
	pthread_mutex_unlock(&run->lock);
	if (rc < 0)
		fail(run, rc, &err);
	return rc > 0;
}

static bool do_piece(struct run *run, const struct piece *piece, uint8_t *buf)
{
	struct error err = ERROR_INIT;
	struct crew_time since;
	int rc = 0;

	rate_sleep(piece->ready_ns);
	since = crew_time();
	if (piece->layer != NULL)
		rc = image_read(piece->layer, piece->start, buf,
				(size_t)piece->len, &err);
	if (piece->layer != NULL)
		crew_report(&run->crew, since, piece->len);
	if (rc < 0) {
		fail(run, rc, &err);
		return false;
	}
	if (piece->layer != NULL)
		rc = image_write(run->base, piece->start, buf,
				 (size_t)piece->len, &err);
	else
		rc = image_write_zeroes(run->base, piece->start, piece->len,
					IMAGE_ZERO_MAY_UNMAP, &err);
	if (rc < 0) {
		fail(run, rc, &err);
		return false;
	}
	pthread_mutex_lock(&run->lock);
	run->done += piece->len;
	progress_show(&run->progress, run->done, run->size);
	pthread_mutex_unlock(&run->lock);
	return true;
}

static void *work(void *context)
{
	_cleanup_free_ uint8_t *buf = aligned_alloc(PAGE, PIECE);
	struct run *run = context;
	struct piece piece;

	if (buf == NULL) {
		fail(run, -ENOMEM, NULL);
		return NULL;
	}
	while (take(run, &piece) && do_piece(run, &piece, buf))
		;
	return NULL;
}

static int tell_unfinished(const struct run *run, int rc, struct error *err)
{
	return error_prefix(err, rc,
			    "Could not finish writing the base of '%s'",
			    run->request->path);
}

static int copy_down(struct run *run, struct error *err)
{
	static const struct image_resize_options grow = { .may_shrink = false };
	unsigned n_workers = workers_limit(workers_processors(N_WORKERS),
					   run->layers, run->n_layers);
	int rc = 0;

	n_workers = workers_limit(n_workers, &run->base, 1);
	run->size = image_size(run->layers[0]);
	run->rate.limit = run->request->rate_limit;
	if (run->size > image_size(run->base))
		rc = image_resize(run->base, run->size, &grow, err);
	if (rc < 0)
		return rc;
	pthread_mutex_init(&run->lock, NULL);
	crew_run(&run->crew, image_is_uncached(run->base) ? n_workers : 1,
		 n_workers, work, run);
	pthread_mutex_destroy(&run->lock);
	if (run->result < 0)
		*err = run->error;
	if (run->result < 0)
		return run->result;
	rc = image_flush(run->base, err);
	return rc < 0 ? tell_unfinished(run, rc, err) : 0;
}

/* The base's last write may come with its close; then the top is emptied. */
static int commit(struct run *run, struct error *err)
{
	struct error why = ERROR_INIT;
	int rc = copy_down(run, err);

	if (rc < 0)
		return rc;
	rc = image_close(steal_ptr(&run->base), err);
	if (rc < 0)
		return tell_unfinished(run, rc, err);
	if (run->request->is_dropped)
		return 0;
	rc = image_make_empty(run->layers[0], &why);
	if (rc == 0 || rc == -ENOTSUP)
		return 0;
	return error_set(err, rc, "Failed to empty %s: %s", run->request->path,
			 report_reason(&why, rc));
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(image_plain_path(a), &x) == 0 &&
	       stat(image_plain_path(b), &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* By its name in the image above, or by any other from that one's folder. */
static bool is_base(const struct request *request, const char *above_path,
		    const struct image_info *above)
{
	_cleanup_free_ char *path = NULL;

	if (request->base == NULL ||
	    (above->backing_name != NULL &&
	     strcmp(request->base, above->backing_name) == 0))
		return true;
	path = image_backing_resolve(above_path, request->base);
	return (path != NULL && is_same_file(path, above->backing_path));
}

static int complain(const struct request *request, const struct error *err,
		    int rc)
{
	report_error("Could not open '%s': Could not open backing file: %s",
		     request->path, error_text(err, rc));
	return rc;
}

/* What is under the lowest layer, as the user says, or as its name there does:
 * NULL if that is a path and there is no more to say. */
static int find_under(const struct run *run, const struct image_info *info,
		      const struct image_under **under, struct error *err)
{
	const struct image_under *named;
	int rc;

	*under = run->under;
	if (*under != NULL && (*under)->path != NULL)
		return 0;
	rc = protocols_find(info->backing_name, info->backing_format, &named,
			    err);
	if (rc == 0 && named != NULL)
		*under = named;
	return rc;
}

/* Was it not already opened? */
static int check_loop(const struct run *run, const char *path,
		      struct error *err)
{
	for (unsigned i = 0; i < run->n_layers; i++)
		if (is_same_file(image_path(run->layers[i]), path) ||
		    run->n_layers == LAYERS_MAX)
			return error_set(err, -ELOOP,
					 "Backing file '%s' creates an "
					 "infinite loop.",
					 path);
	return 0;
}

static struct image_open_options options_of(const struct request *request,
					    const struct image_info *info,
					    const struct image_under *under)
{
	struct image_open_options options = {
		.format = info->backing_format,
		.flags = request->flags,
		.secrets = object_secrets(),
		.protocol = protocols_policy,
	};

	if (under != NULL)
		image_under_apply(under, &options);
	return options;
}

static int check_names(const struct request *request,
		       const struct image_info *info)
{
	if (info->backing_name != NULL && info->backing_path == NULL) {
		report_error("Could not open '%s': Cannot generate a base "
			     "directory for quorum nodes",
			     request->path);
		return -EINVAL;
	}
	if (info->backing_path != NULL)
		return 0;
	if (request->base != NULL)
		report_error("Did not find '%s' in the backing chain of '%s'",
			     request->base, request->path);
	else
		report_error("Image does not have a backing file");
	return -ENOENT;
}

/*
 * The image under the lowest layer: 1 if it is the base, and opened as such,
 * 0 if it is one more layer.
 */
static int open_next(struct run *run)
{
	struct image *above = image_unfiltered(run->layers[run->n_layers - 1]);
	const struct image_under *under = NULL;
	struct image_open_options options;
	struct error err = ERROR_INIT;
	struct image_info info;
	struct image *image;
	const char *path;
	bool is_last;
	int rc = image_get_info(above, &info, &err);

	if (rc < 0)
		return complain(run->request, &err, rc);
	rc = check_names(run->request, &info);
	if (rc < 0)
		return rc;
	rc = find_under(run, &info, &under, &err);
	if (rc < 0)
		return complain(run->request, &err, rc);
	path = under != NULL && under->path != NULL ? under->path
						    : info.backing_path;
	rc = check_loop(run, path, &err);
	if (rc < 0)
		return complain(run->request, &err, rc);
	is_last = is_base(run->request, image_path(above), &info);
	options = options_of(run->request, &info, under);
	run->under = options.under;
	options.flags |= is_last ? IMAGE_UNSHARED_RESIZE
				 : IMAGE_READ_ONLY | IMAGE_NO_BACKING;
	rc = image_open(&image, path, &options, &err);
	if (rc < 0)
		return complain(run->request, &err, rc);
	if (is_last)
		run->base = image;
	else
		run->layers[run->n_layers++] = image;
	return is_last;
}

static int run_request(const struct request *request)
{
	struct run run = { .request = request };
	struct error err = ERROR_INIT;
	bool is_open;
	int rc = 0;

	run.layers[0] = open_layer_or_report(request->path, request->format,
					     request->flags, &run.under);
	if (run.layers[0] == NULL)
		return EXIT_FAILURE;
	run.n_layers = 1;
	progress_init(&run.progress,
		      request->wants_progress && !request->is_quiet);
	progress_begin(&run.progress);
	while (rc == 0)
		rc = open_next(&run); /* which says what is wrong */
	is_open = rc > 0;
	if (is_open)
		rc = commit(&run, &err);
	image_abandon(run.base);
	if (rc == 0) {
		is_open = false;
		rc = close_or_report(steal_ptr(&run.layers[0]));
	}
	for (unsigned i = 0; i < run.n_layers; i++)
		image_abandon(run.layers[i]);
	progress_end(&run.progress, rc == 0);
	if (rc < 0 && is_open)
		report_error("%s", error_text(&err, rc));
	else if (rc == 0 && !request->is_quiet)
		printf("Image committed.\n");
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int take_option(struct request *request, int id, const char *value)
{
	switch (id) {
	case 'q':
		request->is_quiet = true;
		return 0;
	case 'p':
		request->wants_progress = true;
		return 0;
	case 'd':
		request->is_dropped = true;
		return 0;
	case 'f':
		request->format = value;
		return 0;
	case 't':
		request->cache = value;
		return 0;
	case 'b':
		request->base = value;
		request->is_dropped = true;
		return 0;
	default:
		return argument_size("rate limit", value, &request->rate_limit);
	}
}

int commit_run(int argc, char **argv)
{
	struct arguments a = { .specs = commit_options,
			       .argc = argc,
			       .argv = argv };
	struct request request = { .cache = "writeback" };
	int id;

	while ((id = arguments_next(&a)) >= 0)
		if (take_option(&request, id, a.value) < 0)
			return EXIT_FAILURE;
	if (a.n_operands != 1)
		report_usage("Expecting one image file name");
	request.path = a.operands[0];
	if (argument_cache(request.cache, &request.flags) < 0) {
		report_error("Invalid cache option: %s", request.cache);
		return EXIT_FAILURE;
	}
	/* What is there already must not be lost by a crash. */
	request.flags &= IMAGE_DIRECT;
	return run_request(&request);
}
