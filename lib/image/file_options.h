/* SPDX-License-Identifier: ISC */
/* Creation options of the file, besides those of the format. */
#ifndef LIB_IMAGE_FILE_OPTIONS_H
#define LIB_IMAGE_FILE_OPTIONS_H

#include "lib/image/image.h"

#include <stdbool.h>
#include <stdint.h>

struct error;
struct image_file;

/* Of an image that is nothing but the file, or the device. */
extern const struct image_option_spec file_options_of_file[];
extern const struct image_option_spec file_options_of_device[];

/* Is there an option of that name? */
bool file_options_has(const char *name);
/* Make the file at path, empty, if there is none, with the attributes that
 * options ask for; one with something in it is left as it is. -EINVAL. */
int file_options_apply(const char *path,
		       const struct image_create_options *options,
		       struct error *err);
/* The extent size hint that a file has, 0: none. */
uint32_t file_options_hint(int fd);
/* Only what is for the format; how many those are. */
unsigned file_options_strip(struct image_option *list, unsigned n,
			    bool keeps_preallocation);

/* A mode that a file can have, or NULL. */
int file_options_check_preallocation(const char *mode, struct error *err);
/* Growth from one size to another, after the file has been made longer. */
int file_options_preallocate(struct image_file *file, const char *mode,
			     uint64_t from, uint64_t to, struct error *err);

#endif
