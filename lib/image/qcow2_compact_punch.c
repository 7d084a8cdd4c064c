/* SPDX-License-Identifier: ISC */
/*
 * Space of what is free already. Clusters whose count is zero may have blocks
 * in the host's file all the same: of programs that free and do not discard, or
 * of a copy that wrote the holes out. Where they cannot be filled or cut off,
 * as a snapshot's clusters stand behind them, they are punched.
 *
 * The caller has checked that nothing refers to what has no count, and a
 * barrier is over since the last change of tables or counts: what is punched
 * here is free on the disk too. A kill leaves some of it punched. What lies
 * behind the last cluster in use is left as it is.
 *
 * An external data file has no counts: what no L2 entry has a place for is
 * free. A raw one is somebody else's to read, whatever the tables say.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdlib.h>

struct sweep {
	const struct image_file *file;
	uint64_t free_from; /* all from here on was free, so far */
	bool is_over;	    /* there is an error: holes cannot be made */
};

/* Of [free_from, end) what is data for the host. */
static void sweep_to(struct sweep *s, uint64_t end)
{
	while (s->free_from < end && !s->is_over) {
		uint64_t len;
		bool is_data;
		int rc = image_file_extent(s->file, s->free_from,
					   end - s->free_from, &is_data, &len);

		if (rc == 0 && is_data)
			rc = image_file_punch(s->file, s->free_from, len);
		if (rc == 0)
			s->free_from += len;
		s->is_over = rc < 0;
	}
}

static void sweep_over(struct sweep *s, uint64_t used, uint64_t len)
{
	sweep_to(s, used);
	s->free_from = used + len;
}

/* Of clusters [first, end), those that block counts. */
static void sweep_block(const struct qcow2 *q, struct sweep *s,
			const uint8_t *block, uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++)
		if (qcow2_refcount_load(block, q->refcount_bits, i - first) > 0)
			sweep_over(s, i << q->cluster_bits, q->cluster_len);
}

/* No count behind the file's end was checked. */
static int punch_uncounted(struct qcow2 *q, struct error *err)
{
	struct sweep s = { .file = q->file };
	uint64_t size, n, first = 0, end;
	int rc = image_file_size(q->file, &size);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	n = qcow2_n_clusters(q, size);
	for (uint64_t i = 0; i < q->refcount_table_size && first < n; i++) {
		uint8_t *block;

		rc = qcow2_get_refcount_block(q, first, &block, err);
		if (rc < 0)
			return rc;
		end = first + (1ULL << q->refcount_block_bits);
		if (block != NULL)
			sweep_block(q, &s, block, first, end < n ? end : n);
		first = end;
	}
	return 0;
}

/* The data that table l1_index of the disk's has a place for. */
static int sweep_l2(struct qcow2 *q, struct sweep *s, uint32_t l1_index,
		    uint64_t *table, struct error *err)
{
	uint64_t n = 1ULL << q->l2_bits, entry, bitmap;
	uint64_t offset = (uint64_t)l1_index << q->l2_bits << q->cluster_bits;
	int rc = image_file_read(q->file, q->l1[l1_index] & QCOW2_OFFSET_MASK,
				 table, q->cluster_len);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read L2 table");
	for (uint64_t i = 0; i < n && offset < q->header.size; i++) {
		qcow2_load_entry(q, table, i, &entry, &bitmap);
		if (qcow2_entry_has_host(q, entry))
			sweep_over(s, offset, q->cluster_len);
		offset += q->cluster_len;
	}
	return 0;
}

/* Snapshots, which are not to be with a data file, may refer to anything. */
static int punch_unmapped(struct qcow2 *q, struct error *err)
{
	_cleanup_free_ uint64_t *table = malloc(q->cluster_len);
	struct sweep s = { .file = q->data_file };
	int rc = 0;

	if (q->is_data_raw || q->header.n_snapshots > 0)
		return 0;
	if (table == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < q->header.l1_size; i++)
		if (q->l1[i] & QCOW2_OFFSET_MASK)
			rc = sweep_l2(q, &s, i, table, err);
	if (rc == 0)
		sweep_to(&s, q->header.size);
	return rc;
}

int qcow2_punch_free(struct qcow2 *q, struct error *err)
{
	int rc = punch_uncounted(q, err);

	return rc == 0 && q->has_data_file ? punch_unmapped(q, err) : rc;
}
