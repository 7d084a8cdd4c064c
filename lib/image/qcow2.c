/* SPDX-License-Identifier: ISC */
/*
 * qcow2: open, close, flush, and the table of operations.
 *
 * Theory of operation
 *
 * A file is a row of host clusters, each with a reference count. The guest's
 * disk is a row of clusters too, which an L1 table of L2 tables maps to host
 * clusters; with extended L2 entries in 32 parts each (qcow2_subcluster.c).
 * Refcounts are never lazy here, so that the dirty bit is never set; where
 * QEMU left it set they are counted anew. Two kinds of end must leave a file
 * that is sound, with at worst clusters that are counted but not used (leaks):
 *
 *   kill -9	What was written to the file stays, in the order in which it
 *		was written; what was in memory is gone. A server that is
 *		killed under a running guest must have lost nothing that it
 *		said was done, flushed or not. So all metadata is written
 *		through before a write returns; the caches (qcow2_cache.c)
 *		only spare reads. With IMAGE_WRITE_BEHIND, which a tool asks
 *		for that nobody relies on before its end, L2 entries stay in
 *		the cache until the next barrier: everything else is in the
 *		file before them, so that a kill leaks what they refer to.
 *   power loss	What was written since the last flush is there or not, in any
 *		order. Where an order matters, a barrier (qcow2_barrier.c: an
 *		fdatasync() shared by all who need one) stands between.
 *
 * The rules, where they live, and what they cost:
 *
 *   A refcount is on the disk before anything uses the cluster. Clusters are
 *   reserved in batches, with one durable write each (qcow2_alloc.c).
 *   Data with copied parts is on the disk before its L2 entry: a barrier for
 *   each such write, shared by writes at the same time (qcow2_write.c). Whole
 *   clusters, and parts of ones that read as zeroes, need none.
 *   An L2 table is on the disk before its L1 entry, unless it is empty in a
 *   place that was never written; what it was copied from is freed after it
 *   (qcow2_cluster.c).
 *   An L2 entry is off the disk before the refcount of what it referred to
 *   drops, and before that is punched out of the file: freeing waits in a
 *   queue for the next flush (qcow2_refcount.c).
 *   Refcount blocks and tables are whole before they are referred to; a new
 *   refcount table takes over by one header write (qcow2_grow.c), and so does
 *   a new L1 table (qcow2_resize.c).
 *
 *   Bitmaps are marked as in use before the first write that they are to know
 *   of, and a change of them takes over by one header write (qcow2_bitmap.c,
 *   qcow2_bitmap_change.c); so does a snapshot (qcow2_shadow.c).
 *   Guest data in an external data file is on the disk before the metadata
 *   that says so: a barrier flushes that file first (qcow2_external.c).
 *
 * So a flush is one fdatasync(): when it is over, everything written before
 * is reachable. Before anything is written the range is checked not to be
 * metadata of another kind (qcow2_overlap.c); that, or tables that make no
 * sense, sets the corrupt bit and ends writing.
 *
 * Threads: q->lock guards all that is in memory, and writes of metadata.
 * Data is read and written without it, under a flight (qcow2_barrier.c).
 */
#include "lib/image/qcow2.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	L2_CACHE_LEN = 32 << 20,
	REFCOUNT_CACHE_LEN = 4 << 20,
};

/* Of any version but qcow's: open refuses those that nobody knows yet. */
static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	uint32_t version;

	(void)file_size;
	if (len < 8 || memcmp(head, "QFI\xfb", 4) != 0)
		return 0;
	memcpy(&version, head + 4, sizeof(version));
	return be32toh(version) >= 2 ? 100 : 0;
}

static void set_geometry(struct qcow2 *q)
{
	const struct qcow2_header *h = &q->header;
	const struct image *image = q->image;

	q->cluster_bits = h->cluster_bits;
	q->cluster_len = 1U << h->cluster_bits;
	q->has_subclusters = h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;
	q->l2_words = q->has_subclusters ? 2 : 1;
	q->l2_bits = h->cluster_bits - (q->has_subclusters ? 4 : 3);
	q->unit_bits = h->cluster_bits -
		       (q->has_subclusters ? QCOW2_SUBCLUSTER_BITS : 0);
	q->unit_len = 1U << q->unit_bits;
	q->refcount_bits = 1U << h->refcount_order;
	q->refcount_block_bits = h->cluster_bits + 3 - h->refcount_order;
	q->is_unsafe = image->flags & IMAGE_UNSAFE;
	q->is_corrupt = h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT;
	q->is_read_only =
		image->flags & (IMAGE_READ_ONLY | IMAGE_METADATA_ONLY) ||
		q->file->is_read_only;
	q->reserve_next = QCOW2_RESERVE_MIN;
}

/* A table of 64-bit entries, in this machine's order. Beyond the end of the file
 * there are zeroes, if that may be. */
