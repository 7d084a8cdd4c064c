/* SPDX-License-Identifier: ISC */
/*
 * The disk is cut into pieces at the borders of what the sources' maps say.
 * Workers take as many pieces as one buffer holds the data of, a batch, and
 * read them. One at a time writes, in the order of the disk, so that the
 * target's clusters lie in that order, too:
 *
 *	         turn: what is written
 *	|........|wwww|read|read|rrrr|-------------|
 *	                             cursor: what is to be taken next
 *
 * Who writes goes on with what others have read meanwhile, and these read on,
 * some batches ahead: to pass the pen to a thread that sleeps takes longer
 * than to write half a megabyte to memory. Where it is the writes that are
 * waited for, each worker writes what it has read, one run of data, and the
 * turn passes on when that has its place in the target.
 *
 * A piece is zero by the map, or data; data is searched for zeroes, block by
 * block. A block is a cluster of the target, as less than that saves nothing,
 * and all borders lie between blocks.
 *
 * The lock guards everything but the I/O. An error stops all; of several, what
 * is nearest to the disk's begin is told, whoever was faster.
 */
#include "vm-img/copy_internal.h"

#include "lib/image/image.h"
#include "vm-img/report.h"

#include <errno.h>

enum {
	BLOCK_MAX = 2 * 1024 * 1024,
	HOLE_BLOCK_MAX = 64 * 1024,
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
	while (result * 2 <= least && result < BLOCK_MAX)
		result *= 2;
	return result;
}

/*
 * Is it writing, one at a time, that takes the time? Then who writes passes its
 * turn on as early as the format can. Who is fed makes the target grow in
 * between, when nobody may write.
 */
static bool is_waited_for(const struct copy *copy)
{
	return image_is_uncached(copy->target) && !copy->is_unordered;
}

static bool is_passed_early(const struct copy *copy)
{
	return is_waited_for(copy) && !copy->is_compressed && !copy->is_fed &&
	       image_passes_turns(copy->target);
}

static bool is_source_uncached(const struct copy *copy)
{
	for (unsigned i = 0; i < copy->n_sources; i++)
		if (image_is_uncached(copy->sources[i]))
			return true;
	return false;
}

static uint64_t find_chunk_len(const struct copy *copy, uint64_t block_len)
{
	uint64_t result = 0;

	if (copy->is_compressed)
		return block_len;
	/* Otherwise it takes at once what it is given. */
	if (copy->is_fed || image_is_uncached(copy->target))
		result = image_transfer_len(copy->target);
	/* In order each write is waited for before the next. Zeroes are counted
	 * within a chunk. */
	if ((is_waited_for(copy) && !is_passed_early(copy)) ||
	    copy->min_sparse > COPY_PAGE)
		result = BLOCK_MAX;
	for (unsigned i = 0; i < copy->n_sources; i++) {
		uint64_t len = image_transfer_len(copy->sources[i]);

		if (result < len)
			result = len;
	}
	/* A worker waits twice for each of its chunks. */
	if (result < BLOCK_MAX && image_is_uncached(copy->target) &&
	    is_source_uncached(copy))
		result *= 2;
	return result < block_len ? block_len : result;
}

/*
 * In a large cluster where nothing shows through from below, the host's file
 * may have holes too: a VHDX image's clusters have many megabytes.
 */
static void find_lengths(struct copy_run *run)
{
	const struct copy *copy = run->copy;

	run->is_passed_early = is_passed_early(copy);
	run->block_len = find_block_len(copy);
	run->chunk_len = find_chunk_len(copy, run->block_len);
	if (!copy->is_compressed && !copy->has_backing &&
	    run->block_len > HOLE_BLOCK_MAX)
		run->block_len = HOLE_BLOCK_MAX;
}

/* doing: "reading at byte". -ECANCELED is of who waited when that came. */
static void fail(struct copy_run *run, int rc, const char *doing, uint64_t at,
		 const struct error *err)
{
	pthread_mutex_lock(&run->lock);
	if (run->result == 0 || (at < run->failed_at && rc != -ECANCELED)) {
		run->result =
			error_set(&run->error, rc, "error while %s %llu: %s",
				  doing, (unsigned long long)at,
				  report_reason(err, rc));
		run->failed_at = at;
	}
	turns_end(&run->turns);
	copy_batches_end(run);
	pthread_mutex_unlock(&run->lock);
}

