/* SPDX-License-Identifier: ISC */
/* Inside lib/image: between image.c and limits.c. */
#ifndef LIB_IMAGE_LIMITS_H
#define LIB_IMAGE_LIMITS_H

struct image;
struct image_limits;

/* Of the image, but for what its format adds in get_info. */
void limits_get(const struct image *image, struct image_limits *limits);

#endif
