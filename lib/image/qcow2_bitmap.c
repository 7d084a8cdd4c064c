/* SPDX-License-Identifier: ISC */
/*
 * Dirty bitmaps that QEMU left in an image (section "Bitmaps"). Those with the
 * auto flag must know of each change of the disk: they are read when the image
 * is opened for writing, marked as in use on the disk before the first change,
 * kept in memory, and put back where they were on close. After a kill the mark
 * is still there, and whoever comes next knows that they are worth nothing.
 * The others stay as they are.
 */
#include "lib/image/qcow2_bitmap.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

/* That extra data does no harm is said of extra data; alone it is no flag that
 * QEMU knows. */
static bool has_unknown_flag(const struct qcow2_wire_bitmap *w)
{
	uint32_t known = QCOW2_BITMAP_KNOWN;

	if (w->extra_len == 0)
		known &= ~(uint32_t)QCOW2_BITMAP_EXTRA_COMPATIBLE;
	return be32toh(w->flags) & ~known;
}

/* QEMU's text, whatever it is. */
static int refuse(const struct qcow2_bitmap *b, struct error *err)
{
	return error_set(err, -EINVAL,
			 "Bitmap '%s' doesn't satisfy the constraints",
			 b->name);
}

static int decode(struct qcow2 *q, struct qcow2_bitmap *b,
		  const struct qcow2_wire_bitmap *w, struct error *err)
{
	uint32_t flags = be32toh(w->flags);
	int rc;

	/* Whatever they mean, it may be more than a bitmap that is lost. */
	if (has_unknown_flag(w))
		return refuse(b, err);
	b->flags = flags;
	b->table_offset = be64toh(w->table_offset);
	b->table_size = be32toh(w->table_size);
	b->granularity_bits = w->granularity_bits;
	if (b->extra_len > 0 && !(flags & QCOW2_BITMAP_EXTRA_COMPATIBLE))
		return error_set(err, -EINVAL,
				 "Bitmap extra data is not supported");
	if (w->type != QCOW2_BITMAP_DIRTY_TRACKING ||
	    b->granularity_bits < QCOW2_BITMAP_GRANULARITY_BITS_MIN ||
	    b->granularity_bits > QCOW2_BITMAP_GRANULARITY_BITS_MAX ||
	    b->name[0] == '\0' || strlen(b->name) > QCOW2_BITMAP_NAME_MAX ||
	    (b->table_offset == 0 && b->table_size > 0))
		return refuse(b, err);
	rc = qcow2_check_table(&q->header, b->table_offset, b->table_size,
			       sizeof(uint64_t), QCOW2_BITMAP_TABLE_LEN_MAX,
			       "Bitmap table", err);
	return rc < 0 ? refuse(b, err) : 0;
}

/* What follows an entry: data that is not known, and the name. */
static int decode_rest(struct qcow2_bitmap *b,
		       const struct qcow2_wire_bitmap *w, const uint8_t *rest)
{
	b->extra_len = be32toh(w->extra_len);
	if (b->extra_len > 0) {
		b->extra = malloc(b->extra_len);
		if (b->extra == NULL)
			return -ENOMEM;
		memcpy(b->extra, rest, b->extra_len);
	}
	b->name = strndup((const char *)rest + b->extra_len,
			  be16toh(w->name_len));
	return b->name == NULL ? -ENOMEM : 0;
}

uint64_t qcow2_bitmap_n_bits(uint64_t size, unsigned granularity_bits)
{
	return (size + (1ULL << granularity_bits) - 1) >> granularity_bits;
}

