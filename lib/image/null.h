/* SPDX-License-Identifier: ISC */
/* Inside lib/image: no file at all under an image (image.h: image_null). */
#ifndef LIB_IMAGE_NULL_H
#define LIB_IMAGE_NULL_H

#include "lib/image/file.h"
#include "lib/image/image.h"

/* name is for which image_name_is_null() is true; what NULL: of 1 GiB. flags
 * are enum image_file_flags. */
int null_open(struct image_file **file, const char *name,
	      const struct image_null *what, unsigned flags, struct error *err);
bool null_is(const struct image_file *file);

#endif
