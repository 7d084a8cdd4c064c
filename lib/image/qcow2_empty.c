/* SPDX-License-Identifier: ISC */
/*
 * What the end of the L1 table refers to is given up, or all of it: an image as
 * if nothing had ever been written to it. The entries become zeroes where they
 * are: after a crash in the middle of that, what has gone has gone and the rest
 * is as it was. Only then are the L2 tables and what they refer to given back,
 * and the refcount blocks that count nothing then.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <string.h>

static int clear_l1(struct qcow2 *q, uint64_t first, struct error *err)
{
	uint64_t offset = q->header.l1_offset + first * sizeof(*q->l1);
	size_t len = (q->header.l1_size - first) * sizeof(*q->l1);
	int rc = qcow2_check_overlap(q, QCOW2_SECTION_L1, offset, len, err);

	if (rc < 0)
		return rc;
	memset(q->l1 + first, 0, len);
	image_file_tell(q->file, IMAGE_EVENT_L1_UPDATE);
	rc = image_file_write(q->file, offset, q->l1 + first, len);
	if (rc == 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc, "Could not write L1 table")
		      : 0;
}

int qcow2_drop_tables(struct qcow2 *q, uint64_t first, struct error *err)
{
	uint64_t n = first < q->header.l1_size ? q->header.l1_size - first : 0;
	_cleanup_free_ uint64_t *old = malloc(n * sizeof(*old) + 1);
	int rc;

	if (old == NULL)
		return -ENOMEM;
	if (n == 0)
		return 0;
	memcpy(old, q->l1 + first, n * sizeof(*old));
	rc = qcow2_check_room(q, old, n, err);
	if (rc < 0)
		return rc;
	rc = clear_l1(q, first, err);
	if (rc < 0)
		return rc;
	rc = qcow2_filters_refill(q);
	return rc < 0 ? rc : qcow2_count_tables(q, old, n, -1, err);
}

static int make_empty(struct qcow2 *q, struct error *err)
{
	int rc;

	image_file_tell(q->file, IMAGE_EVENT_EMPTY_IMAGE_PREPARE);
	rc = qcow2_verify_few(q, err);
	if (rc == 0)
		rc = qcow2_drop_tables(q, 0, err);
	if (rc == 0)
		rc = qcow2_free_pending(q, err);
	if (rc == 0)
		rc = qcow2_drop_refcount_blocks(q, err);
	return rc < 0 ? rc : qcow2_cut_file(q, err);
}

int qcow2_make_empty(struct image *image, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	int rc;

	if (qcow2_is_data_twin(q))
		return qcow2_write_zeroes(image, 0, q->header.size,
					  IMAGE_ZERO_MAY_UNMAP, err);
	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	if (rc == 0)
		rc = make_empty(q, err);
	qcow2_end_alone(q, &flight);
	return rc;
}
