/* SPDX-License-Identifier: ISC */
/*
 * The copied flags of the disk's own L1 and L2 tables say whether a refcount
 * is exactly one. Checked entry by entry, and set right where all is to be
 * repaired, or nothing else is wrong: a flag that is set in error lets a
 * snapshot be written over.
 */
#include "lib/image/qcow2_check.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>

/* They are as good as the refcounts that they follow. */
static bool may_fix(const struct qcow2_checker *c)
{
	const struct image_check *r = c->result;

	return c->fix & IMAGE_REPAIR_ERRORS ||
	       (c->fix &&
		r->n_check_errors + r->n_corruptions + r->n_leaks == 0);
}

/* Is the flag of an entry wrong? One that refers to nothing has none. */
static bool is_wrong(struct qcow2_checker *c, uint64_t entry,
		     uint64_t *refcount)
{
	uint64_t i = (entry & QCOW2_OFFSET_MASK) >> c->q->cluster_bits;
	int rc = 0;

	*refcount = 0;
	if (entry & QCOW2_OFFSET_MASK)
		rc = qcow2_checked_refcount(c, i, refcount);
	return rc == 0 && (*refcount == 1) != !!(entry & QCOW2_COPIED);
}

static int fix_l1(struct qcow2_checker *c, uint64_t i, struct error *err)
{
	struct qcow2 *q = c->q;
	uint64_t wire = htobe64(q->l1[i] ^ QCOW2_COPIED);
	uint64_t at = q->header.l1_offset + i * sizeof(wire);
	int rc =
		qcow2_check_overlap(q, QCOW2_SECTION_L1, at, sizeof(wire), err);

	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_L1_UPDATE);
	rc = image_file_write(q->file, at, &wire, sizeof(wire));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write L1 table");
	q->l1[i] ^= QCOW2_COPIED;
	return 0;
}

static int check_l1(struct qcow2_checker *c, uint64_t i, bool is_fixed,
		    struct error *err)
{
	uint64_t entry = c->q->l1[i], refcount;
	int rc = 0;

	if (!is_wrong(c, entry, &refcount))
		return 0;
	qcow2_found(c,
		    "%s OFLAG_COPIED L2 cluster: l1_index=%llu l1_entry=%llx "
		    "refcount=%llu",
		    is_fixed ? "Repairing" : "ERROR", (unsigned long long)i,
		    (unsigned long long)entry, (unsigned long long)refcount);
	if (is_fixed)
		rc = fix_l1(c, i, err);
	if (rc == 0 && is_fixed)
		c->result->n_corruptions_fixed++;
	else
		c->result->n_corruptions++;
	return rc;
}

static uint64_t check_l2(struct qcow2_checker *c, uint64_t *l2,
			 uint64_t n_entries, bool is_fixed)
{
	uint64_t n = 0, refcount;

	for (uint64_t i = 0; i < n_entries; i++) {
		uint64_t *wire = &l2[i * c->q->l2_words];
		uint64_t entry = be64toh(*wire);

		if (c->q->has_data_file || entry & QCOW2_COMPRESSED ||
		    !(entry & QCOW2_OFFSET_MASK) ||
		    !is_wrong(c, entry, &refcount))
			continue;
		qcow2_found(c,
			    "%s OFLAG_COPIED data cluster: l2_entry=%llx "
			    "refcount=%llu",
			    is_fixed ? "Repairing" : "ERROR",
			    (unsigned long long)entry,
			    (unsigned long long)refcount);
		*wire = htobe64(entry ^ QCOW2_COPIED);
		n++;
	}
	return n;
}

static int write_l2(struct qcow2 *q, uint64_t offset, const uint64_t *l2,
		    size_t len, struct error *err)
{
	int rc = qcow2_check_overlap(q, QCOW2_SECTION_L2, offset, len, err);

	if (rc < 0)
		return rc;
	rc = qcow2_cache_write(&q->l2_cache, offset, l2, len);
	return rc < 0 ? error_set_errno(err, rc, "Could not write L2 table")
		      : 0;
}

struct walk {
	struct qcow2_checker *c;
	uint64_t *l2; /* of one cluster, or what is read of it */
	bool is_fixed;
	struct error *err;
};

static int check_piece(void *context, uint64_t offset, size_t len)
{
	struct walk *w = context;
	struct qcow2_checker *c = w->c;
	size_t entry_len = c->q->l2_words * sizeof(*w->l2);
	uint64_t n = check_l2(c, w->l2, len / entry_len, w->is_fixed);

	if (!w->is_fixed)
		c->result->n_corruptions += n * c->weight;
	if (n == 0 || !w->is_fixed)
		return 0;
	c->result->n_corruptions_fixed += n;
	return write_l2(c->q, offset, w->l2, len, w->err);
}

static int check_collected(struct walk *w)
{
	return qcow2_count_spans(w->c, &w->c->l2_tables, w->l2,
				 w->c->q->cluster_len, check_piece, w);
}

static int check_table(struct walk *w, uint64_t offset)
{
	struct qcow2_checker *c = w->c;
	uint32_t len = c->q->cluster_len;
	int rc;

	if (qcow2_count_now(c, 1ULL << c->q->l2_bits)) {
		rc = image_file_read(c->q->file, offset, w->l2, len);
		if (rc < 0)
			return error_set_errno(w->err, rc,
					       "Could not read L2 table");
		return check_piece(w, offset, len);
	}
	rc = qcow2_spans_add(&c->l2_tables, offset, len, 1);
	if (rc != QCOW2_SPANS_FULL)
		return rc;
	rc = check_collected(w);
	return rc == 0 ? check_table(w, offset) : rc;
}

int qcow2_check_copied(struct qcow2_checker *c, struct error *err)
{
	struct qcow2 *q = c->q;
	_cleanup_free_ uint64_t *l2 = malloc(q->cluster_len);
	struct walk w = {
		.c = c, .l2 = l2, .is_fixed = may_fix(c), .err = err
	};
	int rc = 0;

	if (l2 == NULL)
		return -ENOMEM;
	c->is_first = true;
	c->weight = 1;
	c->entries_left = QCOW2_CHECK_ENTRIES_NOW;
	for (uint64_t i = 0; rc == 0 && i < q->header.l1_size; i++) {
		uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK;

		rc = check_l1(c, i, w.is_fixed, err);
		if (rc == 0 && offset != 0)
			rc = check_table(&w, offset);
	}
	return rc == 0 ? check_collected(&w) : rc;
}
