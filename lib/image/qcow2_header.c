/* SPDX-License-Identifier: ISC */
/*
 * The header: read once, checked once, and then kept in this machine's order.
 * Changes are written field by field, never the whole, so that what this
 * engine does not know stays as it is; each change is one write, which either
 * happened or did not.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_shadow.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static void decode(struct qcow2_header *h, const struct qcow2_wire_header *w)
{
	h->version = be32toh(w->version);
	h->backing_name_offset = be64toh(w->backing_name_offset);
	h->backing_name_len = be32toh(w->backing_name_len);
	h->cluster_bits = be32toh(w->cluster_bits);
	h->size = be64toh(w->size);
	h->crypt_method = be32toh(w->crypt_method);
	h->l1_size = be32toh(w->l1_size);
	h->l1_offset = be64toh(w->l1_offset);
	h->refcount_table_offset = be64toh(w->refcount_table_offset);
	h->refcount_table_clusters = be32toh(w->refcount_table_clusters);
	h->n_snapshots = be32toh(w->n_snapshots);
	h->snapshots_offset = be64toh(w->snapshots_offset);
	h->refcount_order = QCOW2_REFCOUNT_ORDER_V2;
	h->header_len = QCOW2_HEADER_V2_LEN;
	if (h->version < 3)
		return;
	h->incompatible = be64toh(w->incompatible_features);
	h->compatible = be64toh(w->compatible_features);
	h->autoclear = be64toh(w->autoclear_features);
	h->refcount_order = be32toh(w->refcount_order);
	h->header_len = be32toh(w->header_len);
	if (h->header_len >
	    offsetof(struct qcow2_wire_header, compression_type))
		h->compression_type = w->compression_type;
}

static int check_fields(const struct qcow2_header *h, struct error *err)
{
	if (h->version < 2 || h->version > 3)
		return error_set(err, -ENOTSUP, "Unsupported qcow2 version %u",
				 h->version);
	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
	    h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return error_set(err, -EINVAL, "Unsupported cluster size: 2^%u",
				 h->cluster_bits);
	if (h->version >= 3 && h->header_len < QCOW2_HEADER_V3_LEN)
		return error_set(err, -EINVAL, "qcow2 header too short");
	if (h->header_len > 1U << h->cluster_bits)
		return error_set(err, -EINVAL,
				 "qcow2 header exceeds cluster size");
	if (h->header_len % 8 != 0)
		return error_set(err, -EINVAL,
				 "qcow2 header length %u is not a multiple "
				 "of 8",
				 h->header_len);
	if (h->backing_name_offset > (1U << h->cluster_bits) ||
	    (h->backing_name_offset != 0 &&
	     h->backing_name_offset < h->header_len))
		return error_set(err, -EINVAL, "Invalid backing file offset");
	if (h->refcount_order > QCOW2_REFCOUNT_ORDER_MAX)
		return error_set(err, -EINVAL,
				 "Reference count entry width too large; may "
				 "not exceed 64 bits");
	return 0;
}

int qcow2_check_table(const struct qcow2_header *header, uint64_t offset,
		      uint64_t n_entries, uint64_t entry_len, uint64_t max_len,
		      const char *what, struct error *err)
{
	uint64_t cluster_len = 1ULL << header->cluster_bits;
	uint64_t len;

	if (n_entries > max_len / entry_len)
		return error_set(err, -EFBIG, "%s too large", what);
	len = n_entries * entry_len;
	/* QEMU takes offsets for signed. */
	if (offset > INT64_MAX - len || offset % cluster_len != 0)
		return error_set(err, -EINVAL, "%s offset invalid", what);
	return 0;
}

/* is_check: an image without refcounts is opened, for they can be made, or
 * with too many snapshots. */
static int check_tables(const struct qcow2_header *h, bool is_check,
			struct error *err)
{
	bool is_extended = h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;
	uint64_t l2_reach = 1ULL
			    << (2 * h->cluster_bits - (is_extended ? 4 : 3));
	uint32_t n_snapshots;
	uint64_t needed;
	int rc;

