/* SPDX-License-Identifier: ISC */
/*
 * Snapshots made, applied and deleted: each a change of what L1 tables refer
 * to (qcow2_change.c).
 *
 *	create	the disk's clusters are counted once more; a new L1 table for
 *		the disk and another one for the snapshot share the L2 tables
 *	apply	the snapshot's clusters are counted once more, the disk's old
 *		ones once less; the disk gets a copy of its L1 table
 *	delete	the snapshot's clusters are counted once less
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2_change.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One more than the highest number in use. */
static char *next_id(const struct qcow2 *q)
{
	unsigned long highest = 0;
	char *id;

	for (uint32_t i = 0; i < q->header.n_snapshots; i++) {
		unsigned long n = strtoul(q->snapshot_infos[i].id, NULL, 10);

		if (n > highest)
			highest = n;
	}
	return asprintf(&id, "%lu", highest + 1) < 0 ? NULL : id;
}

static int create(struct qcow2 *q, const struct image_snapshot_info *what,
		  struct error *err)
{
	uint32_t n = q->header.n_snapshots;
	struct image_snapshot_info *info;
	_cleanup_free_ char *id = next_id(q);
	_cleanup_free_ char *name = strdup(what->name);
	struct qcow2_change c;
	int rc = qcow2_change_init(q, &c);

	if (rc == 0 && (id == NULL || name == NULL))
		rc = -ENOMEM;
	if (rc == 0 && n >= QCOW2_SNAPSHOTS_MAX)
		rc = -EFBIG;
	if (rc == 0) {
		info = &c.infos[n];
		*info = *what;
		info->id = id;
		info->name = name;
		info->disk_size = q->header.size;
		c.snapshots[n].l1_size = q->header.l1_size;
		c.to.n_snapshots = n + 1;
		c.l1 = qcow2_change_copy_l1(q->l1, c.to.l1_size, c.to.l1_size);
		c.twin =
			qcow2_change_copy_l1(q->l1, c.to.l1_size, c.to.l1_size);
		c.up = q->l1;
		c.up_size = q->header.l1_size;
		rc = c.l1 == NULL || c.twin == NULL ? -ENOMEM : 0;
	}
	if (rc == 0)
		rc = qcow2_change_run(q, &c, err);
	if (rc == 0) {
		(void)steal_ptr(&id);
		(void)steal_ptr(&name);
	}
	qcow2_change_deinit(q, &c);
	return rc;
}

int qcow2_snapshot_create(struct image *image,
			  const struct image_snapshot_info *what,
			  struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	int rc;

	if (strlen(what->name) > UINT16_MAX)
		return error_set(err, -EINVAL, "Snapshot name too long");
	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	if (rc == 0)
		rc = create(q, what, err);
	qcow2_end_alone(q, &flight);
	return rc;
}

static int apply(struct qcow2 *q, const struct qcow2_snapshot *s,
		 const struct image_snapshot_info *info, struct error *err)
{
	unsigned bits = q->cluster_bits + q->l2_bits;
	uint64_t size = info->disk_size;
	uint64_t needed = (size >> bits) + ((size & ((1ULL << bits) - 1)) != 0);
	_cleanup_free_ uint64_t *l1 = NULL;
	struct qcow2_change c;
	int rc = qcow2_change_init(q, &c);

	if (rc == 0)
		rc = qcow2_snapshot_read_l1(q, s, 0, &l1, err);
	if (needed < s->l1_size)
		needed = s->l1_size;
	if (rc == 0 && (size > INT64_MAX || needed > QCOW2_L1_LEN_MAX / 8))
		rc = error_set(err, -EFBIG, "Snapshot is too big");
	if (rc == 0) {
		c.to.size = size;
		c.to.l1_size = (uint32_t)needed;
		c.keeps_snapshots = true;
		c.l1 = qcow2_change_copy_l1(l1, s->l1_size, needed);
		c.up = l1;
		c.up_size = s->l1_size;
		c.down = q->l1;
		c.down_size = q->header.l1_size;
		rc = c.l1 == NULL ? -ENOMEM : qcow2_change_run(q, &c, err);
	}
	qcow2_change_deinit(q, &c);
	return rc;
}

int qcow2_snapshot_apply(struct image *image, unsigned index, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	if (rc == 0 && q->n_bitmaps > 0)
		rc = error_set(err, -ENOTSUP,
			       "Device has active dirty bitmaps");
	if (rc == 0 && q->has_data_file)
		rc = error_set_errno(err, -ENOTSUP, "Failed to load snapshot");
	if (rc == 0 && index >= q->header.n_snapshots)
		rc = error_set_errno(err, -ENOENT, "No such snapshot");
	if (rc == 0)
		rc = apply(q, &q->snapshots[index], &q->snapshot_infos[index],
			   err);
	qcow2_end_alone(q, &flight);
	return rc;
}

static int remove_one(struct qcow2 *q, unsigned index, struct error *err)
{
	uint32_t n_after = q->header.n_snapshots - index - 1;
	struct qcow2_snapshot s = q->snapshots[index];
	struct image_snapshot_info info = q->snapshot_infos[index];
	_cleanup_free_ uint64_t *l1 = NULL;
	struct qcow2_change c;
	int rc = qcow2_change_init(q, &c);

	if (rc == 0)
		rc = qcow2_snapshot_read_l1(q, &s, 0, &l1, err);
	if (rc == 0) {
		memmove(c.snapshots + index, c.snapshots + index + 1,
			n_after * sizeof(*c.snapshots));
		memmove(c.infos + index, c.infos + index + 1,
			n_after * sizeof(*c.infos));
		c.to.n_snapshots--;
		c.l1 = qcow2_change_copy_l1(q->l1, c.to.l1_size, c.to.l1_size);
		c.down = l1;
		c.down_size = s.l1_size;
		c.gone.host_offset = s.l1_offset;
		c.gone.n = qcow2_n_clusters(q, s.l1_size * 8ULL);
		rc = c.l1 == NULL ? -ENOMEM : qcow2_change_run(q, &c, err);
	}
	if (rc == 0) {
		free((void *)info.id);
		free((void *)info.name);
		free(s.extra);
	}
	qcow2_change_deinit(q, &c);
	return rc;
}

int qcow2_snapshot_delete(struct image *image, unsigned index,
			  struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	if (rc == 0 && index >= q->header.n_snapshots)
		rc = error_set(err, -ENOENT, "No such snapshot");
	if (rc == 0)
		rc = remove_one(q, index, err);
	qcow2_end_alone(q, &flight);
	return rc;
}

int qcow2_snapshots_rewrite(struct qcow2 *q, struct error *err)
{
	struct qcow2_change c;
	int rc = qcow2_change_init(q, &c);

	if (rc == 0) {
		c.l1 = qcow2_change_copy_l1(q->l1, c.to.l1_size, c.to.l1_size);
		for (uint32_t i = 0; i < c.to.n_snapshots; i++)
			c.snapshots[i].is_extra_wrong = false;
		rc = c.l1 == NULL ? -ENOMEM : qcow2_change_run(q, &c, err);
	}
	qcow2_change_deinit(q, &c);
	return rc;
}
