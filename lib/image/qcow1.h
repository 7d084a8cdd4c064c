/* SPDX-License-Identifier: ISC */
/* qcow's inside: what its sources share. */
#ifndef LIB_IMAGE_QCOW1_H
#define LIB_IMAGE_QCOW1_H

#include "lib/image/image.h"

#include <stdint.h>

/* The password's ID, of images that are opened and of new ones. */
extern const char qcow1_key_option[];

/* Of a disk of so many bytes, in bytes; shift: the bits of what one entry
 * stands for. */
uint64_t qcow1_l1_len(uint64_t size, unsigned shift);

/* Two rows of struct image_format. */
extern const struct image_option_spec qcow1_create_specs[];
int qcow1_create(const char *path, const struct image_create_options *o,
		 struct error *err);

#endif