	if ((h->refcount_table_clusters == 0 ||
	     h->refcount_table_offset == 0) &&
	    !is_check)
		return error_set(err, -EINVAL,
				 "Image does not contain a reference count "
				 "table");
	rc = qcow2_check_table(h, h->refcount_table_offset,
			       h->refcount_table_clusters,
			       1ULL << h->cluster_bits,
			       QCOW2_REFCOUNT_TABLE_LEN_MAX,
			       "Reference count table", err);
	if (rc < 0)
		return rc;
	if (h->n_snapshots > QCOW2_SNAPSHOTS_MAX && !is_check)
		return error_set(err, -EFBIG, "Snapshot table too large");
	n_snapshots = h->n_snapshots < QCOW2_SNAPSHOTS_MAX
			      ? h->n_snapshots
			      : QCOW2_SNAPSHOTS_MAX;
	rc = qcow2_check_table(h, h->snapshots_offset, n_snapshots,
			       sizeof(struct qcow2_wire_snapshot),
			       QCOW2_SNAPSHOT_TABLE_LEN_MAX, "Snapshot table",
			       err);
	if (rc < 0)
		return rc;
	rc = qcow2_check_table(h, h->l1_offset, h->l1_size, sizeof(uint64_t),
			       QCOW2_L1_LEN_MAX, "Active L1 table", err);
	if (rc < 0)
		return rc;
	if (h->size > INT64_MAX)
		return error_set(err, -EFBIG, "Image is too big");
	needed = h->size / l2_reach + (h->size % l2_reach != 0);
	if (needed > INT32_MAX)
		return error_set(err, -EFBIG, "Image is too big");
	if (needed > h->l1_size)
		return error_set(err, -EINVAL, "L1 table is too small");
	if (h->l1_size > 0 && h->l1_offset == 0)
		return error_set(err, -EINVAL,
				 "Active L1 table offset invalid");
	return 0;
}

/* A string of an extension: no terminator, and none wanted inside. */
static int take_string(char **string, const uint8_t *data, uint32_t len,
		       const char *what, struct error *err)
{
	if (len > QCOW2_BACKING_NAME_MAX)
		return error_set(err, -EINVAL,
				 "ERROR: %s: len=%u too large (>=%u)", what,
				 len, QCOW2_BACKING_NAME_MAX + 1U);
	free(*string);
	*string = strndup((const char *)data, len);
	return *string == NULL ? -ENOMEM : 0;
}

static int take_features(struct qcow2_header *h, const uint8_t *data,
			 uint32_t len)
{
	free(h->features);
	/* The last one need not be whole. */
	h->n_features = (len + (uint32_t)sizeof(*h->features) - 1) /
			(uint32_t)sizeof(*h->features);
	h->features = calloc(h->n_features + 1, sizeof(*h->features));
	if (h->features == NULL)
		return -ENOMEM;
	memcpy(h->features, data, len);
	return 0;
}

static int take_bitmaps(struct qcow2_header *h, const uint8_t *data,
			uint32_t len, struct error *err)
{
	struct qcow2_wire_bitmaps w;

	if (len != sizeof(w))
		return error_set(err, -EINVAL,
				 "bitmaps_ext: Invalid extension length");
	memcpy(&w, data, sizeof(w));
	h->has_bitmaps = true;
	h->n_bitmaps = be32toh(w.n_bitmaps);
	h->bitmap_directory_len = be64toh(w.directory_len);
	h->bitmap_directory_offset = be64toh(w.directory_offset);
	return 0;
}

static int take_encryption(struct qcow2_header *h, const uint8_t *data,
			   uint32_t len, struct error *err)
{
	struct qcow2_wire_encryption w;

	if (len != sizeof(w))
		return error_set(err, -EINVAL,
				 "CRYPTO header extension size %u, but "
				 "expected size %zu",
				 len, sizeof(w));
	memcpy(&w, data, sizeof(w));
	h->crypt_offset = be64toh(w.offset);
	h->crypt_len = be64toh(w.len);
	return 0;
}

static int take_extension(struct qcow2_header *h, uint32_t type,
			  const uint8_t *data, uint32_t len, struct error *err)
{
	switch (type) {
	case QCOW2_EXTENSION_BACKING_FORMAT:
		return take_string(&h->backing_format, data, len,
				   "ext_backing_format", err);
	case QCOW2_EXTENSION_DATA_FILE:
		return take_string(&h->data_file, data, len, "data-file", err);
	case QCOW2_EXTENSION_FEATURE_NAMES:
		return take_features(h, data, len);
	case QCOW2_EXTENSION_BITMAPS:
		return take_bitmaps(h, data, len, err);
	case QCOW2_EXTENSION_ENCRYPTION:
		return take_encryption(h, data, len, err);
	default:
		return 0; /* "can be safely ignored" */
	}
}

/* area: the bytes from the header's end to the backing name or the cluster's
 * end (section "Header extensions"). */
