/* SPDX-License-Identifier: ISC */
/* What info says of one image, for people and for programs. */
#ifndef VM_IMG_INFO_H
#define VM_IMG_INFO_H

#include "lib/image/image.h"

#include <string.h>

struct json;

/* What is to be told beyond what always is. */
struct info_wishes {
	bool limits;
	bool nodes; /* the files of an image, as later versions do */
};

void info_print(struct image *image, const struct image_info *info,
		const struct info_wishes *wishes);
void info_json(struct json *json, struct image *image,
	       const struct image_info *info, const struct info_wishes *wishes);

enum {
	INFO_LIMITS = 7,
};

/* In the order of QEMU's dictionary. A number of 0 is not told. */
struct info_limit {
	const char *name, *json_name;
	uint64_t number;
};
void info_limits_list(const struct image_limits *limits,
		      struct info_limit list[INFO_LIMITS]);

static inline bool info_has_specifics(const struct image_info *info)
{
	return info->n_rows > 0 || info->encryption != NULL;
}

/* Bitmaps come before this row, where QEMU's dictionary has them. */
static inline bool info_is_middle(const struct image_info_row *row)
{
	return strcmp(row->json_name, "refcount-bits") == 0;
}

/* And encryption after row i, which names a data file if there is one. */
static inline bool info_is_before_encryption(const struct image_info *info,
					     unsigned i)
{
	static const char last[] = "data-file";

	if (info_is_middle(&info->rows[i]))
		return i + 1 == info->n_rows ||
		       strcmp(info->rows[i + 1].json_name, last) != 0;
	return strcmp(info->rows[i].json_name, last) == 0;
}

#endif
