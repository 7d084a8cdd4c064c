/* SPDX-License-Identifier: ISC */
#include "vm-img/bitmaps.h"

#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/report.h"

#include <errno.h>
#include <string.h>

void bitmaps_hint(const struct error *err)
{
	if (strstr(err->text, "is inconsistent and cannot be used") != NULL)
		report_hint("Try block-dirty-bitmap-remove to delete this "
			    "bitmap from disk");
}

static int get_info(struct image *source, struct image_info *info)
{
	struct error err = ERROR_INIT;
	int rc = image_get_info(source, info, &err);

	if (rc < 0)
		report_error("%s", error_text(&err, rc));
	return rc;
}

int bitmaps_check(struct image *source, bool skips_broken)
{
	struct image_info info = { .n_bitmaps = 0 };
	int rc = get_info(source, &info);

	/* The last one first, as qemu-img. */
	for (unsigned i = info.n_bitmaps; rc == 0 && i-- > 0;) {
		if (!info.bitmaps[i].is_in_use || skips_broken)
			continue;
		report_error("Cannot copy inconsistent bitmap '%s'",
			     info.bitmaps[i].name);
		report_hint("Try --skip-broken-bitmaps, or use 'qemu-img "
			    "bitmap --remove' to delete it");
		rc = -EINVAL;
	}
	return rc;
}

static int copy_one(struct image *source, struct image *target,
		    const struct image_bitmap_info *bitmap)
{
	struct error err = ERROR_INIT;
	int rc = image_bitmap_add(target, bitmap->name, bitmap->granularity,
				  bitmap->is_enabled, &err);

	if (rc < 0) {
		report_error("Failed to create bitmap %s: %s", bitmap->name,
			     error_text(&err, rc));
		return rc;
	}
	rc = image_bitmap_merge(target, bitmap->name, source, bitmap->name,
				&err);
	if (rc < 0)
		report_error("Failed to populate bitmap %s: %s", bitmap->name,
			     error_text(&err, rc));
	return rc;
}

int bitmaps_copy(struct image *source, struct image *target)
{
	struct image_info info = { .n_bitmaps = 0 };
	int rc = get_info(source, &info);

	for (unsigned i = info.n_bitmaps; rc == 0 && i-- > 0;)
		if (info.bitmaps[i].is_in_use)
			report_warning("Skipping inconsistent bitmap '%s'",
				       info.bitmaps[i].name);
	for (unsigned i = 0; rc == 0 && i < info.n_bitmaps; i++)
		if (!info.bitmaps[i].is_in_use)
			rc = copy_one(source, target, &info.bitmaps[i]);
	return rc;
}
