/* SPDX-License-Identifier: ISC */
/*
 * Host clusters for guest clusters that nobody has written yet. They read as
 * zeroes: because nothing was ever there, or because they are made so before
 * an entry refers to them.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_create.h"

#include <errno.h>
#include <string.h>

/* Or where it is on the disk, in a data file. */
static int find_place(struct qcow2 *q, uint64_t index, uint64_t n,
		      uint64_t *host_offset, bool *is_fresh, struct error *err)
{
	if (!q->has_data_file)
		return qcow2_alloc_row(q, n, host_offset, is_fresh, err);
	*host_offset = index << q->cluster_bits;
	*is_fresh =
		qcow2_external_is_fresh(q, *host_offset, n << q->cluster_bits);
	return 0;
}

/*
 * Blocks without data, but for the tail, which lies behind the disk's end: no
 * guest will write there, and where data meets blocks without there is one
 * extent more. With more than there is room for in the inode, a file system
 * would need, and count, another block when all of the disk is written.
 */
static int allocate_blocks(struct qcow2 *q, uint64_t host_offset, uint64_t len,
			   uint64_t tail)
{
	int rc = image_file_allocate(q->data_file, host_offset, len);

	if (rc < 0)
		return rc;
	return image_file_write_zeroes(q->data_file, host_offset + len - tail,
				       tail);
}

static int fill(struct qcow2 *q, uint64_t host_offset, uint64_t len,
		uint64_t tail, bool is_fresh, const char *mode)
{
	int rc = 0;

	if (strcmp(mode, "full") == 0)
		return image_file_write_zeroes(q->data_file, host_offset, len);
	/* What somebody has put behind the disk's end in a raw file becomes
	 * part of the disk, as it would of a raw image; on a device it is
	 * whatever was there. */
	if (!is_fresh && !qcow2_keeps_behind(q))
		rc = image_file_zero(q->data_file, host_offset, len, true);
	if (rc == 0 && strcmp(mode, "falloc") == 0)
		rc = allocate_blocks(q, host_offset, len, tail);
	return rc;
}

/* n unallocated guest clusters of one L2 table, from index on. */
static int allocate_run(struct qcow2 *q, uint64_t index, uint64_t n,
			uint64_t end, const char *mode, struct error *err)
{
	uint64_t host_offset = 0, len = n << q->cluster_bits, tail = 0;
	uint64_t disk_end = (index << q->cluster_bits) + len;
	uint64_t flags = QCOW2_COPIED;
	bool is_fresh = false;
	int rc = qcow2_own_l2(q, index, err);

	if (rc == 0)
		rc = find_place(q, index, n, &host_offset, &is_fresh, err);
	if (rc < 0)
		return rc;
	if (q->has_data_file && len > end - host_offset)
		len = end - host_offset;
	else if (disk_end > end)
		tail = disk_end - end;
	rc = fill(q, host_offset, len, tail, is_fresh, mode);
	if (rc == 0 && !is_fresh)
		rc = qcow2_barrier(q);
	if (rc < 0) {
		if (!q->has_data_file)
			qcow2_alloc_undo(q, host_offset, n);
		return error_set_errno(err, rc, "Could not preallocate data");
	}
	/* What nobody has encrypted is no zeroes. */
	if (q->header.crypt_method != QCOW2_CRYPT_NONE &&
	    q->header.version >= 3 && !q->has_subclusters)
		flags |= QCOW2_ZERO;
	return qcow2_set_entries(q, index, n, host_offset | flags,
				 q->cluster_len, 0, err);
}

int qcow2_preallocate(struct qcow2 *q, uint64_t offset, uint64_t end,
		      const char *mode, struct error *err)
{
	uint64_t index = offset >> q->cluster_bits;
	uint64_t last = qcow2_n_clusters(q, end);
	int rc = 0;

	while (rc == 0 && index < last) {
		uint64_t n = qcow2_l2_left(q, index);
		struct qcow2_run run;

		if (n > last - index)
			n = last - index;
		rc = qcow2_map_clusters(q, index, n, &run, err);
		if (rc < 0)
			break;
		n = run.n;
		if (run.kind == QCOW2_KIND_UNALLOCATED)
			rc = allocate_run(q, index, n, end, mode, err);
		index += n;
	}
	return rc;
}
