/* SPDX-License-Identifier: ISC */
/*
 * The tables of stream_qcow2.c. Every cluster of the file is in use once, but
 * those that compressed ones share: as often as those touch it, and never more
 * often than the width of a refcount allows.
 */
#include "vm-img/stream_qcow2.h"

#include "lib/base/cleanup.h"
#include "lib/image/file.h"
#include "lib/image/image.h"
#include "lib/image/luks.h"
#include "lib/image/qcow2_pack.h"
#include "protocols/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

enum {
	PAGE = 4096,
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

static uint64_t per_table(const struct qcow2_layout *l)
{
	return 1ULL << (l->cluster_bits - (l->has_extended_l2 ? 4 : 3));
}

static uint64_t per_block(const struct qcow2_layout *l)
{
	return 1ULL << (l->cluster_bits + 3 - l->refcount_order);
}

static uint64_t refcount_max(const struct qcow2_layout *l)
{
	unsigned bits = 1U << l->refcount_order;

	return bits == 64 ? UINT64_MAX : (1ULL << bits) - 1;
}

static uint64_t n_before_data(const struct qcow2_layout *l)
{
	return 1 + l->n_table + l->n_blocks + l->n_l1 + l->n_l2 + l->n_crypt;
}

uint64_t qcow2_layout_data_offset(const struct qcow2_layout *l)
{
	return n_before_data(l) << l->cluster_bits;
}

uint64_t qcow2_layout_place(const struct qcow2_layout *l,
			    struct qcow2_place *place, uint64_t cluster,
			    uint64_t *len)
{
	uint64_t mask = l->cluster_len - 1, offset = place->at;
	bool is_packed = l->packed_lens != NULL &&
			 l->packed_lens[cluster] != 0 &&
			 l->packed_lens[cluster] != QCOW2_LAYOUT_ZERO;

	*len = is_packed ? l->packed_lens[cluster] : l->cluster_len;
	if (!is_packed || place->n_refs == refcount_max(l))
		offset = (offset + mask) & ~mask;
	if ((offset & mask) == 0)
		place->n_refs = 0;
	place->at = offset + *len;
	if (offset >> l->cluster_bits == (place->at - 1) >> l->cluster_bits)
		place->n_refs++;
	else
		place->n_refs = 1;
	if ((place->at & mask) == 0)
		place->n_refs = 0;
	return offset;
}

/* Has L2 table number i anything? */
static bool has_table(const struct qcow2_layout *l, uint64_t i)
{
	uint64_t end = (i + 1) * per_table(l);

	for (uint64_t j = i * per_table(l); j < end && j < l->n_clusters; j++)
		if (stream_has_data(l->is_data, j) ||
		    (l->is_zero != NULL && stream_has_data(l->is_zero, j)))
			return true;
	return false;
}

static uint64_t count_data(const struct qcow2_layout *l)
{
	struct qcow2_place place = { .at = 0 };
	uint64_t len;

	for (uint64_t i = 0; i < l->n_clusters; i++)
		if (stream_has_data(l->is_data, i))
			qcow2_layout_place(l, &place, i, &len);
	return divide_up(place.at, l->cluster_len);
}

int qcow2_layout_count(struct qcow2_layout *l, struct error *err)
{
	uint64_t n_tables = divide_up(l->n_clusters, per_table(l)), before;
	uint64_t in_table = l->cluster_len / sizeof(uint64_t);

	l->n_l1 = divide_up(n_tables, in_table);
	for (uint64_t i = 0; i < n_tables; i++)
		l->n_l2 += has_table(l, i);
	l->n_data = count_data(l);
	do {
		before = l->n_table + l->n_blocks;
		l->n_blocks =
			divide_up(n_before_data(l) + l->n_data, per_block(l));
		l->n_table = divide_up(l->n_blocks, in_table);
	} while (l->n_table + l->n_blocks != before);
	if (l->n_table << l->cluster_bits > QCOW2_REFCOUNT_TABLE_LEN_MAX)
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'qcow2' (try using a larger cluster size)");
	return 0;
}

/* The encryption header's pointer, in the header's cluster, or NULL. */
static struct qcow2_wire_encryption *
find_encryption(uint8_t *header, uint32_t len, unsigned version)
{
	const struct qcow2_wire_header *w = (const void *)header;
	uint32_t at =
		version < 3 ? QCOW2_HEADER_V2_LEN : be32toh(w->header_len);

	while (at + sizeof(struct qcow2_wire_extension) <= len) {
		struct qcow2_wire_extension e;

		memcpy(&e, header + at, sizeof(e));
		at += sizeof(e);
		if (be32toh(e.type) == QCOW2_EXTENSION_ENCRYPTION)
			return (void *)(header + at);
		if (be32toh(e.type) == QCOW2_EXTENSION_END)
			break;
		at += (be32toh(e.len) + 7) & ~7U;
	}
	return NULL;
}

static int take_key(struct qcow2_layout *l,
		    const struct image_create_options *create,
		    struct error *err)
{
	const struct luks_place place = {
		.file = l->model.file,
		.offset = l->crypt_offset,
		.len = l->crypt_len,
	};
	static const char name[] = "encrypt.key-secret";
	uint8_t key[CIPHER_KEY_MAX];
	const char *id = NULL;
	struct secret password;
	struct luks luks;
	int rc = luks_read(&luks, &place, err);

