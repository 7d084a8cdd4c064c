/* SPDX-License-Identifier: ISC */
/*
 * From guest clusters to host clusters (section "Cluster mapping"): reading
 * runs of entries, and changing them. The L1 table is in memory, L2 tables in
 * slices in the cache.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	ENTRY_LEN = sizeof(uint64_t),
	BATCH = 256, /* entries changed at a time */
};

uint64_t qcow2_l2_left(const struct qcow2 *q, uint64_t index)
{
	uint64_t per_table = 1ULL << q->l2_bits;

	return per_table - (index & (per_table - 1));
}

bool qcow2_entry_has_host(const struct qcow2 *q, uint64_t entry)
{
	return entry & QCOW2_OFFSET_MASK ||
	       (q->has_data_file && entry & QCOW2_COPIED);
}

enum qcow2_kind qcow2_entry_kind(const struct qcow2 *q, uint64_t entry)
{
	if (entry & QCOW2_COMPRESSED)
		return QCOW2_KIND_COMPRESSED;
	if (entry & QCOW2_ZERO && !q->has_subclusters)
		return entry & QCOW2_OFFSET_MASK ? QCOW2_KIND_ZERO_ALLOCATED
						 : QCOW2_KIND_ZERO;
	return qcow2_entry_has_host(q, entry) ? QCOW2_KIND_DATA
					      : QCOW2_KIND_UNALLOCATED;
}

/* "Compressed Clusters Descriptor": x = 62 - (cluster_bits - 8). */
void qcow2_compressed_range(const struct qcow2 *q, uint64_t entry,
			    uint64_t *host_offset, uint64_t *len)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t offset = entry & ((1ULL << x) - 1);
	uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> x;

	*host_offset = offset;
	*len = (sectors + 1) * QCOW2_SECTOR_LEN -
	       (offset & (QCOW2_SECTOR_LEN - 1));
}

static uint32_t entry_len(const struct qcow2 *q)
{
	return q->l2_words * (uint32_t)ENTRY_LEN;
}

/* Where index's entry stands in the file; 0: it has no L2 table. */
static int find_entry(struct qcow2 *q, uint64_t index, uint64_t *at,
		      struct error *err)
{
	uint64_t i = index >> q->l2_bits;
	uint64_t offset;

	*at = 0;
	if (i >= q->header.l1_size)
		return error_set(err, -EIO, "L1 table is too small");
	offset = q->l1[i] & QCOW2_OFFSET_MASK;
	if (offset == 0)
		return 0;
	if (offset & (q->cluster_len - 1))
		return qcow2_corruption(q, err,
					"L2 table offset %#llx unaligned "
					"(L1 index: %#llx)",
					(unsigned long long)offset,
					(unsigned long long)i);
	*at = offset + (index & ((1ULL << q->l2_bits) - 1)) * entry_len(q);
	return 0;
}

/* The entry of index and *n after it, itself included, that are in memory;
 * NULL: there is no L2 table. */
static int load_entries(struct qcow2 *q, uint64_t index, bool nowait,
			uint8_t **entries, uint64_t *n, struct error *err)
{
	uint64_t at;
	int rc;

	*entries = NULL;
	*n = qcow2_l2_left(q, index);
	rc = find_entry(q, index, &at, err);
	if (rc < 0 || at == 0)
		return rc;
	if (nowait) {
		*entries = qcow2_cache_peek(&q->l2_cache, at);
		if (*entries == NULL)
			return -EAGAIN;
	} else {
		rc = qcow2_cache_get(&q->l2_cache, at, entries);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read L2 table");
	}
	*n = (q->l2_cache.entry_len - (at & (q->l2_cache.entry_len - 1))) /
	     entry_len(q);
	return 0;
}

/* Guest data is where it is on the disk, and never compressed. */
static int check_data_entry(struct qcow2 *q, uint64_t index, uint64_t entry,
			    enum qcow2_kind kind, struct error *err)
{
	uint64_t guest_offset = index << q->cluster_bits;

