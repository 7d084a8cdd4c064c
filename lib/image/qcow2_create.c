/* SPDX-License-Identifier: ISC */
/*
 * Making an image, laid out as QEMU lays it out:
 *
 *	| header | refcount table | block | L1 table | LUKS | block ... |
 *
 * The first block counts as many of these clusters as it can; further ones,
 * which only large L1 tables of small clusters need, stand behind. The file
 * ends with the last byte that means something.
 */
#include "lib/image/qcow2_create.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_page.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

static int lay_out(struct qcow2_plan *p, struct error *err)
{
	uint64_t cluster_len = 1ULL << p->cluster_bits;
	uint64_t per_block = cluster_len * 8 >> p->refcount_order;
	uint64_t before;

	p->l1_size = divide_up(p->size, 1ULL << (2 * p->cluster_bits -
						 (p->has_extended_l2 ? 4 : 3)));
	if (p->l1_size > QCOW2_L1_LEN_MAX / sizeof(uint64_t))
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'qcow2' (try using a larger cluster size)");
	p->n_l1 = divide_up(p->l1_size * sizeof(uint64_t), cluster_len);
	p->n_crypt = divide_up(p->crypt_len, cluster_len);
	p->n_table = p->n_blocks = 1;
	do {
		before = p->n_table + p->n_blocks;
		p->n_all = 1 + before + p->n_l1 + p->n_crypt;
		p->n_blocks = divide_up(p->n_all, per_block);
		p->n_table =
			divide_up(p->n_blocks * sizeof(uint64_t), cluster_len);
	} while (p->n_table + p->n_blocks != before);
	return 0;
}

static uint64_t first_block(const struct qcow2_plan *p)
{
	return 1 + p->n_table;
}

static uint64_t crypt_place(const struct qcow2_plan *p)
{
	return (first_block(p) + 1 + p->n_l1) << p->cluster_bits;
}

static void fill_fixed(const struct qcow2_plan *p, struct qcow2_wire_header *w)
{
	uint64_t l1_index = first_block(p) + 1;

	*w = (struct qcow2_wire_header){
		.magic = htobe32(QCOW2_MAGIC),
		.version = htobe32(p->version),
		.cluster_bits = htobe32(p->cluster_bits),
		.size = htobe64(p->size),
		.l1_size = htobe32((uint32_t)p->l1_size),
		.refcount_table_offset = htobe64(1ULL << p->cluster_bits),
		.refcount_table_clusters = htobe32((uint32_t)p->n_table),
	};
	w->crypt_method = htobe32(p->crypt_method);
	if (p->l1_size > 0)
		w->l1_offset = htobe64(l1_index << p->cluster_bits);
	if (p->version < 3)
		return;
	w->refcount_order = htobe32(p->refcount_order);
	w->header_len = htobe32(sizeof(*w));
	w->compression_type = p->compression_type;
	if (p->compression_type != QCOW2_COMPRESSION_ZLIB)
		w->incompatible_features =
			htobe64(QCOW2_INCOMPATIBLE_COMPRESSION);
	if (p->data_file != NULL)
		w->incompatible_features |=
			htobe64(QCOW2_INCOMPATIBLE_DATA_FILE);
	if (p->has_extended_l2)
		w->incompatible_features |=
			htobe64(QCOW2_INCOMPATIBLE_EXTENDED_L2);
	if (p->is_data_raw)
		w->autoclear_features = htobe64(QCOW2_AUTOCLEAR_DATA_FILE_RAW);
	if (p->has_lazy_refcounts)
		w->compatible_features =
			htobe64(QCOW2_COMPATIBLE_LAZY_REFCOUNTS);
}

static int fill_header(const struct qcow2_plan *p, struct qcow2_page *page,
		       struct error *err)
{
	struct qcow2_wire_header w;
	int rc;

	fill_fixed(p, &w);
	page->at = p->version < 3 ? QCOW2_HEADER_V2_LEN : sizeof(w);
	if (p->backing_format != NULL) {
		rc = qcow2_page_add_extension(page,
					      QCOW2_EXTENSION_BACKING_FORMAT,
					      p->backing_format,
					      strlen(p->backing_format), err);
		if (rc < 0)
			return rc;
	}
	if (p->data_file != NULL) {
		rc = qcow2_page_add_extension(page, QCOW2_EXTENSION_DATA_FILE,
					      p->data_file,
					      strlen(p->data_file), err);
		if (rc < 0)
			return rc;
	}
	if (p->crypt_len > 0) {
		const struct qcow2_wire_encryption e = {
			.offset = htobe64(crypt_place(p)),
			.len = htobe64(p->crypt_len),
		};

		rc = qcow2_page_add_extension(page, QCOW2_EXTENSION_ENCRYPTION,
					      &e, sizeof(e), err);
		if (rc < 0)
			return rc;
	}
	if (p->version >= 3) {
		rc = qcow2_page_add_feature_names(page, err);
		if (rc < 0)
			return rc;
	}
	rc = qcow2_page_add_extension(page, QCOW2_EXTENSION_END, "", 0, err);
	if (rc == 0 && p->backing_name != NULL) {
		w.backing_name_offset = htobe64(page->at);
		w.backing_name_len = htobe32((uint32_t)strlen(p->backing_name));
		rc = qcow2_page_add(page, p->backing_name,
				    strlen(p->backing_name), err);
	}
	memcpy(page->data, &w,
	       p->version < 3 ? QCOW2_HEADER_V2_LEN : sizeof(w));
	return rc;
}

