/* SPDX-License-Identifier: ISC */
/*
 * A change in a shadow leaves tables at new places, and holes where they were.
 * Where that is not much work a second shadow takes them back there: so an
 * image keeps its layout, which people and tools rely on when they look at or
 * repair one by hand, and its file does not get longer each time.
 *
 * The new places are those of the first shadow's old state, which are free
 * now; what else is switched by the header, and a kill on the way, are as in
 * qcow2_shadow.c.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2_shadow.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	RETURN_LEN_MAX = 16 << 20, /* more is not copied a second time */
};

int qcow2_return_init(struct qcow2 *q, struct qcow2_return *r, uint64_t n_l2)
{
	uint64_t n = n_l2 + q->header.refcount_table_clusters;

	n += qcow2_n_clusters(q, q->header.l1_size * sizeof(uint64_t));
	for (uint64_t i = 0; i < q->refcount_table_size; i++)
		n += q->refcount_table[i] != 0;
	r->is_wanted = n << q->cluster_bits <= (uint64_t)RETURN_LEN_MAX;
	if (!r->is_wanted)
		return 0;
	r->moved = calloc(n_l2 + 1, sizeof(*r->moved));
	return r->moved == NULL ? -ENOMEM : 0;
}

int qcow2_return_remember(const struct qcow2 *q, struct qcow2_return *r,
			  const struct qcow2_shadow *first)
{
	const struct qcow2_header *h = &q->header;

	if (!r->is_wanted)
		return 0;
	r->l1.host_offset = h->l1_offset;
	r->l1.n = qcow2_n_clusters(q, h->l1_size * sizeof(uint64_t));
	r->table.host_offset = h->refcount_table_offset;
	r->table.n = h->refcount_table_clusters;
	r->blocks = malloc(q->refcount_table_size * sizeof(*r->blocks) + 1);
	if (r->blocks == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < q->refcount_table_size; i++) {
		uint64_t offset =
			first->old_table[i] & QCOW2_REFCOUNT_TABLE_OFFSET_MASK;

		if (offset != 0)
			r->blocks[r->n_blocks++] = offset;
	}
	return 0;
}

/* The L1 table, if it has not grown. */
static int claim_l1(struct qcow2 *q, struct qcow2_return *r,
		    struct qcow2_switch *to, struct error *err)
{
	uint64_t n = qcow2_n_clusters(q, to->l1_size * sizeof(uint64_t));
	int rc;

	if (r->l1.n != n || n == 0)
		return 0;
	rc = qcow2_shadow_claim(q, r->l1.host_offset, n, err);
	if (rc < 0)
		return rc;
	r->shadow.tables[r->shadow.n_tables++] = r->l1;
	to->l1_offset = r->l1.host_offset;
	return 0;
}

/* Not those that somebody else uses where they were. */
static int claim_l2(struct qcow2 *q, struct qcow2_return *r, struct error *err)
{
	struct qcow2_shadow *s = &r->shadow;
	uint64_t n = 0;

	s->pool = malloc(r->n_moved * sizeof(*s->pool) + 1);
	if (s->pool == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < r->n_moved; i++) {
		int rc = qcow2_shadow_claim(q, r->moved[i].host_offset, 1, err);

		if (rc == -EBUSY)
			continue;
		if (rc < 0)
			return rc;
		s->pool[s->n_pool++] = r->moved[i].host_offset;
		r->moved[n++] = r->moved[i];
	}
	r->n_moved = n;
	return 0;
}

static int move_l2(struct qcow2 *q, struct qcow2_return *r,
		   const struct qcow2_moved *m, uint64_t *l1, uint64_t *l2,
		   struct error *err)
{
	uint64_t from = l1[m->index] & QCOW2_OFFSET_MASK;
	uint64_t flags = l1[m->index] & ~QCOW2_OFFSET_MASK;
	int rc;