	for (unsigned i = 0; i < create->n_options; i++)
		if (strcmp(create->options[i].name, name) == 0)
			id = create->options[i].value;
	if (rc == 0)
		rc = luks_find_password(create->secrets, id, name, &password,
					err);
	if (rc == 0)
		rc = luks_unlock(&luks, &place, &password, key, NULL, err);
	if (rc == 0)
		rc = cipher_new(&l->cipher, &luks.cipher, key, err);
	explicit_bzero(key, sizeof(key));
	return rc;
}

static int take_header(struct qcow2_layout *l, struct error *err)
{
	struct qcow2_wire_header w;
	const struct qcow2_wire_encryption *e;
	int rc = image_file_read(l->model.file, 0, &w, sizeof(w));

	if (rc < 0)
		return error_set_errno(err, rc, "Could not make the image");
	l->version = be32toh(w.version);
	l->cluster_bits = be32toh(w.cluster_bits);
	l->cluster_len = 1U << l->cluster_bits;
	l->refcount_order = l->version < 3 ? QCOW2_REFCOUNT_ORDER_V2
					   : be32toh(w.refcount_order);
	l->has_extended_l2 =
		l->version >= 3 && be64toh(w.incompatible_features) &
					   QCOW2_INCOMPATIBLE_EXTENDED_L2;
	l->is_zstd =
		l->version >= 3 && w.compression_type == QCOW2_COMPRESSION_ZSTD;
	l->size = be64toh(w.size);
	l->n_clusters = divide_up(l->size, l->cluster_len);
	l->buf = aligned_alloc(PAGE,
			       l->cluster_len < PAGE ? PAGE : l->cluster_len);
	if (l->buf == NULL)
		return -ENOMEM;
	rc = image_file_read(l->model.file, 0, l->buf, l->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not make the image");
	e = find_encryption(l->buf, l->cluster_len, l->version);
	if (e != NULL) {
		l->crypt_offset = be64toh(e->offset);
		l->crypt_len = be64toh(e->len);
		l->n_crypt = divide_up(l->crypt_len, l->cluster_len);
	}
	return 0;
}

int qcow2_layout_init(struct qcow2_layout *l,
		      const struct stream_target *target, struct error *err)
{
	int rc = stream_model_make(&l->model, target, err);

	if (rc == 0)
		rc = take_header(l, err);
	if (rc == 0 && l->crypt_len > 0)
		rc = take_key(l, target->create, err);
	return rc;
}

void qcow2_layout_deinit(struct qcow2_layout *l)
{
	stream_model_deinit(&l->model);
	cipher_free(l->cipher);
	free(l->is_data);
	free(l->is_zero);
	free(l->packed_lens);
	free(l->buf);
}

static int write_header(const struct qcow2_layout *l, struct error *err)
{
	struct qcow2_wire_encryption *e;
	struct qcow2_wire_header w;
	uint64_t l1_place = 1 + l->n_table + l->n_blocks;
	int rc = image_file_read(l->model.file, 0, l->buf, l->cluster_len);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not make the image");
	memcpy(&w, l->buf, QCOW2_HEADER_V2_LEN);
	w.l1_offset = htobe64(l1_place << l->cluster_bits);
	w.refcount_table_offset = htobe64(l->cluster_len);
	w.refcount_table_clusters = htobe32((uint32_t)l->n_table);
	memcpy(l->buf, &w, QCOW2_HEADER_V2_LEN);
	e = find_encryption(l->buf, l->cluster_len, l->version);
	if (e != NULL)
		e->offset = htobe64((n_before_data(l) - l->n_crypt)
				    << l->cluster_bits);
	return stream_write(l->stream, l->buf, l->cluster_len, err);
}

static void put_entry(const struct qcow2_layout *l, uint64_t index,
		      uint64_t value)
{
	value = htobe64(value);
	memcpy(l->buf + index * 8, &value, sizeof(value));
}

/* Blocks follow one another behind the table. */
static int write_refcount_table(const struct qcow2_layout *l, struct error *err)
{
	uint64_t n = l->cluster_len / sizeof(uint64_t);
	int rc = 0;

	for (uint64_t t = 0; rc == 0 && t < l->n_table; t++) {
		memset(l->buf, 0, l->cluster_len);
		for (uint64_t i = 0; i < n && t * n + i < l->n_blocks; i++)
			put_entry(l, i,
				  (1 + l->n_table + t * n + i)
					  << l->cluster_bits);
		rc = stream_write(l->stream, l->buf, l->cluster_len, err);
	}
	return rc;
}

/* Refcounts, as they come: of the next host cluster. */
struct counts {
	const struct qcow2_layout *l;
	uint64_t next;
};

static int put_count(struct counts *c, uint64_t count, struct error *err)
{
	const struct qcow2_layout *l = c->l;
	uint64_t i = c->next++ % per_block(l);

	if (i == 0)
		memset(l->buf, 0, l->cluster_len);
	qcow2_refcount_store(l->buf, 1U << l->refcount_order, i, count);
	return i + 1 < per_block(l)
		       ? 0
		       : stream_write(l->stream, l->buf, l->cluster_len, err);
}

/* Counts of the data: a host cluster is done with when the next is begun. */
static int put_data_counts(struct counts *c, struct error *err)
{
	const struct qcow2_layout *l = c->l;
	struct qcow2_place place = { .at = 0 };
	uint64_t current = 0, n = 0;
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < l->n_clusters; i++) {
		uint64_t len, offset, first, last;

		if (!stream_has_data(l->is_data, i))
			continue;
		offset = qcow2_layout_place(l, &place, i, &len);
		first = offset >> l->cluster_bits;
		last = (offset + len - 1) >> l->cluster_bits;
		for (uint64_t j = first; rc == 0 && j <= last; j++) {
			if (j != current)
				rc = put_count(c, n, err);
			n = j != current ? 1 : n + 1;
			current = j;
		}
	}
	return rc == 0 && n > 0 ? put_count(c, n, err) : rc;
}

static int write_refcount_blocks(const struct qcow2_layout *l,
				 struct error *err)
{
	struct counts c = { .l = l };
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < n_before_data(l); i++)
		rc = put_count(&c, 1, err);
	if (rc == 0)
		rc = put_data_counts(&c, err);
	if (rc == 0 && c.next % per_block(l) != 0)
		rc = stream_write(l->stream, l->buf, l->cluster_len, err);
	return rc;
}

