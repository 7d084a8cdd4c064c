/* SPDX-License-Identifier: ISC */
/*
 * References are counted and tables written in a shadow (qcow2_shadow.c), and
 * one write switches to them. The disk's copied flags must say which counts
 * are one: an L2 table in which that changes a flag is written to a new place.
 * What is not too much then goes back to where it was (qcow2_return.c).
 */
#include "lib/image/qcow2_change.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

void qcow2_change_deinit(struct qcow2 *q, struct qcow2_change *c)
{
	qcow2_shadow_deinit(q, &c->shadow);
	qcow2_return_deinit(q, &c->back);
	free(c->l1);
	free(c->twin);
	free(c->snapshots);
	free(c->infos);
}

int qcow2_change_init(struct qcow2 *q, struct qcow2_change *c)
{
	uint32_t n = q->header.n_snapshots;

	*c = (struct qcow2_change){
		.to = { .size = q->header.size,
			.l1_size = q->header.l1_size,
			.n_snapshots = n,
			.snapshots_offset = q->header.snapshots_offset },
	};
	c->snapshots = calloc(n + 1ULL, sizeof(*c->snapshots));
	c->infos = calloc(n + 1ULL, sizeof(*c->infos));
	if (c->snapshots == NULL || c->infos == NULL)
		return -ENOMEM;
	if (n > 0) {
		memcpy(c->snapshots, q->snapshots, n * sizeof(*c->snapshots));
		memcpy(c->infos, q->snapshot_infos, n * sizeof(*c->infos));
	}
	return 0;
}

uint64_t *qcow2_change_copy_l1(const uint64_t *l1, uint64_t n, uint64_t size)
{
	uint64_t *copy = calloc(size + 1, sizeof(*copy));

	for (uint64_t i = 0; copy != NULL && i < n; i++)
		copy[i] = l1[i] & QCOW2_OFFSET_MASK;
	return copy;
}

static int count_range(struct qcow2 *q, uint64_t offset, uint64_t len,
		       int delta, struct error *err)
{
	uint64_t n = qcow2_n_clusters(q, len);

	return n == 0 ? 0
		      : qcow2_add_refcount(q, offset >> q->cluster_bits, n,
					   delta, err);
}

/* Up first: a count that is not to change may not pass through zero. */
static int count_all(struct qcow2 *q, struct qcow2_change *c, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	int rc = 0;

	if (c->up != NULL)
		rc = qcow2_count_tables(q, c->up, c->up_size, 1, err);
	if (rc == 0 && c->down != NULL)
		rc = qcow2_count_tables(q, c->down, c->down_size, -1, err);
	if (rc == 0 && c->gone.n > 0)
		rc = qcow2_add_refcount(q,
					c->gone.host_offset >> q->cluster_bits,
					c->gone.n, -1, err);
	if (rc == 0)
		rc = count_range(q, h->l1_offset, h->l1_size * 8ULL, -1, err);
	if (rc == 0 && !c->keeps_snapshots)
		rc = count_range(q, h->snapshots_offset, q->snapshots_len, -1,
				 err);
	return rc;
}

/* Is nothing there that the shadow gives back? */
static int check_place(struct qcow2 *q, const struct qcow2_shadow *s,
		       uint64_t entry, struct error *err)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK, n = 1, len;

	if (q->has_data_file)
		return 0;
	if (entry & QCOW2_COMPRESSED) {
		qcow2_compressed_range(q, entry, &offset, &len);
		n = ((offset + len - 1) >> q->cluster_bits) -
		    (offset >> q->cluster_bits) + 1;
	}
	return offset == 0 ? 0 : qcow2_shadow_check_place(q, s, offset, n, err);
}

