/* SPDX-License-Identifier: ISC */
/*
 * qcow, QEMU's first copy-on-write format: an L1 table, L2 tables, and
 * clusters that may be compressed, or encrypted with the password itself.
 *
 * A new cluster is at the file's end, and its entry is written last; a
 * compressed one takes as many bytes as it needs. Nothing is put where an entry
 * says that there is something, nor into a file that was cut off: what was lost
 * would be there again, as zeroes. The header does not tell, so all tables are
 * read before the first cluster that is new.
 */
#include "lib/image/qcow1.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks.h"
#include "lib/image/crypt.h"
#include "lib/image/format.h"
#include "protocols/qcow1.h"

#include <endian.h>
#include <errno.h>
#include <libdeflate.h>
#include <string.h>

enum {
	LEVEL = 6,
};

struct qcow1 {
	struct blocks blocks; /* first */
	unsigned cluster_bits, l2_bits;
	uint64_t cluster_len, l1_offset, l1_len;
	uint64_t name_end; /* of the backing file's, in the file */
	uint64_t end;	   /* of what the tables refer to; 0: not known yet */
};

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	struct qcow1_wire_header w;

	(void)file_size;
	if (len < sizeof(w))
		return 0;
	memcpy(&w, head, sizeof(w));
	return be32toh(w.magic) == QCOW1_MAGIC &&
			       be32toh(w.version) == QCOW1_VERSION
		       ? 100
		       : 0;
}

static struct qcow1 *qcow1_of(struct blocks *blocks)
{
	return container_of(blocks, struct qcow1, blocks);
}

static uint64_t l1_place(const struct qcow1 *q, uint64_t index)
{
	return q->l1_offset + (index >> q->l2_bits) * sizeof(uint64_t);
}

static uint64_t l2_len(const struct qcow1 *q)
{
	return sizeof(uint64_t) << q->l2_bits;
}

static uint64_t l2_place(const struct qcow1 *q, uint64_t table, uint64_t index)
{
	return table +
	       (index & ((UINT64_C(1) << q->l2_bits) - 1)) * sizeof(uint64_t);
}

static int read_number(struct qcow1 *q, uint64_t at, bool nowait,
		       uint64_t *number)
{
	int rc = table_read(&q->blocks.table, at, number, sizeof(*number),
			    nowait);

	*number = be64toh(*number);
	return rc;
}

static int write_number(struct qcow1 *q, uint64_t at, uint64_t number)
{
	number = htobe64(number);
	return table_write(&q->blocks.table, at, &number, sizeof(number));
}

/* Place and length of a compressed cluster. */
static void take_compressed(const struct qcow1 *q, uint64_t entry,
			    struct block_run *run)
{
	unsigned shift = 63 - q->cluster_bits;

	run->host_offset = entry & ((UINT64_C(1) << shift) - 1);
	run->host_len = entry >> shift & (q->cluster_len - 1);
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct qcow1 *q = qcow1_of(blocks);
	uint64_t index = offset >> q->cluster_bits, entry = 0;
	int rc = read_number(q, l1_place(q, index), nowait, &entry);

	if (rc == 0 && entry != 0 && !blocks_reaches(blocks, entry + l2_len(q)))
		return error_set(err, -EIO,
				 "L2 table at offset %llu is beyond the file's "
				 "end",
				 (unsigned long long)entry);
	if (rc == 0 && entry != 0)
		rc = read_number(q, l2_place(q, entry, index), nowait, &entry);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a table");
	if (entry == 0)
		return 0;
	run->unit_start = index << q->cluster_bits;
	run->unit_len = q->cluster_len;
	if (entry & QCOW1_COMPRESSED) {
		run->kind = BLOCK_COMPRESSED;
		take_compressed(q, entry, run);
		return 0;
	}
	if (entry % IMAGE_SECTOR != 0)
		return error_set(err, -EIO,
				 "Cluster at offset %llu is not at a sector",
				 (unsigned long long)entry);
	run->kind = BLOCK_DATA;
	run->host_offset = entry + (offset & (q->cluster_len - 1));
	return 0;
}

static uint64_t count_zeroes(struct qcow1 *q, uint64_t at, uint64_t end)
{
	return table_count_zeroes(&q->blocks.table, at, end - at) /
	       sizeof(uint64_t);
}

/* What an L2 table does not have, or tables that are not there. */
static uint64_t skip(struct blocks *blocks, uint64_t offset)
{
	struct qcow1 *q = qcow1_of(blocks);
	uint64_t index = offset >> q->cluster_bits, at = l1_place(q, index);
	uint64_t table;

	if (read_number(q, at, false, &table) < 0)
		return 0;
	if (table == 0)
		return blocks_skipped(
			count_zeroes(q, at, q->l1_offset + q->l1_len),
			q->cluster_len << q->l2_bits,
			offset & ((q->cluster_len << q->l2_bits) - 1));
	if (!blocks_reaches(blocks, table + l2_len(q)))
		return 0;
	return blocks_skipped(count_zeroes(q, l2_place(q, table, index),
					   table + l2_len(q)),
			      q->cluster_len, 0);
}

