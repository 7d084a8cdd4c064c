/* SPDX-License-Identifier: ISC */
#include "vm-img/info_bitmaps.h"

#include "lib/image/image.h"
#include "vm-img/json.h"

#include <stdio.h>

/* Names of the flags that are set; how many. */
static unsigned list_flags(const struct image_bitmap_info *bitmap,
			   const char *names[2])
{
	unsigned n = 0;

	if (bitmap->is_in_use)
		names[n++] = "in-use";
	if (bitmap->is_enabled)
		names[n++] = "auto";
	return n;
}

void info_bitmaps_print(const struct image_info *info)
{
	if (info->n_bitmaps > 0)
		printf("    bitmaps:\n");
	for (unsigned i = 0; i < info->n_bitmaps; i++) {
		const struct image_bitmap_info *b = &info->bitmaps[i];
		const char *flags[2];
		unsigned n = list_flags(b, flags);

		printf("        [%u]:\n            flags:\n", i);
		for (unsigned j = 0; j < n; j++)
			printf("                [%u]: %s\n", j, flags[j]);
		printf("            name: %s\n            granularity: %llu\n",
		       b->name, (unsigned long long)b->granularity);
	}
}

void info_bitmaps_json(struct json *json, const struct image_info *info)
{
	if (info->n_bitmaps == 0)
		return;
	json_open(json, "bitmaps", '[');
	for (unsigned i = 0; i < info->n_bitmaps; i++) {
		const struct image_bitmap_info *b = &info->bitmaps[i];
		const char *flags[2];
		unsigned n = list_flags(b, flags);

		json_open(json, NULL, '{');
		json_open(json, "flags", '[');
		for (unsigned j = 0; j < n; j++)
			json_text(json, NULL, flags[j]);
		json_close(json, ']');
		json_text(json, "name", b->name);
		json_number(json, "granularity", b->granularity);
		json_close(json, '}');
	}
	json_close(json, ']');
}
