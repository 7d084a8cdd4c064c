/* SPDX-License-Identifier: ISC */
/* What comes next in the sources, by their maps. */
#include "vm-img/copy_internal.h"

#include "lib/image/image.h"
#include "vm-img/report.h"

#include <string.h>

enum {
	STEP_LEN = 2 * 1024 * 1024, /* of progress, in a long extent */
	SALVAGE_PART = 4,	    /* of a range: what is tried next */
};

/* Up to len bytes of the piece. */
static void cut(struct copy_piece *piece, uint64_t len)
{
	if (piece->len > len)
		piece->len = len;
}

/*
 * What is in none of the layers looked at: it shows through from under the
 * source, if that goes so far, and so it does in the target.
 */
static bool shows_through(const struct copy_run *run, uint64_t offset,
			  struct copy_piece *piece)
{
	struct image *under = image_backing(run->copy->sources[run->source]);

	if (!run->copy->has_backing || under == NULL ||
	    offset >= image_size(under))
		return false;
	cut(piece, image_size(under) - offset);
	return true;
}

/* offset is the source's. */
static void set_kind(const struct copy_run *run, uint64_t offset,
		     const struct image_extent *extent,
		     struct copy_piece *piece)
{
	const struct copy *copy = run->copy;

	piece->kind = COPY_DATA;
	if (extent->kind == IMAGE_EXTENT_DATA ||
	    extent->kind == IMAGE_EXTENT_COMPRESSED)
		return;
	if (extent->kind == IMAGE_EXTENT_HOLE &&
	    shows_through(run, offset, piece)) {
		piece->kind = COPY_BACKING;
		return;
	}
	if (copy->has_backing && run->cursor < copy->backing_size)
		cut(piece, copy->backing_size - run->cursor);
	else if (copy->has_backing && !copy->is_target_old)
		piece->kind = COPY_BACKING; /* zero anyhow */
	if (copy->min_sparse > 0 && piece->kind == COPY_DATA)
		piece->kind = COPY_ZERO;
}

/*
 * Data grows to the next border between blocks, and so does what is not data
 * but shorter than a block. end is the source's. Where the map was torn it is
 * asked again at once, unless it is compressed clusters that are made.
 */
static void fit(const struct copy_run *run, struct copy_piece *piece,
		uint64_t end)
{
	bool grows = !run->is_torn || run->copy->is_compressed;
	uint64_t mask = grows ? run->block_len - 1 : 0;
	uint64_t up = (piece->start + piece->len + mask) & ~mask;
	uint64_t down = (piece->start + piece->len) & ~mask;

	if (piece->kind != COPY_DATA && piece->start + piece->len == end)
		return;
	if (piece->kind != COPY_DATA && down > piece->start) {
		piece->len = down - piece->start;
		return;
	}
	piece->kind = COPY_DATA;
	if (up > end)
		up = end;
	piece->len = up - piece->start;
	/* One chunk at most, and to a chunk's border. */
	up = (piece->start + run->chunk_len) & ~(run->chunk_len - 1);
	if (piece->start + piece->len > up)
		piece->len = up - piece->start;
}

/* Shown is the end of each extent, as if it were copied at once, and each step
 * in a long one. */
static void set_step(struct copy_run *run, struct copy_piece *piece,
		     uint64_t extent_end)
{
	uint64_t end = piece->start + piece->len;

	if (piece->kind != COPY_DATA)
		return;
	if (piece->start != run->run_end)
		run->run_start = piece->start;
	run->run_end = end < extent_end ? end : 0;
	piece->is_step = run->copy->is_compressed || end >= extent_end ||
			 (end - run->run_start) / STEP_LEN !=
				 (piece->start - run->run_start) / STEP_LEN;
}

/* A map that cannot be read: less and less of it, down to one sector, whatever
 * is there. */
static int salvage_map(struct copy_run *run, struct image *image,
		       uint64_t offset, uint64_t left, unsigned flags, int rc)
{
	struct error err;

	run->is_torn = true;
	while (rc < 0 && left > COPY_SECTOR) {
		left = (left / COPY_SECTOR + SALVAGE_PART - 1) / SALVAGE_PART *
		       COPY_SECTOR;
		err = (struct error)ERROR_INIT;
		rc = image_map(image, offset, left, flags, &run->extent, &err);
	}
	run->map_rc = rc;
	if (rc < 0)
		run->extent = (struct image_extent){
			.kind = IMAGE_EXTENT_DATA,
			.len = left,
		};
	return 0;
}

/* Of a source that is data for long the map is asked once, and not for each
 * chunk. left is what there is from offset on. */
static int ask_map(struct copy_run *run, uint64_t offset, uint64_t left,
		   struct error *err)
{
	struct image *image = run->copy->sources[run->source];
	unsigned flags = run->copy->has_backing ? 0 : IMAGE_MAP_CHAIN;
	int rc;

	run->map_rc = 0;
	if (run->cursor < run->extent_end) {
		run->extent.len = run->extent_end - run->cursor;
		return 0;
	}
	run->is_torn = false;
	rc = image_map(image, offset, left, flags, &run->extent, err);
	if (rc < 0 && run->copy->is_salvaged)
		rc = salvage_map(run, image, offset, left, flags, rc);
	if (rc == 0)
		run->extent_end = run->cursor + run->extent.len;
	return rc;
}

/* With the lock held. */
int copy_look_up(struct copy_run *run, struct copy_piece *piece,
		 struct error *err)
{
	const struct copy *copy = run->copy;
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
	rc = ask_map(run, offset, size - offset, err);
	if (rc < 0)
		return rc;
	piece->len = run->extent.len;
	piece->is_step = false;
	piece->map_rc = run->map_rc;
	piece->source_offset = offset;
	set_kind(run, offset, &run->extent, piece);
	/* A compressed cluster may hold the end of one source and the
	 * beginning of the next. */
	fit(run, piece,
	    copy->is_compressed ? run->total : run->source_start + size);
	set_step(run, piece, run->extent_end);
	return 0;
}

void copy_tell_map(const struct copy_run *run, const struct copy_piece *piece)
{
	if (piece->map_rc < 0 && !run->copy->is_quiet)
		report_warning("error while reading block status at offset "
			       "%llu: %s",
			       (unsigned long long)piece->source_offset,
			       strerror(-piece->map_rc));
}

int copy_count(struct copy_run *run, struct error *err)
{
	struct copy_piece piece;

	while (run->cursor < run->total) {
		int rc = copy_look_up(run, &piece, err);

		if (rc < 0)
			return rc;
		copy_tell_map(run, &piece);
		if (piece.kind == COPY_DATA)
			run->n_data += piece.len;
		run->cursor += piece.len;
	}
	run->cursor = 0;
	run->source = 0;
	run->source_start = 0;
	run->extent_end = 0;
	run->run_start = 0;
	run->run_end = 0;
	return 0;
}
