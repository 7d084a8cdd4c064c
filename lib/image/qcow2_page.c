/* SPDX-License-Identifier: ISC */
#include "lib/image/qcow2_page.h"
#include "lib/base/error.h"
#include "protocols/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

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
