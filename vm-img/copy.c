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
#include "vm-img/copy_internal.h"

#include "lib/base/cleanup.h"
#include "lib/image/image.h"
#include "vm-img/workers.h"

#include <errno.h>
#include <stdlib.h>

enum {
	CHUNK = 2 * 1024 * 1024,       /* the most that is read at a time */
	CHUNK_COMPRESSED = 256 * 1024, /* the same, to stay in cache */
};

static uint64_t find_block_len(const struct copy *copy)
{
	uint64_t least = image_cluster_size(copy->target), result = COPY_SECTOR;
	uint64_t sparse =
		copy->min_sparse < COPY_PAGE ? copy->min_sparse : COPY_PAGE;

	if (copy->is_compressed)
		return least;
	if (least < sparse)
		least = sparse;
	while (result * 2 <= least && result < CHUNK)
		result *= 2;
	return result;
}

static void fail(struct copy_run *run, int rc, const char *doing, uint64_t at,
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

static bool take(struct copy_run *run, struct copy_piece *piece)
{
	struct error err = ERROR_INIT;
	int rc = 0;
	bool is_taken;

	pthread_mutex_lock(&run->lock);
	is_taken = run->result == 0 && run->cursor < run->total;
	if (is_taken)
		rc = copy_look_up(run, piece, &err);
	if (is_taken && rc == 0)
		run->cursor += piece->len;
	pthread_mutex_unlock(&run->lock);
	if (rc < 0)
		fail(run, rc, "reading block status", piece->start, &err);
	return is_taken && rc == 0;
}

static bool take_fed(struct copy_run *run, struct copy_piece *piece,
		     uint8_t *buf)
{
	struct error err = ERROR_INIT;
	int rc = 0;
	bool is_taken;

	pthread_mutex_lock(&run->feed_lock);
	is_taken = !run->is_feed_over;
	if (is_taken)
		rc = copy_feed(run, piece, buf, &err);
	if (rc < 0)
		run->is_feed_over = true;
	pthread_mutex_unlock(&run->feed_lock);
	if (rc < 0)
		fail(run, rc, "reading", piece->start, &err);
	return is_taken && rc == 0;
}

/* Wait until all before this piece is written. False: an error came. */
static bool await_turn(struct copy_run *run, const struct copy_piece *piece)
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

static void pass_turn(struct copy_run *run, const struct copy_piece *piece)
{
	pthread_mutex_lock(&run->lock);
	run->turn += piece->len;
	progress_show(&run->progress, run->turn, run->total);
	pthread_cond_broadcast(&run->turned);
	pthread_mutex_unlock(&run->lock);
}

static bool do_piece(struct copy_run *run, const struct copy_piece *piece,
		     uint8_t *buf)
{
	struct error err = ERROR_INIT;
	int rc = 0;

	if (piece->kind == COPY_DATA && !run->copy->is_fed)
		rc = copy_read(run, piece, buf, &err);
	if (rc < 0) {
		fail(run, rc, "reading", piece->start, &err);
		return false;
	}
	if (!await_turn(run, piece))
		return false;
	rate_sleep(piece->ready_ns);
	rc = copy_write(run, piece, buf, &err);
	if (rc < 0) {
		fail(run, rc, "writing", piece->start, &err);
		return false;
	}
	pass_turn(run, piece);
	return true;
}

static void *work(void *context)
{
	struct copy_run *run = context;
	_cleanup_free_ uint8_t *buf = aligned_alloc(COPY_PAGE, run->chunk_len);
	struct copy_piece piece;

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
	struct copy_run run = { .copy = copy,
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
