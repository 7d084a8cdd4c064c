/* SPDX-License-Identifier: ISC */
/* What qed.c and qed_create.c share. */
#ifndef LIB_IMAGE_QED_H
#define LIB_IMAGE_QED_H

#include "lib/image/blocks.h"
#include "lib/image/image.h"
#include "protocols/qed.h"

struct qed {
	struct blocks blocks; /* first */
	struct qed_wire_header header;
	uint32_t cluster_len;
	uint64_t table_len, header_len;
	uint64_t n_entries; /* of any table */
	uint64_t l1_offset;
};

extern const struct image_option_spec qed_create_specs[];
int qed_create(const char *path, const struct image_create_options *options,
	       struct error *err);

#endif