static void count(struct copy_run *run)
{
	struct error err = ERROR_INIT;
	int rc = copy_count(run, &err);

	if (rc < 0)
		fail(run, rc, "reading block status at offset", run->cursor,
		     &err);
}

/* With the lock held: pieces in a row, as many as there is room for. One that
 * is compressed before its turn is alone. */
static int fill(struct copy_run *run, struct copy_batch *batch,
		struct error *err)
{
	unsigned max = run->copy->is_compressed ? 1 : COPY_PIECES_MAX;
	struct copy_piece *next = &run->next;
	uint64_t data_len = 0;

	while (batch->n < max && run->cursor < run->total) {
		int rc = run->has_next ? 0 : copy_look_up(run, next, err);

		if (rc < 0)
			return rc;
		run->has_next = true;
		if (next->kind == COPY_DATA &&
		    next->len > run->chunk_len - data_len)
			break;
		next->ready_ns = 0;
		if (next->kind == COPY_DATA) {
			data_len += next->len;
			next->ready_ns = rate_take(&run->rate, next->len);
		}
		batch->pieces[batch->n++] = *next;
		run->cursor += next->len;
		run->has_next = false;
		if (run->is_passed_early && next->kind == COPY_DATA)
			break;
	}
	return 0;
}

static struct copy_batch *get_batch(struct copy_run *run)
{
	struct copy_batch *batch = NULL;
	int rc;

	pthread_mutex_lock(&run->lock);
	rc = copy_batches_get(run, &batch);
	pthread_mutex_unlock(&run->lock);
	if (rc < 0)
		fail(run, rc, "reading at byte", 0, NULL);
	return batch;
}

static int read_pieces(struct copy_run *run, const struct copy_batch *batch,
		       struct error *err)
{
	struct crew_time since = crew_time();
	uint64_t len = 0;

	for (unsigned i = 0; i < batch->n; i++) {
		const struct copy_piece *piece = &batch->pieces[i];
		int rc;

		if (piece->kind != COPY_DATA)
			continue;
		rc = copy_read(run, batch->pieces[0].start, piece,
			       batch->buf + len, err);
		if (rc < 0) {
			fail(run, rc, "reading at byte", piece->start, err);
			return rc;
		}
		len += piece->len;
	}
	crew_report(&run->crew, since, len);
	return 0;
}

static int take_and_read(struct copy_run *run, struct copy_batch *batch,
			 struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&run->lock);
	if (run->result == 0)
		rc = fill(run, batch, err);
	pthread_mutex_unlock(&run->lock);
	if (rc < 0)
		fail(run, rc, "reading block status at offset", run->cursor,
		     err);
	return rc < 0 ? rc : read_pieces(run, batch, err);
}

static int take_fed(struct copy_run *run, struct copy_batch *batch,
		    struct error *err)
{
	int rc = 0;

	pthread_mutex_lock(&run->feed_lock);
	if (!run->is_feed_over) {
		rc = copy_feed(run, &batch->pieces[0], batch->buf, err);
		batch->n = 1;
	}
	if (rc < 0)
		run->is_feed_over = true;
	pthread_mutex_unlock(&run->feed_lock);
	if (rc < 0)
		fail(run, rc, "reading at byte", batch->pieces[0].start, err);
	return rc;
}

/* NULL: there is no more, or it is over. */
static struct copy_batch *read_batch(struct copy_run *run)
{
	struct copy_batch *batch = get_batch(run);
	struct error err = ERROR_INIT;
	int rc;

	if (batch == NULL)
		return NULL;
	if (run->copy->is_fed)
		rc = take_fed(run, batch, &err);
	else
		rc = take_and_read(run, batch, &err);
	if (rc == 0 && batch->n > 0)
		return batch;
	pthread_mutex_lock(&run->lock);
	copy_batches_put(run, batch);
	copy_batches_end(run);
	pthread_mutex_unlock(&run->lock);
	return NULL;
}

