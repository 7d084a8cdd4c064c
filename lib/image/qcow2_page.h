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

/* The names of all features, if clusters are large enough for them. */
int qcow2_page_add_feature_names(struct qcow2_page *page, struct error *err);
/* The old first cluster, and where in it extensions are. */
struct qcow2_old_page {
	const uint8_t *data;
	size_t at, end;
};

/* Those of one type that are there. */
int qcow2_page_copy_extension(struct qcow2_page *page,
			      const struct qcow2_old_page *old, uint32_t type,
			      struct error *err);
/* Those of a type that is not known here, in their order; and the end. */
int qcow2_page_copy_unknown(struct qcow2_page *page,
			    const struct qcow2_old_page *old,
			    struct error *err);

#endif