static int inflate(struct blocks *blocks, const struct block_run *run,
		   uint8_t *buf, struct error *err)
{
	_cleanup_free_ uint8_t *packed = malloc(run->host_len + 1);
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	enum libdeflate_result result = LIBDEFLATE_BAD_DATA;
	size_t n = 0;
	int rc = -ENOMEM;

	if (packed != NULL && d != NULL)
		rc = image_file_read(blocks->file, run->host_offset, packed,
				     run->host_len);
	if (rc == 0)
		result = libdeflate_deflate_decompress(d, packed, run->host_len,
						       buf, run->unit_len, &n);
	libdeflate_free_decompressor(d);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read compressed cluster");
	if (result != LIBDEFLATE_SUCCESS || n != run->unit_len)
		return error_set(err, -EIO,
				 "Compressed cluster at offset %llu cannot be "
				 "decompressed",
				 (unsigned long long)run->host_offset);
	return 0;
}

/* One that does not get smaller has no packed form. */
static int deflate(struct blocks *blocks, uint64_t index, const uint8_t *data,
		   uint8_t **packed, size_t *len, struct error *err)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(LEVEL);

	(void)index;
	(void)err;
	*packed = malloc(blocks->block_len);
	if (c != NULL && *packed != NULL)
		*len = libdeflate_deflate_compress(c, data, blocks->block_len,
						   *packed,
						   blocks->block_len - 1);
	libdeflate_free_compressor(c);
	return c != NULL && *packed != NULL ? 0 : -ENOMEM;
}

static int set_entry(struct qcow1 *q, uint64_t index, uint64_t entry,
		     struct error *err)
{
	uint64_t table;
	int rc = read_number(q, l1_place(q, index), false, &table);

	if (rc == 0 && table == 0)
		rc = -EIO; /* somebody else writes to the file */
	if (rc == 0)
		rc = write_number(q, l2_place(q, table, index), entry);
	return rc < 0 ? error_set_errno(err, rc, "Could not write a table") : 0;
}

static void take_end(struct qcow1 *q, uint64_t end)
{
	if (end > q->end)
		q->end = end;
}

static int look_for_cluster(void *context, const struct table_part *part)
{
	struct qcow1 *q = context;
	const uint64_t *entries = part->entries;
	struct block_run run;

	for (uint64_t i = 0; i < part->n; i++) {
		uint64_t entry = be64toh(entries[i]);

		if (entry & QCOW1_COMPRESSED) {
			take_compressed(q, entry, &run);
			take_end(q, run.host_offset + run.host_len);
		} else if (entry != 0) {
			take_end(q, entry + q->cluster_len);
		}
	}
	return 0;
}

struct walk {
	struct qcow1 *q;
	uint64_t left; /* of the file, for tables to be in */
};

/* 1: they are not all in the file, or some of them are in use twice, and a small
 * file has more of them than there is time for. */
static int look_for_table(void *context, const struct table_part *part)
{
	struct walk *w = context;
	struct qcow1 *q = w->q;
	const uint64_t *entries = part->entries;
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < part->n; i++) {
		uint64_t at = be64toh(entries[i]), len = l2_len(q);

		if (at == 0)
			continue;
		take_end(q, at + len);
		if (!blocks_reaches(&q->blocks, q->end) || len > w->left)
			return 1;
		w->left -= len;
		rc = table_walk(&q->blocks.table, at, len / sizeof(at),
				sizeof(at), look_for_cluster, q);
	}
	return rc;
}

static int look_for_end(struct qcow1 *q, struct error *err)
{
	struct walk w = { .q = q };
	int rc = image_file_size(q->blocks.file, &w.left);

	q->end = q->l1_offset + q->l1_len;
	if (rc == 0)
		rc = table_walk(&q->blocks.table, q->l1_offset,
				q->l1_len / sizeof(uint64_t), sizeof(uint64_t),
				look_for_table, &w);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a table");
	if (!blocks_reaches(&q->blocks, q->end))
		return error_set(err, -EIO,
				 "qcow tables lead beyond the file's end: "
				 "nothing new can be written");
	if (rc > 0)
		return error_set(err, -EIO,
				 "qcow tables are in use twice: nothing new "
				 "can be written");
	return 0;
}

/* Before the first one, all tables are looked through. The file does not get
 * shorter while it is open, and its own end is enough from then on. */
static int append(struct qcow1 *q, uint64_t alignment, uint64_t len,
		  struct block_place *place, struct error *err)
{
	int rc = q->end == 0 ? look_for_end(q, err) : 0;

