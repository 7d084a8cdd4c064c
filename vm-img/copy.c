/* SPDX-License-Identifier: ISC */
/*
 * The disk is cut into pieces at the borders of what the sources' maps say.
 * Workers take piece after piece, each reads its own, and then they write in
 * turn, so that the target's clusters lie in the order of the disk: while one
 * writes, the others read.
 *
 *	cursor                what is to be taken next
 *	|........|wwww|rrrr|rrrr|------------------|
 *	         turn         the piece whose writer is next
 *
 * A piece is zero by the map, or data; data is searched for zeroes in blocks
 * of the granularity, which is that of the target's clusters, as less than a
 * cluster saves nothing.
 *
 * The lock guards everything but the I/O. The first error stops all.
 */
#include "vm-img/copy.h"

#include "lib/base/cleanup.h"
#include "lib/image/image.h"
#include "vm-img/progress.h"

#include <pthread.h>
#include <string.h>

enum {
	CHUNK = 2 * 1024 * 1024, /* the most that is read at a time */
	BUFFER_ALIGNMENT = 4096,
};

struct piece {
	uint64_t start, len;  /* of the target */
	struct image *source; /* and there: */
	uint64_t offset;
	enum {
		PIECE_DATA,
		PIECE_ZERO,
		PIECE_BACKING, /* not to be touched */
	} kind;
};

struct run {
	const struct copy *copy;
	uint64_t total, granularity;

	pthread_mutex_t lock;
	pthread_cond_t turned;
	unsigned source;       /* that cursor is in */
	uint64_t source_start; /* its first byte */
	uint64_t cursor, turn;
	int result;
	struct error error;
	struct progress progress;
};

/* A power of two: at least what counts as sparse, and the target's cluster. */
static uint64_t find_granularity(const struct copy *copy)
{
	uint64_t least = image_cluster_size(copy->target), result = 512;

	if (copy->min_sparse > least)
		least = copy->min_sparse;
	while (result * 2 <= least && result < CHUNK)
		result *= 2;
	return result;
}

static bool is_zero(const uint8_t *buf, size_t len)
{
	/* Equal to itself one byte on: all bytes are as the first. */
	return buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0;
}

static void fail(struct run *run, int rc, const char *doing, uint64_t at,
		 const struct error *err)
{
	pthread_mutex_lock(&run->lock);
	if (run->result == 0)
		run->result =
			error_set(&run->error, rc,
				  "error while %s at byte %llu: %s", doing,
				  (unsigned long long)at, error_text(err, rc));
	pthread_cond_broadcast(&run->turned);
	pthread_mutex_unlock(&run->lock);
}

static int kind_of(const struct run *run, const struct image_extent *extent)
{
	const struct copy *copy = run->copy;

	if (copy->min_sparse == 0)
		return PIECE_DATA;
	switch (extent->kind) {
	case IMAGE_EXTENT_HOLE:
		if (copy->has_backing && run->cursor < copy->backing_size)
			return PIECE_BACKING;
		return PIECE_ZERO;
	case IMAGE_EXTENT_ZERO:
		return PIECE_ZERO;
	case IMAGE_EXTENT_DATA:
	case IMAGE_EXTENT_COMPRESSED:
		break;
	}
	return PIECE_DATA;
}

/*
 * Borders lie on multiples of the granularity: data grows to the next one,
 * and so does what is not data but shorter than that. end is the source's.
 */
static void fit(const struct run *run, struct piece *piece, uint64_t end)
{
	uint64_t mask = run->granularity - 1;
	uint64_t up = (piece->start + piece->len + mask) & ~mask;
	uint64_t down = (piece->start + piece->len) & ~mask;

	if (piece->kind != PIECE_DATA && piece->start + piece->len == end)
		return;
	if (piece->kind != PIECE_DATA && down > piece->start) {
		piece->len = down - piece->start;
		return;
	}
	piece->kind = PIECE_DATA;
	if (up > end)
		up = end;
	piece->len = up - piece->start;
	/* One chunk at most, and to a chunk's border. */
	up = (piece->start + CHUNK) & ~(uint64_t)(CHUNK - 1);
	if (piece->start + piece->len > up)
		piece->len = up - piece->start;
}

/* With the lock held. False: nothing is left, or an error came. */
static int look_up(struct run *run, struct piece *piece, struct error *err)
{
	const struct copy *copy = run->copy;
	unsigned flags = copy->has_backing ? 0 : IMAGE_MAP_CHAIN;
	struct image_extent extent;
	uint64_t size;
	int rc;

	for (;;) {
		size = image_size(copy->sources[run->source]);
		if (run->cursor - run->source_start < size)
			break;
		run->source_start += size;
		run->source++;
	}
	piece->source = copy->sources[run->source];
	piece->start = run->cursor;
	piece->offset = run->cursor - run->source_start;
	rc = image_map(piece->source, piece->offset, size - piece->offset,
		       flags, &extent, err);
	if (rc < 0)
		return rc;
	piece->kind = kind_of(run, &extent);
	piece->len = extent.len;
	if (piece->kind == PIECE_BACKING &&
	    piece->len > copy->backing_size - run->cursor)
		piece->len = copy->backing_size - run->cursor;
	fit(run, piece, run->source_start + size);
	return 0;
}