	r->shadow.n_taken++;
	rc = image_file_read(q->file, from, l2, q->cluster_len);
	if (rc == 0)
		rc = qcow2_cache_write(&q->l2_cache, m->host_offset, l2,
				       q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not move L2 table");
	l1[m->index] = m->host_offset | flags;
	rc = qcow2_add_refcount(q, from >> q->cluster_bits, 1, -1, err);
	if (rc < 0 || r->twin == NULL)
		return rc;
	r->twin[m->index] = m->host_offset;
	rc = qcow2_add_refcount(q, from >> q->cluster_bits, 1, -1, err);
	return rc < 0 ? rc
		      : qcow2_add_refcount(q, m->host_offset >> q->cluster_bits,
					   1, 1, err);
}

static int write_l1(struct qcow2 *q, uint64_t offset, const uint64_t *l1,
		    uint64_t size, struct error *err)
{
	_cleanup_free_ uint64_t *wire = malloc(size * sizeof(*wire) + 1);
	int rc;

	if (wire == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < size; i++)
		wire[i] = htobe64(l1[i]);
	rc = image_file_write(q->file, offset, wire, size * sizeof(*wire));
	return rc < 0 ? error_set_errno(err, rc, "Could not write L1 table")
		      : 0;
}

static int uncount(struct qcow2 *q, uint64_t offset, uint64_t len,
		   struct error *err)
{
	return qcow2_add_refcount(q, offset >> q->cluster_bits,
				  qcow2_n_clusters(q, len), -1, err);
}

/* The newest snapshot's L1 table, and the snapshot table, which says so. */
static int write_twin(struct qcow2 *q, struct qcow2_return *r,
		      struct qcow2_switch *to, struct error *err)
{
	struct qcow2_snapshot *newest = &q->snapshots[to->n_snapshots - 1];
	uint64_t old = newest->l1_offset, l1_len, len;
	_cleanup_free_ uint8_t *table = NULL;
	int rc;

	l1_len = newest->l1_size * sizeof(*r->twin);
	to->snapshots_offset = r->snapshots_offset;
	newest->l1_offset = r->twin_offset;
	rc = qcow2_snapshots_encode(q->snapshots, q->snapshot_infos,
				    to->n_snapshots, &table, &len, err);
	newest->l1_offset = old; /* until it is true */
	if (rc == 0)
		rc = image_file_write(q->file, to->snapshots_offset, table,
				      len);
	if (rc == 0 && l1_len > 0)
		rc = write_l1(q, r->twin_offset, r->twin, newest->l1_size, err);
	if (rc == 0 && l1_len > 0)
		rc = uncount(q, old, l1_len, err);
	return rc < 0 ? rc : uncount(q, q->header.snapshots_offset, len, err);
}

static int write_disk_l1(struct qcow2 *q, const uint64_t *l1,
			 const struct qcow2_switch *to, struct error *err)
{
	int rc = write_l1(q, to->l1_offset, l1, to->l1_size, err);

	if (rc < 0 || to->l1_offset == q->header.l1_offset)
		return rc;
	return uncount(q, q->header.l1_offset, to->l1_size * sizeof(*l1), err);
}

static int write_all(struct qcow2 *q, struct qcow2_return *r, uint64_t *l1,
		     struct qcow2_switch *to, struct error *err)
{
	_cleanup_free_ uint64_t *l2 = malloc(q->cluster_len);
	int rc = l2 == NULL ? -ENOMEM : 0;

	for (uint64_t i = 0; rc == 0 && i < r->n_moved; i++)
		rc = move_l2(q, r, &r->moved[i], l1, l2, err);
	if (rc == 0)
		rc = write_disk_l1(q, l1, to, err);
	if (rc == 0 && r->twin != NULL)
		rc = write_twin(q, r, to, err);
	return rc;
}

static int go_back(struct qcow2 *q, struct qcow2_return *r, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	size_t len = h->l1_size * sizeof(*q->l1);
	_cleanup_free_ uint64_t *l1 = malloc(len + 1);
	struct qcow2_switch to = {
		.size = h->size,
		.l1_offset = h->l1_offset,
		.l1_size = h->l1_size,
		.n_snapshots = h->n_snapshots,
		.snapshots_offset = h->snapshots_offset,
	};
	int rc;

	if (l1 == NULL)
		return -ENOMEM;
	memcpy(l1, q->l1, len);
	rc = claim_l1(q, r, &to, err);
	if (rc == 0)
		rc = claim_l2(q, r, err);
	if (rc == 0)
		rc = qcow2_shadow_begin_at(q, &r->shadow, &r->table, &r->blocks,
					   r->n_blocks, err);
	if (rc == 0)
		rc = write_all(q, r, l1, &to, err);
	if (rc == 0)
		rc = qcow2_shadow_commit(q, &r->shadow, &to, err);
	if (rc < 0)
		return rc;
	free(q->l1);
	q->l1 = steal_ptr(&l1);
	if (r->twin != NULL)
		q->snapshots[to.n_snapshots - 1].l1_offset = r->twin_offset;
	q->free_hint = 0;
	rc = qcow2_filters_refill(q);
	return rc < 0 ? rc : qcow2_cut_file(q, err);
}

void qcow2_return_run(struct qcow2 *q, struct qcow2_return *r)
{
	struct error unused = ERROR_INIT;

	(void)go_back(q, r, &unused);
}

void qcow2_return_deinit(struct qcow2 *q, struct qcow2_return *r)
{
	qcow2_shadow_deinit(q, &r->shadow);
	free(r->blocks);
	free(r->moved);
	free(r->twin);
	*r = (struct qcow2_return){ .is_wanted = false };
}
