/* SPDX-License-Identifier: ISC */
/* Inside lib/image: no file at all under an image (image.h: image_null). */
#ifndef LIB_IMAGE_NULL_H
#define LIB_IMAGE_NULL_H

#include "lib/image/file.h"
#include "lib/image/image.h"

/* what NULL: as null-co:// is. flags are enum image_file_flags. */
int null_open(struct image_file **file, const struct image_null *what,
	      unsigned flags, struct error *err);
bool null_is(const struct image_file *file);

#endif