/* The copied flags as the counts want them; *is_changed. */
static int set_flags(struct qcow2 *q, const struct qcow2_shadow *s,
		     uint64_t *l2, bool *is_changed, struct error *err)
{
	*is_changed = false;
	for (uint64_t i = 0; i < 1ULL << q->l2_bits; i++) {
		uint64_t *wire = &l2[i * q->l2_words];
		uint64_t old = be64toh(*wire), entry = old & ~QCOW2_COPIED;
		uint64_t offset = old & QCOW2_OFFSET_MASK, count = 0;
		int rc = check_place(q, s, old, err);

		if (rc == 0 && !(old & QCOW2_COMPRESSED) && offset != 0)
			rc = qcow2_get_refcount(q, offset >> q->cluster_bits,
						&count, err);
		if (rc < 0)
			return rc;
		if (count == 1)
			entry |= QCOW2_COPIED;
		*is_changed |= entry != old;
		*wire = htobe64(entry);
	}
	return 0;
}

/* Move the table that l1's entry i refers to, for its twin too. */
static int move_l2(struct qcow2 *q, struct qcow2_change *c, uint64_t i,
		   const uint64_t *l2, struct error *err)
{
	uint64_t old = c->l1[i] >> q->cluster_bits;
	uint64_t place = c->shadow.pool[c->shadow.n_taken++];
	struct qcow2_return *r = &c->back;
	int rc;

	if (r->is_wanted)
		r->moved[r->n_moved++] = (struct qcow2_moved){
			.index = i,
			.host_offset = c->l1[i],
		};

	rc = qcow2_cache_write(&q->l2_cache, place, l2, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write L2 table");
	if (c->twin != NULL) {
		c->twin[i] = place;
		rc = qcow2_add_refcount(q, old, 1, -1, err);
		if (rc == 0)
			rc = qcow2_add_refcount(q, place >> q->cluster_bits, 1,
						1, err);
	}
	c->l1[i] = place;
	return rc < 0 ? rc : qcow2_add_refcount(q, old, 1, -1, err);
}

static int finish_l2(struct qcow2 *q, struct qcow2_change *c, uint64_t i,
		     uint64_t *l2, struct error *err)
{
	bool is_changed;
	uint64_t count;
	int rc = qcow2_shadow_check_place(q, &c->shadow, c->l1[i], 1, err);

	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_L2_LOAD);
	rc = image_file_read(q->file, c->l1[i], l2, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read L2 table");
	rc = set_flags(q, &c->shadow, l2, &is_changed, err);
	if (rc == 0 && is_changed)
		rc = move_l2(q, c, i, l2, err);
	if (rc == 0)
		rc = qcow2_get_refcount(q, c->l1[i] >> q->cluster_bits, &count,
					err);
	if (rc == 0 && count == 1)
		c->l1[i] |= QCOW2_COPIED;
	return rc;
}

static int finish_tables(struct qcow2 *q, struct qcow2_change *c,
			 struct error *err)
{
	_cleanup_free_ uint64_t *l2 = malloc(q->cluster_len);
	int rc = 0;

	if (l2 == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; rc == 0 && i < c->to.l1_size; i++)
		if (c->l1[i] != 0)
			rc = finish_l2(q, c, i, l2, err);
	return rc;
}

static int write_l1(struct qcow2 *q, uint64_t offset, uint64_t *l1,
		    uint64_t size, struct error *err)
{
	int rc;

	for (uint64_t i = 0; i < size; i++)
		l1[i] = htobe64(l1[i]);
	rc = image_file_write(q->file, offset, l1, size * sizeof(*l1));
	for (uint64_t i = 0; i < size; i++)
		l1[i] = be64toh(l1[i]);
	return rc < 0 ? error_set_errno(err, rc, "Could not write L1 table")
		      : 0;
}

/* What stays comes first, so that it is where it would be without a shadow. */
static int find_last_places(struct qcow2 *q, struct qcow2_change *c,
			    uint64_t l1_len, uint64_t table_len,
			    struct error *err)
{
	struct qcow2_return *r = &c->back;
	int rc;

	if (c->twin == NULL || !r->is_wanted)
		return 0;
	rc = qcow2_shadow_add_table(q, &r->shadow, l1_len, &r->twin_offset,
				    err);
	return rc < 0 ? rc
		      : qcow2_shadow_add_table(q, &r->shadow, table_len,
					       &r->snapshots_offset, err);
}

/* Places for all tables; the new snapshot's L1 table is known then. */
static int find_places(struct qcow2 *q, struct qcow2_change *c,
		       uint64_t *table_len, struct error *err)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t l1_len = c->to.l1_size * 8ULL, n_l2 = 0;
	int rc;

	for (uint64_t i = 0; i < c->to.l1_size; i++)
		n_l2 += c->l1[i] != 0;
	rc = qcow2_return_init(q, &c->back, n_l2);
	if (rc == 0)
		rc = qcow2_snapshots_encode(c->snapshots, c->infos,
					    c->to.n_snapshots, &table,
					    table_len, err);
	if (rc == 0)
		rc = find_last_places(q, c, l1_len, *table_len, err);
	if (rc == 0 && !c->keeps_snapshots)
		rc = qcow2_shadow_add_table(q, &c->shadow, *table_len,
					    &c->to.snapshots_offset, err);
	if (rc == 0)
		rc = qcow2_shadow_add_table(q, &c->shadow, l1_len,
					    &c->to.l1_offset, err);
	if (rc == 0 && c->twin != NULL)
		rc = qcow2_shadow_add_table(q, &c->shadow, l1_len,
					    &c->twin_offset, err);
	if (rc < 0)
		return rc;
	if (c->twin != NULL)
		c->snapshots[c->to.n_snapshots - 1].l1_offset = c->twin_offset;
	rc = qcow2_shadow_begin(q, &c->shadow, n_l2, err);
	return rc < 0 ? rc : qcow2_return_remember(q, &c->back, &c->shadow);
}

