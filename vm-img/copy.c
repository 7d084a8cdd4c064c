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
 * A piece is zero by the map, or data; data is searched for zeroes, block by
 * block. A block is a cluster of the target, as less than that saves nothing,
 * and all borders lie between blocks.
 *
 * The lock guards everything but the I/O. The first error stops all.
 */
#include "vm-img/copy.h"

#include "lib/base/cleanup.h"
#include "lib/image/image.h"
#include "vm-img/progress.h"
#include "vm-img/rate.h"
#include "vm-img/report.h"
#include "vm-img/standard.h"
#include "vm-img/workers.h"
#include "vm-img/zero.h"

#include <pthread.h>
#include <string.h>

enum {
	CHUNK = 2 * 1024 * 1024,       /* the most that is read at a time */
	CHUNK_COMPRESSED = 256 * 1024, /* the same, to stay in cache */
	PAGE = 4096,		       /* no file system has smaller holes */
	SECTOR = 512,
};

struct piece {
	uint64_t start, len; /* of the target */
	uint64_t ready_ns;   /* not to be written before */
	enum {
		PIECE_DATA,
		PIECE_ZERO,
		PIECE_BACKING, /* not to be touched */
	} kind;
};

struct run {
	const struct copy *copy;
	uint64_t total, block_len, chunk_len;

	/* Who is fed; taken before the other one. */
	pthread_mutex_t feed_lock;
	bool is_feed_over;

	pthread_mutex_t lock;
	pthread_cond_t turned;
	unsigned source;       /* that cursor is in */
	uint64_t source_start; /* its first byte */
	uint64_t cursor, turn;
	int result;
	struct error error;
	struct progress progress;
	struct rate rate;
};

