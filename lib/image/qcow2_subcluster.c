/* SPDX-License-Identifier: ISC */
/*
 * Extended L2 entries (section "Extended L2 Entries"): a second word of each
 * entry says of each of 32 subclusters whether it is in the host cluster
 * (bits 0 to 31) or reads as zeroes (bits 32 to 63). Neither: what is below
 * shows through, even where there is a host cluster. A subcluster is the unit
 * of mapping then, a cluster still that of allocation.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <string.h>

enum {
	LAST = QCOW2_SUBCLUSTERS - 1,
};

bool qcow2_is_bitmap_valid(const struct qcow2 *q, uint64_t entry,
			   uint64_t bitmap)
{
	if (entry & QCOW2_COMPRESSED)
		return bitmap == 0;
	if (!qcow2_entry_has_host(q, entry))
		return (bitmap & QCOW2_SUBCLUSTERS_ALLOCATED) == 0;
	return (bitmap & bitmap >> 32 & QCOW2_SUBCLUSTERS_ALLOCATED) == 0;
}

static enum qcow2_kind kind_of(const struct qcow2 *q, uint64_t entry,
			       uint64_t bitmap, unsigned i)
{
	bool has_host = qcow2_entry_has_host(q, entry);

	if (entry & QCOW2_COMPRESSED)
		return QCOW2_KIND_COMPRESSED;
	if (bitmap >> (QCOW2_SUBCLUSTERS + i) & 1)
		return has_host ? QCOW2_KIND_ZERO_ALLOCATED : QCOW2_KIND_ZERO;
	if (!has_host)
		return QCOW2_KIND_UNALLOCATED;
	return bitmap >> i & 1 ? QCOW2_KIND_DATA : QCOW2_KIND_PLACED;
}

/* May the run go on in cluster i after its first one? */
static bool goes_on(const struct qcow2 *q, const struct qcow2_run *run,
		    uint64_t i, uint64_t entry, uint64_t bitmap)
{
	if (entry & QCOW2_COMPRESSED ||
	    !qcow2_is_bitmap_valid(q, entry, bitmap))
		return false;
	if (!qcow2_entry_has_host(q, run->entry))
		return !qcow2_entry_has_host(q, entry);
	return entry == run->entry + (i << q->cluster_bits);
}

void qcow2_map_subclusters(const struct qcow2 *q, const void *entries,
			   uint64_t n_entries, unsigned first, uint64_t max,
			   struct qcow2_run *run)
{
	uint64_t entry = run->entry, bitmap = run->bitmap;
	unsigned s = first;

	run->kind = kind_of(q, entry, bitmap, first);
	if (run->kind == QCOW2_KIND_COMPRESSED) {
		run->n = QCOW2_SUBCLUSTERS - first;
		if (run->n > max)
			run->n = max;
		return;
	}
	run->host_offset += (uint64_t)first << q->unit_bits;
	run->n = 0;
	for (uint64_t i = 0; run->n < max;) {
		if (kind_of(q, entry, bitmap, s) != run->kind)
			break;
		run->n++;
		if (++s <= LAST)
			continue;
		s = 0;
		if (++i == n_entries)
			break;
		qcow2_load_entry(q, entries, i, &entry, &bitmap);
		if (!goes_on(q, run, i, entry, bitmap))
			break;
	}
}

void qcow2_sum_up(const struct qcow2 *q, struct qcow2_run *run)
{
	bool has_host = qcow2_entry_has_host(q, run->entry);

	if (run->entry & QCOW2_COMPRESSED)
		run->kind = QCOW2_KIND_COMPRESSED;
	else if (run->bitmap == QCOW2_SUBCLUSTERS_ZERO)
		run->kind =
			has_host ? QCOW2_KIND_ZERO_ALLOCATED : QCOW2_KIND_ZERO;
	else if (run->bitmap == 0 && !has_host)
		run->kind = QCOW2_KIND_UNALLOCATED;
	else
		run->kind = QCOW2_KIND_DATA;
}

/* [first, end) as bits of the lower half. */
static uint64_t bits(unsigned first, unsigned end)
{
	return ((1ULL << end) - 1) & ~((1ULL << first) - 1);
}

static bool is_owned(const struct qcow2 *q, const struct qcow2_run *run)
{
	return !(run->entry & QCOW2_COMPRESSED) && run->entry & QCOW2_COPIED &&
	       qcow2_entry_has_host(q, run->entry);
}

/* How many clusters from index on are written whole and need new places. */
static int plan_whole(struct qcow2 *q, struct qcow2_part *p,
		      const struct qcow2_run *first, struct error *err)
{
	uint64_t n = p->len >> q->cluster_bits;
	uint64_t left = qcow2_l2_left(q, p->index);

	p->bitmap = QCOW2_SUBCLUSTERS_ALLOCATED;
	p->head = p->tail = 0;
	p->n = 1;
	if (n > left)
		n = left;
	while (!is_owned(q, first) && p->n < n) {
		struct qcow2_run run;
		int rc = qcow2_map_clusters(q, p->index + p->n, 1, &run, err);

		if (rc < 0)
			return rc;
		if (is_owned(q, &run))
			break;
		p->n++;
	}
	p->len = p->n << q->cluster_bits;
	return 0;
}