	if (kind == QCOW2_KIND_COMPRESSED)
		return qcow2_corruption(q, err,
					"Compressed cluster entry found in "
					"image with external data file (guest "
					"offset: %#llx)",
					(unsigned long long)guest_offset);
	if ((kind == QCOW2_KIND_DATA || kind == QCOW2_KIND_ZERO_ALLOCATED) &&
	    (entry & QCOW2_OFFSET_MASK) != guest_offset)
		return qcow2_corruption(
			q, err,
			"External data file host cluster offset %#llx does "
			"not match guest cluster offset: %#llx",
			(unsigned long long)(entry & QCOW2_OFFSET_MASK),
			(unsigned long long)guest_offset);
	return 0;
}

static int check_entry(struct qcow2 *q, uint64_t index, uint64_t entry,
		       enum qcow2_kind kind, struct error *err)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	uint64_t l2_offset = q->l1[index >> q->l2_bits] & QCOW2_OFFSET_MASK;
	uint64_t l2_index = index & ((1ULL << q->l2_bits) - 1);

	if (q->has_data_file)
		return check_data_entry(q, index, entry, kind, err);
	if (kind == QCOW2_KIND_COMPRESSED)
		return 0;
	if (entry & QCOW2_ZERO && q->header.version < 3)
		return qcow2_corruption(q, err,
					"Zero cluster entry found in pre-v3 "
					"image (guest offset: %#llx)",
					(unsigned long long)index
						<< q->cluster_bits);
	if (offset & (q->cluster_len - 1))
		return qcow2_corruption(q, err,
					"Cluster allocation offset %#llx "
					"unaligned (L2 offset: %#llx, L2 "
					"index: %#llx)",
					(unsigned long long)offset,
					(unsigned long long)l2_offset,
					(unsigned long long)l2_index);
	return 0;
}

/* How much a run's next entry is more than the one before. */
static uint64_t step_of(const struct qcow2 *q, enum qcow2_kind kind)
{
	switch (kind) {
	case QCOW2_KIND_DATA:
	case QCOW2_KIND_ZERO_ALLOCATED:
		return q->cluster_len;
	case QCOW2_KIND_UNALLOCATED:
	case QCOW2_KIND_PLACED:
	case QCOW2_KIND_ZERO:
	case QCOW2_KIND_COMPRESSED:
		break;
	}
	return 0;
}

static int check_bitmap(struct qcow2 *q, uint64_t index,
			const struct qcow2_run *run, struct error *err)
{
	if (!q->has_subclusters ||
	    qcow2_is_bitmap_valid(q, run->entry, run->bitmap))
		return 0;
	return qcow2_corruption(q, err,
				"Invalid cluster entry found (guest offset: "
				"%#llx)",
				(unsigned long long)index << q->cluster_bits);
}

/* What the first entry says, of its whole cluster. */
static int fill_run(struct qcow2 *q, uint64_t index, const uint8_t *entries,
		    struct qcow2_run *run, struct error *err)
{
	uint64_t len;
	int rc;

	qcow2_load_entry(q, entries, 0, &run->entry, &run->bitmap);
	run->kind = qcow2_entry_kind(q, run->entry);
	rc = check_entry(q, index, run->entry, run->kind, err);
	if (rc == 0)
		rc = check_bitmap(q, index, run, err);
	if (rc < 0)
		return rc;
	run->n = 1;
	if (run->kind == QCOW2_KIND_COMPRESSED) {
		qcow2_compressed_range(q, run->entry, &run->host_offset, &len);
		return 0;
	}
	run->host_offset = run->entry & QCOW2_OFFSET_MASK;
	run->is_copied = run->entry & QCOW2_COPIED;
	return 0;
}

/* As long as entries follow one another, at most max of them. */
static void extend_run(const struct qcow2 *q, const uint8_t *entries,
		       uint64_t max, struct qcow2_run *run)
{
	uint64_t step = step_of(q, run->kind), entry, bitmap;

	if (run->kind == QCOW2_KIND_COMPRESSED)
		return;
	if (q->has_subclusters && qcow2_entry_has_host(q, run->entry))
		step = q->cluster_len;
	for (; run->n < max; run->n++) {
		qcow2_load_entry(q, entries, run->n, &entry, &bitmap);
		if (entry != run->entry + run->n * step ||
		    bitmap != run->bitmap)
			break;
	}
}

int qcow2_map_clusters(struct qcow2 *q, uint64_t index, uint64_t max,
		       struct qcow2_run *run, struct error *err)
{
	uint8_t *entries;
	uint64_t n;
	int rc = load_entries(q, index, false, &entries, &n, err);

