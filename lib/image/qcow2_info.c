/* SPDX-License-Identifier: ISC */
/* What `info` says of a qcow2 image, row by row as qemu-img does. */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdlib.h>

enum {
	LOOKED_AT = 1 << 26, /* clusters: 4 TiB, in half a second */
};

static void add_text(struct image_info *info, const char *name,
		     const char *json_name, const char *text)
{
	info->rows[info->n_rows++] = (struct image_info_row){
		.name = name,
		.json_name = json_name,
		.kind = IMAGE_INFO_TEXT,
		.text = text,
	};
}

static void add_number(struct image_info *info, const char *name,
		       const char *json_name, uint64_t number)
{
	info->rows[info->n_rows++] = (struct image_info_row){
		.name = name,
		.json_name = json_name,
		.kind = IMAGE_INFO_NUMBER,
		.number = number,
	};
}

static void add_bool(struct image_info *info, const char *name,
		     const char *json_name, bool is_set)
{
	info->rows[info->n_rows++] = (struct image_info_row){
		.name = name,
		.json_name = json_name,
		.kind = IMAGE_INFO_BOOL,
		.number = is_set,
	};
}

static void add_rows(const struct qcow2_header *h, struct image_info *info)
{
	add_text(info, "compat", "compat", h->version < 3 ? "0.10" : "1.1");
	add_text(info, "compression type", "compression-type",
		 h->compression_type == QCOW2_COMPRESSION_ZSTD ? "zstd"
							       : "zlib");
	if (h->version >= 3)
		add_bool(info, "lazy refcounts", "lazy-refcounts",
			 h->compatible & QCOW2_COMPATIBLE_LAZY_REFCOUNTS);
	add_number(info, "refcount bits", "refcount-bits",
		   1U << h->refcount_order);
	if (h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE) {
		if (h->data_file != NULL) /* or the caller says which */
			add_text(info, "data file", "data-file", h->data_file);
		add_bool(info, "data file raw", "data-file-raw",
			 h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
	}
	if (h->version < 3)
		return;
	add_bool(info, "corrupt", "corrupt",
		 h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT);
	add_bool(info, "extended l2", "extended-l2",
		 h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2);
}

static int add_bitmaps(struct qcow2 *q, struct image_info *info)
{
	free(q->bitmap_infos);
	q->bitmap_infos = calloc(q->n_bitmaps + 1ULL, sizeof(*q->bitmap_infos));
	if (q->bitmap_infos == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < q->n_bitmaps; i++) {
		const struct qcow2_bitmap *b = &q->bitmaps[i];

		q->bitmap_infos[i] = (struct image_bitmap_info){
			.name = b->name,
			.granularity = 1ULL << b->granularity_bits,
			.is_in_use = b->flags & QCOW2_BITMAP_IN_USE,
			.is_enabled = b->flags & QCOW2_BITMAP_AUTO,
		};
	}
	info->bitmaps = q->bitmap_infos;
	info->n_bitmaps = q->n_bitmaps;
	return 0;
}

/* Of clusters [0, end) those that are counted, up to limit. Where there is no
 * refcount block none is looked at, and of all others no more than there is
 * time for: a table may have the same block a million times. */
static int count_used(struct qcow2 *q, uint64_t end, uint64_t limit,
		      uint64_t *used)
{
	uint64_t mask = (1ULL << q->refcount_block_bits) - 1, looked = 0;

	*used = 0;
	for (uint64_t i = 0; *used < limit && i < end && looked < LOOKED_AT;
	     i++) {
		uint64_t block = i >> q->refcount_block_bits, count;
		int rc;

		if (block >= q->refcount_table_size)
			return 0;
		if (q->refcount_table[block] == 0) {
			i |= mask;
			continue;
		}
		rc = qcow2_get_refcount(q, i, &count, NULL);
		if (rc < 0)
			return rc;
		*used += count > 0;
		looked++;
	}
	return 0;
}

/*
 * QEMU's measure: counted clusters are more, by a tenth and by two, than what
 * the file takes. The rest of them is holes.
 */
static bool find_out(struct qcow2 *q)
{
	uint64_t len, usage = 0, limit, used = 0;
	int rc = image_file_size(q->file, &len);

	if (rc == 0)
		rc = image_file_usage(q->file, &usage);
	if (rc < 0)
		return false;
	usage >>= q->cluster_bits;
	limit = usage * 10 / 9 > usage + 2 ? usage * 10 / 9 : usage + 2;
	len = qcow2_n_clusters(q, len);
	return len >= limit && count_used(q, len, limit, &used) == 0 &&
	       used >= limit;
}

bool qcow2_has_holes(struct image *image)
{
	struct qcow2 *q = image->state;
	bool result;

	pthread_mutex_lock(&q->lock);
	if (!q->are_holes_known)
		q->has_holes = find_out(q);
	q->are_holes_known = true;
	result = q->has_holes;
	pthread_mutex_unlock(&q->lock);
	return result;
}

int qcow2_get_info(struct image *image, struct image_info *info,
		   struct error *err)
{
	struct qcow2 *q = image->state;
	const struct qcow2_header *h = &q->header;

	int rc;

	(void)err;
	pthread_mutex_lock(&q->lock);
	info->cluster_size = q->cluster_len;
	info->is_dirty = h->incompatible & QCOW2_INCOMPATIBLE_DIRTY;
	info->is_corrupt = h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT;
	info->is_encrypted = h->crypt_method != QCOW2_CRYPT_NONE;
	if (info->is_encrypted) {
		info->encryption = &q->encryption;
		info->limits.request_alignment = IMAGE_SECTOR;
	}
	info->limits.write_zeroes_alignment = q->unit_len;
	info->limits.discard_alignment = q->cluster_len;
	info->snapshots = q->snapshot_infos;
	info->n_snapshots = h->n_snapshots;
	add_rows(h, info);
	rc = add_bitmaps(q, info);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
