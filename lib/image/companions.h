/* SPDX-License-Identifier: ISC */
/*
 * The files of a new image: its own, and those that it has beside that, flat or
 * split extents or a data file. Who fails to make or to fill the image takes
 * back its own, and those of the others that were not there before.
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

/* All of them, and deinit. */
void image_companions_remove(struct image_companions *companions);

/* The image's own file, new or emptied. It is noted: what was there before is
 * lost. flags: more than IMAGE_FILE_CREATE. */
int new_image_open(struct image_file **file, const char *path, unsigned flags,
		   const struct image_create_options *options,
		   struct error *err);

#endif