	if (rc < 0)
		return rc;
	if (n > max)
		n = max;
	*run = (struct qcow2_run){ .kind = QCOW2_KIND_UNALLOCATED, .n = n };
	if (entries == NULL)
		return 0;
	rc = fill_run(q, index, entries, run, err);
	if (rc < 0)
		return rc;
	if (q->has_subclusters)
		qcow2_sum_up(q, run);
	extend_run(q, entries, n, run);
	return 0;
}

int qcow2_map_run(struct qcow2 *q, uint64_t unit, uint64_t max, bool nowait,
		  struct qcow2_run *run, struct error *err)
{
	unsigned bits = q->cluster_bits - q->unit_bits;
	unsigned first = (unsigned)(unit & ((1ULL << bits) - 1));
	uint8_t *entries;
	uint64_t n, units;
	int rc;

	rc = load_entries(q, unit >> bits, nowait, &entries, &n, err);
	if (rc < 0)
		return rc;
	units = (n << bits) - first;
	if (units > max)
		units = max;
	*run = (struct qcow2_run){ .kind = QCOW2_KIND_UNALLOCATED, .n = units };
	if (entries == NULL)
		return 0;
	rc = fill_run(q, unit >> bits, entries, run, err);
	if (rc < 0)
		return rc;
	if (q->has_subclusters)
		qcow2_map_subclusters(q, entries, n, first, units, run);
	else
		extend_run(q, entries, units, run);
	return 0;
}

static int set_l1(struct qcow2 *q, uint64_t i, uint64_t entry,
		  struct error *err)
{
	uint64_t wire = htobe64(entry);
	uint64_t at = q->header.l1_offset + i * ENTRY_LEN;
	int rc;

	rc = qcow2_check_overlap(q, QCOW2_SECTION_L1, at, ENTRY_LEN, err);
	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_L1_UPDATE);
	rc = image_file_write(q->file, at, &wire, sizeof(wire));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write L1 table");
	q->l1[i] = entry;
	return 0;
}

/* A copy of the L2 table at old (0: an empty one) at place. */
static int write_table(struct qcow2 *q, uint64_t old, uint64_t place,
		       struct error *err)
{
	_cleanup_free_ uint8_t *table = calloc(1, q->cluster_len);
	int rc = 0;

	if (table == NULL)
		return -ENOMEM;
	if (old != 0) {
		image_file_tell(q->file, IMAGE_EVENT_L2_ALLOC_COW_READ);
		rc = image_file_read(q->file, old, table, q->cluster_len);
	}
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read L2 table");
	image_file_tell(q->file, IMAGE_EVENT_L2_ALLOC_WRITE);
	rc = qcow2_cache_write(&q->l2_cache, place, table, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write L2 table");
	return 0;
}

/*
 * An empty table where nothing was ever written needs no barrier: if its
 * content is lost with the power, what is there instead reads the same.
 */
static int make_table(struct qcow2 *q, uint64_t old, uint64_t place,
		      bool is_fresh, struct error *err)
{
	int rc = write_table(q, old, place, err);

	if (rc == 0 && (old != 0 || !is_fresh)) {
		rc = qcow2_barrier(q);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not flush L2 table");
	}
	return rc < 0 ? rc : qcow2_filter_add_l2(q, place);
}

static int own_l2(struct qcow2 *q, uint64_t index, struct error *err)
{
	uint64_t i = index >> q->l2_bits;
	uint64_t at, old, place, n = 1;
	bool is_fresh;
	int rc;

	rc = find_entry(q, index, &at, err);
	if (rc < 0 || (at != 0 && q->l1[i] & QCOW2_COPIED))
		return rc;
	rc = qcow2_alloc(q, &n, &place, &is_fresh, err);
	if (rc < 0)
		return rc;
	old = q->l1[i] & QCOW2_OFFSET_MASK;
	rc = make_table(q, old, place, is_fresh, err);
	if (rc < 0) {
		qcow2_alloc_undo(q, place, 1);
		return rc;
	}
	/* If that fails it may be in the file nevertheless: let it leak. */
	rc = set_l1(q, i, place | QCOW2_COPIED, err);
	if (rc < 0 || old == 0)
		return rc;
	return qcow2_free_later(q, old, 1, err);
}

void qcow2_begin_table(struct qcow2 *q)
{
	while (q->is_making_table) {
		q->n_waiting++;
		pthread_cond_wait(&q->changed, &q->lock);
		q->n_waiting--;
	}
	q->is_making_table = true;
}

void qcow2_end_table(struct qcow2 *q)
{
	q->is_making_table = false;
	if (q->n_waiting > 0)
		pthread_cond_broadcast(&q->changed);
}

int qcow2_own_l2(struct qcow2 *q, uint64_t index, struct error *err)
{
	int rc = 0;

	qcow2_begin_table(q);
	/* What is freed then may be a snapshot's. */
	if (q->header.n_snapshots > 0)
		rc = qcow2_verify_few(q, err);
	if (rc == 0)
		rc = own_l2(q, index, err);
	qcow2_end_table(q);
	return rc;
}

/* What an entry no longer refers to, unless the new entry still does. */
static int release(struct qcow2 *q, uint64_t old, uint64_t entry,
		   struct error *err)
{
	uint64_t offset = old & QCOW2_OFFSET_MASK, len, n = 1;

