/* SPDX-License-Identifier: ISC */
/*
 * What the image loses with the old backing image is copied into it. Workers
 * take such ranges in turn; each compares cluster by cluster, or by parts of a
 * cluster that can be in the image without the rest of it.
 */
#include "vm-img/rebase_copy.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"
#include "lib/image/image.h"
#include "vm-img/progress.h"
#include "vm-img/report.h"
#include "vm-img/turns.h"
#include "vm-img/workers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	PAGE = 4096,
	N_WORKERS = 4,
};

struct run {
	const struct rebase_copy *copy;
	size_t piece_len; /* whole clusters */
	size_t unit;	  /* that is copied or not */

	pthread_mutex_t lock;
	uint64_t cursor;
	uint64_t n_given; /* pieces */
	struct turns turns;
	int result;
	struct error error;
	struct crew crew;
};

struct piece {
	uint64_t start;
	size_t len;
	uint64_t turn;
};

static void fail(struct run *run, int rc, const char *what,
		 const struct error *err)
{
	pthread_mutex_lock(&run->lock);
	if (run->result == 0)
		run->result = error_set(&run->error, rc, "%s: %s", what,
					report_reason(err, rc));
	turns_end(&run->turns);
	pthread_mutex_unlock(&run->lock);
}

static uint64_t size_of(const struct image *image)
{
	return image != NULL ? image_size(image) : 0;
}

/* Where a range's content is; past the end and without an image: nowhere. */
static int look(struct image *image, uint64_t start, uint64_t *len,
		struct image_extent *extent, struct error *err)
{
	uint64_t size = size_of(image);
	int rc;

	*extent = (struct image_extent){ .kind = IMAGE_EXTENT_HOLE };
	if (start >= size)
		return 0;
	if (*len > size - start)
		*len = size - start;
	rc = image_map(image, start, *len, IMAGE_MAP_CHAIN, extent, err);
	if (rc == 0)
		*len = extent->len;
	return rc;
}

static bool is_empty(const struct image_extent *extent)
{
	return extent->kind == IMAGE_EXTENT_HOLE ||
	       extent->kind == IMAGE_EXTENT_ZERO;
}

