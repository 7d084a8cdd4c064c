/* SPDX-License-Identifier: ISC */
/* A piece's data: read from the sources, searched for zeroes, written. */
#include "vm-img/copy_internal.h"

#include "lib/base/zero.h"
#include "lib/image/image.h"
#include "vm-img/salvage.h"

#include <errno.h>
#include <string.h>

struct turn {
	struct copy_run *run;
	uint64_t start;
	struct copy_batch *batch; /* to be written; of a read: none */
};

static int await_turn(void *context)
{
	struct turn *turn = context;
	struct copy_run *run = turn->run;
	bool is_good;

	pthread_mutex_lock(&run->lock);
	if (run->copy->is_unordered)
		is_good = !run->turns.is_over;
	else
		is_good = turns_await(&run->turns, turn->start, &run->lock);
	pthread_mutex_unlock(&run->lock);
	return is_good ? 0 : -ECANCELED;
}

static void pass_turn(void *context)
{
	struct turn *turn = context;
	struct copy_batch *batch = turn->batch;
	const struct copy_piece *last = &batch->pieces[batch->n - 1];

	pthread_mutex_lock(&turn->run->lock);
	turns_pass(&turn->run->turns, last->start + last->len - turn->start);
	pthread_mutex_unlock(&turn->run->lock);
	batch->has_passed = true;
}

static int read_or_salvage(struct turn *turn, struct image *source,
			   uint64_t offset, uint8_t *buf, size_t len,
			   struct error *err)
{
	int rc = image_read(source, offset, buf, len, err);

	if (rc == 0 || !turn->run->copy->is_salvaged)
		return rc;
	rc = await_turn(turn);
	if (rc == 0)
		salvage_read(source, offset, buf, len,
			     turn->run->copy->is_quiet);
	return rc;
}

/* From as many sources as the piece lies in. */
static int read_sources(struct turn *turn, const struct copy_piece *piece,
			uint8_t *buf, struct error *err)
{
	const struct copy *copy = turn->run->copy;
	uint64_t begin = 0, at = piece->start, end = piece->start + piece->len;

	for (unsigned i = 0; i < copy->n_sources && at < end; i++) {
		uint64_t size = image_size(copy->sources[i]);
		size_t n = (size_t)(end - at);
		int rc;

		if (at < begin + size) {
			if (n > begin + size - at)
				n = (size_t)(begin + size - at);
			rc = read_or_salvage(turn, copy->sources[i], at - begin,
					     buf, n, err);
			if (rc < 0)
				return rc;
			at += n;
			buf += n;
		}
		begin += size;
	}
	return 0;
}

int copy_read(struct copy_run *run, uint64_t turn_start,
	      const struct copy_piece *piece, uint8_t *buf, struct error *err)
{
	struct turn turn = { .run = run, .start = turn_start };
	int rc = piece->map_rc < 0 ? await_turn(&turn) : 0;

	if (rc < 0)
		return rc;
	copy_tell_map(run, piece);
	return read_sources(&turn, piece, buf, err);
}

static bool is_zero_already(const struct copy *copy, uint64_t at)
{
	bool is_above = copy->has_backing && at < copy->backing_size;

	return copy->is_target_zero && !is_above;
}

static int write_zero(const struct copy *copy, uint64_t at, uint64_t len,
		      struct error *err)
{
	if (is_zero_already(copy, at))
		return 0;
	return image_write_zeroes(copy->target, at, len,
				  copy->is_target_old ? IMAGE_ZERO_MAY_UNMAP |
								IMAGE_ZERO_MARK
						      : IMAGE_ZERO_MAY_UNMAP,
				  err);
}

/* How much of buf is zero blocks, or is not. */
static size_t run_len(const struct copy_run *run, const uint8_t *buf,
		      size_t len, bool wants_zero)
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

/* What holes begin and end at multiples of: the shortest one's length, or the
 * power of two below. */