/* An image may say that all its bitmaps are in one and the same cluster. */
static int take_room(struct qcow2 *q, uint64_t len, struct error *err)
{
	uint64_t file_len;
	int rc;

	q->bitmaps_loaded += len;
	if (q->bitmaps_loaded <= QCOW2_BITMAPS_LOADED_MAX)
		return 0;
	rc = image_file_size(q->file, &file_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not get the size");
	return q->bitmaps_loaded <= file_len
		       ? 0
		       : error_set(err, -EFBIG, "Bitmaps are too large");
}

/* What entry i of the table says. */
static int load_part(struct qcow2 *q, struct qcow2_bitmap *b, uint32_t i,
		     struct error *err)
{
	uint64_t offset = b->table[i] & QCOW2_OFFSET_MASK;
	bool is_all_set = offset == 0 && b->table[i] & QCOW2_BITMAP_ALL_SET;
	size_t len = bits_part_len(&b->bits, i);
	uint8_t *part;
	int rc;

	if (offset == 0 && !is_all_set)
		return 0;
	rc = take_room(q, len, err);
	if (rc < 0)
		return rc;
	part = bits_make_part(&b->bits, i);
	if (part == NULL)
		return -ENOMEM;
	if (is_all_set)
		memset(part, 0xff, len);
	else
		rc = image_file_read(q->file, offset, part, len);
	/* "These bits must be zero": those beyond the end of the disk. */
	if (i == b->table_size - 1 && b->bits.n % 8 != 0)
		part[len - 1] &= (uint8_t)((1U << b->bits.n % 8) - 1);
	return rc < 0 ? error_set_errno(err, rc, "Could not read bitmap") : 0;
}

bool qcow2_bitmap_is_entry(const struct qcow2 *q, uint64_t entry)
{
	return !(entry & QCOW2_BITMAP_RESERVED_MASK) &&
	       !(entry & QCOW2_OFFSET_MASK & (q->cluster_len - 1)) &&
	       !(entry & QCOW2_OFFSET_MASK && entry & QCOW2_BITMAP_ALL_SET);
}

int qcow2_bitmap_read_table(struct qcow2 *q, struct qcow2_bitmap *b,
			    struct error *err)
{
	_cleanup_free_ uint64_t *table = NULL;
	uint64_t len = b->table_size * sizeof(*table);
	int rc;

	if (b->table != NULL)
		return 0;
	rc = take_room(q, len, err);
	if (rc < 0)
		return rc;
	table = malloc(len + 1);
	if (table == NULL)
		return -ENOMEM;
	rc = image_file_read(q->file, b->table_offset, table, len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read bitmap table");
	for (uint32_t i = 0; i < b->table_size; i++) {
		table[i] = be64toh(table[i]);
		if (!qcow2_bitmap_is_entry(q, table[i]))
			return error_set(err, -EINVAL,
					 "Could not read bitmap_table table "
					 "from image for bitmap '%s': %s",
					 b->name, strerror(EINVAL));
	}
	b->table = steal_ptr(&table);
	return 0;
}

static int wrong_size(const struct qcow2_bitmap *b, struct error *err)
{
	return error_set(err, -EINVAL,
			 "Could not read bitmap '%s' from image: %s", b->name,
			 strerror(EINVAL));
}

int qcow2_bitmap_load(struct qcow2 *q, struct qcow2_bitmap *b,
		      struct error *err)
{
	uint64_t n = qcow2_bitmap_n_bits(q->header.size, b->granularity_bits);
	int rc;

	if (b->bits.parts != NULL)
		return 0;
	if (n > QCOW2_BITMAP_BITS_MAX)
		return error_set(err, -EFBIG, "Bitmaps are too large");
	rc = bits_init(&b->bits, n, q->cluster_len);
	if (rc == 0 && b->table_size != b->bits.n_parts)
		rc = wrong_size(b, err);
	if (rc == 0)
		rc = qcow2_bitmap_read_table(q, b, err);
	for (uint32_t i = 0; rc == 0 && i < b->table_size; i++)
		rc = load_part(q, b, i, err);
	if (rc < 0)
		bits_deinit(&b->bits);
	return rc;
}

/* Up to date, by this opener. */
static bool is_kept(const struct qcow2 *q, const struct qcow2_bitmap *b)
{
	return !q->is_read_only &&
	       (b->flags & (QCOW2_BITMAP_AUTO | QCOW2_BITMAP_IN_USE)) ==
		       QCOW2_BITMAP_AUTO;
}

/* Bits are read when they are wanted, but their table must be one that the
 * disk can have. One that is in use is worth nothing as it is. */
static int look_at(struct qcow2 *q, struct qcow2_bitmap *b, struct error *err)
{
	uint64_t n = qcow2_bitmap_n_bits(q->header.size, b->granularity_bits);
	uint64_t n_parts = qcow2_n_clusters(q, (n + 7) / 8);

	if (b->flags & QCOW2_BITMAP_IN_USE)
		return 0;
	if (b->table_size != n_parts)
		return wrong_size(b, err);
	/* A check writes nothing that they would have to know of. */
	if (is_kept(q, b) && !(q->image->flags & IMAGE_CHECK))
		return qcow2_bitmap_load(q, b, err);
	return qcow2_bitmap_read_table(q, b, err);
}

static int read_directory(struct qcow2 *q, const uint8_t *directory,
			  uint64_t len, struct error *err)
{
	for (uint64_t at = 0, end; at < len; at = end) {
		struct qcow2_bitmap *b;
		struct qcow2_wire_bitmap w;
		int rc;

		if (len - at < sizeof(w))
			return error_set(err, -EINVAL,
					 "Broken bitmap directory");
		if (q->n_bitmaps == q->header.n_bitmaps)
			return error_set(err, -EINVAL,
					 "More bitmaps found than specified in "
					 "header extension");
		memcpy(&w, directory + at, sizeof(w));
		end = at + sizeof(w) + be32toh(w.extra_len) +
		      be16toh(w.name_len);
		end = (end + 7) & ~7ULL;
		if (end > len)
			return error_set(err, -EINVAL,
					 "Broken bitmap directory");
		b = &q->bitmaps[q->n_bitmaps++];
		b->entry_offset = q->header.bitmap_directory_offset + at;
		rc = decode_rest(b, &w, directory + at + sizeof(w));
		if (rc == 0)
			rc = decode(q, b, &w, err);
		if (rc == 0)
			rc = look_at(q, b, err);
		if (rc < 0)
			return rc;
	}
	if (q->n_bitmaps < q->header.n_bitmaps)
		return error_set(err, -EINVAL,
				 "Less bitmaps found than specified in header "
				 "extension");
	return 0;
}

int qcow2_bitmaps_read(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	_cleanup_free_ uint8_t *directory = NULL;
	int rc;

	if (!h->has_bitmaps || !(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (h->n_bitmaps > QCOW2_BITMAPS_MAX)
		return error_set(err, -EINVAL, "Too many bitmaps");
	if (h->n_bitmaps == 0)
		return error_set(err, -EINVAL,
				 "found bitmaps extension with zero bitmaps");
	rc = qcow2_check_table(h, h->bitmap_directory_offset,
			       h->bitmap_directory_len, 1,
			       QCOW2_BITMAP_DIRECTORY_LEN_MAX,
			       "Bitmap directory", err);
	if (rc < 0)
		return rc;
	directory = malloc(h->bitmap_directory_len + 1);
	q->bitmaps = calloc(h->n_bitmaps + 1ULL, sizeof(*q->bitmaps));
	if (directory == NULL || q->bitmaps == NULL)
		return -ENOMEM;
	rc = image_file_read(q->file, h->bitmap_directory_offset, directory,
			     h->bitmap_directory_len);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read bitmap directory");
	return read_directory(q, directory, h->bitmap_directory_len, err);
}

void qcow2_bitmap_deinit(struct qcow2_bitmap *b)
{
	free(b->name);
	free(b->extra);
	bits_deinit(&b->bits);
	free(b->table);
}

void qcow2_bitmaps_deinit(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->n_bitmaps; i++)
		qcow2_bitmap_deinit(&q->bitmaps[i]);
	free(q->bitmaps);
	free(q->bitmap_infos);
	q->bitmap_infos = NULL;
	q->bitmaps = NULL;
	q->n_bitmaps = 0;
}

static int refuse_directory(struct error *err, int rc)
{
	return error_set_errno(err, rc, "Could not write bitmap directory");
}

int qcow2_bitmap_write_flags(struct qcow2 *q, const struct qcow2_bitmap *b,
			     uint32_t flags, struct error *err)
{
	uint64_t at =
		b->entry_offset + offsetof(struct qcow2_wire_bitmap, flags);
	uint32_t wire = htobe32(flags);
	int rc = qcow2_check_overlap(q, QCOW2_SECTION_BITMAP_DIRECTORY, at,
				     sizeof(wire), err);

	if (rc < 0)
		return rc;
	rc = image_file_write(q->file, at, &wire, sizeof(wire));
	return rc < 0 ? refuse_directory(err, rc) : 0;
}

/* The flags of all that are kept, and a barrier. */
int qcow2_bitmaps_mark(struct qcow2 *q, bool is_in_use, struct error *err)
{
	uint32_t flag = is_in_use ? QCOW2_BITMAP_IN_USE : 0;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < q->n_bitmaps; i++) {
		struct qcow2_bitmap *b = &q->bitmaps[i];

		if (is_kept(q, b))
			rc = qcow2_bitmap_write_flags(q, b, b->flags | flag,
						      err);
	}
	if (rc < 0)
		return rc;
	rc = qcow2_barrier(q);
	return rc < 0 ? refuse_directory(err, rc) : 0;
}

int qcow2_bitmaps_touch(struct qcow2 *q, uint64_t offset, uint64_t len,
			struct error *err)
{
	bool has_any = false;
	int rc = 0;

	for (uint32_t i = 0; i < q->n_bitmaps; i++)
		has_any |= is_kept(q, &q->bitmaps[i]);
	if (!has_any || len == 0)
		return 0;
	if (!q->are_bitmaps_in_use)
		rc = qcow2_bitmaps_mark(q, true, err);
	if (rc < 0)
		return rc;
	q->are_bitmaps_in_use = true;
	for (uint32_t i = 0; rc == 0 && i < q->n_bitmaps; i++) {
		struct qcow2_bitmap *b = &q->bitmaps[i];

		if (is_kept(q, b))
			rc = bits_set(&b->bits, offset >> b->granularity_bits,
				      (offset + len - 1) >>
					      b->granularity_bits);
	}
	return rc;
}

bool qcow2_bitmaps_know(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
	for (uint32_t i = 0; i < q->n_bitmaps; i++) {
		const struct qcow2_bitmap *b = &q->bitmaps[i];

		if (is_kept(q, b) &&
		    !bits_are_set(&b->bits, offset >> b->granularity_bits,
				  (offset + len - 1) >> b->granularity_bits))
			return false;
	}
	return true;
}

/* Into the cluster that there is, or a new one if it needs one. */
static int store_part(struct qcow2 *q, struct qcow2_bitmap *b, uint32_t i,
		      uint8_t *cluster, struct error *err)
{
	const uint8_t *part = bits_part(&b->bits, i);
	size_t len = bits_part_len(&b->bits, i);
	uint64_t offset = b->table[i] & QCOW2_OFFSET_MASK, n = 1;
	bool is_fresh;
	int rc = 0;

	if (offset == 0 && (part == NULL || is_zero(part, len))) {
		b->table[i] = 0;
		return 0;
	}
	if (offset == 0)
		rc = qcow2_alloc(q, &n, &offset, &is_fresh, err);
	if (rc == 0)
		rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE, offset,
					 q->cluster_len, err);
	if (rc < 0)
		return rc;
	memset(cluster, 0, q->cluster_len);
	if (part != NULL)
		memcpy(cluster, part, len);
	b->table[i] = offset;
	rc = image_file_write(q->file, offset, cluster, q->cluster_len);
	return rc < 0 ? error_set_errno(err, rc, "Could not write bitmap") : 0;
}

static int store(struct qcow2 *q, struct qcow2_bitmap *b, uint8_t *cluster,
		 struct error *err)
{
	uint64_t len = b->table_size * sizeof(*b->table);
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < b->table_size; i++)
		rc = store_part(q, b, i, cluster, err);
	if (rc == 0 && qcow2_barrier(q) < 0)
		rc = error_set_errno(err, q->flush_error, "Could not flush");
	if (rc == 0)
		rc = qcow2_check_overlap(q, QCOW2_SECTION_NONE, b->table_offset,
					 len, err);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < b->table_size; i++)
		b->table[i] = htobe64(b->table[i]);
	rc = image_file_write(q->file, b->table_offset, b->table, len);
	for (uint32_t i = 0; i < b->table_size; i++)
		b->table[i] = be64toh(b->table[i]);
	return rc < 0 ? error_set_errno(err, rc, "Could not write bitmap table")
		      : 0;
}

int qcow2_bitmaps_store(struct qcow2 *q, struct error *err)
{
	_cleanup_free_ uint8_t *cluster = NULL;
	int rc;

	if (!q->are_bitmaps_in_use)
		return 0;
	cluster = malloc(q->cluster_len);
	if (cluster == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < q->n_bitmaps; i++) {
		if (!is_kept(q, &q->bitmaps[i]) ||
		    q->bitmaps[i].bits.parts == NULL)
			continue;
		rc = store(q, &q->bitmaps[i], cluster, err);
		if (rc < 0)
			return rc;
	}
	if (qcow2_barrier(q) < 0)
		return error_set_errno(err, q->flush_error, "Could not flush");
	rc = qcow2_bitmaps_mark(q, false, err);
	q->are_bitmaps_in_use = rc < 0;
	return rc;
}
