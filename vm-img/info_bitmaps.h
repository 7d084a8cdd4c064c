/* SPDX-License-Identifier: ISC */
/* The bitmaps of an image as info shows them: nothing where there are none. */
#ifndef VM_IMG_INFO_BITMAPS_H
#define VM_IMG_INFO_BITMAPS_H

struct image_info;
struct json;

void info_bitmaps_print(const struct image_info *info);
void info_bitmaps_json(struct json *json, const struct image_info *info);

#endif
