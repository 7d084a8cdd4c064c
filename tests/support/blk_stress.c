/* SPDX-License-Identifier: ISC */
#include "tests/support/blk_stress.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "tests/support/blk_driver.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum {
	BLOCK = 4096,
	WORDS = BLOCK / sizeof(uint64_t),
};

struct block {
	uint32_t generation; /* acknowledged; 0: never written */
	uint32_t n_readers : 16, is_writing : 1;
};

struct stress {
	struct blk_driver *driver;
	struct blk_stress_result *result;
	struct error *err;
	struct block *blocks;
	uint64_t n_blocks;
	uint64_t random; /* state of the generator */
	int code;
};

static uint64_t next_random(uint64_t *state)
{
	/* xorshift64*, Vigna 2016 */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static uint64_t word(uint64_t index, uint32_t generation, unsigned i)
{
	uint64_t state = (index << 32 | generation) + 1 + i;

	return next_random(&state);
}

static void fill(uint8_t *data, uint64_t index, uint32_t generation)
{
	uint64_t words[WORDS] = { index, generation };

	for (unsigned i = 2; i < WORDS; i++)
		words[i] = word(index, generation, i);
	memcpy(data, words, BLOCK);
}

static void fail(struct stress *stress, const char *what, uint64_t index)
{
	if (stress->code < 0)
		return;
	stress->code = error_set(stress->err, -EIO, "block %" PRIu64 ": %s",
				 index, what);
}

static void check(struct stress *stress, const uint8_t *data, uint64_t index)
{
	uint8_t expected[BLOCK];
	uint64_t found[2];

	if (stress->blocks[index].generation == 0)
		return;
	fill(expected, index, stress->blocks[index].generation);
	if (memcmp(expected, data, BLOCK) == 0 || stress->code < 0)
		return;
	memcpy(found, data, sizeof(found));
	stress->code =
		error_set(stress->err, -EIO,
			  "block %" PRIu64 ": generation %" PRIu32
			  " was acknowledged, block %" PRIu64
			  " generation %" PRIu64 " (or a part of it) is there",
			  index, stress->blocks[index].generation, found[0],
			  found[1]);
}

static void done(struct blk_request *request)
{
	struct stress *stress = request->context;
	uint64_t index = request->offset / BLOCK;
	struct block *block = &stress->blocks[index];
	uint64_t generation;

	if (request->status != 0)
		fail(stress, "request failed", index);
	if (request->type == VIRTIO_BLK_T_OUT) {
		memcpy(&generation, request->data + 8, sizeof(generation));
		block->generation = (uint32_t)generation;
		block->is_writing = 0;
		stress->result->n_writes++;
	} else if (request->type == VIRTIO_BLK_T_IN) {
		check(stress, request->data, index);
		block->n_readers--;
		stress->result->n_reads++;
	} else {
		stress->result->n_flushes++;
	}
}

static void submit(struct stress *stress, struct blk_request *request)
{
	uint64_t random = next_random(&stress->random);
	uint64_t index = (random >> 16) % stress->n_blocks;
	struct block *block = &stress->blocks[index];

	request->done = done;
	request->context = stress;
	request->type = VIRTIO_BLK_T_FLUSH;
	/* A block that is being written is left alone; flush instead. */
	if (random % 64 != 0 && !block->is_writing) {
		request->offset = index * BLOCK;
		request->len = BLOCK;
		request->type = VIRTIO_BLK_T_IN;
		if (random % 4 != 0 && block->n_readers == 0) {
			request->type = VIRTIO_BLK_T_OUT;
			fill(request->data, index, block->generation + 1);
			block->is_writing = 1;
		} else {
			block->n_readers++;
		}
	}
	blk_driver_submit(request);
}

static int verify(struct stress *stress)
{
	for (uint64_t i = 0; i < stress->n_blocks && stress->code == 0; i++) {
		struct blk_request *request;

		if (stress->blocks[i].generation == 0)
			continue;
		request = blk_driver_take(stress->driver);
		if (!request)
			break;
		request->type = VIRTIO_BLK_T_IN;
		request->offset = i * BLOCK;
		request->len = BLOCK;
		request->done = done;
		request->context = stress;
		stress->blocks[i].n_readers++;
		stress->result->n_blocks++;
		blk_driver_submit(request);
	}
	if (!blk_driver_drain(stress->driver) && stress->code == 0)
		return error_set(stress->err, -EIO, "%s",
				 blk_driver_problem(stress->driver));
	return stress->code;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int blk_stress(struct blk_driver *driver,
	       const struct blk_stress_options *options,
	       struct blk_stress_result *result, struct error *err)
{
	uint64_t capacity = driver->config.capacity * VIRTIO_BLK_SECTOR;
	uint64_t span = options->span < capacity ? options->span : capacity;
	_cleanup_free_ struct block *blocks =
		calloc(span / BLOCK + 1, sizeof(*blocks));
	struct stress stress = {
		.driver = driver,
		.result = result,
		.err = err,
		.blocks = blocks,
		.n_blocks = span / BLOCK,
		.random = options->seed * UINT64_C(0x9e3779b97f4a7c15),
	};
	int64_t end = now_ms() + options->seconds * 1000;

	*result = (struct blk_stress_result){ 0 };
	if (!blocks || stress.n_blocks == 0)
		return error_set(err, -EIO, "no block to work on");
	while (now_ms() < end && stress.code == 0) {
		struct blk_request *request = blk_driver_take(driver);

		if (!request)
			return error_set(err, -EIO, "%s",
					 blk_driver_problem(driver));
		submit(&stress, request);
		blk_driver_step(driver, 0);
	}
	if (!blk_driver_drain(driver) && stress.code == 0)
		return error_set(err, -EIO, "%s", blk_driver_problem(driver));
	return verify(&stress);
}
