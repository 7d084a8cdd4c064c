/* SPDX-License-Identifier: ISC */
/*
 * Bitmaps that are added, removed, cleared, switched, merged and read: what
 * is asked for and whether it may be; qcow2_bitmap_change.c does it.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2_bitmap.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static struct qcow2_bitmap *find(const struct qcow2 *q, const char *name)
{
	for (uint32_t i = 0; i < q->n_bitmaps; i++)
		if (strcmp(q->bitmaps[i].name, name) == 0)
			return &q->bitmaps[i];
	return NULL;
}

static int not_found(const char *name, struct error *err)
{
	error_set(err, -ENOENT, "Dirty bitmap '%s' not found", name);
	return -ENOENT;
}

/* One that can be used; NULL: an error is set. */
static struct qcow2_bitmap *find_good(const struct qcow2 *q, const char *name,
				      int *rc, struct error *err)
{
	struct qcow2_bitmap *b = find(q, name);

	*rc = 0;
	if (b == NULL) {
		*rc = not_found(name, err);
	} else if (b->flags & QCOW2_BITMAP_IN_USE) {
		*rc = error_set(err, -EINVAL,
				"Bitmap '%s' is inconsistent and cannot be "
				"used",
				name);
		b = NULL;
	}
	return b;
}

static int check_new(struct qcow2 *q, const char *name, uint64_t granularity,
		     struct error *err)
{
	if (granularity < 1ULL << QCOW2_BITMAP_GRANULARITY_BITS_MIN ||
	    granularity > 1ULL << QCOW2_BITMAP_GRANULARITY_BITS_MAX ||
	    (granularity & (granularity - 1)) != 0)
		return error_set(err, -EINVAL,
				 "Granularity must be power of 2 and at least "
				 "512");
	if (find(q, name) != NULL)
		return error_set(err, -EEXIST, "Bitmap already exists: %s",
				 name);
	if (q->header.size == 0)
		return error_set(err, -ENOTSUP,
				 "A disk of no size has no bitmaps");
	return 0;
}

static int add(struct qcow2 *q, const char *name, uint64_t granularity,
	       bool is_enabled, struct error *err)
{
	unsigned bits = (unsigned)__builtin_ctzll(granularity);
	uint64_t n = qcow2_bitmap_n_bits(q->header.size, bits);
	struct qcow2_bitmap b = {
		.flags = is_enabled ? QCOW2_BITMAP_AUTO : 0,
		.granularity_bits = bits,
		.are_new = true,
	};
	struct qcow2_bitmaps_change c;
	int rc = qcow2_bitmaps_change(q, &c, err);

	if (rc == 0 && strlen(name) > QCOW2_BITMAP_NAME_MAX)
		rc = error_set(err, -EINVAL,
			       "Name length exceeds maximum (1023 characters)");
	if (rc == 0 && n > QCOW2_BITMAP_BITS_MAX)
		rc = error_set(err, -EFBIG,
			       "Too much space will be occupied by the bitmap. "
			       "Use larger granularity");
	if (rc == 0) {
		b.name = strdup(name);
		rc = b.name == NULL ? -ENOMEM
				    : bits_init(&b.bits, n, q->cluster_len);
	}
	if (rc == 0) {
		c.bitmaps[c.n++] = b;
		rc = qcow2_bitmaps_commit(q, &c, err);
	}
	if (rc < 0)
		qcow2_bitmap_deinit(&b);
	qcow2_bitmaps_change_deinit(&c);
	return rc;
}

static int bitmap_add(struct image *image, const char *name,
		      uint64_t granularity, bool is_enabled, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	bool is_new;
	int rc;

	if (granularity == 0)
		granularity = q->cluster_len < 4096    ? 4096
			      : q->cluster_len > 65536 ? 65536
						       : q->cluster_len;
	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	if (rc == 0)
		rc = check_new(q, name, granularity, err);
	is_new = rc == 0;
	if (is_new)
		rc = add(q, name, granularity, is_enabled, err);
	qcow2_end_alone(q, &flight);
	if (rc < 0 && is_new)
		error_prefix(err, rc,
			     "Can't make bitmap '%s' persistent in '%s'", name,
			     image_node_name(image));
	return rc;
}

static int remove_one(struct qcow2 *q, struct qcow2_bitmap *b,
		      struct error *err)
{
	uint32_t i = (uint32_t)(b - q->bitmaps);
	struct qcow2_bitmap old;
	struct qcow2_bitmaps_change c;
	int rc = qcow2_bitmaps_change(q, &c, err);

	if (rc == 0)
		rc = qcow2_bitmap_read_table(q, b, err);
	if (rc == 0) {
		old = *b;
		c.n--;
		memmove(c.bitmaps + i, q->bitmaps + i + 1,
			(c.n - i) * sizeof(*c.bitmaps));
		rc = qcow2_bitmaps_commit(q, &c, err);
		if (rc == 0) {
			qcow2_bitmap_free_bits(q, old.table_offset, old.table,
					       old.table_size);
			qcow2_bitmap_deinit(&old);
		}
	}
	qcow2_bitmaps_change_deinit(&c);
	return rc;
}

static int bitmap_remove(struct image *image, const char *name,
			 struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	struct qcow2_bitmap *b;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	b = find(q, name);
	if (rc == 0 && b == NULL)
		rc = not_found(name, err);
	if (rc == 0)
		rc = remove_one(q, b, err);
	qcow2_end_alone(q, &flight);
	return rc;
}

/* b's bits become these, which are left empty. */
static int replace(struct qcow2 *q, struct qcow2_bitmap *b, struct bits *bits,
		   struct error *err)
{
	uint32_t i = (uint32_t)(b - q->bitmaps);
	struct bits old;
	struct qcow2_bitmaps_change c;
	int rc = qcow2_bitmaps_change(q, &c, err);

