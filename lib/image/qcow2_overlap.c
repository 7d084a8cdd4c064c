/* SPDX-License-Identifier: ISC */
/*
 * Before anything is written, the range is held against all metadata that is
 * known. On a sound image nothing ever overlaps; on a damaged one (a refcount
 * of zero for what is in use, an entry that points into a table) the write
 * would destroy more: it is refused, and the corrupt bit set.
 *
 * L2 tables and refcount blocks stand anywhere and may be many; a filter, two
 * bits for each in a table that is at most an eighth full, answers no for
 * nearly all that is asked, and only a yes searches the L1 or the refcount
 * table. Members are never taken out.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FILTER_BITS_EACH = 16,
	FILTER_BITS_MIN = 1024,
};

static void filter_add(struct qcow2_filter *f, uint64_t host_index)
{
	uint64_t hash = host_index * 0x9e3779b97f4a7c15ULL;
	uint64_t a = hash & f->mask, b = (hash >> 32) & f->mask;

	f->bits[a / 64] |= 1ULL << a % 64;
	f->bits[b / 64] |= 1ULL << b % 64;
	f->n_members++;
}

static bool filter_may_have(const struct qcow2_filter *f, uint64_t host_index)
{
	uint64_t hash = host_index * 0x9e3779b97f4a7c15ULL;
	uint64_t a = hash & f->mask, b = (hash >> 32) & f->mask;

	return f->bits[a / 64] >> a % 64 & f->bits[b / 64] >> b % 64 & 1;
}

/* Room for twice n members; all of a table's entries become members. */
static int filter_fill(struct qcow2_filter *f, const uint64_t *table,
		       uint64_t size, uint64_t n, uint64_t offset_mask,
		       unsigned cluster_bits)
{
	uint64_t n_bits = FILTER_BITS_MIN;
	uint64_t *bits;

	while (n_bits < 2 * n * FILTER_BITS_EACH && n_bits < 1ULL << 32)
		n_bits *= 2;
	bits = calloc(n_bits / 64, sizeof(*bits));
	if (bits == NULL)
		return -ENOMEM;
	free(f->bits);
	f->bits = bits;
	f->mask = n_bits - 1;
	f->n_members = 0;
	for (uint64_t i = 0; i < size; i++)
		if (table[i] & offset_mask)
			filter_add(f, (table[i] & offset_mask) >> cluster_bits);
	return 0;
}

static uint64_t count_used(const uint64_t *table, uint64_t size, uint64_t mask)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < size; i++)
		n += (table[i] & mask) != 0;
	return n;
}

static int fill_l2(struct qcow2 *q)
{
	uint64_t n = count_used(q->l1, q->header.l1_size, QCOW2_OFFSET_MASK);

	return filter_fill(&q->l2_filter, q->l1, q->header.l1_size, n,
			   QCOW2_OFFSET_MASK, q->cluster_bits);
}

static int fill_refcount(struct qcow2 *q)
{
	uint64_t n = count_used(q->refcount_table, q->refcount_table_size,
				QCOW2_REFCOUNT_TABLE_OFFSET_MASK);

	return filter_fill(&q->refcount_filter, q->refcount_table,
			   q->refcount_table_size, n,
			   QCOW2_REFCOUNT_TABLE_OFFSET_MASK, q->cluster_bits);
}

int qcow2_filters_init(struct qcow2 *q)
{
	int rc = fill_l2(q);

	return rc < 0 ? rc : fill_refcount(q);
}

void qcow2_filters_deinit(struct qcow2 *q)
{
	free(q->l2_filter.bits);
	free(q->refcount_filter.bits);
	q->l2_filter.bits = q->refcount_filter.bits = NULL;
}

int qcow2_filters_refill(struct qcow2 *q)
{
	qcow2_filters_deinit(q);
	return qcow2_filters_init(q);
}

static bool is_full(const struct qcow2_filter *f)
{
	return (f->n_members + 1) * (FILTER_BITS_EACH / 2) > f->mask &&
	       f->mask < UINT32_MAX;
}

int qcow2_filter_add_l2(struct qcow2 *q, uint64_t host_offset)
{
	int rc = is_full(&q->l2_filter) ? fill_l2(q) : 0;

	if (rc == 0)
		filter_add(&q->l2_filter, host_offset >> q->cluster_bits);
	return rc;
}

int qcow2_filter_add_refcount_block(struct qcow2 *q, uint64_t host_offset)
{
	int rc = is_full(&q->refcount_filter) ? fill_refcount(q) : 0;

	if (rc == 0)
		filter_add(&q->refcount_filter, host_offset >> q->cluster_bits);
	return rc;
}

static bool table_has(const uint64_t *table, uint64_t size, uint64_t mask,
		      uint64_t host_offset)
{
	for (uint64_t i = 0; i < size; i++)
		if ((table[i] & mask) == host_offset)
			return true;
	return false;
}

static bool is_l2(const struct qcow2 *q, uint64_t host_index)
{
	return filter_may_have(&q->l2_filter, host_index) &&
	       table_has(q->l1, q->header.l1_size, QCOW2_OFFSET_MASK,
			 host_index << q->cluster_bits);
}

static bool is_refcount_block(const struct qcow2 *q, uint64_t host_index)
{
	return filter_may_have(&q->refcount_filter, host_index) &&
	       table_has(q->refcount_table, q->refcount_table_size,
			 QCOW2_REFCOUNT_TABLE_OFFSET_MASK,
			 host_index << q->cluster_bits);
}