static int write_tables(struct qcow2 *q, struct qcow2_change *c,
			struct error *err)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t len;
	int rc;

	rc = qcow2_snapshots_encode(c->snapshots, c->infos, c->to.n_snapshots,
				    &table, &len, err);
	if (rc < 0)
		return rc;
	if (!c->keeps_snapshots)
		rc = image_file_write(q->file, c->to.snapshots_offset, table,
				      len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write snapshot table");
	rc = write_l1(q, c->to.l1_offset, c->l1, c->to.l1_size, err);
	if (rc == 0 && c->twin != NULL)
		rc = write_l1(q, c->twin_offset, c->twin, c->to.l1_size, err);
	return rc;
}

int qcow2_change_run(struct qcow2 *q, struct qcow2_change *c, struct error *err)
{
	uint64_t table_len = 0;
	int rc = qcow2_external_refuse(q, "Snapshots are", err);

	if (rc < 0)
		return rc;
	rc = qcow2_barrier(q);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not flush");
	rc = qcow2_free_pending(q, err);
	if (rc == 0)
		rc = qcow2_verify_few(q, err);
	if (rc == 0)
		rc = qcow2_check_room(q, c->l1, c->to.l1_size, err);
	if (rc == 0)
		rc = find_places(q, c, &table_len, err);
	if (rc == 0)
		rc = count_all(q, c, err);
	if (rc == 0)
		rc = finish_tables(q, c, err);
	if (rc == 0)
		rc = write_tables(q, c, err);
	if (rc == 0)
		rc = qcow2_shadow_commit(q, &c->shadow, &c->to, err);
	if (rc < 0)
		return rc;
	free(q->l1);
	free(q->snapshots);
	free(q->snapshot_infos);
	q->l1 = steal_ptr(&c->l1);
	q->snapshots = steal_ptr(&c->snapshots);
	q->snapshot_infos = steal_ptr(&c->infos);
	q->snapshots_len = table_len;
	q->image->size = q->header.size;
	q->free_hint = 0;
	rc = qcow2_filters_refill(q);
	if (rc < 0 || !c->back.is_wanted)
		return rc;
	c->back.twin = steal_ptr(&c->twin);
	qcow2_return_run(q, &c->back);
	return 0;
}
