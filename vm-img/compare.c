/* SPDX-License-Identifier: ISC */
/*
 * compare: do two images hold the same? Where one is longer the rest must be
 * zero. Exit status: 0 they do, 1 they do not, 2 an image could not be
 * opened, 3 its map could not be read, 4 its data could not.
 *
 * Workers take piece after piece and stop at the first difference:
 *
 *	0           cursor     limit
 *	|===========|----------|...
 *
 * Pieces are taken in order, so all before the limit, which only goes down,
 * are looked at, and the difference that is told is the first one.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/progress.h"
#include "vm-img/report.h"
#include "vm-img/status.h"
#include "vm-img/verb.h"
#include "vm-img/workers.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	EXIT_DIFFERENT = 1,
	EXIT_NOT_OPENED = 2,
	EXIT_NOT_MAPPED = 3,
	EXIT_NOT_READ = 4,

	PAGE = 4096,
	SECTOR = 512,
	N_WORKERS = 8,
	WAITED_FOR_MAX = 4 << 20, /* bytes */
	TEXT_MAX = 4096,
};

const struct option_spec compare_options[] = {
	{ 'f', "a-format", "FMT", "the first one's format (default: guess)" },
	{ 'F', "b-format", "FMT", "the second one's format" },
	{ 'T', "cache", "MODE", "cache mode for reading" },
	{ 'p', "progress", NULL, "show how far it is" },
	{ 'q', "quiet", NULL, "print errors only" },
	{ 's', "strict", NULL, "sizes and allocation must be the same too" },
	{ 'U', "force-share", NULL, "open although another one writes it" },
	OPTIONS_SOURCE,
	OPTIONS_END,
};

struct request {
	const char *paths[2], *formats[2], *cache;
	bool wants_progress, is_quiet, is_strict;
	unsigned flags;
};

struct run {
	const struct request *request;
	struct image *images[2];
	uint64_t end, total;
	size_t piece_len;

	pthread_mutex_t lock;
	uint64_t cursor, limit, done;
	struct status at[2]; /* what is known of each image at cursor */
	int status;
	bool is_error; /* of text */
	char text[TEXT_MAX];
	struct progress progress;
};

struct piece {
	uint64_t start;
	size_t len;
	bool is_read[2]; /* the other one is zero there */
};

/* With the lock held. The verdict at start, unless there is one before. */
static __attribute__((format(printf, 5, 6))) void
stop(struct run *run, int status, bool is_error, uint64_t start,
     const char *format, ...)
{
	va_list args;

	if (start >= run->limit && run->status != 0)
		return;
	run->limit = start;
	run->status = status;
	run->is_error = is_error;
	va_start(args, format);
	vsnprintf(run->text, sizeof(run->text), format, args);
	va_end(args);
}

/* QEMU takes what is beyond the end of a backing image for allocated. */
static bool is_allocated(const struct status *s)
{
	return s->is_present || image_backing(s->layer) != NULL;
}

/* So far as QEMU sees at cursor. */
static bool ends_with_image(const struct status *s, uint64_t cursor,
			    uint64_t size)
{
	uint64_t block = image_cluster_size(s->layer);

	return s->start + s->len == size &&
	       (!s->is_by_blocks || size - cursor <= block - cursor % block);
}

/* As QEMU has it: that one of two extents ends with the image matters, too. */
static bool are_alike(const struct status *a, const struct status *b,
		      uint64_t cursor, uint64_t size)
{
	return ends_with_image(a, cursor, size) ==
		       ends_with_image(b, cursor, size) &&
	       is_allocated(a) == is_allocated(b) && a->is_zero == b->is_zero &&
	       a->is_data == b->is_data && a->has_offset == b->has_offset;
}

/* With the lock held. False: that image's map cannot be read. */
static bool look_up(struct run *run, unsigned i)
{
	struct status *s = &run->at[i];
	uint64_t size = image_size(run->images[i]);

	if (s->start + s->len > run->cursor)
		return true;
	if (run->cursor >= size) {
		*s = (struct status){ .start = run->cursor,
				      .len = run->end - run->cursor,
				      .is_zero = true };
		return true;
	}
	if (status_get(run->images[i], run->cursor, size - run->cursor, s,
		       NULL) == 0)
		return true;
	stop(run, EXIT_NOT_MAPPED, true, run->cursor,
	     "Sector allocation test failed for %s", run->request->paths[i]);
	return false;
}