	if (rc < 0) {
		q->end = 0;
		return rc;
	}
	place->host_offset = q->end;
	return blocks_append(&q->blocks, alignment, len, place, err);
}

/* The table that index is to be in comes before its first cluster, as in
 * QEMU's images: then clusters that are written in a row lie in a row. */
static int make_table(struct qcow1 *q, uint64_t index, struct error *err)
{
	uint64_t table, len = l2_len(q);
	struct block_place place = { .host_offset = 0 };
	int rc = read_number(q, l1_place(q, index), false, &table);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a table");
	if (table != 0)
		return 0;
	rc = append(q, q->cluster_len, len, &place, err);
	if (rc < 0)
		return rc;
	rc = table_clear(&q->blocks.table, place.host_offset, len);
	/* It is complete before anything points to it. */
	if (rc == 0)
		rc = image_file_flush(q->blocks.file);
	if (rc == 0)
		rc = write_number(q, l1_place(q, index), place.host_offset);
	return rc < 0 ? error_set_errno(err, rc, "Could not write a table") : 0;
}

static int allocate(struct blocks *blocks, uint64_t index,
		    struct block_place *place, struct error *err)
{
	struct qcow1 *q = qcow1_of(blocks);
	int rc = make_table(q, index, err);

	return rc < 0 ? rc
		      : append(q, q->cluster_len, q->cluster_len, place, err);
}

static int enter(struct blocks *blocks, uint64_t index,
		 const struct block_place *place, struct error *err)
{
	return set_entry(qcow1_of(blocks), index, place->host_offset, err);
}

static int store(struct blocks *blocks, uint64_t index, const uint8_t *packed,
		 size_t len, bool is_new, struct error *err)
{
	struct qcow1 *q = qcow1_of(blocks);
	struct block_place place = { .host_offset = 0 };
	unsigned shift = 63 - q->cluster_bits;
	int rc = make_table(q, index, err);

	if (rc == 0)
		rc = append(q, 1, len, &place, err);
	if (rc < 0)
		return rc;
	if (place.host_offset >> shift != 0)
		return error_set(err, -EFBIG, "Image file is too big");
	rc = image_file_write(blocks->file, place.host_offset, packed, len);
	if (rc == 0 && !is_new)
		rc = image_file_flush(blocks->file);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not write compressed cluster");
	return set_entry(q, index,
			 QCOW1_COMPRESSED | (uint64_t)len << shift |
				 place.host_offset,
			 err);
}

static const struct blocks_ops ops = {
	.find = find,
	.skip = skip,
	.inflate = inflate,
	.allocate = allocate,
	.enter = enter,
	.deflate = deflate,
	.store = store,
};

uint64_t qcow1_l1_len(uint64_t size, unsigned shift)
{
	return ((size + (UINT64_C(1) << shift) - 1) >> shift) *
	       sizeof(uint64_t);
}

/* QEMU's checks, in its words. */
static int check_header(const struct qcow1_wire_header *w, struct error *err)
{
	uint64_t size = be64toh(w->size);
	uint32_t version = be32toh(w->version);
	unsigned shift = (unsigned)w->cluster_bits + w->l2_bits;

	if (be32toh(w->magic) != QCOW1_MAGIC)
		return error_set(err, -EINVAL, "Image not in qcow format");
	if (version != QCOW1_VERSION)
		return error_set(err, -ENOTSUP,
				 "qcow (v%u) does not support qcow version "
				 "%u%s",
				 QCOW1_VERSION, version,
				 version == 2 || version == 3
					 ? ": " IMAGE_QCOW2_HINT
					 : "");
	if (size <= 1)
		return error_set(err, -EINVAL,
				 "Image size is too small (must be at least 2 "
				 "bytes)");
	if (w->cluster_bits < QCOW1_CLUSTER_BITS_MIN ||
	    w->cluster_bits > QCOW1_CLUSTER_BITS_MAX)
		return error_set(err, -EINVAL,
				 "Cluster size must be between 512 and 64k");
	if (w->l2_bits < QCOW1_L2_BITS_MIN || w->l2_bits > QCOW1_L2_BITS_MAX)
		return error_set(err, -EINVAL,
				 "L2 table size must be between 512 and 64k");
	if (be32toh(w->crypt_method) > QCOW1_CRYPT_AES)
		return error_set(err, -EINVAL,
				 "invalid encryption method in qcow header");
	if (size > INT64_MAX || size >> shift >= INT32_MAX / sizeof(uint64_t) ||
	    be64toh(w->l1_offset) > INT64_MAX / 2)
		return error_set(err, -EINVAL, "Image too large");
	if (w->backing_offset != 0 && be32toh(w->backing_len) > QCOW1_NAME_MAX)
		return error_set(err, -EINVAL, "Backing file name too long");
	return 0;
}

