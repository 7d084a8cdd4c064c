/* SPDX-License-Identifier: ISC */
/*
 * The half of a check that walks everything which refers to host clusters:
 * the header, the L1 tables of the disk and of snapshots
 * (qcow2_count_tables.c), the snapshot table, bitmaps, the encryption header,
 * and the refcount structures themselves. Lines are qemu-img check's.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2_check.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	BITMAP_CHUNK = 8192, /* entries of a table read at a time */
	BITMAP_TABLE_MAX = 0x8000000,
	BITMAP_VARIABLE_MAX = 1 << 20,
};

void qcow2_found_corrupt(struct qcow2_checker *c)
{
	if (c->is_first)
		c->result->n_corruptions += c->weight;
}

static void set_count(struct qcow2_checker *c, uint64_t i, uint64_t n)
{
	if (c->width == 1)
		((uint8_t *)c->counts)[i] = (uint8_t)n;
	else if (c->width == 2)
		((uint16_t *)c->counts)[i] = (uint16_t)n;
	else
		((uint32_t *)c->counts)[i] = (uint32_t)n;
}

/* Snapshots by the hundred, or an image that is damaged. */
static bool widen(struct qcow2_checker *c)
{
	unsigned width = c->width * 2;
	uint8_t *wide = calloc(c->per_window, width);

	if (wide == NULL) {
		c->result_of_widening = -ENOMEM;
		return false;
	}
	for (uint64_t i = 0; i < c->per_window; i++)
		if (width == 2)
			((uint16_t *)(void *)wide)[i] =
				((const uint8_t *)c->counts)[i];
		else
			((uint32_t *)(void *)wide)[i] =
				((const uint16_t *)c->counts)[i];
	free(c->counts);
	c->counts = wide;
	c->width = width;
	return true;
}

static void overflow(struct qcow2_checker *c, uint64_t host_index, uint64_t n)
{
	if (!c->is_recount) {
		c->result->n_corruptions += n;
		c->result->n_overflows += n;
	}
	qcow2_found(c, "ERROR: overflow cluster offset=0x%llx",
		    (unsigned long long)host_index << c->q->cluster_bits);
	qcow2_found(c, "Use qemu-img amend to increase the refcount entry "
		       "width or qemu-img convert to create a clean copy if "
		       "the image cannot be opened for writing");
}

static void count_one(struct qcow2_checker *c, uint64_t host_index)
{
	uint64_t i = host_index - c->first;
	uint64_t count, window = host_index / c->per_window;

	c->touched[window % QCOW2_CHECK_TOUCHED / 64] |= 1ULL << window % 64;
	if (host_index < c->first || i >= c->n)
		return;
	count = qcow2_counted(c, host_index);
	if (c->weight > c->count_max - count) {
		overflow(c, host_index, c->weight - (c->count_max - count));
		count = c->count_max;
	} else {
		count += c->weight;
	}
	while (c->width < sizeof(uint32_t) && count >> 8 * c->width > 0)
		if (!widen(c))
			return;
	set_count(c, i, count);
}

/* What is cut short by less than a cluster is counted to its end, so that a
 * repair puts nothing there. There is room for one more count. */
static void reach_beyond(struct qcow2_checker *c)
{
	if (c->first + c->n == c->n_host && c->n < c->per_window)
		c->n++;
	c->n_host++;
}

bool qcow2_count_is_inside(struct qcow2_checker *c, uint64_t offset,
			   uint64_t len)
{
	/* The last cluster need not be there to its end. */
	if (offset <= c->file_len &&
	    (offset + len <= c->file_len ||
	     offset + len - c->file_len < c->q->cluster_len))
		return true;
	if (offset < c->file_len)
		c->has_lost = c->has_cut = true;
	qcow2_found_corrupt(c);
	qcow2_found(c,
		    "ERROR: counting reference for region exceeding the end of "
		    "the file by one cluster or more: offset 0x%llx size "
		    "0x%llx",
		    (unsigned long long)offset, (unsigned long long)len);
	return false;
}

void qcow2_count_inside(struct qcow2_checker *c, uint64_t offset, uint64_t len)
{
	unsigned bits = c->q->cluster_bits;

	if ((offset + len - 1) >> bits >= c->n_host)
		reach_beyond(c);
	for (uint64_t i = offset >> bits; i <= (offset + len - 1) >> bits; i++)
		count_one(c, i);
}

void qcow2_count_range(struct qcow2_checker *c, uint64_t offset, uint64_t len)
{
	if (len > 0 && qcow2_count_is_inside(c, offset, len))
		qcow2_count_inside(c, offset, len);
}