/* In whole clusters: nothing else may be in what is left of the last. */
static bool touches(const struct qcow2 *q, uint64_t host_offset, uint64_t len,
		    uint64_t table_offset, uint64_t table_len)
{
	return table_len > 0 &&
	       host_offset < qcow2_round_up(q, table_offset + table_len) &&
	       table_offset < host_offset + len;
}

static bool touches_snapshot_l1(const struct qcow2 *q, uint64_t host_offset,
				uint64_t len)
{
	for (uint32_t i = 0; i < q->header.n_snapshots; i++) {
		const struct qcow2_snapshot *s = &q->snapshots[i];

		/* One that cannot be is nowhere: nothing reads it either. */
		if (qcow2_snapshot_check_l1(q, s, NULL) == 0 &&
		    touches(q, host_offset, len, s->l1_offset,
			    s->l1_size * sizeof(uint64_t)))
			return true;
	}
	return false;
}

enum qcow2_section qcow2_find_overlap(struct qcow2 *q, unsigned ignore,
				      uint64_t host_offset, uint64_t len)
{
	const struct qcow2_header *h = &q->header;
	uint64_t last = (host_offset + len - 1) >> q->cluster_bits;

	if (!(ignore & QCOW2_SECTION_HEADER) && host_offset < q->cluster_len)
		return QCOW2_SECTION_HEADER;
	if (!(ignore & QCOW2_SECTION_L1) &&
	    touches(q, host_offset, len, h->l1_offset,
		    h->l1_size * sizeof(uint64_t)))
		return QCOW2_SECTION_L1;
	if (!(ignore & QCOW2_SECTION_REFCOUNT_TABLE) &&
	    touches(q, host_offset, len, h->refcount_table_offset,
		    (uint64_t)h->refcount_table_clusters << q->cluster_bits))
		return QCOW2_SECTION_REFCOUNT_TABLE;
	if (!(ignore & QCOW2_SECTION_SNAPSHOTS) &&
	    touches(q, host_offset, len, h->snapshots_offset, q->snapshots_len))
		return QCOW2_SECTION_SNAPSHOTS;
	if (!(ignore & QCOW2_SECTION_SNAPSHOT_L1) &&
	    touches_snapshot_l1(q, host_offset, len))
		return QCOW2_SECTION_SNAPSHOT_L1;
	if (!(ignore & QCOW2_SECTION_BITMAP_DIRECTORY) && q->n_bitmaps > 0 &&
	    touches(q, host_offset, len, h->bitmap_directory_offset,
		    h->bitmap_directory_len))
		return QCOW2_SECTION_BITMAP_DIRECTORY;
	for (uint64_t i = host_offset >> q->cluster_bits; i <= last; i++) {
		if (!(ignore & QCOW2_SECTION_L2) && is_l2(q, i))
			return QCOW2_SECTION_L2;
		if (!(ignore & QCOW2_SECTION_REFCOUNT_BLOCK) &&
		    is_refcount_block(q, i))
			return QCOW2_SECTION_REFCOUNT_BLOCK;
	}
	return QCOW2_SECTION_NONE;
}

static const char *section_name(enum qcow2_section section)
{
	switch (section) {
	case QCOW2_SECTION_HEADER:
		return "qcow2_header";
	case QCOW2_SECTION_L1:
		return "active L1 table";
	case QCOW2_SECTION_L2:
		return "active L2 table";
	case QCOW2_SECTION_REFCOUNT_TABLE:
		return "refcount table";
	case QCOW2_SECTION_REFCOUNT_BLOCK:
		return "refcount block";
	case QCOW2_SECTION_SNAPSHOTS:
		return "snapshot table";
	case QCOW2_SECTION_SNAPSHOT_L1:
		return "inactive L1 table";
	case QCOW2_SECTION_BITMAP_DIRECTORY:
		return "bitmap directory";
	case QCOW2_SECTION_NONE:
		break;
	}
	return "guest data";
}

int qcow2_check_overlap(struct qcow2 *q, enum qcow2_section section,
			uint64_t host_offset, uint64_t len, struct error *err)
{
	enum qcow2_section found =
		qcow2_find_overlap(q, section, host_offset, len);

	if (found == QCOW2_SECTION_NONE)
		return 0;
	return qcow2_corruption(
		q, err,
		"Preventing invalid write on %s at offset %#llx (overlaps "
		"with %s)",
		section_name(section), (unsigned long long)host_offset,
		section_name(found));
}

/* On a line of its own, the first time; the operation fails besides. */
static void tell(struct qcow2 *q, const char *text)
{
	bool is_fatal = !q->is_read_only;
	char line[384];

	if (q->is_corruption_told)
		return;
	q->is_corruption_told = true;
	snprintf(line, sizeof(line),
		 "qcow2: %s: %s; further %scorruption "
		 "events will be suppressed",
		 is_fatal ? "Marking image as corrupt" : "Image is corrupt",
		 text, is_fatal ? "" : "non-fatal ");
	q->image->found(q->image->found_context, line);
}

int qcow2_corruption(struct qcow2 *q, struct error *err, const char *format,
		     ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (q->image->found != NULL)
		tell(q, text);
	if (q->is_read_only)
		return q->image->found != NULL
			       ? error_set(err, -EIO, "%s", strerror(EIO))
			       : error_set(err, -EIO, "Image is corrupt: %s",
					   text);
	if (!q->is_corrupt) {
		q->is_corrupt = true;
		/* If even that cannot be written, the text is what is left. */
		(void)qcow2_set_incompatible(q, QCOW2_INCOMPATIBLE_CORRUPT, 0);
	}
	if (q->image->found != NULL)
		return error_set(err, -EIO, "%s", strerror(EIO));
	return error_set(err, -EIO, "Marking image as corrupt: %s", text);
}