static int read_table(struct qcow2 *q, uint64_t offset, uint64_t n,
		      bool may_be_beyond, uint64_t **table, const char *what,
		      const char *failed, struct error *err)
{
	uint64_t len = n * sizeof(**table), file_size;
	int rc = image_file_size(q->file, &file_size);

	if (rc < 0)
		return error_set_errno(err, rc, "%s", failed);
	if (!may_be_beyond && len > 0 &&
	    (offset > file_size || len > file_size - offset))
		return error_set(err, -EINVAL, "%s past end of file", what);
	*table = malloc(len + 1);
	if (*table == NULL)
		return -ENOMEM;
	rc = image_file_read(q->file, offset, *table, len);
	if (rc < 0)
		return error_set_errno(err, rc, "%s", failed);
	for (uint64_t i = 0; i < n; i++)
		(*table)[i] = be64toh((*table)[i]);
	return 0;
}

static int open_caches(struct qcow2 *q, uint64_t wanted)
{
	const struct image *image = q->image;
	uint32_t slice = q->cluster_len < QCOW2_TABLE_SLICE_MAX
				 ? q->cluster_len
				 : QCOW2_TABLE_SLICE_MAX;
	uint64_t all = (uint64_t)q->header.l1_size << q->cluster_bits;
	uint64_t len = wanted != 0 ? wanted : L2_CACHE_LEN;
	int rc;

	rc = qcow2_cache_init(&q->l2_cache, q->file, IMAGE_EVENT_L2_LOAD,
			      IMAGE_EVENT_L2_UPDATE, slice,
			      len < all ? len : all);
	/* What is in a data file may have to be found without this one. */
	q->l2_cache.is_written_behind =
		image->flags & IMAGE_WRITE_BEHIND && !q->has_data_file;
	if (rc == 0)
		rc = qcow2_cache_init(&q->refcount_cache, q->file,
				      IMAGE_EVENT_REFBLOCK_LOAD,
				      IMAGE_EVENT_REFBLOCK_UPDATE_PART,
				      q->cluster_len,
				      wanted != 0 && wanted < REFCOUNT_CACHE_LEN
					      ? wanted
					      : REFCOUNT_CACHE_LEN);
	return rc;
}

