/* SPDX-License-Identifier: ISC */
/*
 * QED, QEMU's format between qcow2's versions: an L1 table, L2 tables, no
 * counts. While an image is written to, its header says that it needs a
 * check: a crash of the host may leave an entry for a cluster that the file
 * has not got. Such entries go when it is opened for writing again.
 *
 * A new cluster: data, then a new L2 table if there is none, the entry in
 * it, and the L1 table's entry last.
 */
#include "lib/image/qed.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <endian.h>
#include <string.h>

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	uint32_t magic;

	(void)file_size;
	if (len < sizeof(struct qed_wire_header))
		return 0;
	memcpy(&magic, head, sizeof(magic));
	return le32toh(magic) == QED_MAGIC ? 100 : 0;
}

bool qed_is_place(const struct qed *q, uint64_t offset, uint64_t len)
{
	return offset % q->cluster_len == 0 && offset >= q->header_len &&
	       offset <= INT64_MAX - len;
}

bool qed_is_in_file(struct qed *q, uint64_t offset, uint64_t len)
{
	return qed_is_place(q, offset, len) &&
	       blocks_reaches(&q->blocks, offset + len);
}

int qed_read_table(struct qed *q, uint64_t table, uint64_t index, bool nowait,
		   uint64_t *entry)
{
	int rc = table_read(&q->blocks.table, table + index * sizeof(*entry),
			    entry, sizeof(*entry), nowait);

	*entry = le64toh(*entry);
	return rc;
}

int qed_write_table(struct qed *q, uint64_t table, uint64_t index,
		    uint64_t entry)
{
	entry = htole64(entry);
	return table_write(&q->blocks.table, table + index * sizeof(entry),
			   &entry, sizeof(entry));
}

static int check_table(struct qed *q, uint64_t table, struct error *err)
{
	if (!qed_is_place(q, table, q->table_len))
		return error_set(err, -EIO,
				 "L2 table at offset %llu is not in a place "
				 "for it",
				 (unsigned long long)table);
	if (!qed_is_in_file(q, table, q->table_len))
		return error_set(err, -EIO,
				 "L2 table at offset %llu is beyond the file's "
				 "end",
				 (unsigned long long)table);
	return 0;
}

static int find_entry(struct qed *q, uint64_t index, bool nowait,
		      uint64_t *entry, struct error *err)
{
	uint64_t table = 0;
	int rc = qed_read_table(q, q->l1_offset, index / q->n_entries, nowait,
				&table);

	*entry = 0;
	if (rc == 0 && table != 0 && check_table(q, table, err) < 0)
		return -EIO;
	if (rc == 0 && table != 0)
		rc = qed_read_table(q, table, index % q->n_entries, nowait,
				    entry);
	return rc < 0 ? error_set_errno(err, rc, "Could not read a table") : 0;
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);
	uint64_t entry;
	int rc = find_entry(q, offset / q->cluster_len, nowait, &entry, err);

	if (rc < 0 || entry == 0)
		return rc;
	if (entry == QED_ENTRY_ZERO) {
		run->kind = BLOCK_ZERO;
		return 0;
	}
	if (!qed_is_place(q, entry, q->cluster_len))
		return error_set(err, -EIO,
				 "Cluster at offset %llu is not in a place for "
				 "it",
				 (unsigned long long)entry);
	run->kind = BLOCK_DATA;
	run->host_offset = entry + offset % q->cluster_len;
	return 0;
}

/* Entries from index on of the table at this offset that are zero. */
static uint64_t count_zeroes(struct qed *q, uint64_t table, uint64_t index)
{
	return table_count_zeroes(&q->blocks.table,
				  table + index * sizeof(uint64_t),
				  (q->n_entries - index) * sizeof(uint64_t)) /
	       sizeof(uint64_t);
}

