/* SPDX-License-Identifier: ISC */
/* Inside of convert's engine (copy.c): a run, and the pieces that it is cut
 * into. */
#ifndef VM_IMG_COPY_INTERNAL_H
#define VM_IMG_COPY_INTERNAL_H

#include "lib/image/image.h"
#include "vm-img/copy.h"
#include "vm-img/progress.h"
#include "vm-img/rate.h"
#include "vm-img/turns.h"
#include "vm-img/workers.h"

#include <pthread.h>
#include <stddef.h>

enum {
	COPY_SECTOR = 512,
	COPY_PAGE = 4096, /* no file system has smaller holes */
	COPY_PIECES_MAX = 64,
};

struct copy_piece {
	uint64_t start, len; /* of the target */
	uint64_t ready_ns;   /* not to be written before */
	enum {
		COPY_DATA,
		COPY_ZERO,
		COPY_BACKING, /* not to be touched */
	} kind;
	bool is_step; /* of the data: time to show how far it is */
	/* Why nobody knows what is there, if that is to be told; and where in
	 * the source that is. */
	int map_rc;
	uint64_t source_offset;
};

/* What one worker takes at a time; its data lies in buf end to end. */
struct copy_batch {
	struct copy_piece pieces[COPY_PIECES_MAX];
	unsigned n;
	uint8_t *buf;	 /* a chunk */
	bool has_passed; /* the turn, before it was written */
	enum {
		COPY_BATCH_FREE,
		COPY_BATCH_TAKEN,
		COPY_BATCH_READ, /* to be written when its turn comes */
	} state;
};

struct copy_run {
	const struct copy *copy;
	/* A block is what is a hole or is not; a chunk is the most that one
	 * piece of data has. */
	uint64_t total, block_len, chunk_len;

	/* Who is fed; taken before the other one. */
	pthread_mutex_t feed_lock;
	bool is_feed_over;

	/* Writes in order wait for nothing but their places in the target. */
	bool is_passed_early;

	pthread_mutex_t lock;
	unsigned source;       /* that cursor is in */
	uint64_t source_start; /* its first byte */
	uint64_t cursor;
	uint64_t run_start, run_end; /* the last piece's data in a row */
	struct turns turns;	     /* by what a batch starts at */
	struct copy_piece next;	     /* at the cursor, if it was looked up */
	bool has_next;
	/* What the map said last of the source, up to there. */
	struct image_extent extent;
	uint64_t extent_end; /* as source_start + offset; 0: nothing yet */
	bool is_torn;	     /* because more of the map could not be read */
	int map_rc;	     /* or not even that, at the extent's begin */
	int result;
	uint64_t failed_at;
	struct error error;
	/* Bytes of data, without what is not copied; only if that is shown. */
	uint64_t n_done, n_data;
	struct rate rate;
	struct crew crew;
	struct copy_batch *batches[WORKERS_MAX];
	unsigned n_batches, n_free;
	pthread_cond_t freed;
	bool is_all_taken; /* what there is to copy; or it is over */
	bool is_writing;   /* somebody is, in order */
};

/* copy_batches.c. With the lock held, without which it may wait: one that is
 * empty; NULL, all is taken. -ENOMEM. */
int copy_batches_get(struct copy_run *run, struct copy_batch **batch);
void copy_batches_put(struct copy_run *run, struct copy_batch *batch);
/* The one that has been read and whose turn it is; or NULL. */
struct copy_batch *copy_batches_next(const struct copy_run *run);
/* All is taken, or it is over. */
void copy_batches_end(struct copy_run *run);
/* Without the lock, when all workers are gone. */
void copy_batches_free(struct copy_run *run);

/* copy_map.c. With the lock held: the piece at the cursor, which stays where
 * it is. */
int copy_look_up(struct copy_run *run, struct copy_piece *piece,
		 struct error *err);

/* Before anything is copied: how much data there is, n_data. What of the maps
 * cannot be read and is salvaged is told of. */
int copy_count(struct copy_run *run, struct error *err);
/* The piece's map_rc. */
void copy_tell_map(const struct copy_run *run, const struct copy_piece *piece);

/* copy_feed.c. Without the lock, with the other one: the next piece, with its
 * data in buf, which has room for a chunk; the cursor moves. */
int copy_feed(struct copy_run *run, struct copy_piece *piece, uint8_t *buf,
	      struct error *err);

/* copy_data.c. Without the lock. Who has to salvage waits for its turn first,
 * so that warnings come in order. */
int copy_read(struct copy_run *run, uint64_t turn_start,
	      const struct copy_piece *piece, uint8_t *buf, struct error *err);
/* Piece i of the batch, with its data in buf. The first one waits for its turn,
 * and the last one may pass that on. */
int copy_write(struct copy_run *run, struct copy_batch *batch, unsigned i,
	       const uint8_t *buf, struct error *err);

#endif
