/* SPDX-License-Identifier: ISC */
/*
 * Counts that are wrong lead a change to write over what is in use, or to give
 * it back: a refcount of zero for a guest's data, or an entry of the refcount
 * table that refers to it. Only a walk of all references can tell, as a check
 * makes it, and that is too much for each change. It is made once, where there
 * is doubt:
 *
 * - Before the first change to a refcount block that does not look like one,
 *   and before one goes that seems to count nothing.
 * - In an image with so few tables that nobody notices: before a cluster is
 *   used that is free by its count and yet no hole for the host, and before
 *   something is given up that a snapshot may refer to.
 *
 * What is found refuses the change, with the corrupt bit set.
 */
#include "lib/base/error.h"
#include "lib/base/zero.h"
#include "lib/image/layer.h"
#include "lib/image/qcow2_check.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Bytes of L1 and L2 tables that are read in some milliseconds. */
	FEW_TABLES_LEN = 8 << 20,
	/* More compressed clusters in one of the host's are rare. */
	COUNT_USUAL = 64,
	/* Of the counts in a block, one in so many is looked at. */
	STRIDE = 16,
};

struct qcow2_trust {
	bool is_verified;
	bool has_many_tables; /* or there is another reason not to look */
	/* A bit for each entry of the largest refcount table: that block has
	 * been looked at. */
	uint64_t is_seen[QCOW2_REFCOUNT_TABLE_LEN_MAX / sizeof(uint64_t) / 64];
};

int qcow2_trust_init(struct qcow2 *q)
{
	q->trust = calloc(1, sizeof(*q->trust));
	return q->trust == NULL ? -ENOMEM : 0;
}

void qcow2_trust_deinit(struct qcow2 *q)
{
	free(q->trust);
	q->trust = NULL;
}

void qcow2_trust_set(struct qcow2 *q, bool is_verified)
{
	q->trust->is_verified = is_verified;
}

/* Of what a check's window holds: is anything counted less than it is used? */
static int compare_window(struct qcow2_checker *c, struct error *err)
{
	/* Of a large file, or a device, most may never have been used. */
	if (qcow2_counted_none(c, c->first, c->first + c->n))
		return 0;
	for (uint64_t i = c->first; i < c->first + c->n; i++) {
		uint64_t counted = qcow2_counted(c, i), refcount;
		int rc;

		if (counted == 0)
			continue;
		rc = qcow2_checked_refcount(c, i, &refcount);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read refcount block");
		if (refcount < counted) {
			c->n_too_low++;
			c->n_used = i;
			return 0;
		}
	}
	return 0;
}

static int walk(struct qcow2 *q, struct error *err)
{
	struct image_check result = { .found = NULL };
	struct qcow2_checker c = {
		.q = q,
		.result = &result,
		.has_wrong_copied = true, /* nobody asks for them */
	};
	int rc = qcow2_checker_look(&c, err);

	if (rc == 0)
		rc = qcow2_check_windows(&c, compare_window, err);
	qcow2_checker_deinit(&c);
	if (rc == 0 && c.shared_block != 0)
		return qcow2_corruption(q, err,
					"Refcount block at %#llx is used for "
					"something else, too",
					(unsigned long long)c.shared_block);
	if (rc == 0 && c.n_too_low > 0)
		return qcow2_corruption(q, err,
					"Refcount of cluster %#llx is lower "
					"than the number of its references",
					(unsigned long long)c.n_used);
	if (rc == 0 && result.n_overflows > 0)
		return qcow2_corruption(q, err,
					"Refcounts of %u bits are lower than "
					"the number of references",
					q->refcount_bits);
	if (rc == 0)
		q->trust->is_verified = true;
	return rc;
}

int qcow2_verify(struct qcow2 *q, struct error *err)
{
	/* Counts in a shadow are what is not yet true. */
	if (q->trust->is_verified || q->is_shadowed)
		return 0;
	return walk(q, err);
}

static bool has_few_tables(const struct qcow2 *q)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < q->header.l1_size; i++)
		n += q->l1[i] != 0;
	for (uint32_t i = 0; i < q->header.n_snapshots; i++)
		n += q->snapshots[i].l1_size;
	return n << q->cluster_bits <= FEW_TABLES_LEN;
}

/* That something cannot be read, or memory lacks, proves nothing, and is no
 * reason to stop what has nothing to do with it. */
int qcow2_verify_few(struct qcow2 *q, struct error *err)
{
	struct qcow2_trust *t = q->trust;
	int rc;

	if (t->is_verified || t->has_many_tables || q->is_shadowed)
		return 0;
	/* The walk would use up blkdebug's rules, which are for what comes. */
	t->has_many_tables = layer_is_heard(q->file) || !has_few_tables(q);
	if (t->has_many_tables)
		return 0;
	rc = walk(q, err);
	if (rc == 0 || q->is_corrupt)
		return rc;
	t->has_many_tables = true;
	return 0;
}

int qcow2_verify_free(struct qcow2 *q, uint64_t host_index, uint64_t n,
		      struct error *err)
{
	uint64_t at = host_index << q->cluster_bits, len;
	uint64_t end = (host_index + n) << q->cluster_bits;

	if (q->trust->is_verified || q->trust->has_many_tables ||
	    host_index >= q->fresh_from)
		return 0;
	for (; at < end; at += len) {
		bool is_data;
		int rc = image_file_extent(q->file, at, end - at, &is_data,
					   &len);

		if (rc < 0 || is_data)
			return qcow2_verify_few(q, err);
	}
	return 0;
}

/* Does the content of block i make it likely that it is one? */
static int look(struct qcow2 *q, uint64_t i, bool *is_odd, struct error *err)
{
	uint64_t first = i << q->refcount_block_bits, size, n, n_file;
	uint64_t n_max = (q->header.n_snapshots + 1ULL) * COUNT_USUAL;
	uint8_t *block;
	size_t len;
	int rc = image_file_size(q->file, &size);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	n_file = qcow2_n_clusters(q, size);
	*is_odd = n_file <= first;
	rc = qcow2_get_refcount_block(q, first, &block, err);
	if (rc < 0 || *is_odd || block == NULL)
		return rc;
	n = n_file - first < 1ULL << q->refcount_block_bits
		    ? n_file - first
		    : 1ULL << q->refcount_block_bits;
	len = (n * q->refcount_bits + 7) / 8;
	*is_odd = is_zero(block, len) ||
		  !is_zero(block + len, q->cluster_len - len);
	for (uint64_t j = 0; j < n; j += STRIDE)
		*is_odd |=
			qcow2_refcount_load(block, q->refcount_bits, j) > n_max;
	return 0;
}

int qcow2_verify_block(struct qcow2 *q, uint64_t i, struct error *err)
{
	struct qcow2_trust *t = q->trust;
	uint64_t offset =
		q->refcount_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;
	uint64_t count = 0;
	bool is_odd = false;
	int rc;

	if (t->is_verified || q->is_shadowed || offset == 0 ||
	    t->is_seen[i / 64] >> i % 64 & 1)
		return 0;
	rc = look(q, i, &is_odd, err);
	if (rc == 0 && !is_odd)
		rc = qcow2_get_refcount(q, offset >> q->cluster_bits, &count,
					err);
	if (rc < 0)
		return rc;
	if (is_odd || count != 1)
		rc = qcow2_verify(q, err);
	if (rc == 0)
		t->is_seen[i / 64] |= 1ULL << i % 64;
	return rc;
}

void qcow2_verify_made(struct qcow2 *q, uint64_t i)
{
	q->trust->is_seen[i / 64] |= 1ULL << i % 64;
}
