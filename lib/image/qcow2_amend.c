/* SPDX-License-Identifier: ISC */
/*
 * Options of an image that is there already (sections "Header" and "Header
 * extensions"). All of them are read and checked, then changed one after the
 * other in an order in which each is allowed: up to version 3 before what
 * version 2 has not, down to version 2 last. Messages are QEMU's.
 *
 * What goes into the header alone is one write of it.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_page.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

const struct image_option_spec qcow2_amend_specs[] = {
	{ "compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])",
	  NULL },
	{ "backing_file", "str", "File name of a base image", NULL },
	{ "backing_fmt", "str", "Image format of the base image", NULL },
	{ "data_file", "str", "File name of an external data file", NULL },
	{ "data_file_raw", "bool (on/off)",
	  "The external data file must stay valid as a raw image", NULL },
	{ "encrypt.iter-time", "num", "Time to spend in PBKDF in milliseconds",
	  NULL },
	{ "encrypt.keyslot", "num",
	  "Select a single keyslot to modify explicitly", NULL },
	{ "encrypt.new-secret", "str",
	  "New secret to set in the matching keyslots. Empty string to erase",
	  NULL },
	{ "encrypt.old-secret", "str",
	  "Select all keyslots that match this password", NULL },
	{ "encrypt.state", "str",
	  "Select new state of affected keyslots (active/inactive)", NULL },
	{ "lazy_refcounts", "bool (on/off)", "Postpone refcount updates",
	  NULL },
	{ "refcount_bits", "num", "Width of a reference count entry in bits",
	  NULL },
	{ "size", "size", "Virtual disk size", NULL },
	{ NULL, NULL, NULL, NULL },
};

struct wish {
	uint32_t version, refcount_order;
	bool has_size, wants_lazy, is_backing_changed;
	uint64_t size;
	/* Of an image that has one: another name, "" for none; NULL: as it is.
	 */
	const char *data_file;
	bool is_data_raw;
	const struct image_progress *progress;
};

static int take_version(struct wish *w, const char *text, struct error *err)
{
	if (text == NULL)
		return 0;
	if (strcmp(text, "0.10") == 0 || strcmp(text, "v2") == 0)
		w->version = 2;
	else if (strcmp(text, "1.1") == 0 || strcmp(text, "v3") == 0)
		w->version = 3;
	else
		return error_set(err, -EINVAL, "Unknown compatibility level %s",
				 text);
	return 0;
}

static int take_width(struct wish *w, const struct image_create_options *o,
		      struct error *err)
{
	uint64_t bits = 1ULL << w->refcount_order;
	int rc = image_option_number(o, "refcount_bits", &bits, err);

	if (rc < 0)
		return rc;
	if (bits == 0 || bits > 64 || (bits & (bits - 1)) != 0)
		return error_set(err, -EINVAL,
				 "Refcount width must be a power of two and "
				 "may not exceed 64 bits");
	w->refcount_order = (uint32_t)__builtin_ctzll(bits);
	return 0;
}

static bool is_other(const char *wanted, const char *now)
{
	return wanted != NULL && (now == NULL || strcmp(wanted, now) != 0);
}

/* Of the two, what is not said is to go. */
static bool is_backing_changed(const struct image *image, const char *name,
			       const char *format)
{
	if (name == NULL && format == NULL)
		return false;
	return is_other(name, image->backing_name) ||
	       is_other(format, image->backing_format) ||
	       (name == NULL && image->backing_name != NULL) ||
	       (format == NULL && image->backing_format != NULL);
}

