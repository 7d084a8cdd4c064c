/* SPDX-License-Identifier: ISC */
/* What vpc.c and vpc_create.c share. */
#ifndef LIB_IMAGE_VPC_H
#define LIB_IMAGE_VPC_H

#include "lib/image/image.h"

#include <stdint.h>

extern const struct image_option_spec vpc_create_specs[];
int vpc_create(const char *path, const struct image_create_options *options,
	       struct error *err);

/* Bytes of a block's bitmap: whole sectors (§ "Block Allocation Table"). */
uint32_t vpc_bitmap_len(uint32_t block_len);

#endif
