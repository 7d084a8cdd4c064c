/* SPDX-License-Identifier: ISC */
/*
 * Another size of the guest's disk.
 *
 * Growing: a larger L1 table takes over by one header write; what would show
 * through from a longer backing image, and what stands behind the old end in
 * its last cluster, becomes zeroes; then the size in the header changes.
 *
 * Shrinking: what is cut off is dropped first, so that nothing of it can come
 * back when the disk grows again, and then the refcount blocks that count
 * nothing any more; then the size changes, and the file's end goes as far as
 * nothing is in it. The L1 table stays as long as it is.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_create.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static int barrier(struct qcow2 *q, struct error *err)
{
	int rc = qcow2_barrier(q);

	return rc < 0 ? error_set_errno(err, rc, "Could not flush") : 0;
}

static int write_l1(struct qcow2 *q, uint64_t offset, uint64_t *table,
		    uint64_t size, struct error *err)
{
	int rc;

	for (uint64_t i = 0; i < size; i++)
		table[i] = htobe64(i < q->header.l1_size ? q->l1[i] : 0);
	image_file_tell(q->file, IMAGE_EVENT_L1_GROW_WRITE_TABLE);
	rc = image_file_write(q->file, offset, table, size * sizeof(*table));
	for (uint64_t i = 0; i < size; i++)
		table[i] = be64toh(table[i]);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write L1 table");
	return barrier(q, err);
}

/* While it pauses no L2 table may be made: is_making_table says so. */
static int grow_l1(struct qcow2 *q, uint64_t size, struct error *err)
{
	uint64_t old_offset = q->header.l1_offset, offset;
	uint64_t old_n = qcow2_n_clusters(q, q->header.l1_size * 8ULL);
	uint64_t n = qcow2_n_clusters(q, size * sizeof(uint64_t));
	_cleanup_free_ uint64_t *table = NULL;
	int rc;

	if (size > QCOW2_L1_LEN_MAX / sizeof(*table))
		return error_set(err, -EFBIG, "Failed to grow the L1 table: %s",
				 strerror(EFBIG));
	table = calloc(size, sizeof(*table));
	if (table == NULL)
		return -ENOMEM;
	image_file_tell(q->file, IMAGE_EVENT_L1_GROW_ALLOC_TABLE);
	rc = qcow2_alloc_all(q, n, &offset, err);
	if (rc < 0)
		return rc;
	rc = write_l1(q, offset, table, size, err);
	if (rc < 0) {
		qcow2_alloc_undo(q, offset, n);
		return rc;
	}
	image_file_tell(q->file, IMAGE_EVENT_L1_GROW_ACTIVATE_TABLE);
	rc = qcow2_set_size(q, q->header.size, (uint32_t)size, offset);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write header");
	free(q->l1);
	q->l1 = steal_ptr(&table);
	/* Its place may be the next one's: images look as QEMU's do. */
	if (old_n > 0)
		rc = qcow2_free_later(q, old_offset, old_n, err);
	if (rc == 0)
		rc = barrier(q, err);
	return rc == 0 ? qcow2_free_pending(q, err) : rc;
}

static uint64_t l1_size_for(const struct qcow2 *q, uint64_t size)
{
	unsigned bits = q->cluster_bits + q->l2_bits;

	return (size >> bits) + ((size & ((1ULL << bits) - 1)) != 0);
}

static int set_size(struct qcow2 *q, uint64_t size, struct error *err)
{
	int rc = barrier(q, err);

	if (rc < 0)
		return rc;
	rc = qcow2_set_size(q, size, q->header.l1_size, q->header.l1_offset);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write header");
	q->image->size = size;
	return barrier(q, err);
}

/* Is what was preallocated written as zeroes already? A place of subclusters
 * is no more than a place. */
static bool has_zeroes(const struct qcow2 *q, const char *mode)
{
	return mode != NULL && !q->has_data_file && !q->has_subclusters &&
	       strcmp(mode, "metadata") != 0;
}

/*
 * From the old end on: where a longer backing image would show through, zeroes
 * up to the new one; else what is left in the last cluster.
 */
static int zero_grown(struct qcow2 *q, uint64_t size, bool has_zeroes,
		      struct error *err)
{
	const struct image *backing = q->image->backing;
	uint64_t before = q->header.size;
	bool shows = backing != NULL && image_size(backing) > before;
	uint64_t end = size;

	if ((!shows || has_zeroes) && end > qcow2_round_up(q, before))
		end = qcow2_round_up(q, before);
	return end > before ? qcow2_zero_grown(q, before, end, shows, err) : 0;
}

/*
 * Before it is preallocated: the old end's cluster, if the image below shows
 * in it, gets a place of its own together with what it shows. One with
 * subclusters gets no more than a place, as all others: its zeroes come then.
 */
static int keep_last(struct qcow2 *q, uint64_t size, struct error *err)
{
	uint64_t before = q->header.size, end = qcow2_round_up(q, before);

	if (end > size)
		end = size;
	if (q->image->backing_name == NULL || q->has_subclusters ||
	    end == before)
		return 0;
	return qcow2_zero_grown(q, before, end, true, err);
}

static int grow(struct qcow2 *q, uint64_t size, const char *mode,
		struct error *err)
{
	uint64_t before = q->header.size;
	uint64_t l1_size = l1_size_for(q, size);
	int rc = 0;

