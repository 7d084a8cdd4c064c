/* SPDX-License-Identifier: ISC */
#include "lib/image/layer.h"

#include "lib/image/blkdebug.h"
#include "lib/image/file_internal.h"

int layer_put_over(struct image_file **file, const char *path,
		   const struct image_layer *layer,
		   const struct image_open_options *options, unsigned flags,
		   struct error *err)
{
	int rc = 0;

	if (layer == NULL)
		return 0;
	rc = layer_put_over(file, path, layer->under, options, flags, err);
	if (rc < 0)
		return rc;
	switch (layer->kind) {
	case IMAGE_LAYER_BLKDEBUG:
		return blkdebug_put_over(file, path, layer->blkdebug, flags,
					 err);
	case IMAGE_LAYER_WINDOW:
		return window_put_over(file, path, &layer->window, flags, err);
	case IMAGE_LAYER_THROTTLE:
		return throttle_put_over(file, path, layer->throttle, flags);
	case IMAGE_LAYER_DISK:
		return disk_put_over(file, path, layer, options, err);
	}
	return 0;
}

struct image *layer_disk(const struct image_file *file)
{
	const struct file_ops *ops = file_state_of(file)->ops;

	return ops != NULL && ops->disk != NULL ? ops->disk(file) : NULL;
}

int layer_map(const struct image_file *file, uint64_t host_offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err)
{
	return file_state_of(file)->ops->map(file, host_offset, len, flags,
					     extent, err);
}
