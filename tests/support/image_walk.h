/* SPDX-License-Identifier: ISC */
/* What fuzz targets do with an image that could be opened. */
#ifndef TESTS_SUPPORT_IMAGE_WALK_H
#define TESTS_SUPPORT_IMAGE_WALK_H

#include "lib/image/image.h"

#include <stdlib.h>
#include <string.h>

enum {
	WALK_STEPS = 64, /* extents looked at */
	WALK_BUF_LEN = 65536,
	WALK_VDI_MAX = 1 << 30, /* bytes of a disk */
};

enum walk_choices {
	WALK_READ_ONLY = 1 << 0,
	WALK_CHECK = 1 << 1,
	WALK_WRITE = 1 << 2,
	WALK_ZERO = 1 << 3,
	WALK_RESIZE = 1 << 4,
	WALK_AS_NAMED = 1 << 5, /* the target says as which format */
	WALK_END = 1 << 6,	/* at the end of the disk, not the beginning */
	/* Never drawn: what was written must be read. Data that lies over a
	 * table, where a format does not look for that, is not. */
	WALK_READ_BACK = 1 << 8,
};

static inline bool walk_deny(void *context, const char *path)
{
	(void)context;
	(void)path;
	return false;
}

/* What a map says must lie within what was asked. */
static inline void walk_extents(struct image *image, uint64_t offset,
				uint8_t *buf)
{
	for (int i = 0; i < WALK_STEPS && offset < image_size(image); i++) {
		uint64_t left = image_size(image) - offset;
		struct image_extent extent;
		size_t n;

		if (image_map(image, offset, left, IMAGE_MAP_CHAIN, &extent,
			      NULL) < 0)
			return;
		if (extent.offset != offset || extent.len == 0 ||
		    extent.len > left)
			abort();
		n = extent.len < WALK_BUF_LEN ? (size_t)extent.len
					      : WALK_BUF_LEN;
		image_read(image, offset, buf, n, NULL);
		offset += extent.len;
	}
}

static inline void walk_change(struct image *image, uint64_t offset,
			       unsigned choices, uint8_t *buf)
{
	const struct image_resize_options how = { .may_shrink = true };
	uint64_t left = image_size(image) - offset;
	size_t n = left < WALK_BUF_LEN ? (size_t)left : WALK_BUF_LEN;

	memset(buf, 0x55, WALK_BUF_LEN);
	if (choices & WALK_WRITE &&
	    image_write(image, offset, buf, n, NULL) == 0) {
		memset(buf, 0, WALK_BUF_LEN);
		if (choices & WALK_READ_BACK &&
		    image_read(image, offset, buf, n, NULL) == 0 && n > 0 &&
		    buf[n - 1] != 0x55)
			abort();
	}
	if (choices & WALK_ZERO) {
		image_write_zeroes(image, offset, n, IMAGE_ZERO_MAY_UNMAP,
				   NULL);
		image_discard(image, offset, n / 2, NULL);
	}
	if (choices & WALK_RESIZE) {
		image_resize(image, image_size(image) / 2 & ~UINT64_C(511),
			     &how, NULL);
		image_resize(image, image_size(image) + WALK_BUF_LEN, &how,
			     NULL);
	}
	image_flush(image, NULL);
}

/* All that info, convert, check and a guest ask for. */
static inline void walk_image(struct image *image, unsigned choices)
{
	static uint8_t buf[WALK_BUF_LEN];
	struct image_check check = { .found = NULL };
	struct image_info info;
	uint64_t offset;

	image_get_info(image, &info, NULL);
	offset = choices & WALK_END && image_size(image) > WALK_BUF_LEN
			 ? image_size(image) - WALK_BUF_LEN
			 : 0;
	walk_extents(image, offset, buf);
	if (!image_is_read_only(image))
		walk_change(image, offset, choices, buf);
	/* Where a block map is cut off, all that it had are block 0: each is
	 * told of, which takes its time, as in QEMU. */
	if (strcmp(image_format_name(image), "vdi") != 0 ||
	    image_size(image) <= WALK_VDI_MAX)
		image_check(image, &check, NULL);
}

#endif