/* An image without its L1 table is not an empty one. */
static int check_l1(struct qcow1 *q, struct error *err)
{
	return blocks_reaches(&q->blocks, q->l1_offset + q->l1_len)
		       ? 0
		       : error_set(err, -EINVAL,
				   "L1 table is beyond the file's end");
}

static int read_backing_name(const struct qcow1_wire_header *w,
			     struct image *image, struct error *err)
{
	uint32_t len = be32toh(w->backing_len);
	int rc;

	if (w->backing_offset == 0)
		return 0;
	image->backing_name = calloc(1, len + 1);
	if (image->backing_name == NULL)
		return -ENOMEM;
	rc = image_file_read(image->file, be64toh(w->backing_offset),
			     image->backing_name, len);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not read backing file name")
		      : 0;
}

/* info has no need of the key. */
static int unlock(struct image *image, struct error *err)
{
	struct qcow1 *q = image->state;

	if (!q->blocks.is_encrypted || image->flags & IMAGE_METADATA_ONLY)
		return 0;
	return crypt_new_legacy(&q->blocks.crypt, image->secrets,
				image->key_secret, qcow1_key_option, err);
}

static int qcow1_open(struct image *image, struct error *err)
{
	_cleanup_free_ struct qcow1 *q = calloc(1, sizeof(*q));
	struct qcow1_wire_header w;
	int rc;

	if (q == NULL)
		return -ENOMEM;
	rc = image_file_read(image->file, 0, &w, sizeof(w));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the header");
	rc = check_header(&w, err);
	if (rc == 0)
		rc = read_backing_name(&w, image, err);
	if (rc < 0)
		return rc;
	q->cluster_bits = w.cluster_bits;
	q->l2_bits = w.l2_bits;
	q->cluster_len = UINT64_C(1) << w.cluster_bits;
	q->l1_offset = be64toh(w.l1_offset);
	q->l1_len = qcow1_l1_len(be64toh(w.size), w.cluster_bits + w.l2_bits);
	q->name_end = be64toh(w.backing_offset) + be32toh(w.backing_len);
	/* Disks are whole sectors. */
	image->size = be64toh(w.size) & ~(uint64_t)(IMAGE_SECTOR - 1);
	image->cluster_size = (uint32_t)q->cluster_len;
	q->blocks.is_encrypted = be32toh(w.crypt_method) != 0;
	blocks_image_attach(image, &q->blocks, &ops, q->cluster_len);
	q->blocks.is_whole = q->blocks.is_len_stable = true;
	rc = check_l1(q, err);
	q = NULL; /* the image has it */
	return rc < 0 ? rc : unlock(image, err);
}

static int qcow1_get_info(struct image *image, struct image_info *info,
			  struct error *err)
{
	const struct qcow1 *q = image->state;

	(void)err;
	info->is_encrypted = q->blocks.is_encrypted;
	info->cluster_size = image->cluster_size;
	return 0;
}

/*
 * The L1 table becomes zeroes where it is: after a crash in the middle of
 * that, what has gone has gone and the rest is as it was. What it led to is
 * behind it, and is cut off then.
 */
static int clear_tables(struct qcow1 *q)
{
	struct blocks *blocks = &q->blocks;
	uint64_t end = q->l1_offset + q->l1_len, size;
	int rc = image_file_size(blocks->file, &size);

	if (rc < 0)
		return rc;
	rc = table_clear(&blocks->table, q->l1_offset, q->l1_len);
	if (rc == 0)
		rc = image_file_flush(blocks->file);
	if (end < q->name_end)
		end = q->name_end;
	if (rc == 0 && end < size)
		rc = image_file_truncate(blocks->file, end);
	table_forget(&blocks->table);
	blocks_forget_len(blocks);
	q->end = 0;
	free(blocks->unit);
	blocks->unit = NULL;
	return rc;
}

static int qcow1_make_empty(struct image *image, struct error *err)
{
	struct qcow1 *q = image->state;
	int rc;

	pthread_mutex_lock(&q->blocks.lock);
	rc = blocks_begin_writing(&q->blocks, err);
	if (rc == 0) {
		rc = clear_tables(q);
		if (rc < 0)
			error_set_errno(err, rc,
					"Could not write the L1 table");
	}
	pthread_mutex_unlock(&q->blocks.lock);
	return rc;
}

const struct image_format image_format_qcow1 = {
	.name = "qcow",
	.has_backing = true,
	.is_in_sectors = true,
	.probe = probe,
	.open = qcow1_open,
	.close = blocks_image_close,
	.create = qcow1_create,
	.create_specs = qcow1_create_specs,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.write_compressed = blocks_image_write_compressed,
	.make_empty = qcow1_make_empty,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
	.get_info = qcow1_get_info,
};
