/* SPDX-License-Identifier: ISC */
/* What comes next in the sources, by their maps. */
#include "vm-img/copy_internal.h"

#include "lib/image/image.h"
#include "vm-img/report.h"

static int kind_of(const struct copy_run *run,
		   const struct image_extent *extent)
{
	const struct copy *copy = run->copy;

	if (copy->min_sparse == 0)
		return COPY_DATA;
	switch (extent->kind) {
	case IMAGE_EXTENT_HOLE:
		if (copy->has_backing && run->cursor < copy->backing_size)
			return COPY_BACKING;
		return COPY_ZERO;
	case IMAGE_EXTENT_ZERO:
		return COPY_ZERO;
	case IMAGE_EXTENT_DATA:
	case IMAGE_EXTENT_COMPRESSED:
		break;
	}
	return COPY_DATA;
}

/*
 * Data grows to the next border between blocks, and so does what is not data
 * but shorter than a block. end is the source's.
 */
static void fit(const struct copy_run *run, struct copy_piece *piece,
		uint64_t end)
{
	uint64_t mask = run->block_len - 1;
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

/* A map that cannot be read: block by block, whatever is there. */
static int salvage_map(const struct copy_run *run, uint64_t offset,
		       uint64_t left, struct image_extent *extent,
		       const struct error *err, int rc)
{
	if (!run->copy->is_salvaged)
		return rc;
	if (!run->copy->is_quiet)
		report_warning("error while reading block status at offset "
			       "%llu: %s",
			       (unsigned long long)offset,
			       report_reason(err, rc));
	*extent = (struct image_extent){
		.kind = IMAGE_EXTENT_DATA,
		.len = left < run->block_len ? left : run->block_len,
	};
	return 0;
}

/* With the lock held. */
int copy_look_up(struct copy_run *run, struct copy_piece *piece,
		 struct error *err)
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
	if (piece->kind == COPY_BACKING &&
	    piece->len > copy->backing_size - run->cursor)
		piece->len = copy->backing_size - run->cursor;
	/* A compressed cluster may hold the end of one source and the
	 * beginning of the next. */
	fit(run, piece,
	    copy->is_compressed ? run->total : run->source_start + size);
	return 0;
}