static int write_l1(const struct qcow2_layout *l, struct error *err)
{
	uint64_t next = n_before_data(l) - l->n_crypt - l->n_l2;
	uint64_t n_tables = divide_up(l->n_clusters, per_table(l));
	uint64_t n = l->cluster_len / sizeof(uint64_t);
	int rc = 0;

	for (uint64_t t = 0; rc == 0 && t < l->n_l1; t++) {
		memset(l->buf, 0, l->cluster_len);
		for (uint64_t i = 0; i < n && t * n + i < n_tables; i++)
			if (has_table(l, t * n + i))
				put_entry(l, i,
					  next++ << l->cluster_bits |
						  QCOW2_COPIED);
		rc = stream_write(l->stream, l->buf, l->cluster_len, err);
	}
	return rc;
}

/* Entry of a cluster that holds data, at the next place. */
static int data_entry(const struct qcow2_layout *l, struct qcow2_place *place,
		      uint64_t cluster, uint64_t *entry, uint64_t *bitmap,
		      struct error *err)
{
	uint64_t len, offset = qcow2_layout_data_offset(l) +
			       qcow2_layout_place(l, place, cluster, &len);

	*bitmap = 0;
	if (len < l->cluster_len) {
		*entry = qcow2_packed_entry(l->cluster_bits, offset,
					    (size_t)len);
		if (*entry == 0)
			return error_set(err, -EFBIG,
					 "The file is too large for compressed "
					 "clusters");
		return 0;
	}
	*entry = offset | QCOW2_COPIED;
	*bitmap = QCOW2_SUBCLUSTERS_ALLOCATED;
	return 0;
}

static int write_l2(const struct qcow2_layout *l, uint64_t table,
		    struct qcow2_place *place, struct error *err)
{
	uint64_t first = table * per_table(l);
	unsigned words = l->has_extended_l2 ? 2 : 1;

	memset(l->buf, 0, l->cluster_len);
	for (uint64_t i = 0; i < per_table(l) && first + i < l->n_clusters;
	     i++) {
		uint64_t entry = 0, bitmap = 0;
		int rc = 0;

		if (stream_has_data(l->is_data, first + i)) {
			rc = data_entry(l, place, first + i, &entry, &bitmap,
					err);
		} else if (l->is_zero != NULL &&
			   stream_has_data(l->is_zero, first + i)) {
			entry = l->has_extended_l2 ? 0 : QCOW2_ZERO;
			bitmap = QCOW2_SUBCLUSTERS_ZERO;
		}
		if (rc < 0)
			return rc;
		put_entry(l, i * words, entry);
		if (words > 1)
			put_entry(l, i * words + 1, bitmap);
	}
	return stream_write(l->stream, l->buf, l->cluster_len, err);
}

int qcow2_layout_write(const struct qcow2_layout *l, struct error *err)
{
	uint64_t n_tables = divide_up(l->n_clusters, per_table(l));
	struct qcow2_place place = { .at = 0 };
	int rc = write_header(l, err);

	if (rc == 0)
		rc = write_refcount_table(l, err);
	if (rc == 0)
		rc = write_refcount_blocks(l, err);
	if (rc == 0)
		rc = write_l1(l, err);
	for (uint64_t i = 0; rc == 0 && i < n_tables; i++)
		if (has_table(l, i))
			rc = write_l2(l, i, &place, err);
	return rc;
}
