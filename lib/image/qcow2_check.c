/* SPDX-License-Identifier: ISC */
/*
 * check: are the refcounts on disk the references that there are? Counts are
 * kept for a window of the file at a time, so that memory stays bounded
 * however large the file is. Then the copied flags of the disk's own tables
 * are held against the refcounts, as far as the walk saw one that is wrong.
 */
#include "lib/image/qcow2_check.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	WINDOW_LEN = 32 << 20, /* bytes of counts */
};

void qcow2_found(struct qcow2_checker *c, const char *format, ...)
{
	char line[256];
	va_list ap;

	if (c->result->found == NULL || !c->is_first)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	c->result->found(c->result->context, line);
}

uint64_t qcow2_counted(const struct qcow2_checker *c, uint64_t host_index)
{
	uint64_t i = host_index - c->first;

	return c->is_wide ? ((const uint32_t *)c->counts)[i]
			  : ((const uint16_t *)c->counts)[i];
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

static void compare_one(struct qcow2_checker *c, uint64_t host_index,
			uint64_t refcount, uint64_t references)
{
	bool is_leak = refcount > references;

	if (is_leak)
		c->result->n_leaks++;
	else
		c->result->n_corruptions++;
	qcow2_found(c, "%s cluster %llu refcount=%llu reference=%llu",
		    is_leak ? "Leaked" : "ERROR",
		    (unsigned long long)host_index,
		    (unsigned long long)refcount,
		    (unsigned long long)references);
}

static void compare_at(struct qcow2_checker *c, uint64_t i)
{
	uint64_t counted = qcow2_counted(c, i), refcount;
	int rc = qcow2_checked_refcount(c, i, &refcount);

	if (rc < 0) {
		c->result->n_check_errors++;
		qcow2_found(c, "Can't get refcount for cluster %llu: %s",
			    (unsigned long long)i, strerror(-rc));
		return;
	}
	if (refcount > 0 || counted > 0)
		c->result->image_end_offset = (i + 1) << c->q->cluster_bits;
	if (refcount != counted)
		compare_one(c, i, refcount, counted);
}

static bool is_touched(const struct qcow2_checker *c, uint64_t window)
{
	return c->touched[window % QCOW2_CHECK_TOUCHED / 64] >> window % 64 & 1;
}

static void compare_window(struct qcow2_checker *c)
{
	uint64_t i = c->first, end = c->first + c->n;
	unsigned bits = c->q->refcount_block_bits;
	bool has_counts = is_touched(c, c->first / c->per_window);

	while (i < end) {
		uint64_t block = i >> bits;

		if (!has_counts && block >= c->q->refcount_table_size)
			return;
		if (!has_counts && c->q->refcount_table[block] == 0)
			i = (block + 1) << bits;
		else
			compare_at(c, i++);
	}
}

/* One entry of the disk's own L1 or L2 tables. */
static void check_copied(struct qcow2_checker *c, uint64_t entry,
			 const uint64_t *l1_index)
{
	uint64_t refcount;

	if (qcow2_checked_refcount(
		    c, (entry & QCOW2_OFFSET_MASK) >> c->q->cluster_bits,
		    &refcount) < 0 ||
	    (refcount == 1) == !!(entry & QCOW2_COPIED))
		return;
	c->result->n_corruptions++;
	if (l1_index != NULL)
		qcow2_found(c,
			    "ERROR OFLAG_COPIED L2 cluster: l1_index=%llu "
			    "l1_entry=%llx refcount=%llu",
			    (unsigned long long)*l1_index,
			    (unsigned long long)entry,
			    (unsigned long long)refcount);
	else
		qcow2_found(c,
			    "ERROR OFLAG_COPIED data cluster: l2_entry=%llx "
			    "refcount=%llu",
			    (unsigned long long)entry,
			    (unsigned long long)refcount);
}

static int check_all_copied(struct qcow2_checker *c, struct error *err)
{
	struct qcow2 *q = c->q;
	_cleanup_free_ uint64_t *l2 = malloc(q->cluster_len);

	if (l2 == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < q->header.l1_size; i++) {
		uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK;
		int rc;

		if (offset == 0)
			continue;
		check_copied(c, q->l1[i], &i);
		rc = image_file_read(q->file, offset, l2, q->cluster_len);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read L2 table");
		for (uint64_t j = 0; j < 1ULL << q->l2_bits; j++) {
			uint64_t entry = be64toh(l2[j]);

			if (!(entry & QCOW2_COMPRESSED) &&
			    entry & QCOW2_OFFSET_MASK)
				check_copied(c, entry, NULL);
		}
	}
	return 0;
}

static int check_windows(struct qcow2_checker *c, struct error *err)
{
	size_t len = c->per_window * (c->is_wide ? 4 : 2);
	bool is_clean = true; /* all counts are zero */

	for (uint64_t first = 0; first < c->n_host; first += c->per_window) {
		int rc = 0;

		c->first = first;
		c->n = c->n_host - first < c->per_window ? c->n_host - first
							 : c->per_window;
		c->is_first = first == 0;
		if (!is_clean)
			memset(c->counts, 0, len);
		is_clean = true;
		if (c->is_first || is_touched(c, first / c->per_window)) {
			is_clean = false;
			rc = qcow2_count_references(c, err);
		}
		if (rc < 0)
			return rc;
		/* What differs is told of every window. */
		c->is_first = true;
		compare_window(c);
	}
	return 0;
}

static int check(struct qcow2_checker *c, struct error *err)
{
	struct qcow2 *q = c->q;
	int rc = image_file_size(q->file, &c->file_len);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	c->n_host = qcow2_n_clusters(q, c->file_len);
	c->is_wide = q->refcount_bits > 16;
	c->count_max = c->is_wide ? UINT32_MAX : qcow2_refcount_max(q);
	c->block_index = UINT64_MAX;
	/* At most what there is, so that small images take little memory. */
	c->per_window = WINDOW_LEN / (c->is_wide ? 4 : 2);
	if (c->per_window > c->n_host && c->n_host > 0)
		c->per_window = c->n_host;
	c->result->total_clusters = qcow2_n_clusters(q, q->header.size);
	c->result->has_totals = true;
	c->result->image_end_offset = q->cluster_len;
	c->counts = calloc(c->per_window, c->is_wide ? 4 : 2);
	if (c->counts == NULL)
		return -ENOMEM;
	rc = check_windows(c, err);
	if (rc == 0 && c->has_wrong_copied)
		rc = check_all_copied(c, err);
	free(c->counts);
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