static int open_for_writing(struct qcow2 *q, struct error *err)
{
	uint64_t file_size = 0, kept;
	bool is_raw_kept;
	int rc = qcow2_filters_init(q);

	if (rc == 0)
		rc = qcow2_trust_init(q);
	if (rc == 0)
		rc = image_file_size(q->file, &file_size);
	if (rc < 0)
		return rc;
	q->fresh_from = q->file->is_block_device
				? UINT64_MAX
				: qcow2_n_clusters(q, file_size);
	/* A repair changes nothing that those which are known stand for; what
	 * others stand for is not kept up to date here. */
	is_raw_kept = q->has_data_file || q->image->flags & IMAGE_CHECK;
	kept = q->header.autoclear &
	       (QCOW2_AUTOCLEAR_BITMAPS |
		(is_raw_kept ? QCOW2_AUTOCLEAR_DATA_FILE_RAW : 0));
	if (q->header.autoclear == kept)
		return 0;
	rc = qcow2_set_autoclear(q, kept);
	if (rc == 0)
		rc = image_file_flush(q->file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write header") : 0;
}

/* Left so by a kill, with refcounts that may be wrong (QEMU's lazy ones). */
static int repair_dirty(struct qcow2 *q, struct error *err)
{
	struct image_check check = {
		.found = q->image->found,
		.context = q->image->found_context,
	};
	int rc;

	if (!(q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY) ||
	    q->is_read_only || q->image->flags & IMAGE_CHECK)
		return 0;
	pthread_mutex_lock(&q->lock);
	rc = qcow2_repair_locked(q, IMAGE_REPAIR_LEAKS | IMAGE_REPAIR_ERRORS,
				 &check, err);
	pthread_mutex_unlock(&q->lock);
	if (rc == 0 && (check.n_check_errors > 0 || check.n_corruptions > 0))
		rc = -EIO;
	return rc < 0 ? error_set_errno(err, rc, "Could not repair dirty image")
		      : 0;
}

static void deinit(struct qcow2 *q)
{
	qcow2_compress_deinit(q);
	qcow2_deflate_deinit(q);
	qcow2_filters_deinit(q);
	qcow2_trust_deinit(q);
	qcow2_snapshots_deinit(q);
	qcow2_bitmaps_deinit(q);
	qcow2_crypt_close(q);
	qcow2_external_close(q);
	qcow2_cache_deinit(&q->l2_cache);
	qcow2_cache_deinit(&q->refcount_cache);
	free(q->l1);
	free(q->refcount_table);
	qcow2_header_deinit(&q->header);
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

static int load_tables(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	bool is_check = q->image->flags & IMAGE_CHECK;
	int rc;

	/* Without it the disk would read as zeroes, and a repair would give
	 * back all that it holds. */
	rc = read_table(q, h->l1_offset, h->l1_size,
			q->image->flags & IMAGE_METADATA_ONLY ||
				(is_check && q->is_read_only),
			&q->l1, "L1 table", "Could not read L1 table", err);
	if (rc < 0)
		return rc;
	q->refcount_table_size =
		h->refcount_table_clusters
		<< (h->cluster_bits - 3); /* at most 8 MiB, so checked */
	image_file_tell(q->file, IMAGE_EVENT_REFTABLE_LOAD);
	/* Who reads needs none, and a repair makes a new one. */
	rc = read_table(q, h->refcount_table_offset, q->refcount_table_size,
			is_check || q->is_read_only, &q->refcount_table,
			"Refcount table",
			"Could not initialize refcount handling", err);
	if (rc < 0)
		return rc;
	return qcow2_snapshots_read(q, err);
}

static int qcow2_open(struct image *image, struct error *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int rc;

	if (q == NULL)
		return -ENOMEM;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->changed, NULL);
	q->image = image;
	q->file = image->file;
	rc = qcow2_header_read(&q->header, image, err);
	if (rc == 0) {
		set_geometry(q);
		rc = load_tables(q, err);
	}
	if (rc == 0)
		rc = qcow2_external_open(q, err);
	if (rc == 0)
		rc = qcow2_crypt_open(q, err);
	if (rc == 0)
		rc = open_caches(q, image->cache_size);
	if (rc == 0)
		rc = qcow2_bitmaps_read(q, err);
	if (rc == 0 && !q->is_read_only)
		rc = open_for_writing(q, err);
	if (rc == 0)
		rc = repair_dirty(q, err);
	if (rc < 0) {
		deinit(q);
		return rc;
	}
	image->size = q->header.size;
	image->cluster_size = q->cluster_len;
	image->state = q;
	return 0;
}

static int flush_locked(struct qcow2 *q, struct error *err)
{
	int rc;

	if (q->is_read_only)
		return 0;
	image_file_tell(q->file, IMAGE_EVENT_FLUSH_TO_OS);
	image_file_tell(q->file, IMAGE_EVENT_FLUSH_TO_DISK);
	rc = qcow2_barrier(q);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not flush");
	return q->is_corrupt ? 0 : qcow2_free_pending(q, err);
}

static int qcow2_flush(struct image *image, struct error *err)
{
	struct qcow2 *q = image->state;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = flush_locked(q, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* Freed and reserved clusters are given back, or a crash had leaked them. */
static int finish(struct qcow2 *q, struct error *err)
{
	int rc = flush_locked(q, err);

	if (rc < 0 || q->is_read_only || q->is_corrupt)
		return rc;
	rc = qcow2_bitmaps_store(q, err);
	if (rc == 0)
		rc = qcow2_unreserve(q, err);
	if (rc == 0 && qcow2_barrier(q) < 0)
		rc = error_set_errno(err, q->flush_error, "Could not flush");
	return rc;
}

static int qcow2_close(struct image *image, struct error *err)
{
	struct qcow2 *q = image->state;
	int data_rc, rc;

	if (q == NULL)
		return 0;
	pthread_mutex_lock(&q->lock);
	rc = finish(q, err);
	pthread_mutex_unlock(&q->lock);
	data_rc = qcow2_external_close(q);
	if (rc == 0 && data_rc < 0)
		rc = error_set_errno(err, data_rc, "Could not close data file");
	deinit(q);
	image->state = NULL;
	return rc;
}

const struct image_format image_format_qcow2 = {
	.name = "qcow2",
	.has_backing = true,
	.probe = probe,
	.open = qcow2_open,
	.close = qcow2_close,
	.readv = qcow2_readv,
	.writev = qcow2_writev,
	.write_in_turn = qcow2_write_in_turn,
	.detects_zeroes = true,
	.write_zeroes = qcow2_write_zeroes,
	.discard = qcow2_discard,
	.write_compressed = qcow2_write_compressed,
	.change_backing = qcow2_change_backing,
	.make_empty = qcow2_make_empty,
	.compact = qcow2_compact,
	.amend = qcow2_amend,
	.amend_specs = qcow2_amend_specs,
	.snapshot_create = qcow2_snapshot_create,
	.snapshot_apply = qcow2_snapshot_apply,
	.snapshot_delete = qcow2_snapshot_delete,
	.snapshot_load = qcow2_snapshot_load,
	.bitmaps = &qcow2_bitmap_ops,
	.flush = qcow2_flush,
	.map = qcow2_map,
	.create = qcow2_create,
	.preallocates = true,
	.create_specs = qcow2_create_specs,
	.resize = qcow2_resize,
	.get_info = qcow2_get_info,
	.has_holes = qcow2_has_holes,
	.check = qcow2_check,
	.repair = qcow2_repair,
};