/* In a cluster that stays: parts of subclusters that are not in it yet. */
static void plan_in_place(const struct qcow2 *q, struct qcow2_part *p,
			  const struct qcow2_run *run, unsigned first,
			  unsigned last)
{
	uint64_t mask = q->unit_len - 1, end = p->offset + p->len;
	uint64_t touched = bits(first, last + 1);

	p->head = run->bitmap >> first & 1 ? 0 : p->offset & mask;
	p->tail = run->bitmap >> last & 1 ? 0 : -end & mask;
	p->bitmap = (run->bitmap | touched) & ~(touched << QCOW2_SUBCLUSTERS);
}

/* In a new cluster: what was in the old one comes along. */
static void plan_copy(const struct qcow2 *q, struct qcow2_part *p,
		      const struct qcow2_run *run, unsigned first,
		      unsigned last)
{
	uint64_t start = p->index << q->cluster_bits, touched;
	uint64_t old = run->entry & QCOW2_COMPRESSED
			       ? QCOW2_SUBCLUSTERS_ALLOCATED
			       : run->bitmap & QCOW2_SUBCLUSTERS_ALLOCATED;

	if (old & bits(0, first))
		first = (unsigned)__builtin_ctzll(old);
	if (old & bits(last, QCOW2_SUBCLUSTERS))
		last = 63 - (unsigned)__builtin_clzll(old);
	p->head = p->offset - start - ((uint64_t)first << q->unit_bits);
	p->tail = start + ((last + 1ULL) << q->unit_bits) - p->offset - p->len;
	touched = bits(first, last + 1);
	p->bitmap = touched | (run->bitmap & ~QCOW2_SUBCLUSTERS_ALLOCATED &
			       ~(touched << QCOW2_SUBCLUSTERS));
}

int qcow2_plan_part(struct qcow2 *q, struct qcow2_part *p, struct error *err)
{
	uint64_t skip = p->offset & (q->cluster_len - 1), end;
	struct qcow2_run run;
	unsigned first, last;
	int rc;

	p->index = p->offset >> q->cluster_bits;
	rc = qcow2_map_clusters(q, p->index, 1, &run, err);
	if (rc < 0)
		return rc;
	p->is_reused = is_owned(q, &run);
	p->host_offset = run.host_offset;
	if (skip == 0 && p->len >= q->cluster_len)
		return plan_whole(q, p, &run, err);
	p->n = 1;
	if (p->len > q->cluster_len - skip)
		p->len = q->cluster_len - skip;
	end = skip + p->len;
	first = (unsigned)(skip >> q->unit_bits);
	last = (unsigned)((end - 1) >> q->unit_bits);
	if (p->is_reused)
		plan_in_place(q, p, &run, first, last);
	else
		plan_copy(q, p, &run, first, last);
	return 0;
}

/* The flight is this thread's. */
static int zero_units(struct qcow2 *q, uint64_t index, unsigned first,
		      unsigned end, struct error *err)
{
	uint64_t zeroed = bits(first, end);
	struct qcow2_run run = { .bitmap = 0 };
	int rc = qcow2_own_l2(q, index, err);

	if (rc == 0)
		rc = qcow2_map_clusters(q, index, 1, &run, err);
	if (rc < 0)
		return rc;
	return qcow2_set_entries(
		q, index, 1, run.entry, 0,
		(run.bitmap & ~zeroed) | zeroed << QCOW2_SUBCLUSTERS, err);
}

/* A raw data file reads as the disk does, and is no longer. */
static int zero_raw(const struct qcow2 *q, uint64_t offset, uint64_t end)
{
	if (end > q->header.size)
		end = q->header.size;
	return end <= offset ? 0
			     : image_file_zero(q->data_file, offset,
					       end - offset, true);
}

int qcow2_zero_subclusters(struct qcow2 *q, uint64_t unit, uint64_t n,
			   bool *is_done, struct error *err)
{
	uint64_t index = unit >> QCOW2_SUBCLUSTER_BITS;
	unsigned first = unit & LAST;
	struct qcow2_flight flight;
	struct qcow2_run run;
	int rc;

	qcow2_flight_wait(q, index, index, true);
	qcow2_flight_begin(q, &flight, index, index, true);
	rc = qcow2_map_clusters(q, index, 1, &run, err);
	*is_done = rc == 0 && !(run.entry & QCOW2_COMPRESSED);
	if (*is_done && q->is_data_raw)
		rc = zero_raw(q, unit << q->unit_bits,
			      (unit + n) << q->unit_bits);
	if (*is_done && rc == 0)
		rc = zero_units(q, index, first, first + (unsigned)n, err);
	qcow2_flight_end(q, &flight);
	return rc;
}