/* With the lock held. What lies between cursor and the next change. */
static uint64_t common_len(const struct run *run)
{
	uint64_t len = run->end - run->cursor;

	for (unsigned i = 0; i < 2; i++) {
		const struct status *s = &run->at[i];

		if (s->start + s->len - run->cursor < len)
			len = s->start + s->len - run->cursor;
	}
	return len;
}

static void advance(struct run *run, uint64_t len)
{
	run->cursor += len;
}

static void count_done(struct run *run, uint64_t len)
{
	run->done += len;
	progress_show(&run->progress, run->done, run->total);
}

/* With the lock held. False: nothing is left. */
static bool take_locked(struct run *run, struct piece *piece)
{
	while (run->status == 0 && run->cursor < run->end) {
		uint64_t len;

		if (!look_up(run, 0) || !look_up(run, 1))
			return false;
		if (run->request->is_strict &&
		    !are_alike(&run->at[0], &run->at[1], run->cursor,
			       run->end)) {
			stop(run, EXIT_DIFFERENT, false, run->cursor,
			     "Strict mode: Offset %" PRIu64
			     " block status mismatch!",
			     run->cursor);
			return false;
		}
		len = common_len(run);
		*piece = (struct piece){
			.start = run->cursor,
			.is_read = { !run->at[0].is_zero, !run->at[1].is_zero },
		};
		if (!piece->is_read[0] && !piece->is_read[1]) {
			advance(run, len);
			count_done(run, len);
			continue;
		}
		/* To the next border. */
		if (len > run->piece_len - run->cursor % run->piece_len)
			len = run->piece_len - run->cursor % run->piece_len;
		piece->len = (size_t)len;
		advance(run, len);
		return true;
	}
	return false;
}

static bool take(struct run *run, struct piece *piece)
{
	bool is_taken;

	pthread_mutex_lock(&run->lock);
	is_taken = take_locked(run, piece);
	pthread_mutex_unlock(&run->lock);
	return is_taken;
}

/* The first sector that differs (b NULL: that is not zero); len: none. */
static size_t find_difference(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t at = 0;

	if (b == NULL ? is_zero(a, len) : memcmp(a, b, len) == 0)
		return len;
	for (; at < len; at += SECTOR) {
		size_t n = len - at < SECTOR ? len - at : SECTOR;

		if (b == NULL ? !is_zero(a + at, n)
			      : memcmp(a + at, b + at, n) != 0)
			break;
	}
	return at;
}

static void compare_piece(struct run *run, const struct piece *piece,
			  uint8_t *bufs[2])
{
	struct error err = ERROR_INIT;
	size_t at;
	int rc = 0;

	for (unsigned i = 0; i < 2; i++) {
		if (piece->is_read[i])
			rc = image_read(run->images[i], piece->start, bufs[i],
					piece->len, &err);
		if (rc == 0)
			continue;
		pthread_mutex_lock(&run->lock);
		stop(run, EXIT_NOT_READ, true, piece->start,
		     "Error while reading offset %" PRIu64 " of %s: %s",
		     piece->start, run->request->paths[i],
		     report_reason(&err, rc));
		pthread_mutex_unlock(&run->lock);
		return;
	}
	if (piece->is_read[0] && piece->is_read[1])
		at = find_difference(bufs[0], bufs[1], piece->len);
	else
		at = find_difference(bufs[piece->is_read[1]], NULL, piece->len);
	pthread_mutex_lock(&run->lock);
	count_done(run, piece->len);
	if (at < piece->len)
		stop(run, EXIT_DIFFERENT, false, piece->start + at,
		     "Content mismatch at offset %" PRIu64 "!",
		     piece->start + at);
	pthread_mutex_unlock(&run->lock);
}

