/* SPDX-License-Identifier: ISC */
/* Inside lib/image: between image_open.c, which opens one, and chain.c. */
#ifndef LIB_IMAGE_CHAIN_H
#define LIB_IMAGE_CHAIN_H

#include "lib/image/format.h"

#include <sys/stat.h>

/* The images above the one being opened, for as long as that takes. */
struct chain_link {
	const struct chain_link *above;
	dev_t device;
	ino_t inode;
	unsigned depth;
};

/* above is NULL for the image that the caller named. */
int image_open_path(struct image **image, const char *path,
		    const struct image_open_options *options,
		    const struct chain_link *above, struct error *err);
/* Takes the file over, also on failure. */
int image_open_file(struct image **image, struct image_file *file,
		    const char *path, const struct image_open_options *options,
		    const struct chain_link *above, struct error *err);

/* Lock the file of an image whose disk is used so, as its format needs. */
int image_lock_file(struct image *image, const struct image_locks *disk,
		    struct error *err);

/* Resolve the backing name that the format found, and open what it names
 * unless told not to. */
int chain_open_backing(struct image *image,
		       const struct image_open_options *options,
		       const struct chain_link *above, struct error *err);

/* What a differencing image at path is to be put over, whose format is own's
 * or, unless it is NULL, the one that is asked for: to be read from alone. */
int chain_open_parent(struct image **parent, const char *path, const char *name,
		      const char *format, const char *own, struct error *err);

int chain_map(struct image *image, uint64_t offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err);

#endif
