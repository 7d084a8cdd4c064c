/* SPDX-License-Identifier: ISC */
/*
 * The snapshot table (section "Snapshots"): read for `info`, and so that
 * writes keep off the tables of snapshots; put together for a new one. Entries
 * have variable length.
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

static int decode_extra(struct qcow2_snapshot *s,
			struct image_snapshot_info *info, const uint8_t *data,
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
	if (len <= sizeof(w))
		return 0;
	s->extra_len = len - (uint32_t)sizeof(w);
	s->extra = malloc(s->extra_len);
	if (s->extra == NULL)
		return -ENOMEM;
	memcpy(s->extra, data + sizeof(w), s->extra_len);
	return 0;
}

/* Of a table that is to be repaired: how many bytes of extra data are kept. */
static int check_extra_len(struct qcow2 *q, struct qcow2_snapshot *s,
			   uint32_t len, uint32_t *kept, struct error *err)
{
	*kept = len;
	if (q->header.version >= 3 && len < QCOW2_SNAPSHOT_EXTRA_V3) {
		s->is_extra_wrong = true;
		s->extra_len_read = len;
		q->snapshot_faults.n_incomplete++;
	}
	if (len <= QCOW2_SNAPSHOT_EXTRA_MAX)
		return 0;
	if (!(q->image->flags & IMAGE_CHECK))
		return error_set(err, -EFBIG,
				 "Too much extra metadata in snapshot table "
				 "entry %zu: You can force-remove this extra "
				 "metadata with qemu-img check -r all",
				 (size_t)(s - q->snapshots));
	s->is_extra_wrong = true;
	s->extra_len_read = len;
	q->snapshot_faults.n_too_much++;
	*kept = QCOW2_SNAPSHOT_EXTRA_MAX;
	return 0;
}

static int read_texts(struct image_snapshot_info *info, const char *data,
		      uint32_t id_len, uint32_t name_len)
{
	info->id = strndup(data, id_len);
	info->name = strndup(data + id_len, name_len);
	return info->id == NULL || info->name == NULL ? -ENOMEM : 0;
}

/* *len: what it takes in the file; *kept_len: and without extra data that is
 * cut off. */
static int read_one(struct qcow2 *q, uint32_t i, uint64_t offset, uint8_t *buf,
		    uint64_t *len, uint64_t *kept_len, struct error *err)
{
	struct qcow2_snapshot *s = &q->snapshots[i];
	struct image_snapshot_info *info = &q->snapshot_infos[i];
	struct qcow2_wire_snapshot w;
	uint32_t extra_len, kept, id_len, name_len;
	int rc = read_table(q, offset, &w, sizeof(w), err);

	if (rc < 0)
		return rc;
	decode_fixed(s, info, &w, &q->header);
	extra_len = be32toh(w.extra_len);
	id_len = be16toh(w.id_len);
	name_len = be16toh(w.name_len);
	rc = check_extra_len(q, s, extra_len, &kept, err);
	if (rc == 0)
		rc = read_table(q, offset + sizeof(w), buf, kept, err);
	if (rc == 0)
		rc = read_table(q, offset + sizeof(w) + extra_len, buf + kept,
				id_len + name_len, err);
	if (rc == 0)
		rc = decode_extra(s, info, buf, kept);
	if (rc == 0)
		rc = read_texts(info, (const char *)buf + kept, id_len,
				name_len);
	*len = (sizeof(w) + extra_len + id_len + name_len + 7) & ~(uint64_t)7;
	*kept_len = (sizeof(w) + kept + id_len + name_len + 7) & ~(uint64_t)7;
	return rc;
}

static void forget_one(struct qcow2 *q, uint32_t i)
{
	struct qcow2_snapshot *s = &q->snapshots[i];
	struct qcow2_snapshot_faults *f = &q->snapshot_faults;

	if (s->is_extra_wrong && s->extra_len_read > QCOW2_SNAPSHOT_EXTRA_MAX)
		f->n_too_much--;
	else if (s->is_extra_wrong)
		f->n_incomplete--;
	free((void *)q->snapshot_infos[i].id);
	free((void *)q->snapshot_infos[i].name);
	free(s->extra);
	q->snapshot_infos[i].id = q->snapshot_infos[i].name = NULL;
	s->extra = NULL;
}

static int too_big(uint32_t n, struct error *err)
{
	return error_set(err, -EFBIG,
			 "Snapshot table is too big: You can force-remove all "
			 "%u overhanging snapshots with qemu-img check -r all",
			 n);
}

/* n entries. A file that ends before they do reads on as zeroes. */
static int read_all(struct qcow2 *q, uint8_t *buf, struct error *err)
{
	struct qcow2_header *h = &q->header;
	uint64_t at = 0, kept = 0, len, kept_len;
	uint32_t n = h->n_snapshots;

	for (uint32_t i = 0; i < n; i++) {
		int rc = read_one(q, i, h->snapshots_offset + at, buf, &len,
				  &kept_len, err);

		if (rc < 0)
			return rc;
		if (kept + kept_len > QCOW2_SNAPSHOT_TABLE_LEN_MAX) {
			if (!(q->image->flags & IMAGE_CHECK))
				return too_big(n - i, err);
			forget_one(q, i);
			q->snapshot_faults.is_too_long = true;
			q->snapshot_faults.n_overhanging += n - i;
			h->n_snapshots = i;
			break;
		}
		at += len;
		kept += kept_len;
	}
	q->snapshots_len = at;
	return 0;
}

