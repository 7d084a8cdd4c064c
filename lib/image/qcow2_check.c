/* SPDX-License-Identifier: ISC */
/*
 * check: are the refcounts on disk the references that there are? Counts are
 * kept for a window of the file at a time, so that memory stays bounded
 * however large the file is. Then the copied flags of the disk's own tables
 * are held against the refcounts, as far as the walk saw one that is wrong.
 *
 * Repair: counts that differ are written over, a block at a time, in any
 * order: too high or too low, each is better afterwards than before, so a
 * kill does no harm. Where a cluster in use counts as free, or the blocks
 * themselves make no sense, all of them are made anew (qcow2_rebuild.c).
 * Copied flags come last, and only if all else is well. Steps, lines and
 * results are qemu-img's.
 */
#include "lib/image/qcow2_check.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	WINDOW_LEN = 16 << 20,	 /* bytes of counts, of their full width */
	TABLE_ENTRIES_BITS = 20, /* the largest refcount table: 8 MiB */
};

void qcow2_found(struct qcow2_checker *c, const char *format, ...)
{
	char line[256];
	va_list ap;

	if (c->result->found == NULL || !c->is_first ||
	    c->n_lines++ >= QCOW2_CHECK_LINES_MAX)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	c->result->found(c->result->context, line);
}

uint64_t qcow2_counted(const struct qcow2_checker *c, uint64_t host_index)
{
	uint64_t i = host_index - c->first;

	if (c->width == 1)
		return ((const uint8_t *)c->counts)[i];
	return c->width == 2 ? ((const uint16_t *)c->counts)[i]
			     : ((const uint32_t *)c->counts)[i];
}

static int find_block(struct qcow2_checker *c, uint64_t i)
{
	struct qcow2 *q = c->q;
	uint64_t offset = 0;
	uint8_t *block;
	int rc;

	c->block_index = i;
	c->block = NULL;
	if (i < q->refcount_table_size)
		offset =
			q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	if (offset == 0)
		return 0;
	rc = offset & (q->cluster_len - 1)
		     ? -EIO
		     : qcow2_cache_get(&q->refcount_cache, offset, &block);
	if (rc == 0)
		c->block = block;
	else
		c->block_index = UINT64_MAX;
	return rc;
}

int qcow2_checked_refcount(struct qcow2_checker *c, uint64_t host_index,
			   uint64_t *value)
{
	unsigned bits = c->q->refcount_block_bits;
	int rc = 0;

	*value = 0;
	if (host_index >> bits != c->block_index)
		rc = find_block(c, host_index >> bits);
	if (rc == 0 && c->block != NULL)
		*value = qcow2_refcount_load(c->block, c->q->refcount_bits,
					     host_index & ((1ULL << bits) - 1));
	return rc;
}

/* Is it to be written over? */
static bool is_fixed(const struct qcow2_checker *c, uint64_t refcount,
		     uint64_t references)
{
	if (refcount == 0)
		return false;
	/* What seems to leak may be all that is left of a snapshot, or of a
	 * bitmap. */
	if (refcount > references && c->has_lost)
		return false;
	return c->fix_counts & (refcount > references ? IMAGE_REPAIR_LEAKS
						      : IMAGE_REPAIR_ERRORS);
}

static void compare_one(struct qcow2_checker *c, uint64_t host_index,
			uint64_t refcount, uint64_t references)
{
	bool is_leak = refcount > references;
	bool will_fix = is_fixed(c, refcount, references);

	if (will_fix && is_leak)
		c->result->n_leaks_fixed++;
	else if (will_fix)
		c->result->n_corruptions_fixed++;
	else if (is_leak)
		c->n_too_high++;
	else
		c->n_too_low++;
	if (refcount == 0)
		c->needs_rebuild = true;
	c->has_fixed |= will_fix;
	qcow2_found(c, "%s cluster %llu refcount=%llu reference=%llu",
		    will_fix  ? "Repairing"
		    : is_leak ? "Leaked"
			      : "ERROR",
		    (unsigned long long)host_index,
		    (unsigned long long)refcount,
		    (unsigned long long)references);
}

