/* SPDX-License-Identifier: ISC */
/* What a disk may hold after a crash. */
#include "tests/support/image_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	UNIT = 8, /* sectors that neighbouring writers take in turn */
	ORIGINAL = 1,
};

/* xorshift64*: the same on every machine. */
uint64_t model_draw(uint64_t *random, uint64_t below)
{
	*random ^= *random >> 12;
	*random ^= *random << 25;
	*random ^= *random >> 27;
	return (*random * 0x2545f4914f6cdd1dULL >> 16) % below;
}

void model_stream_init(struct model_stream *stream, uint32_t seed,
		       unsigned index, unsigned n_streams, uint64_t n_sectors)
{
	*stream = (struct model_stream){
		.random = (seed * 31ULL + index + 1) * 2654435761U,
		.seed = seed * 64 + index + 1,
		.index = index,
		.n_streams = n_streams,
		.n_sectors = n_sectors,
	};
}

/* In the first half writers are neighbours inside of clusters; in the second
 * each has a part for itself, with larger operations. */
static void draw_range(struct model_stream *s, struct model_op *op)
{
	uint64_t half = s->n_sectors / 2, part = half / s->n_streams;

	if (model_draw(&s->random, 2) == 0) {
		uint64_t n_units = half / UNIT / s->n_streams;
		uint64_t unit = model_draw(&s->random, n_units);

		op->sector = (unit * s->n_streams + s->index) * UNIT;
		op->sector += model_draw(&s->random, UNIT);
		op->n = UNIT - op->sector % UNIT;
		return;
	}
	op->sector = model_draw(&s->random, part);
	if (model_draw(&s->random, 3) == 0)
		op->sector &= ~127ULL;
	op->n = model_draw(&s->random, 4) == 0
			? 1 + model_draw(&s->random, MODEL_OP_SECTORS_MAX)
			: 1 + model_draw(&s->random, 16);
	if (op->n > part - op->sector)
		op->n = part - op->sector;
	op->sector += half + s->index * part;
}

struct model_op model_next(struct model_stream *stream)
{
	struct model_op op = { .number = ++stream->number };
	uint64_t what = model_draw(&stream->random, 100);

	draw_range(stream, &op);
	op.may_unmap = what % 2;
	if (what < 62)
		op.kind = MODEL_WRITE;
	else if (what < 76)
		op.kind = MODEL_ZERO;
	else if (what < 92)
		op.kind = MODEL_DISCARD;
	else
		op.kind = MODEL_FLUSH;
	return op;
}

static void fill_sector(uint8_t *buf, uint32_t seed, uint32_t number,
			uint64_t sector)
{
	const uint32_t words[4] = { seed, number, (uint32_t)sector,
				    seed ^ number ^ (uint32_t)sector };

	for (unsigned i = 0; i < MODEL_SECTOR; i += sizeof(words))
		memcpy(buf + i, words, sizeof(words));
}

void model_fill(const struct model_stream *stream, const struct model_op *op,
		uint8_t *buf)
{
	for (uint64_t i = 0; i < op->n; i++)
		fill_sector(buf + i * MODEL_SECTOR, stream->seed, op->number,
			    op->sector + i);
}

int model_init(struct model *model, const uint8_t *original, uint64_t n_sectors)
{
	model->n_sectors = n_sectors;
	model->original = original;
	model->sectors = calloc(n_sectors, sizeof(*model->sectors));
	if (model->sectors == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < n_sectors; i++) {
		model->sectors[i].n = 1;
		model->sectors[i].states[0].number = ORIGINAL;
	}
	return 0;
}

void model_deinit(struct model *model)
{
	free(model->sectors);
	model->sectors = NULL;
}

static void add_state(struct model_sector *s, uint32_t seed, uint32_t number)
{
	/* More than fit: the oldest but the first is forgotten, so that a
	 * test may fail that should not; flushes keep it from happening. */
	if (s->n == MODEL_STATES_MAX) {
		memmove(&s->states[1], &s->states[2],
			(MODEL_STATES_MAX - 2) * sizeof(s->states[0]));
		s->n--;
	}
	s->states[s->n++] =
		(struct model_state){ .seed = seed, .number = number };
}

static void apply(struct model *model, const struct model_stream *stream,
		  const struct model_op *op, bool is_sure)
{
	for (uint64_t i = op->sector; i < op->sector + op->n; i++) {
		struct model_sector *s = &model->sectors[i];

		if (op->kind == MODEL_FLUSH)
			return;
		if (is_sure && op->kind != MODEL_DISCARD) {
			s->n = 0;
			s->is_unknown = false;
		}
		if (op->kind == MODEL_WRITE)
			add_state(s, stream->seed, op->number);
		else if (s->n == 0 || s->states[s->n - 1].seed != 0 ||
			 s->states[s->n - 1].number != 0)
			add_state(s, 0, 0);
	}
}

void model_did(struct model *model, const struct model_stream *stream,
	       const struct model_op *op)
{
	apply(model, stream, op, true);
}

void model_may_have_done(struct model *model, const struct model_stream *stream,
			 const struct model_op *op)
{
	apply(model, stream, op, false);
}

void model_was_cut_off(struct model *model, const struct model_op *op)
{
	if (op->kind != MODEL_WRITE && op->kind != MODEL_ZERO)
		return;
	for (uint64_t i = op->sector; i < op->sector + op->n; i++)
		model->sectors[i].is_unknown = true;
}

static bool is_in_state(const struct model *model, uint64_t sector,
			const struct model_state *state, const uint8_t *data)
{
	static const uint8_t zeroes[MODEL_SECTOR];
	uint8_t expected[MODEL_SECTOR];

	if (state->seed == 0 && state->number == 0)
		return memcmp(data, zeroes, MODEL_SECTOR) == 0;
	if (state->seed == 0)
		return memcmp(data, model->original + sector * MODEL_SECTOR,
			      MODEL_SECTOR) == 0;
	fill_sector(expected, state->seed, state->number, sector);
	return memcmp(data, expected, MODEL_SECTOR) == 0;
}

uint64_t model_check(const struct model *model, const uint8_t *disk)
{
	for (uint64_t i = 0; i < model->n_sectors; i++) {
		const struct model_sector *s = &model->sectors[i];
		unsigned j = s->n;

		while (j > 0 && !is_in_state(model, i, &s->states[j - 1],
					     disk + i * MODEL_SECTOR))
			j--;
		if (j == 0 && !s->is_unknown)
			return i;
	}
	return model->n_sectors;
}