/* What a damaged entry refers to cannot be counted, and is not freed. */
static bool has_l1(struct qcow2_checker *c, uint32_t i)
{
	const struct qcow2_snapshot *s = &c->q->snapshots[i];
	const struct image_snapshot_info *info = &c->q->snapshot_infos[i];

	if (s->l1_offset & (c->q->cluster_len - 1)) {
		qcow2_found(c,
			    "ERROR snapshot %s (%s) l1_offset=%#llx: L1 table "
			    "is not cluster aligned; snapshot table entry "
			    "corrupted",
			    info->id, info->name,
			    (unsigned long long)s->l1_offset);
	} else if (s->l1_size > QCOW2_L1_LEN_MAX / sizeof(uint64_t)) {
		qcow2_found(c,
			    "ERROR snapshot %s (%s) l1_size=%#x: L1 table is "
			    "too large; snapshot table entry corrupted",
			    info->id, info->name, s->l1_size);
	} else if (qcow2_snapshot_check_l1(c->q, s, NULL) < 0) {
		qcow2_found(c,
			    "ERROR snapshot %s (%s) l1_offset=%#llx: L1 table "
			    "offset invalid; snapshot table entry corrupted",
			    info->id, info->name,
			    (unsigned long long)s->l1_offset);
	} else {
		c->has_lost |= s->l1_size > 0 && s->l1_offset >= c->file_len;
		return true;
	}
	c->has_lost = true;
	qcow2_found_corrupt(c);
	return false;
}

static int count_snapshots(struct qcow2_checker *c)
{
	struct qcow2 *q = c->q;
	int rc;

	for (uint32_t i = 0; i < q->header.n_snapshots; i++) {
		if (!has_l1(c, i))
			continue;
		rc = qcow2_count_l1(c, q->snapshots[i].l1_offset,
				    q->snapshots[i].l1_size, false);
		if (rc < 0)
			return rc;
	}
	rc = qcow2_count_collected(c, false);
	qcow2_count_range(c, q->header.snapshots_offset, q->snapshots_len);
	return rc;
}

/* Of a bitmap that is in use: others were looked at. */
static void count_bits(struct qcow2_checker *c, uint64_t entry)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	if (!qcow2_bitmap_is_entry(c->q, entry)) {
		c->has_lost = true;
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR bitmap table entry %#llx; bitmap table "
			    "corrupted",
			    (unsigned long long)entry);
	} else if (offset != 0) {
		qcow2_count_range(c, offset, c->q->cluster_len);
	}
}

struct bitmap_walk {
	struct qcow2_checker *c;
	uint64_t *table; /* BITMAP_CHUNK entries */
};

static int count_entries(void *context, uint64_t offset, size_t len)
{
	struct bitmap_walk *w = context;

	(void)offset;
	for (size_t i = 0; i < len / sizeof(*w->table); i++)
		count_bits(w->c, be64toh(w->table[i]));
	return 0;
}

/* What lies beyond the end of the file would read as zeroes. */
static int count_now(struct bitmap_walk *w, uint64_t offset, uint64_t size)
{
	struct qcow2_checker *c = w->c;
	int rc = 0;

	while (rc == 0 && size > 0 && offset < c->file_len) {
		uint64_t n = size < BITMAP_CHUNK ? size : BITMAP_CHUNK;

		rc = image_file_read(c->q->file, offset, w->table,
				     n * sizeof(*w->table));
		if (rc == 0)
			rc = count_entries(w, offset, n * sizeof(*w->table));
		offset += n * sizeof(*w->table);
		size -= n;
	}
	return rc;
}

static int count_collected(struct bitmap_walk *w)
{
	return qcow2_count_spans(w->c, &w->c->bitmap_tables, w->table,
				 BITMAP_CHUNK * sizeof(*w->table),
				 count_entries, w);
}

static int count_bitmap(struct bitmap_walk *w, uint64_t offset, uint64_t size)
{
	struct qcow2_checker *c = w->c;
	uint64_t len = size * sizeof(*w->table);
	int rc;

	if (size > BITMAP_TABLE_MAX)
		return -EFBIG;
	c->has_lost |= size > 0 && offset >= c->file_len;
	if (qcow2_count_now(c, size)) {
		qcow2_count_range(c, offset, len);
		return count_now(w, offset, size);
	}
	rc = qcow2_count_clusters_later(c, offset, len);
	if (rc == 0)
		rc = qcow2_spans_add(&c->bitmap_tables, offset, len, 1);
	return rc;
}