/* Does it differ, and is it to be written over? */
static bool compare_at(struct qcow2_checker *c, uint64_t i)
{
	uint64_t counted = qcow2_counted(c, i), refcount;
	int rc = qcow2_checked_refcount(c, i, &refcount);

	if (rc < 0 || refcount > 0 || counted > 0)
		c->n_used = i + 1;
	if (rc < 0) {
		c->result->n_check_errors++;
		qcow2_found(c, "Can't get refcount for cluster %llu: %s",
			    (unsigned long long)i, strerror(-rc));
		return false;
	}
	if (refcount > 0 || counted > 0)
		c->result->image_end_offset = (i + 1) << c->q->cluster_bits;
	if (refcount == counted)
		return false;
	compare_one(c, i, refcount, counted);
	return is_fixed(c, refcount, counted);
}

/* What counts as free from now on is given back. */
static void release(struct qcow2_checker *c, uint64_t first, uint64_t end,
		    const uint8_t *before)
{
	struct qcow2 *q = c->q;
	uint64_t mask = (1ULL << q->refcount_block_bits) - 1, run = 0, i;

	for (i = first; i < end; i++) {
		if (qcow2_counted(c, i) == 0 &&
		    qcow2_refcount_load(before, q->refcount_bits, i & mask)) {
			run++;
			continue;
		}
		qcow2_forget_free(q, i - run, run);
		run = 0;
	}
	qcow2_forget_free(q, i - run, run);
}

/* [first, end) are counted by one block, which is there. */
static int fix_block(struct qcow2_checker *c, uint64_t first, uint64_t end,
		     struct error *err)
{
	struct qcow2 *q = c->q;
	unsigned bits = q->refcount_block_bits;
	uint64_t mask = (1ULL << bits) - 1;
	uint64_t offset = q->refcount_table[first >> bits] &
			  QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	_cleanup_free_ uint8_t *before = malloc(q->cluster_len);
	_cleanup_free_ uint8_t *block = malloc(q->cluster_len);
	int rc;

