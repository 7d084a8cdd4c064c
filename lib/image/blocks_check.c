/* SPDX-License-Identifier: ISC */
/*
 * Checking what stands behind a table of blocks: each entry is one that the
 * format can have, in the file, and the place of no other block. What counts
 * are the entries that guest data would be read from.
 */
#include "lib/image/blocks.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks_internal.h"
#include "lib/image/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	/* A table that all entries of a directory refer to has a small file
	 * seem to hold more than there is time to tell of. */
	ERRORS_MAX = 1 << 16,
};

/* A file of 64 TiB in blocks of 64 KiB. */
#define PLACES_MAX (1ULL << 30)

struct examination {
	struct blocks *blocks;
	struct image_check *check;
	struct blocks_census *census;
	bool is_repair;
	bool is_hole; /* the block that was last looked at */
	uint64_t file_size, n_places;
	uint8_t *places; /* a bit for each block's length of the file */
	/* What was last wrong: a bad table is told of once, not for each of
	 * the blocks that it has. */
	char last[256];
};

static __attribute__((format(printf, 2, 3))) void
tell(const struct image_check *check, const char *format, ...)
{
	char line[512];
	va_list args;

	if (check->found == NULL)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	check->found(check->context, line);
}

/* Two blocks that begin in the same length of the file overlap. */
static bool is_taken(struct examination *e, const struct block_run *run)
{
	uint64_t place = run->host_offset / e->blocks->block_len;
	uint8_t bit = (uint8_t)(1U << place % 8);
	bool is_set = e->places[place / 8] & bit;

	e->places[place / 8] |= bit;
	return is_set;
}

static bool is_fragment(const struct blocks_census *c, uint64_t index)
{
	if (c->is_of_neighbours && index != c->last_index + 1)
		return false;
	return c->table_len == 0 ||
	       index / c->table_len == c->last_index / c->table_len;
}

static void count(struct examination *e, uint64_t index,
		  const struct block_run *run)
{
	struct blocks_census *c = e->census;
	uint64_t len = e->blocks->block_len;

	if (c->n_allocated++ > 0 && run->host_offset != c->last + len &&
	    is_fragment(c, index))
		c->n_fragmented++;
	c->last = run->host_offset;
	c->last_index = index;
	if (run->host_offset + len > c->end)
		c->end = run->host_offset + len;
}

static bool is_telling(const struct examination *e)
{
	return e->check->n_corruptions_fixed <= ERRORS_MAX;
}

static int found_bad(struct examination *e, uint64_t index, const char *what,
		     struct error *err)
{
	bool is_fixed = e->is_repair && e->blocks->ops->forget != NULL;
	int rc = 0;

	if (is_telling(e) && strcmp(what, e->last) != 0) {
		tell(e->check, "%s block %llu: %s",
		     is_fixed ? "Repairing" : "ERROR",
		     (unsigned long long)index, what);
		snprintf(e->last, sizeof(e->last), "%s", what);
	}
	if (is_fixed)
		rc = e->blocks->ops->forget(e->blocks, index, err);
	if (rc < 0 || !is_fixed) {
		e->check->n_corruptions++;
		return rc;
	}
	if (++e->check->n_corruptions_fixed == ERRORS_MAX + 1)
		tell(e->check,
		     "Repairing block %llu: no more repairs are told of",
		     (unsigned long long)index);
	return 0;
}

static int find_whole(struct blocks *blocks, uint64_t offset,
		      struct block_run *run, struct error *err)
{
	if (blocks->ops->find_whole == NULL)
		return blocks_find_anywhere(blocks, offset,
					    blocks->size - offset, run, err);
	*run = (struct block_run){ .kind = BLOCK_HOLE };
	return blocks->ops->find_whole(blocks, offset, run, err);
}

/* What a block must have in the file. */
static uint64_t len_in_file(const struct blocks *blocks, uint64_t start,
			    const struct block_run *run)
{
	uint64_t left = blocks->size - start;

	if (!blocks->is_whole)
		return 0;
	if (run->kind == BLOCK_COMPRESSED)
		return run->host_len;
	return blocks->block_len < left ? blocks->block_len : left;
}

