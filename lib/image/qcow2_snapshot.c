/* SPDX-License-Identifier: ISC */
/*
 * The snapshot table (section "Snapshots"): read for `info`, and so that
 * writes keep off the tables of snapshots. Entries have variable length.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	BUFFER_LEN = 64 << 10,
	VARIABLE_MAX = QCOW2_SNAPSHOT_EXTRA_MAX + 2 * UINT16_MAX,
};

static int read_table(struct qcow2 *q, uint64_t offset, void *buf, size_t len,
		      struct error *err)
{
	int rc = image_file_read(q->file, offset, buf, len);

	return rc < 0 ? error_set_errno(err, rc,
					"Could not read snapshot table")
		      : 0;
}

static void decode_fixed(struct qcow2_snapshot *s,
			 struct image_snapshot_info *info,
			 const struct qcow2_wire_snapshot *w,
			 const struct qcow2_header *h)
{
	s->l1_offset = be64toh(w->l1_offset);
	s->l1_size = be32toh(w->l1_size);
	info->date_sec = be32toh(w->date_sec);
	info->date_nsec = be32toh(w->date_nsec);
	info->vm_clock_nsec = be64toh(w->vm_clock_nsec);
	info->vm_state_size = be32toh(w->vm_state_size);
	info->disk_size = h->size;
	info->icount = UINT64_MAX;
}

static void decode_extra(struct image_snapshot_info *info, const uint8_t *data,
			 uint32_t len)
{
	struct qcow2_wire_snapshot_extra w;

	memset(&w, 0, sizeof(w));
	memcpy(&w, data, len < sizeof(w) ? len : sizeof(w));
	if (len >= 8)
		info->vm_state_size = be64toh(w.vm_state_size);
	if (len >= 16)
		info->disk_size = be64toh(w.disk_size);
	if (len >= 24)
		info->icount = be64toh(w.icount);
}

static int read_one(struct qcow2 *q, struct qcow2_snapshot *s,
		    struct image_snapshot_info *info, uint64_t *offset,
		    uint8_t *buf, struct error *err)
{
	struct qcow2_wire_snapshot w;
	uint32_t extra_len, id_len, name_len;
	char *id, *name;
	int rc;

	rc = read_table(q, *offset, &w, sizeof(w), err);
	if (rc < 0)
		return rc;
	decode_fixed(s, info, &w, &q->header);
	extra_len = be32toh(w.extra_len);
	id_len = be16toh(w.id_len);
	name_len = be16toh(w.name_len);
	if (extra_len > QCOW2_SNAPSHOT_EXTRA_MAX)
		return error_set(err, -EINVAL,
				 "Too much extra metadata in snapshot table "
				 "entry");
	rc = read_table(q, *offset + sizeof(w), buf,
			extra_len + id_len + name_len, err);
	if (rc < 0)
		return rc;
	decode_extra(info, buf, extra_len);
	id = strndup((const char *)buf + extra_len, id_len);
	name = strndup((const char *)buf + extra_len + id_len, name_len);
	info->id = id;
	info->name = name;
	if (id == NULL || name == NULL)
		return -ENOMEM;
	*offset +=
		(sizeof(w) + extra_len + id_len + name_len + 7) & ~(uint64_t)7;
	return qcow2_check_table(&q->header, s->l1_offset, s->l1_size,
				 sizeof(uint64_t), QCOW2_L1_LEN_MAX,
				 "Snapshot L1 table", err);
}

int qcow2_snapshots_read(struct qcow2 *q, struct error *err)
{
	uint64_t offset = q->header.snapshots_offset;
	_cleanup_free_ uint8_t *buf = NULL;
	uint64_t file_size;
	int rc;

	if (q->header.n_snapshots == 0)
		return 0;
	rc = image_file_size(q->file, &file_size);
	if (rc < 0)
		return rc;
	q->snapshots = calloc(q->header.n_snapshots, sizeof(*q->snapshots));
	q->snapshot_infos =
		calloc(q->header.n_snapshots, sizeof(*q->snapshot_infos));
	buf = malloc(VARIABLE_MAX);
	if (q->snapshots == NULL || q->snapshot_infos == NULL || buf == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < q->header.n_snapshots; i++) {
		if (offset >= file_size)
			return error_set(err, -EINVAL,
					 "Snapshot table past end of file");
		if (offset - q->header.snapshots_offset >
		    QCOW2_SNAPSHOT_TABLE_LEN_MAX)
			return error_set(err, -EFBIG,
					 "Snapshot table too large");
		rc = read_one(q, &q->snapshots[i], &q->snapshot_infos[i],
			      &offset, buf, err);
	}
	q->snapshots_len = offset - q->header.snapshots_offset;
	return rc;
}

void qcow2_snapshots_deinit(struct qcow2 *q)
{
	struct image_snapshot_info *info = q->snapshot_infos;

	for (uint32_t i = 0; info != NULL && i < q->header.n_snapshots; i++) {
		free((void *)info[i].id);
		free((void *)info[i].name);
	}
	free(q->snapshots);
	free(q->snapshot_infos);
	q->snapshots = NULL;
	q->snapshot_infos = NULL;
}
