/* SPDX-License-Identifier: ISC */
/*
 * The files that a new image has beside its own: flat or split extents, a data
 * file. Who fails to fill the image takes back those that were not there
 * before.
 */
#ifndef LIB_IMAGE_COMPANIONS_H
#define LIB_IMAGE_COMPANIONS_H

struct error;
struct image_companions;
struct image_create_options;
struct image_file;

/* A new file at path, or what is there emptied; noted in the options' list if
 * there was none. */
int companion_open(struct image_file **file, const char *path,
		   const struct image_create_options *options,
		   struct error *err);

#endif