	if (before == NULL || block == NULL)
		return -ENOMEM;
	rc = image_file_read(q->file, offset, before, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read refcount block");
	memcpy(block, before, q->cluster_len);
	for (uint64_t i = first; i < end; i++)
		if (is_fixed(c,
			     qcow2_refcount_load(block, q->refcount_bits,
						 i & mask),
			     qcow2_counted(c, i)))
			qcow2_refcount_store(block, q->refcount_bits, i & mask,
					     qcow2_counted(c, i));
	rc = qcow2_check_overlap(q, QCOW2_SECTION_REFCOUNT_BLOCK, offset,
				 q->cluster_len, err);
	if (rc < 0)
		return rc;
	rc = qcow2_cache_write(&q->refcount_cache, offset, block,
			       q->cluster_len);
	qcow2_checker_forget(c);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write refcount block");
	if (c->fix_counts & IMAGE_REPAIR_LEAKS && !c->has_lost)
		release(c, first, end, before);
	return 0;
}

static bool is_touched(const struct qcow2_checker *c, uint64_t window)
{
	return c->touched[window % QCOW2_CHECK_TOUCHED / 64] >> window % 64 & 1;
}

bool qcow2_counted_none(const struct qcow2_checker *c, uint64_t i, uint64_t end)
{
	const uint8_t *counts =
		(const uint8_t *)c->counts + (i - c->first) * c->width;

	return !is_touched(c, c->first / c->per_window) ||
	       is_zero(counts, (end - i) * c->width);
}

/* What begins at cluster i is neither counted by a block nor referred to. */
static bool is_empty(const struct qcow2_checker *c, uint64_t i, uint64_t end)
{
	uint64_t block = i >> c->q->refcount_block_bits;

	if (block < c->q->refcount_table_size &&
	    c->q->refcount_table[block] != 0)
		return false;
	return qcow2_counted_none(c, i, end);
}

static int compare_window(struct qcow2_checker *c, struct error *err)
{
	uint64_t i = c->first, end = c->first + c->n;
	unsigned bits = c->q->refcount_block_bits;
	bool has_counts = is_touched(c, c->first / c->per_window);

	/* What differs is told of every window. */
	c->is_first = true;
	while (i < end) {
		uint64_t first = i, next = ((i >> bits) + 1) << bits;
		bool is_changed = false;
		int rc = 0;

		if (!has_counts && i >> bits >= c->q->refcount_table_size)
			return 0;
		if (next > end)
			next = end;
		if (is_empty(c, first, next)) {
			i = next;
			continue;
		}
		while (i < next)
			is_changed |= compare_at(c, i++);
		if (is_changed)
			rc = fix_block(c, first, next, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int qcow2_check_windows(struct qcow2_checker *c,
			int (*each)(struct qcow2_checker *c, struct error *err),
			struct error *err)
{
	bool is_clean = false; /* all counts are zero */

	for (uint64_t first = 0; first < c->n_host; first += c->per_window) {
		int rc = 0;

		c->first = first;
		c->n = c->n_host - first < c->per_window ? c->n_host - first
							 : c->per_window;
		c->is_first = first == 0 && !c->is_recount;
		if (!is_clean)
			memset(c->counts, 0, c->per_window * c->width);
		is_clean = true;
		if (first == 0 || is_touched(c, first / c->per_window)) {
			is_clean = false;
			rc = qcow2_count_references(c, err);
		}
		if (rc == 0)
			rc = each(c, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void qcow2_checker_forget(struct qcow2_checker *c)
{
	c->block_index = UINT64_MAX;
	c->block = NULL;
}

int qcow2_checker_look(struct qcow2_checker *c, struct error *err)
{
	struct qcow2 *q = c->q;
	unsigned reach_bits =
		TABLE_ENTRIES_BITS + q->refcount_block_bits + q->cluster_bits;
	int rc = image_file_size(q->file, &c->file_len);
	bool is_wide;

	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	c->n_file = qcow2_n_clusters(q, c->file_len);
	/* What no refcount table can count is not in the image, so that a
	 * file of exabytes of nothing takes no hours. */
	if (reach_bits < 63 && c->file_len > 1ULL << reach_bits)
		c->file_len = 1ULL << reach_bits;
	c->n_host = c->n_before = qcow2_n_clusters(q, c->file_len);
	is_wide = q->refcount_bits > 16;
	c->count_max = is_wide ? UINT32_MAX : qcow2_refcount_max(q);
	qcow2_checker_forget(c);
	memset(c->touched, 0, sizeof(c->touched));
	/* At most what there is, so that small images take little memory. */
	c->per_window = WINDOW_LEN / (is_wide ? 4 : 2);
	/* A window begins where a block begins. */
	if (c->per_window < 1ULL << q->refcount_block_bits)
		c->per_window = 1ULL << q->refcount_block_bits;
	if (c->per_window > c->n_host && c->n_host > 0)
		c->per_window = c->n_host + 1;
	free(c->counts);
	c->width = 1;
	c->result_of_widening = 0;
	c->counts = malloc(c->per_window);
	return c->counts == NULL ? -ENOMEM : 0;
}

/* From the beginning: what is wrong, with fix_counts less than without. */
static int walk(struct qcow2_checker *c, struct error *err)
{
	int rc = qcow2_checker_look(c, err);
	uint64_t n_before;

	if (rc == 0 && c->fix & IMAGE_REPAIR_ERRORS) {
		n_before = c->n_host;
		qcow2_checker_grow(c);
		rc = qcow2_checker_look(c, err);
		c->n_before = n_before;
	}
	c->n_too_low = c->n_too_high = 0;
	c->needs_rebuild = false;
	c->n_used = 1;
	c->result->total_clusters = qcow2_n_clusters(c->q, c->q->header.size);
	c->result->allocated_clusters = 0;
	c->result->fragmented_clusters = 0;
	c->result->compressed_clusters = 0;
	c->result->image_end_offset = c->q->cluster_len;
	c->result->has_totals = true;
	if (rc == 0)
		rc = qcow2_check_windows(c, compare_window, err);
	return rc;
}

static int rebuild(struct qcow2_checker *c, struct error *err)
{
	struct image_check *r = c->result;
	uint64_t n_corruptions = r->n_corruptions + c->n_too_low;
	uint64_t n_leaks = r->n_leaks + c->n_too_high;
	uint64_t n_leaks_fixed = r->n_leaks_fixed;
	unsigned fix = c->fix;
	int rc;

	c->is_first = true;
	qcow2_found(c, "Rebuilding refcount structure");
	rc = qcow2_rebuild_refcounts(c, err);
	if (rc < 0)
		return rc;
	r->n_corruptions = r->n_leaks = 0;
	c->is_recount = false;
	c->fix = 0;
	c->fix_counts = fix & IMAGE_REPAIR_LEAKS;
	rc = walk(c, err);
	c->fix = fix;
	if (c->needs_rebuild)
		qcow2_found(c, "ERROR rebuilt refcount structure is still "
			       "broken");
	/* The old structure is what was leaked: no more need be said. */
	r->n_leaks_fixed = n_leaks_fixed;
	if (r->n_corruptions + c->n_too_low < n_corruptions)
		r->n_corruptions_fixed +=
			n_corruptions - r->n_corruptions - c->n_too_low;
	if (r->n_leaks + c->n_too_high < n_leaks)
		r->n_leaks_fixed += n_leaks - r->n_leaks - c->n_too_high;
	c->has_fixed = true;
	return rc;
}

static int fix_counts(struct qcow2_checker *c, struct error *err)
{
	c->fix_counts = c->fix;
	c->is_recount = true;
	c->n_too_low = c->n_too_high = 0;
	return qcow2_check_windows(c, compare_window, err);
}

static void tell_rest(struct qcow2_checker *c)
{
	char line[64];

	if (c->n_lines <= QCOW2_CHECK_LINES_MAX)
		return;
	snprintf(line, sizeof(line), "%llu more lines are left out",
		 (unsigned long long)(c->n_lines - QCOW2_CHECK_LINES_MAX));
	c->result->found(c->result->context, line);
}

static int check(struct qcow2_checker *c, struct error *err)
{
	int rc = qcow2_check_snapshots(c, err);

	if (rc == 0)
		rc = walk(c, err);
	if (rc == 0 && c->needs_rebuild && c->fix & IMAGE_REPAIR_ERRORS) {
		rc = rebuild(c, err);
	} else if (rc == 0 && c->needs_rebuild && c->fix) {
		qcow2_found(c, "ERROR need to rebuild refcount structures");
		rc = -EIO;
	} else if (rc == 0 && c->fix && c->n_too_low + c->n_too_high > 0) {
		rc = fix_counts(c, err);
	}
	c->result->n_corruptions += c->n_too_low;
	c->result->n_leaks += c->n_too_high;
	if (rc == 0)
		rc = qcow2_fix_snapshots(c, err);
	if (rc == 0 && (c->has_wrong_copied || c->has_fixed))
		rc = qcow2_check_copied(c, err);
	tell_rest(c);
	qcow2_checker_deinit(c);
	return rc;
}

int qcow2_check(struct image *image, struct image_check *result,
		struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_checker c = { .q = q, .result = result };
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = check(&c, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* Whatever the bits said before: now it is well. */
static int mark_clean(struct qcow2 *q, struct error *err)
{
	uint64_t bits = q->header.incompatible &
			(QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT);
	int rc = qcow2_barrier(q);

	if (rc == 0 && bits != 0)
		rc = qcow2_set_incompatible(q, 0, bits);
	if (rc == 0 && bits != 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc, "Could not write header") : 0;
}

/* With the lock, and nobody else at work. */
int qcow2_repair_locked(struct qcow2 *q, unsigned what,
			struct image_check *result, struct error *err)
{
	struct qcow2_checker c = { .q = q, .result = result, .fix = what };
	int rc;

	/* Until an overlap or the like is found. */
	q->is_corrupt = false;
	qcow2_trust_set(q, true); /* what is wrong is to be mended */
	rc = qcow2_barrier(q);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not flush");
	rc = qcow2_free_pending(q, err);
	if (rc == 0)
		rc = qcow2_unreserve(q, err);
	if (rc == 0)
		rc = check(&c, err);
	if (rc == 0 && result->n_corruptions + result->n_check_errors == 0)
		return mark_clean(q, err);
	qcow2_trust_set(q, false);
	if (q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT)
		q->is_corrupt = true;
	return rc;
}

int qcow2_repair(struct image *image, unsigned what, struct image_check *result,
		 struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	int rc;

	if (q->is_read_only)
		return error_set(err, -EROFS, "Image is read-only");
	qcow2_begin_alone(q, &flight);
	rc = qcow2_repair_locked(q, what, result, err);
	qcow2_end_alone(q, &flight);
	return rc;
}
