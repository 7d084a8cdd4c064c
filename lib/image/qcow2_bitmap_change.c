/* SPDX-License-Identifier: ISC */
/*
 * Bitmaps that come, go and change. Each change makes a new directory, with new
 * tables and bits where they differ, and one write of the header leads to it;
 * what was there before is given back then:
 *
 *	header extension ---> directory ---> table ---> bits
 *
 * Before that all that is kept in memory goes back to the disk, so that the
 * new directory has no bitmap marked as in use but those that were lost.
 *
 * With the first change after an open all bitmaps move, as QEMU writes all of
 * them anew whenever it closes an image: then files are as long as its are,
 * and what is in them is in the same places. Where there is no room for both
 * copies only what changes is written.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"
#include "lib/image/qcow2_bitmap.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* Of one bitmap to a new table. */
struct qcow2_bitmap_move {
	bool is_done;
	struct qcow2_bitmap before;
};

static size_t name_len(const struct qcow2_bitmap *b)
{
	return b->name != NULL ? strlen(b->name) : 0;
}

static uint64_t entry_len(const struct qcow2_bitmap *b)
{
	uint64_t len =
		sizeof(struct qcow2_wire_bitmap) + b->extra_len + name_len(b);

	return (len + 7) & ~7ULL;
}

static void encode(const struct qcow2_bitmap *b, uint8_t *at)
{
	const struct qcow2_wire_bitmap w = {
		.table_offset = htobe64(b->table_offset),
		.table_size = htobe32(b->table_size),
		.flags = htobe32(b->flags),
		.type = QCOW2_BITMAP_DIRTY_TRACKING,
		.granularity_bits = (uint8_t)b->granularity_bits,
		.name_len = htobe16((uint16_t)name_len(b)),
		.extra_len = htobe32(b->extra_len),
	};

	memcpy(at, &w, sizeof(w));
	if (b->extra_len > 0)
		memcpy(at + sizeof(w), b->extra, b->extra_len);
	if (b->name != NULL)
		memcpy(at + sizeof(w) + b->extra_len, b->name, name_len(b));
}

/* Clusters in a row for len bytes, with data in them. */
static int write_new(struct qcow2 *q, const void *data, uint64_t len,
		     uint64_t *host_offset, struct error *err)
{
	uint64_t n = qcow2_n_clusters(q, len);
	int rc;

	*host_offset = 0;
	if (len == 0)
		return 0;
	rc = qcow2_alloc_all(q, n, host_offset, err);
	if (rc < 0)
		return rc;
	rc = image_file_write(q->file, *host_offset, data, len);
	if (rc == 0)
		return 0;
	qcow2_alloc_undo(q, *host_offset, n);
	*host_offset = 0;
	return error_set_errno(err, rc, "Could not write bitmaps");
}

static void give_back(struct qcow2 *q, uint64_t host_offset, uint64_t len)
{
	if (host_offset != 0 && len > 0)
		(void)qcow2_free_now(q, host_offset >> q->cluster_bits,
				     qcow2_n_clusters(q, len), NULL);
}

static int write_directory(struct qcow2 *q, struct qcow2_bitmaps_change *c,
			   struct qcow2_wire_bitmaps *where, struct error *err)
{
	_cleanup_free_ uint8_t *directory = NULL;
	uint64_t len = 0, at = 0, offset;
	int rc;

	for (uint32_t i = 0; i < c->n; i++)
		len += entry_len(&c->bitmaps[i]);
	if (c->n > QCOW2_BITMAPS_MAX || len > QCOW2_BITMAP_DIRECTORY_LEN_MAX)
		return error_set(err, -EFBIG, "Too many bitmaps");
	directory = calloc(1, len + 1);
	if (directory == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->n; i++) {
		c->bitmaps[i].entry_offset = at;
		encode(&c->bitmaps[i], directory + at);
		at += entry_len(&c->bitmaps[i]);
	}
	rc = write_new(q, directory, len, &offset, err);
	for (uint32_t i = 0; i < c->n; i++)
		c->bitmaps[i].entry_offset += offset;
	where->directory_offset = offset;
	where->directory_len = len;
	where->n_bitmaps = c->n;
	return rc;
}