/* What an L2 table does not have, or tables that are not there. */
static uint64_t skip(struct blocks *blocks, uint64_t offset)
{
	struct qed *q = container_of(blocks, struct qed, blocks);
	uint64_t index = offset / q->cluster_len, table = 0;
	uint64_t l1 = index / q->n_entries, l2 = index % q->n_entries;

	if (qed_read_table(q, q->l1_offset, l1, false, &table) < 0)
		return 0;
	if (table != 0)
		return !qed_is_in_file(q, table, q->table_len)
			       ? 0
			       : blocks_skipped(count_zeroes(q, table, l2),
						q->cluster_len, 0);
	return blocks_skipped(count_zeroes(q, q->l1_offset, l1),
			      q->n_entries * q->cluster_len,
			      l2 * q->cluster_len);
}

static int write_features(struct qed *q, uint64_t features, struct error *err)
{
	int rc;

	features = htole64(features);
	rc = image_file_write(q->blocks.file,
			      offsetof(struct qed_wire_header, features),
			      &features, sizeof(features));
	if (rc == 0)
		rc = image_file_flush(q->blocks.file);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write the header");
	q->header.features = features;
	return 0;
}

/* The next new cluster must not be where a lost one was. After a crash such
 * entries are gone by now. */
static int begin_writing(struct blocks *blocks, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);
	uint64_t zero = 0;
	int rc = 0;

	if (!(le64toh(q->header.features) & QED_NEEDS_CHECK) &&
	    !(blocks->image->flags & IMAGE_CHECK))
		rc = qed_look_through_tables(q, false, err);
	if (rc < 0)
		return rc;
	/* None of them is known. */
	if (q->header.autoclear_features != 0)
		rc = image_file_write(blocks->file,
				      offsetof(struct qed_wire_header,
					       autoclear_features),
				      &zero, sizeof(zero));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write the header");
	return write_features(q, le64toh(q->header.features) | QED_NEEDS_CHECK,
			      err);
}

/* A table that is complete before anything points to it. */
static int make_table(struct qed *q, uint64_t index, uint64_t entry,
		      struct error *err)
{
	struct block_place place = { .host_offset = 0 };
	int rc = blocks_append(&q->blocks, q->cluster_len, q->table_len, &place,
			       err);

	if (rc < 0)
		return rc;
	rc = table_clear(&q->blocks.table, place.host_offset, q->table_len);
	if (rc == 0)
		rc = qed_write_table(q, place.host_offset, index % q->n_entries,
				     entry);
	if (rc == 0)
		rc = image_file_flush(q->blocks.file);
	if (rc == 0)
		rc = qed_write_table(q, q->l1_offset, index / q->n_entries,
				     place.host_offset);
	return rc < 0 ? error_set_errno(err, rc, "Could not write a table") : 0;
}

/* Its table first, so that the clusters that it leads to lie in a row. */
static int allocate(struct blocks *blocks, uint64_t index,
		    struct block_place *place, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);
	uint64_t table = 0;
	int rc = qed_read_table(q, q->l1_offset, index / q->n_entries, false,
				&table);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a table");
	if (table == 0)
		rc = make_table(q, index, 0, err);
	return rc < 0 ? rc
		      : blocks_append(blocks, q->cluster_len, q->cluster_len,
				      place, err);
}

static int set_entry(struct qed *q, uint64_t index, uint64_t entry,
		     struct error *err)
{
	uint64_t table = 0;
	int rc = qed_read_table(q, q->l1_offset, index / q->n_entries, false,
				&table);

	if (rc == 0 && table == 0)
		return make_table(q, index, entry, err);
	if (rc == 0)
		rc = qed_write_table(q, table, index % q->n_entries, entry);
	return rc < 0 ? error_set_errno(err, rc, "Could not write a table") : 0;
}

static int enter(struct blocks *blocks, uint64_t index,
		 const struct block_place *place, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);

	return set_entry(q, index, place->host_offset, err);
}

static int enter_zero(struct blocks *blocks, uint64_t index, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);

	return set_entry(q, index, QED_ENTRY_ZERO, err);
}

static int end_writing(struct blocks *blocks, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);

	return write_features(
		q, le64toh(q->header.features) & ~(uint64_t)QED_NEEDS_CHECK,
		err);
}

