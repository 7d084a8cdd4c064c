/* SPDX-License-Identifier: ISC */
#include "lib/image/qcow2_page.h"
#include "lib/base/error.h"
#include "protocols/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Below this cluster size QEMU leaves the names out, for the backing name. */
enum {
	FEATURE_NAMES_CLUSTER_LEN = 1 << 13,
};

static const struct qcow2_wire_feature_name feature_names[] = {
	{ QCOW2_FEATURE_INCOMPATIBLE, 0, "dirty bit" },
	{ QCOW2_FEATURE_INCOMPATIBLE, 1, "corrupt bit" },
	{ QCOW2_FEATURE_INCOMPATIBLE, 2, "external data file" },
	{ QCOW2_FEATURE_INCOMPATIBLE, 3, "compression type" },
	{ QCOW2_FEATURE_INCOMPATIBLE, 4, "extended L2 entries" },
	{ QCOW2_FEATURE_COMPATIBLE, 0, "lazy refcounts" },
	{ QCOW2_FEATURE_AUTOCLEAR, 0, "bitmaps" },
	{ QCOW2_FEATURE_AUTOCLEAR, 1, "raw external data" },
};

int qcow2_page_add(struct qcow2_page *page, const void *data, size_t len,
		   struct error *err)
{
	if (len > page->len - page->at)
		return error_set(err, -ENOSPC,
				 "The header does not fit into a cluster of "
				 "%zu bytes (backing file name too long?)",
				 page->len);
	memcpy(page->data + page->at, data, len);
	page->at += len;
	return 0;
}

int qcow2_page_add_extension(struct qcow2_page *page, uint32_t type,
			     const void *data, size_t len, struct error *err)
{
	static const uint8_t padding[7];
	struct qcow2_wire_extension w = {
		.type = htobe32(type),
		.len = htobe32((uint32_t)len),
	};
	int rc = qcow2_page_add(page, &w, sizeof(w), err);

	if (rc == 0)
		rc = qcow2_page_add(page, data, len, err);
	if (rc == 0)
		rc = qcow2_page_add(page, padding, -len & 7, err);
	return rc;
}

/* Next of the old page's extensions: false at the end. It has been read at
 * open, so that they fit. */
static bool next(const struct qcow2_old_page *old, size_t *at, uint32_t *type,
		 const uint8_t **data, uint32_t *len)
{
	struct qcow2_wire_extension w;

	if (*at + sizeof(w) > old->end)
		return false;
	memcpy(&w, old->data + *at, sizeof(w));
	*at += sizeof(w);
	*type = be32toh(w.type);
	*len = be32toh(w.len);
	*data = old->data + *at;
	if (*type == QCOW2_EXTENSION_END || *len > old->end - *at)
		return false;
	*at += ((size_t)*len + 7) & ~(size_t)7;
	return true;
}

static bool is_known(uint32_t type)
{
	switch (type) {
	case QCOW2_EXTENSION_BACKING_FORMAT:
	case QCOW2_EXTENSION_DATA_FILE:
	case QCOW2_EXTENSION_ENCRYPTION:
	case QCOW2_EXTENSION_FEATURE_NAMES:
	case QCOW2_EXTENSION_BITMAPS:
		return true;
	default:
		return false;
	}
}

int qcow2_page_copy_extension(struct qcow2_page *page,
			      const struct qcow2_old_page *old, uint32_t wanted,
			      struct error *err)
{
	size_t at = old->at;
	const uint8_t *data;
	uint32_t type, len;
	int rc = 0;

	while (rc == 0 && next(old, &at, &type, &data, &len))
		if (type == wanted)
			rc = qcow2_page_add_extension(page, type, data, len,
						      err);
	return rc;
}

int qcow2_page_copy_unknown(struct qcow2_page *page,
			    const struct qcow2_old_page *old, struct error *err)
{
	size_t at = old->at;
	const uint8_t *data;
	uint32_t type, len;
	int rc = 0;

	while (rc == 0 && next(old, &at, &type, &data, &len))
		if (!is_known(type))
			rc = qcow2_page_add_extension(page, type, data, len,
						      err);
	return rc < 0 ? rc
		      : qcow2_page_add_extension(page, QCOW2_EXTENSION_END, "",
						 0, err);
}

int qcow2_page_add_feature_names(struct qcow2_page *page, struct error *err)
{
	if (page->len < FEATURE_NAMES_CLUSTER_LEN)
		return 0;
	return qcow2_page_add_extension(page, QCOW2_EXTENSION_FEATURE_NAMES,
					feature_names, sizeof(feature_names),
					err);
}