static int switch_over(struct qcow2 *q, const struct qcow2_wire_bitmaps *where,
		       struct error *err)
{
	struct qcow2_new_header new = {
		.backing_name = q->image->backing_name,
		.backing_format = q->header.backing_format,
		.has_bitmaps = true,
		.bitmaps = *where,
		.autoclear = q->header.autoclear &
			     ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS,
	};

	if (where->n_bitmaps > 0)
		new.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
	return qcow2_rewrite_header(q, &new, err);
}

void qcow2_bitmap_free_bits(struct qcow2 *q, uint64_t table_offset,
			    const uint64_t *table, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		give_back(q, table[i] & QCOW2_OFFSET_MASK, 1);
	give_back(q, table_offset, size * sizeof(*table));
}

static int write_bits(struct qcow2 *q, const struct bits *bits, uint64_t *table,
		      struct error *err)
{
	_cleanup_free_ uint8_t *cluster = malloc(q->cluster_len);
	int rc = cluster == NULL ? -ENOMEM : 0;

	for (uint64_t i = 0; rc == 0 && i < bits->n_parts; i++) {
		const uint8_t *part = bits_part(bits, i);
		size_t len = bits_part_len(bits, i);

		if (part == NULL || is_zero(part, len))
			continue;
		memset(cluster, 0, q->cluster_len);
		memcpy(cluster, part, len);
		rc = write_new(q, cluster, q->cluster_len, &table[i], err);
	}
	return rc;
}

/* b gets a new table that says what its bits say. */
static int store_new(struct qcow2 *q, struct qcow2_bitmap *b, struct error *err)
{
	uint32_t size = (uint32_t)b->bits.n_parts;
	_cleanup_free_ uint64_t *wire = calloc(size + 1ULL, sizeof(*wire));
	_cleanup_free_ uint64_t *table = calloc(size + 1ULL, sizeof(*table));
	uint64_t offset = 0;
	int rc;

	if (wire == NULL || table == NULL)
		return -ENOMEM;
	rc = write_bits(q, &b->bits, table, err);
	for (uint32_t i = 0; i < size; i++)
		wire[i] = htobe64(table[i]);
	if (rc == 0)
		rc = write_new(q, wire, size * sizeof(*wire), &offset, err);
	if (rc < 0) {
		qcow2_bitmap_free_bits(q, 0, table, size);
		return rc;
	}
	b->table_offset = offset;
	b->table_size = size;
	b->table = steal_ptr(&table);
	return 0;
}

/* The old places, or the new ones if nothing came of them. */
static void leave_places(struct qcow2 *q, struct qcow2_bitmaps_change *c,
			 bool is_undone, bool gives_back)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct qcow2_bitmap_move *move = &c->moves[i];
		const struct qcow2_bitmap *left =
			is_undone ? &c->bitmaps[i] : &move->before;

		if (!move->is_done)
			continue;
		if (gives_back)
			qcow2_bitmap_free_bits(q, left->table_offset,
					       left->table, left->table_size);
		free(left->table);
		if (is_undone)
			c->bitmaps[i] = move->before;
		move->is_done = false;
	}
}

/* In the order of the directory: what is new and, if all move, the others,
 * unless they are lost or could not be read. */
static int place(struct qcow2 *q, struct qcow2_bitmaps_change *c,
		 bool moves_all, struct error *err)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct qcow2_bitmap *b = &c->bitmaps[i];
		bool may_move = b->bits.parts != NULL &&
				!(b->flags & QCOW2_BITMAP_IN_USE);
		int rc;

		if (!b->are_new && !(moves_all && may_move))
			continue;
		c->moves[i].before = *b;
		rc = store_new(q, b, err);
		c->moves[i].is_done = rc == 0;
		if (rc < 0) {
			leave_places(q, c, true, true);
			return rc;
		}
	}
	return 0;
}

