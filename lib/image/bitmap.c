/* SPDX-License-Identifier: ISC */
/*
 * Bitmaps of what changed: the checks that a format need not make, and the
 * room that they take.
 */
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <errno.h>
#include <string.h>

enum {
	DIRECTORY_ENTRY_LEN = 24, /* and the name, padded to 8 bytes */
	TABLE_ENTRY_LEN = 8,
};

static int check(const struct image *image, const char *name, bool is_changed,
		 struct error *err)
{
	if (image->format->bitmaps == NULL)
		return error_set(err, -ENOENT, "Dirty bitmap '%s' not found",
				 name);
	if (is_changed && image->file->is_read_only)
		return error_set(err, -EROFS, "Image is read-only");
	return 0;
}

bool image_can_have_bitmaps(const struct image *image)
{
	const struct image_bitmap_ops *ops = image->format->bitmaps;

	return ops != NULL && ops->are_possible(image);
}

int image_bitmap_add(struct image *image, const char *name,
		     uint64_t granularity, bool is_enabled, struct error *err)
{
	int rc;

	if (image->format->bitmaps == NULL)
		return error_set_errno(err, -ENOTSUP,
				       "Can't store persistent bitmaps to %s",
				       image_node_name(image));
	rc = check(image, name, true, err);
	if (rc == 0 && name[0] == '\0')
		rc = error_set(err, -EINVAL, "Bitmap name cannot be empty");
	return rc < 0 ? rc
		      : image->format->bitmaps->add(image, name, granularity,
						    is_enabled, err);
}

int image_bitmap_remove(struct image *image, const char *name,
			struct error *err)
{
	int rc = check(image, name, true, err);

	return rc < 0 ? rc : image->format->bitmaps->remove(image, name, err);
}

int image_bitmap_clear(struct image *image, const char *name, struct error *err)
{
	int rc = check(image, name, true, err);

	return rc < 0 ? rc : image->format->bitmaps->clear(image, name, err);
}

int image_bitmap_enable(struct image *image, const char *name, bool is_enabled,
			struct error *err)
{
	int rc = check(image, name, true, err);

	return rc < 0 ? rc
		      : image->format->bitmaps->enable(image, name, is_enabled,
						       err);
}

int image_bitmap_merge(struct image *image, const char *name,
		       struct image *source, const char *from,
		       struct error *err)
{
	int rc = check(image, name, true, err);

	if (rc == 0)
		rc = check(source, from, false, err);
	return rc < 0 ? rc
		      : image->format->bitmaps->merge(image, name, source, from,
						      err);
}

int image_bitmap_get(struct image *image, const char *name, uint64_t offset,
		     bool *is_set, uint64_t *len, struct error *err)
{
	int rc = check(image, name, false, err);

	if (rc == 0 && offset >= image->size)
		rc = error_set(err, -EINVAL,
			       "Bitmap ends before the offset asked for");
	return rc < 0 ? rc
		      : image->format->bitmaps->get(image, name, offset, is_set,
						    len, err);
}

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

int image_bitmap_measure(struct image *image, uint64_t cluster_size,
			 uint64_t *len, struct error *err)
{
	uint64_t directory = 0, clusters = 0;
	struct image_info info;
	int rc = image_get_info(image, &info, err);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < info.n_bitmaps; i++) {
		const struct image_bitmap_info *b = &info.bitmaps[i];
		uint64_t bits, n;

		bits = divide_up(image->size, b->granularity);
		n = divide_up(divide_up(bits, 8), cluster_size);
		clusters += n + divide_up(n * TABLE_ENTRY_LEN, cluster_size);
		directory +=
			(DIRECTORY_ENTRY_LEN + strlen(b->name) + 7) & ~7ULL;
	}
	*len = (clusters + divide_up(directory, cluster_size)) * cluster_size;
	return 0;
}
