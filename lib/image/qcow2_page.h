/* SPDX-License-Identifier: ISC */
/* Inside the qcow2 engine: the first cluster of a file as it is put together:
 * header, extensions, backing name. */
#ifndef LIB_IMAGE_QCOW2_PAGE_H
#define LIB_IMAGE_QCOW2_PAGE_H

#include <stddef.h>
#include <stdint.h>

struct error;

struct qcow2_page {
	uint8_t *data;
	size_t at, len;
};

/* -ENOSPC where there is no room. */
int qcow2_page_add(struct qcow2_page *page, const void *data, size_t len,
		   struct error *err);
/* Padded to 8 bytes. */
int qcow2_page_add_extension(struct qcow2_page *page, uint32_t type,
			     const void *data, size_t len, struct error *err);

#endif
