/* SPDX-License-Identifier: ISC */
/* What the sources of the raw format share. */
#ifndef LIB_IMAGE_RAW_H
#define LIB_IMAGE_RAW_H

#include "lib/image/format.h"

/* A device has the size that it has: a smaller image may lie in it. 0 or
 * -errno, by name. */
int raw_set_length(struct image_file *file, uint64_t size, struct error *err);

/* May a file under an image be given exactly that size? -ENOTSUP, by name: a
 * device or an export has another one. */
int raw_check_length(const struct image *image, uint64_t size,
		     struct error *err);

/* image_format's .create: of a file, or whatever path is; and of what is there
 * already, and nothing else. */
int raw_create(const char *path, const struct image_create_options *options,
	       struct error *err);
int raw_create_on_device(const char *path,
			 const struct image_create_options *options,
			 struct error *err);
int raw_create_in_export(const char *path,
			 const struct image_create_options *options,
			 struct error *err);

#endif
