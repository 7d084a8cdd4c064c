/* SPDX-License-Identifier: ISC */
/* Bitmaps of one image to another, as convert --bitmaps wants them. */
#ifndef VM_IMG_BITMAPS_H
#define VM_IMG_BITMAPS_H

#include <stdbool.h>

struct error;
struct image;

/* 0, or -errno and a message: can the bitmaps of this image be copied? One that
 * is no longer good cannot, unless such are left out. */
int bitmaps_check(struct image *source, bool skips_broken);
/* After the data. What is left out is warned of. */
int bitmaps_copy(struct image *source, struct image *target);

/* The line that comes after an error of a bitmap that is not good. */
void bitmaps_hint(const struct error *err);

#endif