static const struct blocks_ops ops = {
	.find = find,
	.find_whole = qed_find_whole,
	.skip = skip,
	.forget = qed_forget,
	.begin_writing = begin_writing,
	.end_writing = end_writing,
	.allocate = allocate,
	.enter = enter,
	.enter_zero = enter_zero,
};

static bool is_power_between(uint64_t n, uint64_t min, uint64_t max)
{
	return n >= min && n <= max && (n & (n - 1)) == 0;
}

static int check_header(const struct qed_wire_header *w, uint64_t file_size,
			struct error *err)
{
	uint64_t features = le64toh(w->features);
	const uint64_t known =
		QED_BACKING | QED_NEEDS_CHECK | QED_BACKING_IS_RAW;
	uint32_t cluster_len = le32toh(w->cluster_len);
	uint64_t header_len =
		(uint64_t)cluster_len * le32toh(w->header_clusters);
	uint64_t table_len = (uint64_t)cluster_len * le32toh(w->table_clusters);
	uint64_t l1_offset = le64toh(w->l1_offset);

	if (le32toh(w->magic) != QED_MAGIC)
		return error_set(err, -EINVAL, "Image not in QED format");
	if (features & ~known)
		return error_set(err, -ENOTSUP,
				 "Unsupported QED features: %llx",
				 (unsigned long long)(features & ~known));
	if (!is_power_between(cluster_len, QED_CLUSTER_MIN, QED_CLUSTER_MAX))
		return error_set(err, -EINVAL, "Invalid QED cluster size %u",
				 cluster_len);
	if (!is_power_between(le32toh(w->table_clusters), QED_TABLE_MIN,
			      QED_TABLE_MAX))
		return error_set(err, -EINVAL, "Invalid QED table size %u",
				 le32toh(w->table_clusters));
	if (header_len == 0 || header_len > UINT32_MAX)
		return error_set(err, -EINVAL, "Invalid QED header size");
	if (l1_offset < header_len || l1_offset % cluster_len != 0 ||
	    l1_offset > file_size || table_len > file_size - l1_offset)
		return error_set(err, -EINVAL, "QED table offset is invalid");
	return 0;
}

static int take_size(struct qed *q, struct error *err)
{
	uint64_t size = le64toh(q->header.size), max;

	/* Tables of 2^27 entries reach further than numbers do. */
	if (__builtin_mul_overflow(q->n_entries * q->n_entries,
				   (uint64_t)q->cluster_len, &max))
		max = INT64_MAX;
	if (size % IMAGE_SECTOR != 0 || size > max || size > INT64_MAX)
		return error_set(err, -EINVAL, "Invalid QED image size %llu",
				 (unsigned long long)size);
	return 0;
}

static int take_header(struct qed *q, const struct image_file *file,
		       struct error *err)
{
	struct qed_wire_header *w = &q->header;
	uint64_t file_size;
	int rc = image_file_size(file, &file_size);

	if (rc == 0)
		rc = image_file_read(file, 0, w, sizeof(*w));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the header");
	rc = check_header(w, file_size, err);
	if (rc < 0)
		return rc;
	q->cluster_len = le32toh(w->cluster_len);
	q->table_len = (uint64_t)q->cluster_len * le32toh(w->table_clusters);
	q->header_len = (uint64_t)q->cluster_len * le32toh(w->header_clusters);
	q->n_entries = q->table_len / sizeof(uint64_t);
	q->l1_offset = le64toh(w->l1_offset);
	return take_size(q, err);
}

static int repair_if_needed(struct qed *q, const struct image *image,
			    struct error *err)
{
	if (!(le64toh(q->header.features) & QED_NEEDS_CHECK) ||
	    image->file->is_read_only || image->flags & IMAGE_CHECK)
		return 0;
	return qed_look_through_tables(q, true, err);
}

