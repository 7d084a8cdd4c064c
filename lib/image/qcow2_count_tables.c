/* SPDX-License-Identifier: ISC */
/*
 * Of the references that a check counts, those of an L1 table, its L2 tables,
 * and what they map: host clusters, and compressed ones.
 */
#include "lib/base/cleanup.h"
#include "lib/image/qcow2_check.h"

#include <endian.h>
#include <errno.h>

enum {
	TABLE_CHUNK = 8192, /* entries of an L1 table read at a time */
};

/* One table while it is walked. */
struct walk {
	struct qcow2_checker *c;
	bool is_active; /* the disk's: its copied flags and totals count */
	uint64_t *l1;	/* TABLE_CHUNK entries */
	uint64_t *l2;	/* of one cluster, or what is read of it */
	uint64_t n_l2;	/* entries of that */
	int is_table;	/* do they look like it? < 0: not looked at */
	uint64_t l2_offset;
	uint64_t next; /* host offset that would follow the last one; or 0 */
	uint64_t guest_index; /* of its first entry */
	uint64_t bitmap;      /* second word of the entry looked at */
};

static void note_copied(struct qcow2_checker *c, uint64_t entry)
{
	uint64_t refcount;

	if (c->has_wrong_copied || !c->is_first)
		return;
	if (qcow2_checked_refcount(
		    c, (entry & QCOW2_OFFSET_MASK) >> c->q->cluster_bits,
		    &refcount) == 0 &&
	    (refcount == 1) != !!(entry & QCOW2_COPIED))
		c->has_wrong_copied = true;
}

static void count_compressed(struct walk *w, uint64_t i, uint64_t entry)
{
	struct qcow2_checker *c = w->c;
	uint64_t offset, len;

	if (c->q->has_data_file) {
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR compressed cluster %llu with data file, "
			    "entry=0x%llx",
			    (unsigned long long)i, (unsigned long long)entry);
		return;
	}

	qcow2_compressed_range(c->q, entry, &offset, &len);
	if (entry & QCOW2_COPIED) {
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR: coffset=0x%llx: copied flag must never be "
			    "set for compressed clusters",
			    (unsigned long long)offset);
	}
	qcow2_count_range(c, offset, len);
	if (w->is_active && c->is_first) {
		c->result->allocated_clusters += c->weight;
		c->result->compressed_clusters += c->weight;
		/* By nature: several share what is read for one. */
		c->result->fragmented_clusters += c->weight;
	}
}

static bool has_data(const struct qcow2 *q, uint64_t entry, uint64_t bitmap)
{
	return q->has_subclusters ? bitmap & QCOW2_SUBCLUSTERS_ALLOCATED
				  : !(entry & QCOW2_ZERO);
}

/* A cluster without data need not be in the file. */
static bool is_likely(const struct qcow2_checker *c, uint64_t entry,
		      uint64_t bitmap)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK, len;

	if (entry & QCOW2_COMPRESSED)
		qcow2_compressed_range(c->q, entry, &offset, &len);
	else if (entry & QCOW2_L2_RESERVED_MASK)
		return false;
	else if (c->q->has_data_file || !has_data(c->q, entry, bitmap))
		return true;
	return offset < c->file_len;
}

/* An L1 entry that is damaged may lead to what is no table but a guest's data,
 * which is to stay as it is. */
static bool is_table(struct walk *w)
{
	uint64_t entry, bitmap;

	if (w->is_table < 0)
		w->is_table = 1;
	else
		return w->is_table;
	for (uint64_t i = 0; w->is_table && i < w->n_l2; i++) {
		qcow2_load_entry(w->c->q, w->l2, i, &entry, &bitmap);
		w->is_table = is_likely(w->c, entry, bitmap);
	}
	return w->is_table;
}

/* A host cluster that cannot be, of a cluster that reads the same without it:
 * the entry loses it. Subclusters read as zeroes, or as what lies below. */
static bool drop_host(struct walk *w, uint64_t i)
{
	struct qcow2 *q = w->c->q;
	uint64_t wire[2] = { htobe64(QCOW2_ZERO) };
	uint64_t len = q->l2_words * sizeof(wire[0]);
	uint64_t at = w->l2_offset + i * len;

	if (q->has_subclusters) {
		wire[0] = 0;
		wire[1] = htobe64(w->bitmap);
	}
	if (!w->c->is_first || !(w->c->fix & IMAGE_REPAIR_ERRORS) ||
	    !is_table(w) ||
	    qcow2_check_overlap(q, QCOW2_SECTION_L2, at, len, NULL) < 0 ||
	    qcow2_cache_write(&q->l2_cache, at, wire, len) < 0)
		return false;
	w->c->result->n_corruptions_fixed++;
	w->c->has_fixed = true;
	return true;
}

