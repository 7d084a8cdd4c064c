/* SPDX-License-Identifier: ISC */
/*
 * An image that is open for reading alone shows a snapshot instead of the
 * disk: its L1 table, and its size. Nothing in the file changes. L2 tables and
 * clusters are found by their place in the file, so what is cached stays good.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdlib.h>

static int load(struct qcow2 *q, unsigned index, struct error *err)
{
	const struct qcow2_snapshot *s = &q->snapshots[index];
	uint64_t size = q->snapshot_infos[index].disk_size;
	unsigned bits = q->cluster_bits + q->l2_bits;
	uint64_t needed = (size >> bits) + ((size & ((1ULL << bits) - 1)) != 0);
	_cleanup_free_ uint64_t *l1 = NULL;
	int rc = qcow2_snapshot_check_l1(q, s, err);

	if (rc < 0)
		return rc;
	if (needed < s->l1_size)
		needed = s->l1_size;
	if (size > INT64_MAX || needed > QCOW2_L1_LEN_MAX / sizeof(*l1))
		return error_set(err, -EFBIG, "Snapshot is too big");
	rc = qcow2_snapshot_read_l1(q, s, needed, &l1, err);
	if (rc < 0)
		return rc;
	free(q->l1);
	q->l1 = steal_ptr(&l1);
	q->header.l1_size = (uint32_t)needed;
	q->header.size = size;
	q->image->size = size;
	return 0;
}

int qcow2_snapshot_load(struct image *image, unsigned index, struct error *err)
{
	struct qcow2 *q = image->state;
	int rc;

	if (!q->is_read_only)
		return error_set(err, -EINVAL,
				 "A snapshot can be loaded for reading alone");
	pthread_mutex_lock(&q->lock);
	if (index >= q->header.n_snapshots)
		rc = error_set(err, -ENOENT, "Can't find snapshot");
	else
		rc = load(q, index, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