static int qed_open(struct image *image, struct error *err)
{
	struct qed *q = calloc(1, sizeof(*q));
	int rc;

	if (q == NULL)
		return -ENOMEM;
	q->blocks.ops = &ops;
	q->blocks.image = image;
	q->blocks.file = image->file;
	blocks_init(&q->blocks);
	rc = take_header(q, image->file, err);
	if (rc == 0)
		rc = qed_read_backing_name(q, image, err);
	if (rc == 0)
		rc = repair_if_needed(q, image, err);
	if (rc < 0) {
		blocks_deinit(&q->blocks);
		free(q);
		return rc;
	}
	image->size = le64toh(q->header.size);
	image->cluster_size = q->cluster_len;
	q->blocks.size = image->size;
	q->blocks.block_len = q->cluster_len;
	q->blocks.is_whole = true;
	image->state = q;
	return 0;
}

/* A longer backing image must not show through behind the old end: marked as
 * zeroes before the size says that there is anything. */
static int zero_grown(struct qed *q, uint64_t size, struct error *err)
{
	const struct image *backing = q->blocks.image->backing;
	uint64_t before = q->blocks.size, end, over;
	int rc;

	if (backing == NULL || backing->size <= before || size <= before)
		return 0;
	over = backing->size % q->cluster_len;
	end = over > 0 ? backing->size + q->cluster_len - over : backing->size;
	if (end > size)
		end = size;
	pthread_mutex_lock(&q->blocks.lock);
	q->blocks.size = size;
	pthread_mutex_unlock(&q->blocks.lock);
	rc = blocks_zero(&q->blocks, before, end - before, IMAGE_ZERO_EXPLICIT,
			 err);
	if (rc == 0) {
		rc = image_file_flush(q->blocks.file);
		if (rc < 0)
			error_set_errno(err, rc, "Could not flush zeroes");
	}
	pthread_mutex_lock(&q->blocks.lock);
	q->blocks.size = before;
	pthread_mutex_unlock(&q->blocks.lock);
	return rc;
}

static int qed_resize(struct image *image, uint64_t size,
		      const struct image_resize_options *options,
		      struct error *err)
{
	struct qed *q = image->state;
	const char *mode = options->preallocation;
	struct qed_wire_header before = q->header;
	int rc = 0;

	if (mode != NULL && strcmp(mode, "off") != 0)
		return error_set(err, -ENOTSUP,
				 "Unsupported preallocation mode '%s'", mode);
	q->header.size = htole64(size);
	if (take_size(q, NULL) < 0)
		rc = error_set(err, -EINVAL, "Invalid image size specified");
	else if (size < image->size)
		rc = error_set(err, -ENOTSUP,
			       "Shrinking images is currently not supported");
	if (rc == 0)
		rc = zero_grown(q, size, err);
	if (rc == 0) {
		rc = image_file_write(image->file,
				      offsetof(struct qed_wire_header, size),
				      &q->header.size, sizeof(q->header.size));
		if (rc < 0)
			error_set_errno(err, rc, "Could not write the header");
	}
	if (rc < 0) {
		q->header = before;
		return rc;
	}
	pthread_mutex_lock(&q->blocks.lock);
	q->blocks.size = size;
	image->size = size;
	pthread_mutex_unlock(&q->blocks.lock);
	return 0;
}

static int qed_get_info(struct image *image, struct image_info *info,
			struct error *err)
{
	const struct qed *q = image->state;

	(void)err;
	info->cluster_size = q->cluster_len;
	info->limits.write_zeroes_alignment = q->cluster_len;
	info->limits.max_write_zeroes = INT32_MAX - INT32_MAX % q->cluster_len;
	info->is_dirty = le64toh(q->header.features) & QED_NEEDS_CHECK;
	return 0;
}

const struct image_format image_format_qed = {
	.name = "qed",
	.has_backing = true,
	.is_in_sectors = true,
	.probe = probe,
	.open = qed_open,
	.close = blocks_image_close,
	.create = qed_create,
	.create_specs = qed_create_specs,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.detects_zeroes = true,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.change_backing = qed_change_backing,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
	.check = qed_check,
	.repair = qed_repair,
	.resize = qed_resize,
	.get_info = qed_get_info,
};