	if (q->has_data_file) {
		if (!(old & QCOW2_COMPRESSED) && qcow2_entry_has_host(q, old) &&
		    !qcow2_entry_has_host(q, entry))
			qcow2_external_punch(q, offset, q->cluster_len);
		return 0;
	}
	if (old & QCOW2_COMPRESSED) {
		qcow2_raw_forget(q, old);
		qcow2_compressed_range(q, old, &offset, &len);
		n = ((offset + len - 1) >> q->cluster_bits) -
		    (offset >> q->cluster_bits) + 1;
		offset &= ~(uint64_t)(q->cluster_len - 1);
	} else if (offset == 0 || (!(entry & QCOW2_COMPRESSED) &&
				   (entry & QCOW2_OFFSET_MASK) == offset)) {
		return 0;
	}
	if (qcow2_find_overlap(q, 0, offset, n << q->cluster_bits) !=
	    QCOW2_SECTION_NONE)
		return qcow2_corruption(q, err,
					"Preventing a free of metadata at "
					"offset %#llx",
					(unsigned long long)offset);
	return qcow2_free_later(q, offset, n, err);
}

/* n <= BATCH entries in one slice of the cache. */
static int set_batch(struct qcow2 *q, uint64_t index, uint64_t n,
		     uint64_t first, uint64_t step, uint64_t bitmap,
		     uint64_t *at, struct error *err)
{
	uint64_t old[2 * BATCH], wire[2 * BATCH];
	unsigned words = q->l2_words;
	uint64_t len = n * entry_len(q);
	uint8_t *entries;
	int rc;

	rc = qcow2_cache_get(&q->l2_cache, *at, &entries);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read L2 table");
	memcpy(old, entries, len);
	for (uint64_t i = 0; i < n; i++) {
		wire[words * i + words - 1] = htobe64(bitmap);
		wire[words * i] = htobe64(first + i * step);
	}
	rc = qcow2_cache_change(&q->l2_cache, *at, wire, len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write L2 table (guest "
				       "offset: %#llx)",
				       (unsigned long long)index
					       << q->cluster_bits);
	*at += len;
	for (uint64_t i = 0; i < n; i++) {
		rc = release(q, be64toh(old[words * i]), first + i * step, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int qcow2_set_entries(struct qcow2 *q, uint64_t index, uint64_t n,
		      uint64_t first, uint64_t step, uint64_t bitmap,
		      struct error *err)
{
	uint64_t at, slice = q->l2_cache.entry_len;
	int rc;

	rc = find_entry(q, index, &at, err);
	if (rc < 0)
		return rc;
	rc = qcow2_check_overlap(q, QCOW2_SECTION_L2, at, n * entry_len(q),
				 err);
	while (rc == 0 && n > 0) {
		uint64_t here = (slice - (at & (slice - 1))) / entry_len(q);

		if (here > n)
			here = n;
		if (here > BATCH)
			here = BATCH;
		rc = set_batch(q, index, here, first, step, bitmap, &at, err);
		index += here;
		first += here * step;
		n -= here;
	}
	return rc;
}