	if (rc == 0) {
		old = b->bits;
		c.bitmaps[i].bits = *bits;
		c.bitmaps[i].are_new = true;
		rc = qcow2_bitmaps_commit(q, &c, err);
	}
	if (rc == 0)
		*bits = old;
	bits_deinit(bits);
	qcow2_bitmaps_change_deinit(&c);
	return rc;
}

static int bitmap_clear(struct image *image, const char *name,
			struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	struct qcow2_bitmap *b;
	struct bits bits;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	b = rc == 0 ? find_good(q, name, &rc, err) : NULL;
	if (b != NULL)
		rc = qcow2_bitmap_load(q, b, err);
	if (b != NULL && rc == 0)
		rc = bits_init(&bits, b->bits.n, q->cluster_len);
	if (b != NULL && rc == 0)
		rc = replace(q, b, &bits, err);
	qcow2_end_alone(q, &flight);
	return rc;
}

static int enable(struct qcow2 *q, struct qcow2_bitmap *b, bool is_enabled,
		  struct error *err)
{
	uint32_t i = (uint32_t)(b - q->bitmaps);
	struct qcow2_bitmaps_change c;
	int rc = qcow2_bitmaps_change(q, &c, err);

	if (rc == 0) {
		c.bitmaps[i].flags &= ~(uint32_t)QCOW2_BITMAP_AUTO;
		if (is_enabled)
			c.bitmaps[i].flags |= QCOW2_BITMAP_AUTO;
		rc = qcow2_bitmaps_commit(q, &c, err);
	}
	qcow2_bitmaps_change_deinit(&c);
	return rc;
}

static int bitmap_enable(struct image *image, const char *name, bool is_enabled,
			 struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	struct qcow2_bitmap *b;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	b = rc == 0 ? find_good(q, name, &rc, err) : NULL;
	/* From now on it is told of writes. */
	if (b != NULL)
		rc = qcow2_bitmap_load(q, b, err);
	if (b != NULL && rc == 0 &&
	    is_enabled != !!(b->flags & QCOW2_BITMAP_AUTO))
		rc = enable(q, b, is_enabled, err);
	qcow2_end_alone(q, &flight);
	return rc;
}

/* The source's bitmap as what is set in one of granularity_bits. */
static int read_source(struct image *source, const char *from, uint64_t size,
		       unsigned granularity_bits, struct bits *bits,
		       struct error *err)
{
	uint64_t len;
	bool is_set;
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < size; at += len) {
		rc = source->format->bitmaps->get(source, from, at, &is_set,
						  &len, err);
		if (rc == 0 && is_set)
			rc = bits_set(bits, at >> granularity_bits,
				      (at + len - 1) >> granularity_bits);
		if (rc < 0)
			break;
	}
	return rc;
}

static int check_sizes(const struct image *to, const struct image *from,
		       struct error *err)
{
	if (to->size == from->size)
		return 0;
	return error_set(err, -EINVAL,
			 "Bitmaps are of different sizes (destination size is "
			 "%llu, source size is %llu) and can't be merged",
			 (unsigned long long)to->size,
			 (unsigned long long)from->size);
}

/* The source may be the image itself: it is read before the lock is taken. */
static int bitmap_merge(struct image *image, const char *name,
			struct image *source, const char *from,
			struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_flight flight;
	struct qcow2_bitmap *b;
	struct bits bits = { .n = 0 };
	unsigned granularity_bits = 0;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	b = rc == 0 ? find_good(q, name, &rc, err) : NULL;
	if (b != NULL)
		rc = qcow2_bitmap_load(q, b, err);
	if (b != NULL && rc == 0)
		rc = check_sizes(image, source, err);
	if (b != NULL && rc == 0) {
		granularity_bits = b->granularity_bits;
		rc = bits_init(&bits, b->bits.n, q->cluster_len);
	}
	qcow2_end_alone(q, &flight);
	if (b == NULL || rc < 0)
		return rc;
	rc = read_source(source, from, image->size, granularity_bits, &bits,
			 err);
	qcow2_begin_alone(q, &flight);
	b = rc == 0 ? find_good(q, name, &rc, err) : NULL;
	if (b != NULL && b->bits.n == bits.n) {
		rc = bits_add(&bits, &b->bits);
		if (rc == 0)
			rc = replace(q, b, &bits, err);
	}
	qcow2_end_alone(q, &flight);
	bits_deinit(&bits);
	return rc;
}

/* The run of equal bits at offset, in bytes of the disk. */
static uint64_t run_at(const struct qcow2_bitmap *b, uint64_t offset,
		       uint64_t size, bool *is_set)
{
	uint64_t i = offset >> b->granularity_bits;
	uint64_t end = (i + bits_run(&b->bits, i, is_set))
		       << b->granularity_bits;

	return (end < size ? end : size) - offset;
}

static int bitmap_get(struct image *image, const char *name, uint64_t offset,
		      bool *is_set, uint64_t *len, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_bitmap *b;
	int rc;

	pthread_mutex_lock(&q->lock);
	b = find_good(q, name, &rc, err);
	if (b != NULL)
		rc = qcow2_bitmap_load(q, b, err);
	if (b != NULL && rc == 0)
		*len = run_at(b, offset, q->header.size, is_set);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static bool are_possible(const struct image *image)
{
	const struct qcow2 *q = image->state;

	return q->header.version >= 3;
}

const struct image_bitmap_ops qcow2_bitmap_ops = {
	.are_possible = are_possible,
	.add = bitmap_add,
	.remove = bitmap_remove,
	.clear = bitmap_clear,
	.enable = bitmap_enable,
	.merge = bitmap_merge,
	.get = bitmap_get,
};