/* Where block i stands, in clusters. */
static uint64_t block_place(const struct qcow2_plan *p, uint64_t i)
{
	return first_block(p) + i + (i > 0 ? p->n_l1 + p->n_crypt : 0);
}

static int write_refcounts(const struct qcow2_plan *p,
			   const struct image_file *file, uint8_t *cluster)
{
	uint64_t cluster_len = 1ULL << p->cluster_bits;
	uint64_t per_block = cluster_len * 8 >> p->refcount_order;
	_cleanup_free_ uint64_t *table = calloc(p->n_table, cluster_len);
	int rc = 0;

	if (table == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; rc == 0 && i < p->n_blocks; i++) {
		uint64_t place = block_place(p, i) << p->cluster_bits;

		table[i] = htobe64(place);
		memset(cluster, 0, cluster_len);
		for (uint64_t j = 0;
		     j < per_block && i * per_block + j < p->n_all; j++)
			qcow2_refcount_store(cluster, 1U << p->refcount_order,
					     j, 1);
		rc = image_file_write(file, place, cluster, cluster_len);
	}
	if (rc == 0)
		rc = image_file_write(file, cluster_len, table,
				      p->n_table * cluster_len);
	return rc;
}

/* The L1 table is all zeroes, which are written, as QEMU writes them: so much
 * of the disk is used, and info says so. */
static int write_all(const struct qcow2_plan *p, const struct image_file *file,
		     const struct qcow2_page *header, struct error *err)
{
	uint64_t cluster_len = 1ULL << p->cluster_bits;
	_cleanup_free_ uint8_t *cluster = aligned_alloc(512, cluster_len);
	uint64_t l1_end = ((first_block(p) + 1) << p->cluster_bits) +
			  p->l1_size * sizeof(uint64_t);
	uint64_t end = p->n_all << p->cluster_bits;
	uint64_t file_size;
	int rc;

	if (cluster == NULL)
		return -ENOMEM;
	rc = write_refcounts(p, file, cluster);
	if (rc == 0 && !file->is_block_device)
		rc = image_file_truncate(
			file, p->n_blocks + p->n_crypt > 1 ? end : l1_end);
	if (rc == 0 && !file->is_block_device)
		rc = image_file_write_zeroes(file, l1_end - p->l1_size * 8,
					     p->l1_size * 8);
	else if (rc == 0)
		rc = image_file_zero(file, l1_end - p->l1_size * 8,
				     p->n_l1 << p->cluster_bits, false);
	if (rc == 0)
		rc = image_file_size(file, &file_size);
	if (rc == 0 && file_size < l1_end)
		rc = -ENOSPC;
	/* The magic comes last: half an image is none. */
	if (rc == 0)
		rc = image_file_write(file, 0, header->data, header->len);
	if (rc == 0)
		rc = image_file_flush(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write qcow2 image")
		      : 0;
}

static int write_file(struct qcow2_plan *p, const char *path,
		      const struct image_create_options *o, struct error *err)
{
	size_t cluster_len = (size_t)1 << p->cluster_bits;
	_cleanup_free_ uint8_t *data = aligned_alloc(512, cluster_len);
	struct qcow2_page header = { .data = data, .len = cluster_len };
	struct image_file *file;
	int rc;

	if (data == NULL)
		return -ENOMEM;
	memset(data, 0, cluster_len);
	rc = fill_header(p, &header, err);
	if (rc == -ENOSPC && p->backing_name != NULL)
		return qcow2_plan_refuse_backing(p, rc, err);
	if (rc < 0)
		return rc;
	rc = new_image_open(&file, path, 0, o, err);
	if (rc < 0)
		return rc;
	if (p->crypt_len > 0)
		rc = qcow2_plan_write_crypt(p, file, crypt_place(p), o, err);
	if (rc == 0)
		rc = write_all(p, file, &header, err);
	image_file_close(file);
	return rc;
}

static int preallocate(const struct qcow2_plan *p, const char *path,
		       const struct image_create_options *o, struct error *err)
{
	const struct image_open_options how = {
		.format = "qcow2",
		.flags = IMAGE_NO_BACKING | IMAGE_UNSAFE | IMAGE_NBD,
		.secrets = o->secrets,
		.key_secret = image_option_find(o, "encrypt.key-secret"),
	};
	struct image *image;
	struct qcow2 *q;
	int rc = image_open(&image, path, &how, err);

	if (rc < 0)
		return rc;
	q = image->state;
	pthread_mutex_lock(&q->lock);
	rc = qcow2_preallocate(q, 0, p->size, p->preallocation, err);
	pthread_mutex_unlock(&q->lock);
	if (rc == -ENOSPC && q->data_file->is_block_device)
		error_set(err, rc, "Could not resize image: Cannot grow %s",
			  q->data_file->fd < 0 ? "NBD nodes" : "device files");
	if (rc == 0)
		return image_close(image, err);
	image_abandon(image);
	return rc;
}

int qcow2_create(const char *path, const struct image_create_options *o,
		 struct error *err)
{
	struct qcow2_plan plan;
	int rc = qcow2_plan_init(&plan, o, err);

	if (rc == 0)
		rc = lay_out(&plan, err);
	if (rc == 0 && plan.data_file != NULL)
		rc = qcow2_external_create(path, plan.data_file, plan.size, o,
					   err);
	if (rc == 0)
		rc = write_file(&plan, path, o, err);
	if (rc == 0 && strcmp(plan.preallocation, "off") != 0)
		rc = preallocate(&plan, path, o, err);
	explicit_bzero(&plan, sizeof(plan));
	return rc;
}
