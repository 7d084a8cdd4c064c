/* SPDX-License-Identifier: ISC */
/*
 * What a disk may hold after a crash. Operations are drawn from a seed, so
 * that another process can draw the same ones; each sector that is written
 * carries the number of the operation, so that a look at it tells which one
 * came last. The model keeps, for each sector, all the states it may be in.
 */
#ifndef TESTS_SUPPORT_IMAGE_MODEL_H
#define TESTS_SUPPORT_IMAGE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum {
	MODEL_SECTOR = 512,
	MODEL_STATES_MAX = 30,
	MODEL_OP_SECTORS_MAX = 384,
};

enum model_kind {
	MODEL_WRITE,
	MODEL_ZERO,
	MODEL_DISCARD,
	MODEL_FLUSH,
};

struct model_op {
	enum model_kind kind;
	uint32_t number; /* from 1 */
	uint64_t sector, n;
	bool may_unmap;
};

/* The operations of one of n_streams writers, which never overlap. */
struct model_stream {
	uint64_t random;
	uint32_t seed, number;
	unsigned index, n_streams;
	uint64_t n_sectors;
};

void model_stream_init(struct model_stream *stream, uint32_t seed,
		       unsigned index, unsigned n_streams, uint64_t n_sectors);
uint64_t model_draw(uint64_t *random, uint64_t below);
struct model_op model_next(struct model_stream *stream);
/* What the operation writes: n sectors. */
void model_fill(const struct model_stream *stream, const struct model_op *op,
		uint8_t *buf);

struct model_state {
	uint32_t seed, number; /* 0, 0: zeroes; 0, 1: the original */
};

struct model_sector {
	unsigned n;
	bool is_unknown; /* could be anything */
	struct model_state states[MODEL_STATES_MAX];
};

struct model {
	uint64_t n_sectors;
	const uint8_t *original; /* borrowed */
	struct model_sector *sectors;
};

int model_init(struct model *model, const uint8_t *original,
	       uint64_t n_sectors);
void model_deinit(struct model *model);
/* The operation is over, or it may have been begun. */
void model_did(struct model *model, const struct model_stream *stream,
	       const struct model_op *op);
void model_may_have_done(struct model *model, const struct model_stream *stream,
			 const struct model_op *op);
/* The power failed before it was flushed: what it wrote is anybody's guess,
 * but not what stands beside it. */
void model_was_cut_off(struct model *model, const struct model_op *op);
/* The first sector that is in no state it may be in; n_sectors: none. */
uint64_t model_check(const struct model *model, const uint8_t *disk);

#endif
