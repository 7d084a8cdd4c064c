/* SPDX-License-Identifier: ISC */
/* What info says of one image, for people and for programs. */
#ifndef VM_IMG_INFO_H
#define VM_IMG_INFO_H

#include "lib/image/image.h"

#include <string.h>

struct json;

void info_print(struct image *image, const struct image_info *info);
void info_json(struct json *json, struct image *image,
	       const struct image_info *info);

static inline bool info_has_specifics(const struct image_info *info)
{
	return info->n_rows > 0 || info->encryption != NULL;
}

/* Bitmaps come before this row, and encryption after it, where QEMU's
 * dictionary has them. */
static inline bool info_is_middle(const struct image_info_row *row)
{
	return strcmp(row->json_name, "refcount-bits") == 0;
}

#endif