static int read_extensions(struct qcow2_header *h, const uint8_t *area,
			   size_t len, struct error *err)
{
	struct qcow2_wire_extension w;
	size_t at = 0;

	while (len - at >= sizeof(w)) {
		uint32_t type, n;
		int rc;

		memcpy(&w, area + at, sizeof(w));
		type = be32toh(w.type);
		n = be32toh(w.len);
		at += sizeof(w);
		/* Of the end too: then that hardly is one. */
		if (n > len - at)
			return error_set(err, -EINVAL,
					 "Header extension too large");
		if (type == QCOW2_EXTENSION_END)
			break;
		rc = take_extension(h, type, area + at, n, err);
		if (rc < 0)
			return rc;
		at += ((size_t)n + 7) & ~(size_t)7;
		if (at > len)
			break;
	}
	return 0;
}

static int read_backing_name(const struct qcow2_header *h,
			     const uint8_t *cluster, struct image *image,
			     struct error *err)
{
	uint64_t room = (1ULL << h->cluster_bits) - h->backing_name_offset;

	if (h->backing_name_offset == 0)
		return 0;
	if (h->backing_name_len > QCOW2_BACKING_NAME_MAX ||
	    h->backing_name_len > room)
		return error_set(err, -EINVAL, "Backing file name too long");
	image->backing_name =
		strndup((const char *)cluster + h->backing_name_offset,
			h->backing_name_len);
	if (image->backing_name == NULL)
		return -ENOMEM;
	if (h->backing_format == NULL)
		return 0;
	image->backing_format = strdup(h->backing_format);
	return image->backing_format == NULL ? -ENOMEM : 0;
}

/* What stands behind the fixed fields, in the first cluster. */
static int read_rest(struct qcow2_header *h, struct image *image,
		     struct error *err)
{
	uint64_t end = h->backing_name_offset;
	_cleanup_free_ uint8_t *cluster = NULL;
	size_t len = (size_t)1 << h->cluster_bits;
	int rc;

	cluster = calloc(1, len);
	if (cluster == NULL)
		return -ENOMEM;
	rc = image_file_read(image->file, 0, cluster, len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read qcow2 header");
	if (end == 0)
		end = len;
	rc = read_extensions(h, cluster + h->header_len, end - h->header_len,
			     err);
	if (rc < 0)
		return rc;
	return read_backing_name(h, cluster, image, err);
}

int qcow2_header_read(struct qcow2_header *header, struct image *image,
		      struct error *err)
{
	struct qcow2_wire_header wire = { 0 };
	int rc;