static bool write_pieces(struct copy_run *run, struct copy_batch *batch)
{
	struct error err = ERROR_INIT;
	const uint8_t *buf = batch->buf;

	for (unsigned i = 0; i < batch->n; i++) {
		const struct copy_piece *piece = &batch->pieces[i];
		int rc;

		rate_sleep(piece->ready_ns);
		rc = copy_write(run, batch, i, buf, &err);
		if (rc < 0) {
			fail(run, rc, "writing at byte", piece->start, &err);
			return false;
		}
		if (piece->kind == COPY_DATA)
			buf += piece->len;
	}
	return true;
}

/* With the lock held. How much of it is data is counted only for who looks on
 * all the time. */
static void show_progress(struct copy_run *run, const struct copy_batch *batch)
{
	if (!run->copy->progress->is_shown) {
		progress_show(run->copy->progress, run->turns.now, run->total);
		return;
	}
	for (unsigned i = 0; i < batch->n; i++) {
		const struct copy_piece *piece = &batch->pieces[i];

		if (piece->kind == COPY_DATA)
			run->n_done += piece->len;
		if (piece->is_step && run->n_data > 0)
			progress_show(run->copy->progress, run->n_done,
				      run->n_data);
	}
}

/* With the lock held, but for the writing. */
static bool write_batch(struct copy_run *run, struct copy_batch *batch)
{
	const struct copy_piece *last = &batch->pieces[batch->n - 1];
	bool is_good;

	pthread_mutex_unlock(&run->lock);
	is_good = write_pieces(run, batch);
	pthread_mutex_lock(&run->lock);
	if (is_good && !batch->has_passed)
		turns_pass(&run->turns,
			   last->start + last->len - batch->pieces[0].start);
	if (is_good)
		show_progress(run, batch);
	copy_batches_put(run, batch);
	return is_good;
}

/* By this thread and what follows, too, unless another one is at it. With the
 * lock held. */
static bool write_in_order(struct copy_run *run, struct copy_batch *batch)
{
	bool is_good = true;

	batch->state = COPY_BATCH_READ;
	if (run->is_writing)
		return true;
	run->is_writing = true;
	while (is_good && (batch = copy_batches_next(run)) != NULL)
		is_good = write_batch(run, batch);
	run->is_writing = false;
	return is_good;
}

static void *work(void *context)
{
	struct copy_run *run = context;
	/* Who compresses does so before its turn, who passes it early writes
	 * after it. */
	bool is_alone = run->copy->is_compressed || run->copy->is_unordered ||
			run->is_passed_early;
	struct copy_batch *batch;
	bool is_good = true;

	while (is_good && (batch = read_batch(run)) != NULL) {
		pthread_mutex_lock(&run->lock);
		is_good = is_alone ? write_batch(run, batch)
				   : write_in_order(run, batch);
		pthread_mutex_unlock(&run->lock);
	}
	return NULL;
}

/* At first, and for good if the sources are read from memory and written in
 * order: one reads while another writes, and more would only wait. Compressing,
 * reading that waits, and writing that does without order, pay in any case. */
static unsigned first_workers(const struct copy_run *run)
{
	const struct copy *copy = run->copy;
	unsigned n = workers_processors(2);

	if (copy->is_compressed || copy->is_unordered || run->is_passed_early ||
	    is_source_uncached(copy) || n > copy->n_workers)
		n = copy->n_workers;
	return n;
}

int copy_run(const struct copy *copy, struct error *err)
{
	struct copy_run run = { .copy = copy,
				.rate = { .limit = copy->rate_limit } };

	find_lengths(&run);
	for (unsigned i = 0; i < copy->n_sources; i++)
		run.total += image_size(copy->sources[i]);
	pthread_mutex_init(&run.lock, NULL);
	pthread_mutex_init(&run.feed_lock, NULL);
	pthread_cond_init(&run.freed, NULL);
	if ((copy->progress->is_shown || copy->is_salvaged) && !copy->is_fed)
		count(&run);
	crew_run(&run.crew, first_workers(&run), copy->n_workers, work, &run);
	copy_batches_free(&run);
	pthread_cond_destroy(&run.freed);
	pthread_mutex_destroy(&run.feed_lock);
	pthread_mutex_destroy(&run.lock);
	if (run.result < 0 && err != NULL)
		*err = run.error;
	return run.result;
}