static void *work(void *context)
{
	struct run *run = context;
	_cleanup_free_ uint8_t *buf = aligned_alloc(PAGE, 2 * run->piece_len);
	uint8_t *bufs[2] = { buf, NULL };
	struct piece piece;

	if (buf == NULL) {
		pthread_mutex_lock(&run->lock);
		stop(run, EXIT_NOT_READ, true, run->cursor, "Out of memory");
		pthread_mutex_unlock(&run->lock);
		return NULL;
	}
	bufs[1] = buf + run->piece_len;
	while (take(run, &piece))
		compare_piece(run, &piece, bufs);
	return NULL;
}

/* Where each read is waited for, several wait at once: each for two pieces. */
static unsigned count_workers(const struct run *run)
{
	unsigned n = workers_processors(N_WORKERS);
	unsigned n_waiting = (unsigned)(WAITED_FOR_MAX / (2 * run->piece_len));

	if ((image_is_uncached(run->images[0]) ||
	     image_is_uncached(run->images[1])) &&
	    n < n_waiting)
		n = n_waiting;
	return workers_limit(n, run->images, 2);
}

/* From cursor to end. */
static void compare_range(struct run *run, uint64_t end)
{
	run->end = end;
	run->at[0] = run->at[1] = (struct status){ .len = 0 };
	workers_run(count_workers(run), work, run);
}

static void say(const struct run *run, const char *text)
{
	if (!run->request->is_quiet)
		printf("%s\n", text);
}

static int compare(struct run *run)
{
	uint64_t sizes[2] = { image_size(run->images[0]),
			      image_size(run->images[1]) };
	uint64_t least = sizes[0] < sizes[1] ? sizes[0] : sizes[1];

	run->total = sizes[0] > sizes[1] ? sizes[0] : sizes[1];
	for (unsigned i = 0; i < 2; i++)
		if (run->piece_len < image_transfer_len(run->images[i]))
			run->piece_len = image_transfer_len(run->images[i]);
	progress_begin(&run->progress);
	if (run->request->is_strict && least != run->total) {
		say(run, "Strict mode: Image size mismatch!");
		return EXIT_DIFFERENT;
	}
	compare_range(run, least);
	if (run->status == 0 && least != run->total) {
		say(run, "Warning: Image size mismatch!");
		compare_range(run, run->total);
	}
	if (run->status == 0)
		say(run, "Images are identical.");
	else if (run->is_error)
		report_error("%s", run->text);
	else
		say(run, run->text);
	return run->status;
}

static int run_request(const struct request *request)
{
	struct run run = { .request = request };
	unsigned flags;
	int status = EXIT_NOT_OPENED;

	progress_init(&run.progress,
		      request->wants_progress && !request->is_quiet);
	if (argument_cache(request->cache, &flags) < 0) {
		report_error("Invalid source cache option: %s", request->cache);
		goto out;
	}
	flags = (flags & IMAGE_DIRECT) | IMAGE_READ_ONLY | request->flags;
	for (unsigned i = 0; i < 2; i++) {
		run.images[i] = open_or_report(request->paths[i],
					       request->formats[i], flags);
		if (run.images[i] == NULL)
			goto out;
	}
	pthread_mutex_init(&run.lock, NULL);
	status = compare(&run);
	pthread_mutex_destroy(&run.lock);
out:
	progress_end(&run.progress, false);
	image_abandon(run.images[0]);
	image_abandon(run.images[1]);
	return status;
}

int compare_run(int argc, char **argv)
{
	struct arguments a = { .specs = compare_options,
			       .argc = argc,
			       .argv = argv };
	struct request request = { .cache = "writeback" };
	int id;

	report_set_failure(EXIT_NOT_OPENED);
	while ((id = arguments_next(&a)) >= 0) {
		if (id == 'f')
			request.formats[0] = a.value;
		else if (id == 'F')
			request.formats[1] = a.value;
		else if (id == 'T')
			request.cache = a.value;
		else if (id == 'p')
			request.wants_progress = true;
		else if (id == 'q')
			request.is_quiet = true;
		else if (id == 's')
			request.is_strict = true;
		else if (id == 'U')
			request.flags |= IMAGE_FORCE_SHARE;
	}
	if (a.n_operands != 2)
		report_usage("Expecting two image file names");
	request.paths[0] = a.operands[0];
	request.paths[1] = a.operands[1];
	return run_request(&request);
}