/* The same place of the same disk, in the same file: so the same bytes. */
static bool is_shared(const struct image_extent *a,
		      const struct image_extent *b)
{
	struct stat x, y;

	return !is_empty(a) && !is_empty(b) && a->kind == b->kind &&
	       strcmp(image_format_name(a->layer),
		      image_format_name(b->layer)) == 0 &&
	       fstat(a->host_fd, &x) == 0 && fstat(b->host_fd, &y) == 0 &&
	       x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Do both read the same from cursor on? And how far, at most len. */
static int compare_maps(const struct run *run, uint64_t *len, bool *is_same,
			struct error *err)
{
	struct image_extent before, after;
	int rc = look(run->copy->old, run->cursor, len, &before, err);

	if (rc == 0)
		rc = look(run->copy->new, run->cursor, len, &after, err);
	if (rc == 0)
		*is_same = (is_empty(&before) && is_empty(&after)) ||
			   is_shared(&before, &after);
	return rc;
}

/*
 * With the lock held. The next range, and whether there is nothing to do:
 * the image has it, or both backing images read the same. Other ranges are
 * whole clusters, or what is missing of one: each is written once.
 */
static int look_up(struct run *run, uint64_t *len, bool *is_settled,
		   struct error *err)
{
	uint64_t left = image_size(run->copy->image) - run->cursor;
	uint64_t cluster = image_cluster_size(run->copy->image), end;
	struct image_extent extent;
	int rc =
		image_map(run->copy->image, run->cursor, left, 0, &extent, err);

	if (rc < 0)
		return rc;
	*len = left = extent.len;
	*is_settled = extent.kind != IMAGE_EXTENT_HOLE;
	if (*is_settled)
		return 0;
	rc = compare_maps(run, len, is_settled, err);
	if (rc < 0 || *len == left)
		return rc;
	end = run->cursor + *len;
	end -= end % cluster;
	if (!*is_settled || end <= run->cursor) {
		*is_settled = false;
		end = run->cursor + *len + cluster - 1;
		end -= end % cluster;
	}
	*len = end - run->cursor;
	if (*len > left)
		*len = left;
	return 0;
}

static int take_locked(struct run *run, struct piece *piece, struct error *err)
{
	uint64_t size = image_size(run->copy->image), len;
	bool is_settled;

	while (run->result == 0 && run->cursor < size) {
		int rc = look_up(run, &len, &is_settled, err);

		if (rc < 0)
			return rc;
		if (!is_settled &&
		    len > run->piece_len - run->cursor % run->piece_len)
			len = run->piece_len - run->cursor % run->piece_len;
		*piece = (struct piece){ run->cursor, (size_t)len,
					 run->n_given };
		run->cursor += len;
		progress_show(run->copy->progress, run->cursor, size);
		if (!is_settled) {
			run->n_given++;
			return 1;
		}
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
		fail(run, rc, "error while reading image metadata", &err);
	return rc > 0;
}

static int read_padded(struct image *image, uint64_t start, uint8_t *buf,
		       size_t len, struct error *err)
{
	uint64_t size = size_of(image);
	size_t n = start < size ? len : 0;

	if (n > 0 && n > size - start)
		n = (size_t)(size - start);
	memset(buf + n, 0, len - n);
	return n > 0 ? image_read(image, start, buf, n, err) : 0;
}

/*
 * Zeroes that an old backing image has, and not only since it ends before, are
 * written as qemu-img writes them, as data, unless they fill a piece: then
 * there may be any number of those. A filter does not tell the image under it
 * that they must be there whatever is under that.
 */
static bool are_zeroes_marked(const struct run *run, uint64_t start, size_t len)
{
	struct image *image = run->copy->image;

	return (start >= size_of(run->copy->old) || len == run->piece_len) &&
	       image_unfiltered(image) == image;
}

/* len bytes of whole units, or what is missing of one. */
static int write_range(const struct run *run, uint64_t start,
		       const uint8_t *buf, size_t len, struct error *err)
{
	size_t cluster = image_cluster_size(run->copy->image);
	int rc = 0;

	if (are_zeroes_marked(run, start, len) && is_zero(buf, len))
		return image_write_zeroes(run->copy->image, start, len,
					  IMAGE_ZERO_EXPLICIT, err);
	if (!run->copy->is_compressed || start % cluster != 0)
		return image_write(run->copy->image, start, buf, len, err);
	for (size_t at = 0; rc == 0 && at < len; at += cluster) {
		size_t n = len - at < cluster ? len - at : cluster;

		if (n == cluster || start + len == image_size(run->copy->image))
			rc = image_write_compressed(run->copy->image,
						    start + at, buf + at, n,
						    NULL, err);
		else
			rc = image_write(run->copy->image, start + at, buf + at,
					 n, err);
	}
	return rc;
}

/* What differs of one piece: units in a row are written together. */
static int write_differences(const struct run *run, const struct piece *piece,
			     const uint8_t *before, const uint8_t *after,
			     struct error *err)
{
	size_t first = 0, at = 0;
	int rc = 0;

	while (rc == 0 && at < piece->len) {
		size_t len = run->unit - (piece->start + at) % run->unit;

		if (len > piece->len - at)
			len = piece->len - at;
		if (memcmp(before + at, after + at, len) == 0) {
			if (first < at)
				rc = write_range(run, piece->start + first,
						 before + first, at - first,
						 err);
			first = at + len;
		}
		at += len;
	}
	if (rc == 0 && first < at)
		rc = write_range(run, piece->start + first, before + first,
				 at - first, err);
	return rc;
}

/* Pieces are written in turn, so that clusters lie in the order of the disk;
 * what compresses is in no order. False: there was an error. */
static bool await_turn(struct run *run, const struct piece *piece)
{
	bool is_good;

	pthread_mutex_lock(&run->lock);
	if (run->copy->is_compressed)
		is_good = !run->turns.is_over;
	else
		is_good = turns_await(&run->turns, piece->turn, &run->lock);
	pthread_mutex_unlock(&run->lock);
	return is_good;
}

static void pass_turn(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	turns_pass(&run->turns, 1);
	pthread_mutex_unlock(&run->lock);
}

static bool do_piece(struct run *run, const struct piece *piece,
		     uint8_t *before, uint8_t *after)
{
	struct error err = ERROR_INIT;
	struct crew_time since = crew_time();
	int rc = read_padded(run->copy->old, piece->start, before, piece->len,
			     &err);

	if (rc < 0) {
		fail(run, rc, "error while reading from old backing file",
		     &err);
		return false;
	}
	rc = read_padded(run->copy->new, piece->start, after, piece->len, &err);
	if (rc < 0) {
		fail(run, rc, "error while reading from new backing file",
		     &err);
		return false;
	}
	crew_report(&run->crew, since, 2 * piece->len);
	if (!await_turn(run, piece))
		return false;
	rc = write_differences(run, piece, before, after, &err);
	if (rc < 0)
		fail(run, rc, "Error while writing to COW image", &err);
	pass_turn(run);
	return rc == 0;
}

static void *work(void *context)
{
	struct run *run = context;
	_cleanup_free_ uint8_t *buf = aligned_alloc(PAGE, 2 * run->piece_len);
	struct piece piece;

	if (buf == NULL) {
		fail(run, -ENOMEM, "rebase", NULL);
		return NULL;
	}
	while (take(run, &piece) &&
	       do_piece(run, &piece, buf, buf + run->piece_len))
		;
	return NULL;
}

/* At first; compressing, and writing that waits, pay in any case. */
static bool works_alone(const struct rebase_copy *copy)
{
	return !copy->is_compressed && !image_is_uncached(copy->image);
}

static size_t find_piece_len(const struct rebase_copy *copy)
{
	size_t result = image_cluster_size(copy->image);

	if (result < image_transfer_len(copy->image))
		result = image_transfer_len(copy->image);
	if (copy->new != NULL && result < image_transfer_len(copy->new))
		result = image_transfer_len(copy->new);
	return result;
}

/* Compressed is a cluster or nothing. */
static int find_unit(struct run *run)
{
	struct error err = ERROR_INIT;
	struct image_info info;
	int rc = image_get_info(run->copy->image, &info, &err);

	if (rc < 0) {
		fail(run, rc, "error while reading image metadata", &err);
		return rc;
	}
	run->unit = image_cluster_size(run->copy->image);
	if (!run->copy->is_compressed && info.limits.write_zeroes_alignment > 0)
		run->unit = (size_t)info.limits.write_zeroes_alignment;
	return 0;
}

int rebase_copy(const struct rebase_copy *copy)
{
	struct image *const images[] = { copy->image, copy->old, copy->new };
	unsigned n_workers =
		workers_limit(workers_processors(N_WORKERS), images, 3);
	struct run run = { .copy = copy, .piece_len = find_piece_len(copy) };

	pthread_mutex_init(&run.lock, NULL);
	if (find_unit(&run) == 0)
		crew_run(&run.crew, works_alone(copy) ? 1 : n_workers,
			 n_workers, work, &run);
	pthread_mutex_destroy(&run.lock);
	if (run.result < 0)
		report_error("%s", run.error.text);
	return run.result;
}