static bool is_aligned(struct walk *w, uint64_t i, uint64_t entry)
{
	struct qcow2_checker *c = w->c;
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	bool is_dropped, is_data;

	if (!(offset & (c->q->cluster_len - 1)))
		return true;
	is_data = has_data(c->q, entry, w->bitmap);
	is_dropped = !is_data && drop_host(w, i);
	if (!is_dropped)
		qcow2_found_corrupt(c);
	qcow2_found(c,
		    "%s offset=%llx: %s cluster is not properly aligned; L2 "
		    "entry corrupted.",
		    is_dropped ? "Repairing" : "ERROR",
		    (unsigned long long)offset,
		    is_data ? "Data" : "Preallocated");
	return !is_dropped;
}

/* In a data file each cluster is where it is on the disk. */
static void wrong_place(struct walk *w, uint64_t i, uint64_t offset)
{
	uint64_t guest_offset = (w->guest_index + i) << w->c->q->cluster_bits;

	qcow2_found_corrupt(w->c);
	qcow2_found(w->c,
		    "ERROR: data file offset %llx does not match guest offset "
		    "%llx",
		    (unsigned long long)offset,
		    (unsigned long long)guest_offset);
}

/* Which subclusters there are must make sense. */
static void check_bitmap(struct walk *w, uint64_t i, uint64_t entry)
{
	if (!w->c->q->has_subclusters ||
	    qcow2_is_bitmap_valid(w->c->q, entry, w->bitmap))
		return;
	qcow2_found_corrupt(w->c);
	if (entry & QCOW2_COMPRESSED)
		qcow2_found(w->c,
			    "ERROR compressed cluster %llu with non-zero "
			    "subcluster allocation bitmap, entry=0x%llx",
			    (unsigned long long)i, (unsigned long long)entry);
	else if (!qcow2_entry_has_host(w->c->q, entry))
		qcow2_found(w->c, "ERROR: Unallocated cluster has non-zero "
				  "subcluster allocation map");
	else
		qcow2_found(w->c,
			    "ERROR offset=%llx: Allocated cluster has "
			    "corrupted subcluster allocation bitmap",
			    (unsigned long long)(entry & QCOW2_OFFSET_MASK));
}

static void count_standard(struct walk *w, uint64_t i, uint64_t entry)
{
	struct qcow2_checker *c = w->c;
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	if (entry & QCOW2_L2_RESERVED_MASK) {
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR found l2 entry with reserved bits set: "
			    "%llx",
			    (unsigned long long)entry);
	}
	if (!qcow2_entry_has_host(c->q, entry) || !is_aligned(w, i, entry))
		return;
	if (w->is_active && !c->q->has_data_file)
		note_copied(c, entry);
	/* A zero cluster at a data file's beginning looks like one without a
	 * place. */
	if (w->is_active && (offset != 0 || !(entry & QCOW2_ZERO))) {
		if (c->is_first) {
			c->result->allocated_clusters += c->weight;
			if (w->next != 0 && offset != w->next)
				c->result->fragmented_clusters += c->weight;
		}
		w->next = offset + c->q->cluster_len;
	}
	if (!c->q->has_data_file)
		qcow2_count_range(c, offset, c->q->cluster_len);
	else if (offset != (w->guest_index + i) << c->q->cluster_bits)
		wrong_place(w, i, offset);
}

/* Of a table, or a piece of one, what is in w->l2: entry first and so on. */
static void count_entries(struct walk *w, uint64_t first, uint64_t n)
{
	w->n_l2 = n;
	w->is_table = -1;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t entry;

		qcow2_load_entry(w->c->q, w->l2, i, &entry, &w->bitmap);
		if (entry == 0 && w->bitmap == 0)
			continue;
		check_bitmap(w, first + i, entry);
		if (entry & QCOW2_COMPRESSED)
			count_compressed(w, first + i, entry);
		else
			count_standard(w, first + i, entry);
	}
}

static int count_piece(void *context, uint64_t offset, size_t len)
{
	struct walk *w = context;
	const struct qcow2 *q = w->c->q;
	uint64_t within = offset & (q->cluster_len - 1);
	size_t entry_len = q->l2_words * sizeof(*w->l2);

	w->l2_offset = offset - within;
	if (within == 0)
		w->next = 0;
	count_entries(w, within / entry_len, len / entry_len);
	return 0;
}

static int count_l2_tables(struct walk *w)
{
	struct qcow2_checker *c = w->c;
	uint64_t weight = c->weight;
	int rc = qcow2_count_spans(c, &c->l2_tables, w->l2, c->q->cluster_len,
				   count_piece, w);

	c->weight = weight;
	return rc;
}