static int count_bitmaps(struct qcow2_checker *c)
{
	const struct qcow2_header *h = &c->q->header;
	uint64_t at = h->bitmap_directory_offset;
	uint64_t end = at + h->bitmap_directory_len;
	_cleanup_free_ uint64_t *table = NULL;
	struct bitmap_walk walk = { .c = c };
	int rc = 0;

	/* Stale ones are no more than leaks, as for QEMU. */
	if (!h->has_bitmaps || !(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) ||
	    h->bitmap_directory_len > INT64_MAX - at)
		return 0;
	table = malloc(BITMAP_CHUNK * sizeof(*table));
	if (table == NULL)
		return -ENOMEM;
	walk.table = table;
	qcow2_count_range(c, at, h->bitmap_directory_len);
	for (uint32_t i = 0; rc == 0 && i < h->n_bitmaps && at < end &&
			     i < QCOW2_BITMAPS_MAX && at < c->file_len;
	     i++) {
		struct qcow2_wire_bitmap w;

		rc = image_file_read(c->q->file, at, &w, sizeof(w));
		if (rc == 0)
			rc = count_bitmap(&walk, be64toh(w.table_offset),
					  be32toh(w.table_size));
		at += (sizeof(w) + be32toh(w.extra_len) + be16toh(w.name_len) +
		       7) &
		      ~7ULL;
	}
	if (rc == 0)
		rc = count_collected(&walk);
	return rc == 0 ? qcow2_count_clusters(c) : rc;
}

/* A block that was beyond the file's end. */
static void count_outside(struct qcow2_checker *c, uint64_t i, uint64_t offset)
{
	bool is_repair = c->fix & IMAGE_REPAIR_ERRORS;
	bool is_inside = offset >> c->q->cluster_bits < c->n_host;

	qcow2_found(c, "%s refcount block %llu is outside image",
		    is_repair ? "Repairing" : "ERROR", (unsigned long long)i);
	if (is_inside)
		qcow2_count_range(c, offset, c->q->cluster_len);
	else
		qcow2_found_corrupt(c);
	if (is_inside && c->is_first)
		c->result->n_corruptions_fixed++;
	if (is_inside || !is_repair)
		return;
	qcow2_found(c, "ERROR could not resize image: %s",
		    strerror(-c->grow_rc));
	c->needs_rebuild = true;
}

static void count_block(struct qcow2_checker *c, uint64_t i, uint64_t entry)
{
	uint64_t offset = entry & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	uint64_t host_index = offset >> c->q->cluster_bits, count;

	if (entry & ~QCOW2_REFCOUNT_TABLE_OFFSET_MASK) {
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR refcount table entry %llu has reserved "
			    "bits set",
			    (unsigned long long)i);
		c->needs_rebuild = true;
	} else if (offset & (c->q->cluster_len - 1)) {
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR refcount block %llu is not cluster "
			    "aligned; refcount table entry corrupted",
			    (unsigned long long)i);
		c->needs_rebuild = true;
	} else if (host_index >= c->n_before) {
		count_outside(c, i, offset);
	} else if (offset != 0) {
		qcow2_count_range(c, offset, c->q->cluster_len);
		if (host_index < c->first || host_index - c->first >= c->n)
			return;
		count = qcow2_counted(c, host_index);
		if (count == 1)
			return;
		c->result->n_corruptions += !c->is_recount;
		c->needs_rebuild = true;
		c->shared_block = offset;
		qcow2_found(c, "ERROR refcount block %llu refcount=%llu",
			    (unsigned long long)i, (unsigned long long)count);
	}
}

static void count_refcounts(struct qcow2_checker *c)
{
	struct qcow2 *q = c->q;

	qcow2_count_range(c, q->header.refcount_table_offset,
			  (uint64_t)q->header.refcount_table_clusters
				  << q->cluster_bits);
	for (uint64_t i = 0; i < q->refcount_table_size; i++)
		if (q->refcount_table[i] != 0)
			count_block(c, i, q->refcount_table[i]);
}

int qcow2_count_references(struct qcow2_checker *c, struct error *err)
{
	const struct qcow2_header *h = &c->q->header;
	int rc;

	c->weight = 1;
	c->entries_left = QCOW2_CHECK_ENTRIES_NOW;
	/* Each in a place of its own. */
	if (c->q->has_data_file && c->entries_left < c->file_len / 8)
		c->entries_left = c->file_len / 8;
	qcow2_count_range(c, 0, c->q->cluster_len);
	rc = qcow2_count_l1(c, h->l1_offset, h->l1_size, true);
	if (rc == 0)
		rc = qcow2_count_collected(c, true);
	if (rc == 0)
		rc = count_snapshots(c);
	if (rc == 0)
		qcow2_count_range(c, h->crypt_offset, h->crypt_len);
	if (rc == 0)
		rc = count_bitmaps(c);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read metadata");
	count_refcounts(c);
	return c->result_of_widening;
}