	if (l1_size > q->header.l1_size) {
		qcow2_begin_table(q);
		rc = grow_l1(q, l1_size, err);
		qcow2_end_table(q);
	}
	if (mode == NULL || strcmp(mode, "off") == 0)
		mode = q->is_data_raw ? "metadata" : NULL;
	if (rc == 0)
		rc = qcow2_external_grow(q, size, err);
	if (rc == 0 && mode != NULL)
		rc = keep_last(q, size, err);
	if (rc == 0 && mode != NULL)
		rc = qcow2_preallocate(q, before, size, mode, err);
	if (rc == 0 && !qcow2_keeps_behind(q))
		rc = zero_grown(q, size, has_zeroes(q, mode), err);
	if (rc == 0)
		rc = qcow2_bitmaps_fit(q, size, err);
	return rc < 0 ? rc : set_size(q, size, err);
}

/* Whole tables go as such; of the last that stays, what is behind the end. */
static int drop(struct qcow2 *q, uint64_t size, struct error *err)
{
	uint64_t n_tables = l1_size_for(q, size);
	uint64_t first = qcow2_n_clusters(q, size);
	uint64_t end = qcow2_n_clusters(q, q->header.size);
	struct qcow2_flight flight;
	int rc;

	if (first == end)
		return 0;
	qcow2_flight_wait(q, first, end - 1, true);
	qcow2_flight_begin(q, &flight, first, end - 1, true);
	image_file_tell(q->file, IMAGE_EVENT_L1_SHRINK_FREE_L2_CLUSTERS);
	rc = qcow2_drop(q, first,
			end < n_tables << q->l2_bits ? end
						     : n_tables << q->l2_bits,
			err);
	if (rc == 0)
		rc = qcow2_drop_tables(q, n_tables, err);
	qcow2_flight_end(q, &flight);
	return rc;
}

/* Corruption has a text of its own, which marking the image has told. */
static int prefix(const struct qcow2 *q, struct error *err, int rc,
		  const char *what)
{
	if (rc < 0 && (!q->is_corrupt || q->image->found != NULL))
		error_set_errno(err, rc, "%s", what);
	return rc;
}

static int cut(struct qcow2 *q, uint64_t size, struct error *err)
{
	int rc = drop(q, size, err);

	rc = prefix(q, err, rc, "Failed to discard cropped clusters");
	if (rc == 0)
		rc = barrier(q, err);
	if (rc == 0)
		rc = qcow2_free_pending(q, err);
	if (rc == 0)
		rc = prefix(q, err, qcow2_drop_refcount_blocks(q, err),
			    "Failed to discard unused refblocks");
	if (rc < 0)
		return rc;
	image_file_tell(q->file, IMAGE_EVENT_L1_SHRINK_WRITE_TABLE);
	return set_size(q, size, err);
}

/* Bitmaps, which need room, come before data is lost. */
static int shrink(struct qcow2 *q, uint64_t size, struct error *err)
{
	int rc = qcow2_verify_few(q, err);

	if (rc == 0)
		rc = qcow2_bitmaps_fit(q, size, err);
	if (rc < 0)
		return rc;
	rc = cut(q, size, err);
	if (rc < 0 && q->header.size != size)
		qcow2_bitmaps_unfit(q, size);
	if (rc == 0)
		rc = qcow2_external_shrink(q, size, err);
	return rc < 0 ? rc : qcow2_cut_file(q, err);
}

static int check_resize(struct qcow2 *q, uint64_t size,
			const struct image_resize_options *o, struct error *err)
{
	int rc = qcow2_check_writable(q, err);

	if (rc == 0)
		rc = qcow2_check_preallocation(o->preallocation, err);
	if (rc < 0)
		return rc;
	if (size % QCOW2_SECTOR_LEN != 0)
		return error_set(err, -EINVAL,
				 "The new size must be a multiple of 512");
	if (q->header.n_snapshots > 0 && q->header.version < 3)
		return error_set(err, -ENOTSUP,
				 "Can't resize a v2 image which has "
				 "snapshots");
	if (size > INT64_MAX)
		return error_set(err, -EFBIG, "Image is too big");
	if (size < q->header.size && !o->may_shrink)
		return error_set(err, -EINVAL,
				 "Use the --shrink option to perform a shrink "
				 "operation.");
	if (size < q->header.size && o->preallocation != NULL &&
	    strcmp(o->preallocation, "off") != 0)
		return error_set(err, -EINVAL,
				 "Preallocation can't be used for shrinking "
				 "an image");
	return qcow2_bitmaps_may_resize(q, size, err);
}

int qcow2_resize(struct image *image, uint64_t size,
		 const struct image_resize_options *options, struct error *err)
{
	struct qcow2 *q = image->state;
	bool is_begun = false;
	int rc, end_rc = 0;

	pthread_mutex_lock(&q->lock);
	rc = check_resize(q, size, options, err);
	if (rc == 0 && size != q->header.size) {
		rc = qcow2_bitmaps_begin_resize(q, err);
		is_begun = rc == 0;
	}
	if (rc == 0 && size > q->header.size)
		rc = grow(q, size, options->preallocation, err);
	else if (rc == 0 && size < q->header.size)
		rc = shrink(q, size, err);
	if (is_begun)
		end_rc = qcow2_bitmaps_end_resize(q, rc < 0 ? NULL : err);
	pthread_mutex_unlock(&q->lock);
	return rc < 0 ? rc : end_rc;
}