static int count_l2_later(struct walk *w, uint64_t offset)
{
	struct qcow2_checker *c = w->c;
	int rc = qcow2_spans_add(&c->l2_tables, offset, c->q->cluster_len,
				 c->weight);

	if (rc != QCOW2_SPANS_FULL)
		return rc;
	rc = count_l2_tables(w);
	return rc == 0 ? count_l2_later(w, offset) : rc;
}

static int count_l2(struct walk *w, uint64_t offset)
{
	struct qcow2_checker *c = w->c;
	uint64_t n = 1ULL << c->q->l2_bits;
	int rc;

	if (!qcow2_count_now(c, n))
		return count_l2_later(w, offset);
	rc = image_file_read(c->q->file, offset, w->l2, c->q->cluster_len);
	if (rc < 0) {
		c->result->n_check_errors += c->is_first;
		qcow2_found(c, "ERROR: I/O error in check_refcounts_l2");
		return rc;
	}
	w->l2_offset = offset;
	w->next = 0;
	count_entries(w, 0, n);
	return 0;
}

static int count_l1_entry(struct walk *w, uint64_t entry)
{
	struct qcow2_checker *c = w->c;
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	if (entry & QCOW2_L1_RESERVED_MASK) {
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR found L1 entry with reserved bits set: "
			    "%llx",
			    (unsigned long long)entry);
	}
	/* QEMU takes one with the flag alone for a table in the header. */
	if (offset == 0) {
		c->has_wrong_copied |= w->is_active && entry & QCOW2_COPIED;
		return 0;
	}
	qcow2_count_range(c, offset, c->q->cluster_len);
	if (offset & (c->q->cluster_len - 1)) {
		qcow2_found_corrupt(c);
		qcow2_found(c,
			    "ERROR l2_offset=%llx: Table is not cluster "
			    "aligned; L1 entry corrupted",
			    (unsigned long long)offset);
	}
	if (w->is_active)
		note_copied(c, entry);
	return count_l2(w, offset);
}

static int count_l1_entries(void *context, uint64_t offset, size_t len)
{
	struct walk *w = context;
	int rc = 0;

	(void)offset;
	for (size_t i = 0; rc == 0 && i < len / sizeof(*w->l1); i++) {
		rc = count_l1_entry(w, be64toh(w->l1[i]));
		w->guest_index += 1ULL << w->c->q->l2_bits;
	}
	return rc;
}

static int count_l1_now(struct walk *w, uint64_t offset, uint64_t size)
{
	int rc = 0;

	while (rc == 0 && size > 0) {
		uint64_t n = size < TABLE_CHUNK ? size : TABLE_CHUNK;
		size_t len = n * sizeof(*w->l1);

		rc = image_file_read(w->c->q->file, offset, w->l1, len);
		if (rc == 0)
			rc = count_l1_entries(w, offset, len);
		offset += len;
		size -= n;
	}
	return rc;
}

int qcow2_count_l1(struct qcow2_checker *c, uint64_t offset, uint64_t size,
		   bool is_active)
{
	_cleanup_free_ uint64_t *l2 = malloc(c->q->cluster_len);
	_cleanup_free_ uint64_t *l1 = malloc(TABLE_CHUNK * sizeof(*l1));
	struct walk w = { .c = c, .is_active = is_active, .l1 = l1, .l2 = l2 };
	uint64_t len = size * sizeof(*l1);
	int rc;

	if (l1 == NULL || l2 == NULL)
		return -ENOMEM;
	if (qcow2_count_now(c, size)) {
		qcow2_count_range(c, offset, len);
		return count_l1_now(&w, offset, size);
	}
	rc = qcow2_count_clusters_later(c, offset, len);
	/* Of 65536 snapshots at most: they have room. */
	return rc == 0 ? qcow2_spans_add(&c->l1_tables, offset, len, 1) : rc;
}

int qcow2_count_collected(struct qcow2_checker *c, bool is_active)
{
	_cleanup_free_ uint64_t *l2 = malloc(c->q->cluster_len);
	_cleanup_free_ uint64_t *l1 = malloc(TABLE_CHUNK * sizeof(*l1));
	struct walk w = { .c = c, .is_active = is_active, .l1 = l1, .l2 = l2 };
	int rc;

	if (l1 == NULL || l2 == NULL)
		return -ENOMEM;
	rc = qcow2_count_spans(c, &c->l1_tables, l1, TABLE_CHUNK * sizeof(*l1),
			       count_l1_entries, &w);
	if (rc == 0)
		rc = count_l2_tables(&w);
	return rc == 0 ? qcow2_count_clusters(c) : rc;
}