/* The directory's place is part of q->header afterwards. */
static int lead_to(struct qcow2 *q, struct qcow2_bitmaps_change *c,
		   struct error *err)
{
	struct qcow2_header *h = &q->header;
	uint64_t old_offset = h->bitmap_directory_offset;
	uint64_t old_len = h->bitmap_directory_len;
	bool had_any = h->has_bitmaps && h->autoclear & QCOW2_AUTOCLEAR_BITMAPS;
	struct qcow2_wire_bitmaps where = { 0 };
	int rc = write_directory(q, c, &where, err);

	if (rc < 0)
		return rc;
	rc = switch_over(q, &where, err);
	if (rc < 0) {
		/* If it did happen, this leaks. */
		if (rc == -ENOSPC)
			give_back(q, where.directory_offset,
				  where.directory_len);
		return rc;
	}
	h->has_bitmaps = where.n_bitmaps > 0;
	h->n_bitmaps = where.n_bitmaps;
	h->bitmap_directory_offset = where.directory_offset;
	h->bitmap_directory_len = where.directory_len;
	if (had_any)
		give_back(q, old_offset, old_len);
	return 0;
}

static int commit(struct qcow2 *q, struct qcow2_bitmaps_change *c,
		  bool moves_all, struct error *err)
{
	int rc = place(q, c, moves_all, err);

	if (rc < 0)
		return rc;
	rc = lead_to(q, c, err);
	leave_places(q, c, rc < 0, rc == 0 || rc == -ENOSPC);
	return rc;
}

int qcow2_bitmaps_commit(struct qcow2 *q, struct qcow2_bitmaps_change *c,
			 struct error *err)
{
	int rc = commit(q, c, !q->are_bitmaps_moved, err);

	if (rc == -ENOSPC && !q->are_bitmaps_moved)
		rc = commit(q, c, false, err);
	if (rc < 0)
		return rc;
	q->are_bitmaps_moved = true;
	for (uint32_t i = 0; i < c->n; i++)
		c->bitmaps[i].are_new = false;
	free(q->bitmaps);
	q->bitmaps = steal_ptr(&c->bitmaps);
	q->n_bitmaps = c->n;
	return 0;
}

void qcow2_bitmaps_change_deinit(struct qcow2_bitmaps_change *c)
{
	free(c->bitmaps);
	free(c->moves);
}

/* To be moved. One that cannot be read stays where it is. */
static void load_all(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->n_bitmaps; i++)
		if (!(q->bitmaps[i].flags & QCOW2_BITMAP_IN_USE))
			(void)qcow2_bitmap_load(q, &q->bitmaps[i], NULL);
}

int qcow2_bitmaps_change(struct qcow2 *q, struct qcow2_bitmaps_change *c,
			 struct error *err)
{
	int rc;

	*c = (struct qcow2_bitmaps_change){ .n = q->n_bitmaps };
	if (q->header.version < 3) {
		error_set(err, -ENOTSUP,
			  "Cannot store dirty bitmaps in qcow2 v2 files");
		return -ENOTSUP;
	}
	rc = qcow2_bitmaps_store(q, err);
	if (rc < 0)
		return rc;
	if (!q->are_bitmaps_moved)
		load_all(q);
	c->bitmaps = calloc(q->n_bitmaps + 1ULL, sizeof(*c->bitmaps));
	c->moves = calloc(q->n_bitmaps + 1ULL, sizeof(*c->moves));
	if (c->bitmaps == NULL || c->moves == NULL)
		return -ENOMEM;
	if (q->n_bitmaps > 0)
		memcpy(c->bitmaps, q->bitmaps,
		       q->n_bitmaps * sizeof(*c->bitmaps));
	return 0;
}

int qcow2_bitmaps_may_resize(const struct qcow2 *q, uint64_t size,
			     struct error *err)
{
	for (uint32_t i = 0; i < q->n_bitmaps; i++) {
		const struct qcow2_bitmap *b = &q->bitmaps[i];

		if (b->flags & QCOW2_BITMAP_IN_USE)
			return error_set(err, -ENOTSUP,
					 "Bitmap '%s' is inconsistent and "
					 "cannot be used",
					 b->name);
		/* Or nobody could open the image for writing. */
		if (qcow2_bitmap_n_bits(size, b->granularity_bits) >
		    QCOW2_BITMAP_BITS_MAX)
			return error_set(err, -EFBIG,
					 "Cannot resize: bitmap '%s' would be "
					 "too large",
					 b->name);
	}
	return 0;
}

