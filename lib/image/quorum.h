/* SPDX-License-Identifier: ISC */
/* Inside lib/image: several files that hold the same (image.h: image_quorum). */
#ifndef LIB_IMAGE_QUORUM_H
#define LIB_IMAGE_QUORUM_H

#include "lib/image/file.h"
#include "lib/image/image.h"

/* flags are enum image_file_flags, also of each child. */
int quorum_open(struct image_file **file, const struct image_quorum *how,
		const struct image_open_options *options, unsigned flags,
		struct error *err);
/* The same of blkverify's two; verify.c. */
int verify_open(struct image_file **file, const struct image_quorum *how,
		const struct image_open_options *options, unsigned flags,
		struct error *err);
bool quorum_is(const struct image_file *file);

#endif