/* The first byte of a block that was lost, or 0. */
static uint64_t find_lost(const struct examination *e, uint64_t start,
			  const struct block_run *run)
{
	uint64_t place = run->host_offset, size = e->file_size;

	if (place >= size)
		return place;
	return len_in_file(e->blocks, start, run) > size - place ? size : 0;
}

static int examine(struct examination *e, uint64_t index, struct error *err)
{
	struct blocks *blocks = e->blocks;
	uint64_t start = index * blocks->block_len, lost;
	struct block_run run;
	struct error why = ERROR_INIT;
	char what[64] = "";
	int rc = find_whole(blocks, start, &run, &why);

	e->is_hole = rc == 0 && run.kind == BLOCK_HOLE;
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		return found_bad(e, index, error_text(&why, rc), err);
	if (run.kind != BLOCK_DATA && run.kind != BLOCK_COMPRESSED)
		return 0;
	lost = find_lost(e, start, &run);
	if (lost > 0) {
		e->census->n_lost++;
		if (is_telling(e))
			snprintf(what, sizeof(what),
				 "byte %llu is beyond the file's end",
				 (unsigned long long)lost);
		return found_bad(e, index, what, err);
	}
	if (run.kind == BLOCK_DATA && is_taken(e, &run)) {
		tell(e->check,
		     "ERROR block %llu: byte %llu of the file is another "
		     "one's too",
		     (unsigned long long)index,
		     (unsigned long long)run.host_offset);
		e->check->n_corruptions++;
		return 0;
	}
	count(e, index, &run);
	return 0;
}

static int examine_all(struct examination *e, struct error *err)
{
	uint64_t n = (e->blocks->size + e->blocks->block_len - 1) /
		     e->blocks->block_len;
	uint64_t before = e->check->n_corruptions;
	int rc = 0;

	e->census->n_blocks += n;
	for (uint64_t i = 0; rc == 0 && i < n; i++) {
		rc = examine(e, i, err);
		if (e->check->n_corruptions > ERRORS_MAX) {
			tell(e->check,
			     "ERROR block %llu: no more errors are "
			     "looked for",
			     (unsigned long long)i);
			break;
		}
		if (e->is_hole)
			i += blocks_skip(e->blocks,
					 (i + 1) * e->blocks->block_len) /
			     e->blocks->block_len;
	}
	e->blocks->is_damaged = rc < 0 || e->check->n_corruptions > before;
	return rc;
}

/* What was forgotten, if anything was. */
static int write_back(struct blocks *blocks, struct error *err)
{
	int rc = table_write_back(&blocks->table);

	blocks->is_damaged |= rc < 0;
	return rc < 0 ? error_set_errno(err, rc, "Could not repair a table")
		      : 0;
}

int blocks_check(struct blocks *blocks, bool is_repair,
		 struct image_check *check, struct blocks_census *census,
		 struct error *err)
{
	_cleanup_free_ uint8_t *places = NULL;
	struct examination e = {
		.blocks = blocks,
		.check = check,
		.census = census,
		.is_repair = is_repair,
	};
	int rc = image_file_size(blocks->file, &e.file_size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	e.n_places = e.file_size / blocks->block_len + 1;
	if (e.n_places > PLACES_MAX)
		return error_set(err, -EFBIG, "Image file is too long");
	e.places = places = calloc(e.n_places / 8 + 1, 1);
	if (places == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&blocks->lock);
	if (is_repair)
		rc = blocks_begin_writing(blocks, err);
	if (rc == 0)
		rc = examine_all(&e, err);
	if (rc == 0)
		rc = write_back(blocks, err);
	pthread_mutex_unlock(&blocks->lock);
	return rc;
}

int blocks_image_check(struct image *image, struct image_check *check,
		       struct error *err)
{
	struct blocks_census census = { .n_blocks = 0 };

	return blocks_check(image->state, false, check, &census, err);
}