static bool has_prefix(const struct image_create_options *o, const char *prefix)
{
	for (unsigned i = 0; i < o->n_options; i++)
		if (strncmp(o->options[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

static int take_data_file(const struct qcow2 *q, struct wish *w,
			  const struct image_create_options *o,
			  struct error *err)
{
	bool is_raw = q->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW;
	int rc;

	w->is_data_raw = is_raw;
	w->data_file = image_option_find(o, "data_file");
	rc = image_option_bool(o, "data_file_raw", &w->is_data_raw, err);
	if (rc == 0 && w->data_file != NULL &&
	    !(q->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE))
		rc = error_set(err, -EINVAL,
			       "data-file can only be set for images that use "
			       "an external data file");
	if (rc == 0 && w->is_data_raw && !is_raw)
		rc = error_set(err, -EINVAL,
			       "data-file-raw cannot be set on existing "
			       "images");
	return rc;
}

/* What goes wrong later on the way in QEMU is known here as well. */
static int check_wish(const struct qcow2 *q, const struct wish *w,
		      struct error *err)
{
	if (w->refcount_order != q->header.refcount_order &&
	    w->refcount_order != QCOW2_REFCOUNT_ORDER_V2 && w->version < 3)
		return error_set(err, -EINVAL,
				 "Refcount widths other than 16 bits require "
				 "compatibility level 1.1 or above (use "
				 "compat=1.1 or greater)");
	if (w->is_backing_changed)
		return error_set(err, -EINVAL, "Cannot amend the backing file");
	if (w->wants_lazy && w->version < 3)
		return error_set(err, -EINVAL,
				 "Lazy refcounts only supported with "
				 "compatibility level 1.1 and above (use "
				 "compat=1.1 or greater)");
	if (w->has_size && w->size % IMAGE_SECTOR != 0)
		return error_set(err, -EINVAL,
				 "The new size must be a multiple of 512");
	return 0;
}

static int check_encryption(const struct qcow2 *q, struct error *err)
{
	if (q->header.crypt_method == QCOW2_CRYPT_NONE)
		return error_set(err, -EINVAL,
				 "Can't amend encryption options - encryption "
				 "not present");
	if (q->header.crypt_method != QCOW2_CRYPT_LUKS)
		return error_set(err, -ENOTSUP,
				 "Only LUKS encryption options can be amended "
				 "for qcow2 with this method");
	return 0;
}

static int take_wish(struct qcow2 *q, const struct image_create_options *o,
		     struct wish *w, struct error *err)
{
	const struct image *image = q->image;
	bool is_lazy = q->header.compatible & QCOW2_COMPATIBLE_LAZY_REFCOUNTS;
	int rc;

	*w = (struct wish){
		.version = q->header.version,
		.refcount_order = q->header.refcount_order,
		.wants_lazy = is_lazy,
	};
	rc = image_options_check(o, qcow2_amend_specs, err);
	if (rc == 0)
		rc = take_version(w, image_option_find(o, "compat"), err);
	if (rc == 0)
		rc = image_option_number(o, "size", &w->size, err);
	/* As in QEMU, 0 is no size. */
	w->has_size = w->size != 0;
	if (rc == 0 && has_prefix(o, "encrypt."))
		rc = check_encryption(q, err);
	/* Going down takes it away, if it is not asked for. */
	if (rc == 0 && w->version < 3)
		w->wants_lazy = false;
	if (rc == 0)
		rc = image_option_bool(o, "lazy_refcounts", &w->wants_lazy,
				       err);
	if (rc == 0)
		rc = take_width(w, o, err);
	if (rc == 0)
		rc = take_data_file(q, w, o, err);
	w->is_backing_changed =
		is_backing_changed(image, image_option_find(o, "backing_file"),
				   image_option_find(o, "backing_fmt"));
	return rc == 0 ? check_wish(q, w, err) : rc;
}

/* The header's first cluster as it is, but for the version, what version 3
 * alone has, and the names of features. */
static int put_together(const struct qcow2 *q, uint32_t version,
			uint64_t compatible, const uint8_t *data,
			struct qcow2_page *page, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	const char *format = h->backing_format;
	struct qcow2_wire_header w = { 0 };
	size_t fixed_len = h->version < version ? sizeof(w) : h->header_len;
	const struct qcow2_old_page old = {
		.data = data,
		.at = h->header_len,
		.end = h->backing_name_offset != 0 ? h->backing_name_offset
						   : page->len,
	};
	int rc;

	memcpy(&w, data, h->header_len < sizeof(w) ? h->header_len : sizeof(w));
	w.version = htobe32(version);
	w.compatible_features = htobe64(compatible);
	w.refcount_order = htobe32(h->refcount_order);
	if (version < 3)
		fixed_len = QCOW2_HEADER_V2_LEN;
	w.header_len = htobe32((uint32_t)fixed_len);
	/* What is longer than what is known here stays. */
	rc = qcow2_page_add(page, data, fixed_len, err);
	if (rc < 0)
		return rc;
	memcpy(page->data, &w, fixed_len < sizeof(w) ? fixed_len : sizeof(w));
	if (format != NULL)
		rc = qcow2_page_add_extension(page,
					      QCOW2_EXTENSION_BACKING_FORMAT,
					      format, strlen(format), err);
	if (rc == 0 && h->data_file != NULL)
		rc = qcow2_page_add_extension(page, QCOW2_EXTENSION_DATA_FILE,
					      h->data_file,
					      strlen(h->data_file), err);
	if (rc == 0)
		rc = qcow2_page_copy_extension(page, &old,
					       QCOW2_EXTENSION_ENCRYPTION, err);
	if (rc == 0 && version >= 3)
		rc = qcow2_page_add_feature_names(page, err);
	if (rc == 0)
		rc = qcow2_page_copy_extension(page, &old,
					       QCOW2_EXTENSION_BITMAPS, err);
	if (rc == 0)
		rc = qcow2_page_copy_unknown(page, &old, err);
	if (rc < 0 || h->backing_name_offset == 0)
		return rc;
	w.backing_name_offset = htobe64(page->at);
	memcpy(page->data, &w, fixed_len < sizeof(w) ? fixed_len : sizeof(w));
	return qcow2_page_add(page, data + h->backing_name_offset,
			      h->backing_name_len, err);
}

static int barrier(struct qcow2 *q, struct error *err)
{
	int rc = qcow2_barrier(q);

	return rc < 0 ? error_set_errno(err, rc, "Could not flush") : 0;
}

/* Up to where either of the two ends. */
static int write_page(struct qcow2 *q, const uint8_t *old,
		      const struct qcow2_page *page, struct error *err)
{
	size_t end = page->len;
	int rc = barrier(q, err);

	while (end > page->at && old[end - 1] == 0)
		end--;
	if (rc < 0)
		return rc;
	rc = qcow2_write_header(q, 0, old, page->data, end);
	return rc < 0 ? error_set_errno(err, rc, "Could not write header") : 0;
}

static int rewrite(struct qcow2 *q, uint32_t version, uint64_t compatible,
		   struct error *err)
{
	struct qcow2_header *h = &q->header;
	_cleanup_free_ uint8_t *old = calloc(1, q->cluster_len);
	_cleanup_free_ uint8_t *new = calloc(1, q->cluster_len);
	struct qcow2_page page = { .data = new, .len = q->cluster_len };
	int rc;

	if (old == NULL || new == NULL)
		return -ENOMEM;
	rc = image_file_read(q->file, 0, old, q->cluster_len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read header");
	rc = put_together(q, version, compatible, old, &page, err);
	if (rc == 0)
		rc = write_page(q, old, &page, err);
	if (rc < 0)
		return rc;
	h->header_len =
		version < 3 ? QCOW2_HEADER_V2_LEN
			    : be32toh(((struct qcow2_wire_header *)page.data)
					      ->header_len);
	h->version = version;
	h->compatible = compatible;
	if (h->backing_name_offset != 0)
		h->backing_name_offset = page.at - h->backing_name_len;
	return barrier(q, err);
}

/* Snapshots of version 3 say how large the disk is; one more field does no
 * harm to version 2. */
static int go_up(struct qcow2 *q, struct error *err)
{
	int rc = 0;

	if (q->header.n_snapshots > 0)
		rc = qcow2_snapshots_rewrite(q, err);
	return rc == 0 ? rewrite(q, 3, 0, err) : rc;
}

/* All of them, before anything changes. */
static int check_snapshots(struct qcow2 *q, struct error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < q->header.n_snapshots; i++)
		rc = qcow2_snapshot_check_l1(q, &q->snapshots[i], err);
	return rc;
}

static int go_down(struct qcow2 *q, const struct image_progress *progress,
		   struct error *err)
{
	bool has_compressed = false;
	int rc = check_snapshots(q, err);

	if (rc == 0 && q->header.n_snapshots > 0)
		rc = qcow2_verify_few(q, err);
	if (rc < 0)
		return rc;
	rc = qcow2_expand_zeroes(q, progress, &has_compressed, err);
	if (rc < 0 && (!q->is_corrupt || q->image->found != NULL))
		error_set_errno(err, rc,
				"Failed to turn zero into data clusters");
	if (rc == 0 && has_compressed &&
	    q->header.compression_type != QCOW2_COMPRESSION_ZLIB)
		rc = error_set(err, -ENOTSUP,
			       "Cannot downgrade an image with zstd "
			       "compression type and existing compressed "
			       "clusters");
	if (rc == 0 && q->header.incompatible != 0)
		rc = qcow2_set_incompatible(q, 0, QCOW2_INCOMPATIBLE_DIRTY);
	if (rc == 0)
		rc = rewrite(q, 2, 0, err);
	if (rc == 0) {
		q->header.incompatible = 0;
		q->header.compression_type = QCOW2_COMPRESSION_ZLIB;
	}
	return rc;
}

static int amend_data_file(struct qcow2 *q, const struct wish *w,
			   struct error *err)
{
	struct qcow2_header *h = &q->header;
	char *old = h->data_file;
	int rc = 0;

	if (!w->is_data_raw && (h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW)) {
		rc = qcow2_set_autoclear(
			q, h->autoclear &
				   ~(uint64_t)QCOW2_AUTOCLEAR_DATA_FILE_RAW);
		if (rc == 0)
			rc = qcow2_barrier(q);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not write header");
		q->is_data_raw = false;
	}
	if (w->data_file == NULL)
		return 0;
	h->data_file = *w->data_file != '\0' ? strdup(w->data_file) : NULL;
	if (h->data_file == NULL && *w->data_file != '\0')
		rc = -ENOMEM;
	if (rc == 0)
		rc = rewrite(q, h->version, h->compatible, err);
	if (rc < 0) {
		free(h->data_file);
		h->data_file = old;
		return rc;
	}
	free(old);
	return 0;
}

static int amend_header(struct qcow2 *q, const struct wish *w,
			struct error *err)
{
	uint64_t compatible = q->header.compatible;
	int rc = 0;

	if (w->version > q->header.version)
		rc = go_up(q, err);
	if (rc == 0 && w->refcount_order != q->header.refcount_order)
		rc = qcow2_amend_refcounts(q, w->refcount_order, err);
	compatible &= ~(uint64_t)QCOW2_COMPATIBLE_LAZY_REFCOUNTS;
	if (w->wants_lazy)
		compatible |= QCOW2_COMPATIBLE_LAZY_REFCOUNTS;
	if (rc == 0 && w->version >= 3 && compatible != q->header.compatible)
		rc = rewrite(q, q->header.version, compatible, err);
	return rc == 0 ? amend_data_file(q, w, err) : rc;
}

/* Alone at work: flights are over, and nobody makes a table. */
static int alone(struct qcow2 *q, const struct wish *w,
		 int (*work)(struct qcow2 *q, const struct wish *w,
			     struct error *err),
		 struct error *err)
{
	struct qcow2_flight flight;
	int rc;

	qcow2_begin_alone(q, &flight);
	rc = qcow2_check_writable(q, err);
	if (rc == 0)
		rc = work(q, w, err);
	qcow2_end_alone(q, &flight);
	return rc;
}

/* Who asks for another size as well has that before snapshots are looked at, as
 * in QEMU. */
static int finish(struct qcow2 *q, const struct wish *w, struct error *err)
{
	int rc;

	if (w->version >= q->header.version)
		return 0;
	rc = qcow2_check_down_snapshots(q, err);
	return rc == 0 ? go_down(q, w->progress, err) : rc;
}

int qcow2_amend(struct image *image, const struct image_amend_options *options,
		struct error *err)
{
	const struct image_resize_options resize = { .may_shrink = true };
	const struct image_create_options o = {
		.options = options->options,
		.n_options = options->n_options,
	};
	struct qcow2 *q = image->state;
	struct wish wish;
	int rc = take_wish(q, &o, &wish, err);

	wish.progress = &options->progress;
	if (rc == 0 && wish.version < q->header.version)
		rc = qcow2_check_down(q, wish.refcount_order, !wish.has_size,
				      err);
	/* Its header is nobody else's. */
	if (rc == 0 && has_prefix(&o, "encrypt."))
		rc = qcow2_crypt_amend(q, options, err);
	if (rc == 0)
		rc = alone(q, &wish, amend_header, err);
	if (rc == 0 && wish.has_size)
		rc = qcow2_resize(image, wish.size, &resize, err);
	return rc == 0 ? alone(q, &wish, finish, err) : rc;
}