static uint64_t hole_unit(const struct copy *copy)
{
	uint64_t unit = COPY_SECTOR;

	while (unit * 2 <= copy->min_sparse)
		unit *= 2;
	return unit;
}

/*
 * A hole is found after so much data. start is where in the target it begins.
 * Data goes on to the end of a hole's unit. Zeroes that are too few are data,
 * unless they are all there is: nobody knows how they go on.
 */
static size_t find_hole(const struct copy_run *run, uint64_t start,
			const uint8_t *buf, size_t len, size_t *hole_len)
{
	uint64_t mask = hole_unit(run->copy) - 1, down;
	size_t at = 0, end;

	*hole_len = 0;
	if (run->copy->min_sparse == 0)
		return len;
	while (at < len) {
		at += run_len(run, buf + at, len - at, false);
		if (at > 0)
			at = (size_t)(((start + at + mask) & ~mask) - start);
		if (at >= len)
			break;
		end = at + run_len(run, buf + at, len - at, true);
		/* Not before start, which need not be such a multiple. */
		down = (start + end) & ~mask;
		if (end < len)
			end = down > start + at ? (size_t)(down - start) : at;
		if (end > at &&
		    (end - at >= run->copy->min_sparse || end == len)) {
			*hole_len = end - at;
			return at;
		}
		at = end > at ? end
			      : (size_t)(((start + at) | mask) + 1 - start);
	}
	return len;
}

/* last: the batch ends with it; or NULL. */
static int write_data(const struct copy_run *run,
		      const struct copy_piece *piece, const uint8_t *buf,
		      const struct image_turn *last, struct error *err)
{
	size_t len = (size_t)piece->len, done = 0;

	while (done < len) {
		size_t hole_len;
		size_t n = find_hole(run, piece->start + done, buf + done,
				     len - done, &hole_len);
		uint64_t at = piece->start + done;
		bool is_last =
			done + n + hole_len == len &&
			(hole_len == 0 || is_zero_already(run->copy, at + n));
		int rc = image_write_in_turn(run->copy->target, at, buf + done,
					     n, is_last ? last : NULL, err);

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

static int write_piece(struct copy_run *run, const struct copy_piece *piece,
		       const uint8_t *buf, const struct image_turn *last,
		       struct error *err)
{
	switch (piece->kind) {
	case COPY_DATA:
		return write_data(run, piece, buf, last, err);
	case COPY_ZERO:
		return write_zero(run->copy, piece->start, piece->len, err);
	case COPY_BACKING:
		break;
	}
	return 0;
}

/* Not what the sources fill in part, of a larger disk. */
static bool is_whole(const struct copy *copy, const struct copy_piece *piece)
{
	return piece->len == image_cluster_size(copy->target) ||
	       piece->start + piece->len == image_size(copy->target);
}

/* A cluster that is zero altogether is a hole; others are compressed. */
static bool is_to_compress(const struct copy *copy,
			   const struct copy_piece *piece, const uint8_t *buf)
{
	return copy->is_compressed && piece->kind == COPY_DATA &&
	       is_whole(copy, piece) &&
	       (copy->min_sparse == 0 || !is_zero(buf, (size_t)piece->len));
}

int copy_write(struct copy_run *run, struct copy_batch *batch, unsigned i,
	       const uint8_t *buf, struct error *err)
{
	const struct copy_piece *piece = &batch->pieces[i];
	struct turn turn = { run, batch->pieces[0].start, batch };
	const struct image_turn hooks = { await_turn, pass_turn, &turn };
	bool is_last = run->is_passed_early && i + 1 == batch->n;
	int rc;

	/* Such a piece is a batch of its own. */
	if (is_to_compress(run->copy, piece, buf))
		return image_write_compressed(run->copy->target, piece->start,
					      buf, (size_t)piece->len, &hooks,
					      err);
	rc = i == 0 ? await_turn(&turn) : 0;
	return rc < 0 ? rc
		      : write_piece(run, piece, buf, is_last ? &hooks : NULL,
				    err);
}