	rc = image_file_read(image->file, 0, &wire, sizeof(wire));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read qcow2 header");
	if (be32toh(wire.magic) != QCOW2_MAGIC)
		return error_set(err, -EINVAL, "Image is not in qcow2 format");
	decode(header, &wire);
	rc = check_fields(header, err);
	if (rc == 0)
		rc = read_rest(header, image, err);
	if (rc == 0)
		rc = qcow2_check_features(header, image, err);
	if (rc == 0)
		rc = check_tables(header, image->flags & IMAGE_CHECK, err);
	return rc;
}

void qcow2_header_deinit(struct qcow2_header *header)
{
	free(header->backing_format);
	free(header->data_file);
	free(header->features);
	header->backing_format = NULL;
	header->data_file = NULL;
	header->features = NULL;
}

int qcow2_write_header(struct qcow2 *q, uint64_t at, const void *old,
		       const void *new, size_t len)
{
	int rc = image_file_write(q->file, at, new, len);

	if (rc < 0 && image_file_write(q->file, at, old, len) < 0)
		q->is_header_unsure = true;
	return rc;
}

static int write_field(struct qcow2 *q, size_t at, const void *data, size_t len)
{
	uint8_t old[sizeof(struct qcow2_wire_header)];
	int rc = image_file_read(q->file, at, old, len);

	return rc < 0 ? rc : qcow2_write_header(q, at, old, data, len);
}

int qcow2_set_incompatible(struct qcow2 *q, uint64_t set, uint64_t clear)
{
	uint64_t value = (q->header.incompatible | set) & ~clear;
	uint64_t wire = htobe64(value);
	int rc;

	if (q->header.version < 3)
		return 0; /* has no place for it */
	rc = write_field(
		q, offsetof(struct qcow2_wire_header, incompatible_features),
		&wire, sizeof(wire));
	if (rc == 0)
		q->header.incompatible = value;
	return rc;
}

int qcow2_set_autoclear(struct qcow2 *q, uint64_t value)
{
	uint64_t wire = htobe64(value);
	int rc;

	rc = write_field(q,
			 offsetof(struct qcow2_wire_header, autoclear_features),
			 &wire, sizeof(wire));
	if (rc == 0)
		q->header.autoclear = value;
	return rc;
}

int qcow2_set_n_snapshots(struct qcow2 *q)
{
	uint32_t wire = htobe32(q->header.n_snapshots);

	return write_field(q, offsetof(struct qcow2_wire_header, n_snapshots),
			   &wire, sizeof(wire));
}

int qcow2_set_refcount_table(struct qcow2 *q, uint64_t offset,
			     uint32_t n_clusters)
{
	struct {
		uint64_t offset;
		uint32_t n_clusters;
	} __attribute__((packed)) wire = {
		.offset = htobe64(offset),
		.n_clusters = htobe32(n_clusters),
	};
	int rc;

	rc = write_field(
		q, offsetof(struct qcow2_wire_header, refcount_table_offset),
		&wire, sizeof(wire));
	if (rc < 0)
		return rc;
	q->header.refcount_table_offset = offset;
	q->header.refcount_table_clusters = n_clusters;
	return 0;
}

int qcow2_set_refcounts(struct qcow2 *q, uint64_t offset, uint32_t n_clusters,
			uint32_t order)
{
	const struct qcow2_header *h = &q->header;
	struct {
		uint64_t offset;
		uint32_t n_clusters, n_snapshots;
		uint64_t snapshots_offset;
		uint64_t incompatible, compatible, autoclear;
		uint32_t order;
	} __attribute__((packed)) wire = {
		.offset = htobe64(offset),
		.n_clusters = htobe32(n_clusters),
		.n_snapshots = htobe32(h->n_snapshots),
		.snapshots_offset = htobe64(h->snapshots_offset),
		.incompatible = htobe64(h->incompatible),
		.compatible = htobe64(h->compatible),
		.autoclear = htobe64(h->autoclear),
		.order = htobe32(order),
	};
	int rc;

	rc = write_field(
		q, offsetof(struct qcow2_wire_header, refcount_table_offset),
		&wire, sizeof(wire));
	if (rc < 0)
		return rc;
	q->header.refcount_table_offset = offset;
	q->header.refcount_table_clusters = n_clusters;
	q->header.refcount_order = order;
	return 0;
}

int qcow2_set_size(struct qcow2 *q, uint64_t size, uint32_t l1_size,
		   uint64_t l1_offset)
{
	struct {
		uint64_t size;
		uint32_t crypt_method, l1_size;
		uint64_t l1_offset;
	} __attribute__((packed)) wire = {
		.size = htobe64(size),
		.crypt_method = htobe32(q->header.crypt_method),
		.l1_size = htobe32(l1_size),
		.l1_offset = htobe64(l1_offset),
	};
	int rc;

	rc = write_field(q, offsetof(struct qcow2_wire_header, size), &wire,
			 sizeof(wire));
	if (rc < 0)
		return rc;
	q->header.size = size;
	q->header.l1_size = l1_size;
	q->header.l1_offset = l1_offset;
	return 0;
}

int qcow2_switch_tables(struct qcow2 *q, const struct qcow2_switch *to,
			uint64_t refcount_table_offset)
{
	struct qcow2_header *h = &q->header;
	struct {
		uint64_t size;
		uint32_t crypt_method, l1_size;
		uint64_t l1_offset, refcount_table_offset;
		uint32_t refcount_table_clusters, n_snapshots;
		uint64_t snapshots_offset;
	} __attribute__((packed)) wire = {
		.size = htobe64(to->size),
		.crypt_method = htobe32(h->crypt_method),
		.l1_size = htobe32(to->l1_size),
		.l1_offset = htobe64(to->l1_offset),
		.refcount_table_offset = htobe64(refcount_table_offset),
		.refcount_table_clusters = htobe32(h->refcount_table_clusters),
		.n_snapshots = htobe32(to->n_snapshots),
		.snapshots_offset = htobe64(to->snapshots_offset),
	};
	int rc = write_field(q, offsetof(struct qcow2_wire_header, size), &wire,
			     sizeof(wire));

	if (rc < 0)
		return rc;
	h->size = to->size;
	h->l1_size = to->l1_size;
	h->l1_offset = to->l1_offset;
	h->refcount_table_offset = refcount_table_offset;
	h->n_snapshots = to->n_snapshots;
	h->snapshots_offset = to->snapshots_offset;
	return 0;
}