static bool take(struct run *run, struct piece *piece)
{
	struct error err = ERROR_INIT;
	int rc = 0;
	bool is_taken;

	pthread_mutex_lock(&run->lock);
	is_taken = run->result == 0 && run->cursor < run->total;
	if (is_taken)
		rc = look_up(run, piece, &err);
	if (is_taken && rc == 0)
		run->cursor += piece->len;
	pthread_mutex_unlock(&run->lock);
	if (rc < 0)
		fail(run, rc, "reading block status", piece->start, &err);
	return is_taken && rc == 0;
}

/* Wait until all before this piece is written. False: an error came. */
static bool await_turn(struct run *run, const struct piece *piece)
{
	bool is_good;

	pthread_mutex_lock(&run->lock);
	while (!run->copy->is_unordered && run->result == 0 &&
	       run->turn != piece->start)
		pthread_cond_wait(&run->turned, &run->lock);
	is_good = run->result == 0;
	pthread_mutex_unlock(&run->lock);
	return is_good;
}

static void pass_turn(struct run *run, const struct piece *piece)
{
	pthread_mutex_lock(&run->lock);
	run->turn += piece->len;
	progress_show(&run->progress, run->turn, run->total);
	pthread_cond_broadcast(&run->turned);
	pthread_mutex_unlock(&run->lock);
}

static int write_zero(const struct copy *copy, uint64_t at, uint64_t len,
		      struct error *err)
{
	bool is_above = copy->has_backing && at < copy->backing_size;

	if (copy->is_target_zero && !is_above)
		return 0;
	return image_write_zeroes(copy->target, at, len, IMAGE_ZERO_MAY_UNMAP,
				  err);
}

/* Data and zeroes in turn, each as long as it goes. */
static int write_data(const struct run *run, const struct piece *piece,
		      const uint8_t *buf, struct error *err)
{
	const struct copy *copy = run->copy;
	size_t len = (size_t)piece->len, done = 0, end = 0;
	int rc = 0;

	while (done < len && rc == 0) {
		bool is_hole = false;

		for (end = done; end < len;) {
			size_t n = len - end;
			bool is_empty;

			if (n > run->granularity)
				n = (size_t)run->granularity;
			is_empty =
				copy->min_sparse > 0 && is_zero(buf + end, n);
			if (end > done && is_empty != is_hole)
				break;
			is_hole = is_empty;
			end += n;
		}
		rc = is_hole ? write_zero(copy, piece->start + done, end - done,
					  err)
			     : image_write(copy->target, piece->start + done,
					   buf + done, end - done, err);
		done = end;
	}
	return rc;
}

static bool do_piece(struct run *run, const struct piece *piece, uint8_t *buf)
{
	struct error err = ERROR_INIT;
	int rc = 0;

	if (piece->kind == PIECE_DATA)
		rc = image_read(piece->source, piece->offset, buf,
				(size_t)piece->len, &err);
	if (rc < 0) {
		fail(run, rc, "reading", piece->start, &err);
		return false;
	}
	if (!await_turn(run, piece))
		return false;
	if (piece->kind == PIECE_DATA)
		rc = write_data(run, piece, buf, &err);
	else if (piece->kind == PIECE_ZERO)
		rc = write_zero(run->copy, piece->start, piece->len, &err);
	if (rc < 0) {
		fail(run, rc, "writing", piece->start, &err);
		return false;
	}
	pass_turn(run, piece);
	return true;
}

static void *work(void *context)
{
	_cleanup_free_ uint8_t *buf = aligned_alloc(BUFFER_ALIGNMENT, CHUNK);
	struct run *run = context;
	struct piece piece;

	if (buf == NULL) {
		fail(run, -ENOMEM, "reading", 0, NULL);
		return NULL;
	}
	while (take(run, &piece) && do_piece(run, &piece, buf))
		;
	return NULL;
}

int copy_run(const struct copy *copy, struct error *err)
{
	struct run run = { .copy = copy,
			   .granularity = find_granularity(copy) };
	pthread_t threads[COPY_WORKERS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < copy->n_sources; i++)
		run.total += image_size(copy->sources[i]);
	pthread_mutex_init(&run.lock, NULL);
	pthread_cond_init(&run.turned, NULL);
	progress_begin(&run.progress, copy->shows_progress);
	/* This thread is one of them, so there is always one. */
	while (n + 1 < copy->n_workers &&
	       pthread_create(&threads[n], NULL, work, &run) == 0)
		n++;
	work(&run);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	progress_end(&run.progress, run.result == 0);
	pthread_cond_destroy(&run.turned);
	pthread_mutex_destroy(&run.lock);
	if (run.result < 0 && err != NULL)
		*err = run.error;
	return run.result;
}
