/* SPDX-License-Identifier: ISC */
/*
 * An image that is open for reading alone shows a snapshot instead of the
 * disk: its L1 table, and its size. Nothing in the file changes. L2 tables and
 * clusters are found by their place in the file, so what is cached stays good.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

static int read_l1(struct qcow2 *q, const struct qcow2_snapshot *s,
		   uint64_t *l1, struct error *err)
{
	uint64_t len = s->l1_size * sizeof(*l1), file_size;
	int rc = image_file_size(q->file, &file_size);

	if (rc == 0 && len > 0 &&
	    (s->l1_offset > file_size || len > file_size - s->l1_offset))
		return error_set(err, -EINVAL,
				 "Snapshot L1 table past end of file");
	if (rc == 0)
		rc = image_file_read(q->file, s->l1_offset, l1, len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read snapshot L1 table");
	for (uint32_t i = 0; i < s->l1_size; i++)
		l1[i] = be64toh(l1[i]);
	return 0;
}

static int load(struct qcow2 *q, unsigned index, struct error *err)
{
	const struct qcow2_snapshot *s = &q->snapshots[index];
	uint64_t size = q->snapshot_infos[index].disk_size;
	unsigned bits = q->cluster_bits + q->l2_bits;
	uint64_t needed = (size >> bits) + ((size & ((1ULL << bits) - 1)) != 0);
	_cleanup_free_ uint64_t *l1 = NULL;
	int rc;

	if (needed < s->l1_size)
		needed = s->l1_size;
	if (size > INT64_MAX || needed > QCOW2_L1_LEN_MAX / sizeof(*l1))
		return error_set(err, -EFBIG, "Snapshot is too big");
	l1 = calloc(needed + 1, sizeof(*l1));
	if (l1 == NULL)
		return -ENOMEM;
	rc = read_l1(q, s, l1, err);
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