static uint64_t find_block_len(const struct copy *copy)
{
	uint64_t least = image_cluster_size(copy->target), result = SECTOR;
	uint64_t sparse = copy->min_sparse < PAGE ? copy->min_sparse : PAGE;

	if (copy->is_compressed)
		return least;
	if (least < sparse)
		least = sparse;
	while (result * 2 <= least && result < CHUNK)
		result *= 2;
	return result;
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
 * Data grows to the next border between blocks, and so does what is not data
 * but shorter than a block. end is the source's.
 */
static void fit(const struct run *run, struct piece *piece, uint64_t end)
{
	uint64_t mask = run->block_len - 1;
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
	up = (piece->start + run->chunk_len) & ~(run->chunk_len - 1);
	if (piece->start + piece->len > up)
		piece->len = up - piece->start;
}

/* A map that cannot be read: block by block, whatever is there. */
static int salvage_map(const struct run *run, uint64_t offset, uint64_t left,
		       struct image_extent *extent, const struct error *err,
		       int rc)
{
	if (!run->copy->is_salvaged)
		return rc;
	if (!run->copy->is_quiet)
		report_warning("error while reading block status at offset "
			       "%llu: %s",
			       (unsigned long long)offset, error_text(err, rc));
	*extent = (struct image_extent){
		.kind = IMAGE_EXTENT_DATA,
		.len = left < run->block_len ? left : run->block_len,
	};
	return 0;
}

/* With the lock held. */
static int look_up(struct run *run, struct piece *piece, struct error *err)
{
	const struct copy *copy = run->copy;
	unsigned flags = copy->has_backing ? 0 : IMAGE_MAP_CHAIN;
	struct image_extent extent;
	uint64_t size, offset;
	int rc;

	for (;;) {
		size = image_size(copy->sources[run->source]);
		if (run->cursor - run->source_start < size)
			break;
		run->source_start += size;
		run->source++;
	}
	piece->start = run->cursor;
	offset = run->cursor - run->source_start;
	rc = image_map(copy->sources[run->source], offset, size - offset, flags,
		       &extent, err);
	if (rc < 0)
		rc = salvage_map(run, offset, size - offset, &extent, err, rc);
	if (rc < 0)
		return rc;
	piece->kind = kind_of(run, &extent);
	piece->len = extent.len;
	if (piece->kind == PIECE_BACKING &&
	    piece->len > copy->backing_size - run->cursor)
		piece->len = copy->backing_size - run->cursor;
	/* A compressed cluster may hold the end of one source and the
	 * beginning of the next. */
	fit(run, piece,
	    copy->is_compressed ? run->total : run->source_start + size);
	piece->ready_ns = piece->kind == PIECE_DATA
				  ? rate_take(&run->rate, piece->len)
				  : 0;
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

/*
 * The target's size follows what was fed: by doubling, and to the exact size
 * at the end. Nobody writes meanwhile. With the lock held.
 */
static int follow(struct run *run, uint64_t end, struct error *err)
{
	const struct image_resize_options options = { .may_shrink = true };
	struct image *target = run->copy->target;
	uint64_t size = image_size(target);

	while (run->result == 0 && run->turn != run->cursor)
		pthread_cond_wait(&run->turned, &run->lock);
	if (run->result < 0)
		return -ECANCELED;
	while (size < end && size < INT64_MAX / 2)
		size *= 2;
	if (run->is_feed_over)
		size = end;
	return size == image_size(target)
		       ? 0
		       : image_resize(target, size, &options, err);
}

/* What comes from standard input, as data in buf. */
static int feed(struct run *run, struct piece *piece, uint8_t *buf,
		struct error *err)
{
	bool is_raw = image_cluster_size(run->copy->target) == 1;
	size_t got;
	int rc = standard_read(buf, run->chunk_len, &got, err);

	piece->start = run->cursor;
	if (rc < 0)
		return rc;
	run->is_feed_over = got < run->chunk_len;
	/* Other formats' disks are made of sectors. */
	while (!is_raw && got % SECTOR != 0)
		buf[got++] = 0;
	piece->kind = PIECE_DATA;
	piece->len = got;
	pthread_mutex_lock(&run->lock);
	piece->ready_ns = rate_take(&run->rate, got);
	if (run->is_feed_over ||
	    run->cursor + got > image_size(run->copy->target))
		rc = follow(run, run->cursor + got, err);
	if (rc == 0)
		run->cursor += got;
	pthread_mutex_unlock(&run->lock);
	return rc;
}

static bool take_fed(struct run *run, struct piece *piece, uint8_t *buf)
{
	struct error err = ERROR_INIT;
	int rc = 0;
	bool is_taken;

	pthread_mutex_lock(&run->feed_lock);
	is_taken = !run->is_feed_over;
	if (is_taken)
		rc = feed(run, piece, buf, &err);
	if (rc < 0)
		run->is_feed_over = true;
	pthread_mutex_unlock(&run->feed_lock);
	if (rc < 0)
		fail(run, rc, "reading", piece->start, &err);
	return is_taken && rc == 0;
}

/* Wait until all before this piece is written. False: an error came. */
static bool await_turn(struct run *run, const struct piece *piece)
{
	bool is_good;

	pthread_mutex_lock(&run->lock);
	while (!run->copy->is_unordered && !run->copy->is_compressed &&
	       run->result == 0 && run->turn != piece->start)
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
	return image_write_zeroes(
		copy->target, at, len,
		copy->is_target_old ? IMAGE_ZERO_MAY_UNMAP | IMAGE_ZERO_EXPLICIT
				    : IMAGE_ZERO_MAY_UNMAP,
		err);
}

/* How much of buf is zero blocks, or is not. */
static size_t run_len(const struct run *run, const uint8_t *buf, size_t len,
		      bool wants_zero)
{
	size_t end = 0;

	while (end < len) {
		size_t n = len - end;

		if (n > run->block_len)
			n = (size_t)run->block_len;
		if (is_zero(buf + end, n) != wants_zero)
			break;
		end += n;
	}
	return end;
}

/*
 * A hole is found after so much data. Zeroes that are too few for one are
 * data, unless they are all there is: nobody knows how they go on.
 */
static size_t find_hole(const struct run *run, const uint8_t *buf, size_t len,
			size_t *hole_len)
{
	size_t at = 0, n;

	*hole_len = 0;
	if (run->copy->min_sparse == 0)
		return len;
	while (at < len) {
		at += run_len(run, buf + at, len - at, false);
		n = run_len(run, buf + at, len - at, true);
		if (n > 0 && (n >= run->copy->min_sparse || n == len)) {
			*hole_len = n;
			return at;
		}
		at += n;
	}
	return len;
}

static int write_data(const struct run *run, const struct piece *piece,
		      const uint8_t *buf, struct error *err)
{
	size_t len = (size_t)piece->len, done = 0;

	while (done < len) {
		size_t hole_len;
		size_t n = find_hole(run, buf + done, len - done, &hole_len);
		int rc = image_write(run->copy->target, piece->start + done,
				     buf + done, n, err);

		done += n;
		if (rc == 0 && hole_len > 0)
			rc = write_zero(run->copy, piece->start + done,
					hole_len, err);
		if (rc < 0)
			return rc;
		done += hole_len;
	}
	return 0;
}

/* Clusters that are zero altogether are holes; others are compressed. */
static int write_compressed(const struct run *run, const struct piece *piece,
			    const uint8_t *buf, struct error *err)
{
	const struct copy *copy = run->copy;
	size_t len = (size_t)piece->len, done = 0;

	while (done < len) {
		size_t n = len - done;
		int rc;

		if (n > run->block_len)
			n = (size_t)run->block_len;
		if (copy->min_sparse > 0 && is_zero(buf + done, n))
			rc = write_zero(copy, piece->start + done, n, err);
		else
			rc = image_write_compressed(copy->target,
						    piece->start + done,
						    buf + done, n, err);
		if (rc < 0)
			return rc;
		done += n;
	}
	return 0;
}

/* Sector by sector: as much as can be had. */
static void salvage(const struct run *run, struct image *source,
		    uint64_t offset, uint8_t *buf, size_t len)
{
	struct error err;

	for (size_t at = 0; at < len; at += SECTOR) {
		size_t n = len - at < SECTOR ? len - at : SECTOR;
		int rc;

		err = (struct error)ERROR_INIT;
		rc = image_read(source, offset + at, buf + at, n, &err);
		if (rc == 0)
			continue;
		memset(buf + at, 0, n);
		if (!run->copy->is_quiet)
			report_warning("error while reading offset %llu: %s",
				       (unsigned long long)offset + at,
				       error_text(&err, rc));
	}
}

/* From as many sources as the piece lies in. */
static int read_data(const struct run *run, const struct piece *piece,
		     uint8_t *buf, struct error *err)
{
	const struct copy *copy = run->copy;
	uint64_t begin = 0, at = piece->start, end = piece->start + piece->len;

	for (unsigned i = 0; i < copy->n_sources && at < end; i++) {
		uint64_t size = image_size(copy->sources[i]);
		size_t n = (size_t)(end - at);
		int rc;

		if (at < begin + size) {
			if (n > begin + size - at)
				n = (size_t)(begin + size - at);
			rc = image_read(copy->sources[i], at - begin, buf, n,
					err);
			if (rc < 0 && !copy->is_salvaged)
				return rc;
			if (rc < 0)
				salvage(run, copy->sources[i], at - begin, buf,
					n);
			at += n;
			buf += n;
		}
		begin += size;
	}
	return 0;
}

static int write_piece(const struct run *run, const struct piece *piece,
		       const uint8_t *buf, struct error *err)
{
	switch (piece->kind) {
	case PIECE_DATA:
		if (run->copy->is_compressed)
			return write_compressed(run, piece, buf, err);
		return write_data(run, piece, buf, err);
	case PIECE_ZERO:
		return write_zero(run->copy, piece->start, piece->len, err);
	case PIECE_BACKING:
		break;
	}
	return 0;
}

static bool do_piece(struct run *run, const struct piece *piece, uint8_t *buf)
{
	struct error err = ERROR_INIT;
	int rc = 0;

	if (piece->kind == PIECE_DATA && !run->copy->is_fed)
		rc = read_data(run, piece, buf, &err);
	if (rc < 0) {
		fail(run, rc, "reading", piece->start, &err);
		return false;
	}
	if (!await_turn(run, piece))
		return false;
	rate_sleep(piece->ready_ns);
	rc = write_piece(run, piece, buf, &err);
	if (rc < 0) {
		fail(run, rc, "writing", piece->start, &err);
		return false;
	}
	pass_turn(run, piece);
	return true;
}

static void *work(void *context)
{
	struct run *run = context;
	_cleanup_free_ uint8_t *buf = aligned_alloc(PAGE, run->chunk_len);
	struct piece piece;

	if (buf == NULL) {
		fail(run, -ENOMEM, "reading", 0, NULL);
		return NULL;
	}
	while ((run->copy->is_fed ? take_fed(run, &piece, buf)
				  : take(run, &piece)) &&
	       do_piece(run, &piece, buf))
		;
	return NULL;
}

int copy_run(const struct copy *copy, struct error *err)
{
	struct run run = { .copy = copy,
			   .block_len = find_block_len(copy),
			   .chunk_len = CHUNK,
			   .rate = { .limit = copy->rate_limit } };

	if (copy->is_compressed)
		run.chunk_len = run.block_len > CHUNK_COMPRESSED
					? run.block_len
					: CHUNK_COMPRESSED;
	for (unsigned i = 0; i < copy->n_sources; i++)
		run.total += image_size(copy->sources[i]);
	pthread_mutex_init(&run.lock, NULL);
	pthread_mutex_init(&run.feed_lock, NULL);
	pthread_cond_init(&run.turned, NULL);
	progress_begin(&run.progress, copy->shows_progress);
	workers_run(copy->n_workers, work, &run);
	progress_end(&run.progress, run.result == 0);
	pthread_cond_destroy(&run.turned);
	pthread_mutex_destroy(&run.feed_lock);
	pthread_mutex_destroy(&run.lock);
	if (run.result < 0 && err != NULL)
		*err = run.error;
	return run.result;
}