int qcow2_snapshots_read(struct qcow2 *q, struct error *err)
{
	_cleanup_free_ uint8_t *buf = NULL;
	uint32_t n = q->header.n_snapshots;

	if (n == 0)
		return 0;
	/* The header is refused for it, unless it is to be repaired. */
	if (n > QCOW2_SNAPSHOTS_MAX) {
		q->snapshot_faults.n_overhanging = n - QCOW2_SNAPSHOTS_MAX;
		q->header.n_snapshots = n = QCOW2_SNAPSHOTS_MAX;
	}
	q->snapshots = calloc(n, sizeof(*q->snapshots));
	q->snapshot_infos = calloc(n, sizeof(*q->snapshot_infos));
	buf = malloc(VARIABLE_MAX);
	if (q->snapshots == NULL || q->snapshot_infos == NULL || buf == NULL)
		return -ENOMEM;
	return read_all(q, buf, err);
}

int qcow2_snapshot_check_l1(const struct qcow2 *q,
			    const struct qcow2_snapshot *s, struct error *err)
{
	return qcow2_check_table(&q->header, s->l1_offset, s->l1_size,
				 sizeof(uint64_t), QCOW2_L1_LEN_MAX,
				 "Snapshot L1 table", err);
}

int qcow2_snapshot_read_l1(struct qcow2 *q, const struct qcow2_snapshot *s,
			   uint64_t size, uint64_t **l1, struct error *err)
{
	uint64_t len = s->l1_size * sizeof(**l1), file_size;
	int rc = qcow2_snapshot_check_l1(q, s, err);

	if (rc < 0)
		return rc;
	rc = image_file_size(q->file, &file_size);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	if (len > 0 &&
	    (s->l1_offset > file_size || len > file_size - s->l1_offset))
		return error_set(err, -EINVAL,
				 "Snapshot L1 table past end of file");
	*l1 = calloc((size > s->l1_size ? size : s->l1_size) + 1, sizeof(**l1));
	if (*l1 == NULL)
		return -ENOMEM;
	rc = image_file_read(q->file, s->l1_offset, *l1, len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read snapshot L1 table");
	for (uint32_t i = 0; i < s->l1_size; i++)
		(*l1)[i] = be64toh((*l1)[i]);
	return 0;
}

void qcow2_snapshots_deinit(struct qcow2 *q)
{
	struct image_snapshot_info *info = q->snapshot_infos;

	for (uint32_t i = 0;
	     info != NULL && q->snapshots != NULL && i < q->header.n_snapshots;
	     i++) {
		free((void *)info[i].id);
		free((void *)info[i].name);
		free(q->snapshots[i].extra);
	}
	free(q->snapshots);
	free(q->snapshot_infos);
	q->snapshots = NULL;
	q->snapshot_infos = NULL;
}

static uint64_t entry_len(const struct qcow2_snapshot *s,
			  const struct image_snapshot_info *info)
{
	return (sizeof(struct qcow2_wire_snapshot) +
		sizeof(struct qcow2_wire_snapshot_extra) + s->extra_len +
		strlen(info->id) + strlen(info->name) + 7) &
	       ~(uint64_t)7;
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	if (len > 0)
		memcpy(at, data, len);
	return at + len;
}

/* Always with all of the extra data that is known, as QEMU does. */
static void encode_one(const struct qcow2_snapshot *s,
		       const struct image_snapshot_info *info, uint8_t *at)
{
	size_t id_len = strlen(info->id), name_len = strlen(info->name);
	struct qcow2_wire_snapshot_extra extra = {
		.vm_state_size = htobe64(info->vm_state_size),
		.disk_size = htobe64(info->disk_size),
		.icount = htobe64(info->icount),
	};
	struct qcow2_wire_snapshot w = {
		.l1_offset = htobe64(s->l1_offset),
		.l1_size = htobe32(s->l1_size),
		.id_len = htobe16((uint16_t)id_len),
		.name_len = htobe16((uint16_t)name_len),
		.date_sec = htobe32(info->date_sec),
		.date_nsec = htobe32(info->date_nsec),
		.vm_clock_nsec = htobe64(info->vm_clock_nsec),
		.vm_state_size =
			info->vm_state_size <= UINT32_MAX
				? htobe32((uint32_t)info->vm_state_size)
				: 0,
		.extra_len = htobe32((uint32_t)sizeof(extra) + s->extra_len),
	};

	at = put(at, &w, sizeof(w));
	at = put(at, &extra, sizeof(extra));
	at = put(at, s->extra, s->extra_len);
	at = put(at, info->id, id_len);
	put(at, info->name, name_len);
}

int qcow2_snapshots_encode(const struct qcow2_snapshot *snapshots,
			   const struct image_snapshot_info *infos, uint32_t n,
			   uint8_t **table, uint64_t *len, struct error *err)
{
	uint64_t at = 0;

	*len = 0;
	for (uint32_t i = 0; i < n; i++)
		*len += entry_len(&snapshots[i], &infos[i]);
	if (n > QCOW2_SNAPSHOTS_MAX || *len > QCOW2_SNAPSHOT_TABLE_LEN_MAX)
		return error_set(err, -EFBIG, "Snapshot table too large");
	*table = calloc(1, *len + 1);
	if (*table == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		encode_one(&snapshots[i], &infos[i], *table + at);
		at += entry_len(&snapshots[i], &infos[i]);
	}
	return 0;
}