/* A table is as long as the disk wants it: until the new ones are there, all
 * count as in use. */
int qcow2_bitmaps_begin_resize(struct qcow2 *q, struct error *err)
{
	struct qcow2_bitmaps_change c;
	int rc;

	if (q->n_bitmaps == 0)
		return 0;
	for (uint32_t i = 0; i < q->n_bitmaps; i++) {
		rc = qcow2_bitmap_load(q, &q->bitmaps[i], err);
		if (rc < 0)
			return rc;
	}
	rc = qcow2_bitmaps_change(q, &c, err);
	for (uint32_t i = 0; rc == 0 && i < c.n; i++)
		c.bitmaps[i].flags |= QCOW2_BITMAP_IN_USE;
	if (rc == 0)
		rc = qcow2_bitmaps_commit(q, &c, err);
	qcow2_bitmaps_change_deinit(&c);
	return rc;
}

/* The disk has all of them: they are stored before a resize. */
static void forget_all(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->n_bitmaps; i++)
		bits_deinit(&q->bitmaps[i].bits);
}

static int fit_bits(struct qcow2_bitmap *b, uint64_t size,
		    uint64_t changed_from)
{
	uint64_t n = qcow2_bitmap_n_bits(size, b->granularity_bits);
	int rc = bits_resize(&b->bits, n);

	if (rc == 0 && changed_from < size)
		rc = bits_set(&b->bits, changed_from >> b->granularity_bits,
			      n - 1);
	return rc;
}

static int fit(struct qcow2 *q, uint64_t size, uint64_t changed_from,
	       struct error *err)
{
	struct qcow2_bitmaps_change c = { .bitmaps = NULL };
	uint32_t n = q->n_bitmaps;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = fit_bits(&q->bitmaps[i], size, changed_from);
	if (rc == 0)
		rc = qcow2_bitmaps_change(q, &c, err);
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		c.bitmaps[i].are_new = true;
	if (rc == 0)
		rc = qcow2_bitmaps_commit(q, &c, err);
	qcow2_bitmaps_change_deinit(&c);
	return rc;
}

int qcow2_bitmaps_fit(struct qcow2 *q, uint64_t size, struct error *err)
{
	int rc;

	if (q->n_bitmaps == 0)
		return 0;
	rc = fit(q, size, UINT64_MAX, err);
	if (rc == 0)
		return 0;
	forget_all(q);
	for (uint32_t i = 0; i < q->n_bitmaps; i++)
		(void)qcow2_bitmap_load(q, &q->bitmaps[i], NULL);
	return rc;
}

void qcow2_bitmaps_unfit(struct qcow2 *q, uint64_t changed_from)
{
	if (q->n_bitmaps > 0 && fit(q, q->header.size, changed_from, NULL) < 0)
		forget_all(q);
}

/* Are they there, and as long as the disk wants them? */
static bool do_fit(const struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->n_bitmaps; i++) {
		const struct qcow2_bitmap *b = &q->bitmaps[i];

		if (b->bits.parts == NULL ||
		    b->bits.n != qcow2_bitmap_n_bits(q->header.size,
						     b->granularity_bits))
			return false;
	}
	return true;
}

/* In place: that needs no room. */
static int release(struct qcow2 *q, struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < q->n_bitmaps; i++) {
		struct qcow2_bitmap *b = &q->bitmaps[i];
		uint32_t flags = b->flags & ~(uint32_t)QCOW2_BITMAP_IN_USE;

		rc = qcow2_bitmap_write_flags(q, b, flags, err);
		if (rc == 0)
			b->flags = flags;
	}
	if (rc == 0 && qcow2_barrier(q) < 0)
		rc = error_set_errno(err, q->flush_error, "Could not flush");
	return rc;
}

/* Without bits, or with others than the disk wants, they are in use for ever. */
int qcow2_bitmaps_end_resize(struct qcow2 *q, struct error *err)
{
	return q->n_bitmaps > 0 && do_fit(q) ? release(q, err) : 0;
}
