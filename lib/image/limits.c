/* SPDX-License-Identifier: ISC */
/*
 * What an image stands in, and which requests go through unchanged. Numbers
 * are QEMU's: buffers are aligned as its are, and a raw image whose format was
 * guessed is written in whole sectors, so that the guard of its first one
 * (raw.c) sees all of them.
 */
#include "lib/image/limits.h"

#include "lib/base/error.h"
#include "lib/image/file_internal.h"
#include "lib/image/file_options.h"
#include "lib/image/format.h"
#include "lib/image/layer.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static void limit_file(const struct image_file *file,
		       struct image_limits *limits)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t alignment = file->is_direct ? file->alignment : 1;

	*limits = (struct image_limits){
		.request_alignment = file->fd < 0 ? file->alignment : alignment,
		.min_mem_alignment = alignment,
		.opt_mem_alignment = alignment > page ? alignment : page,
		.max_iov = IOV_MAX,
	};
}

void limits_get(const struct image *image, struct image_limits *limits)
{
	bool is_guessed_raw =
		image->is_probed && image->format == &image_format_raw;

	limit_file(image->file, limits);
	limits->request_alignment =
		is_guessed_raw || image->format->is_in_sectors ? IMAGE_SECTOR
							       : 1;
}

static const struct image_file *
find_file(const struct image *image, unsigned index, struct image_node *node)
{
	unsigned n = 0;

	while (image->format->other_file != NULL) {
		const struct image_file *file =
			image->format->other_file(image, n, node);

		if (file == NULL)
			break;
		if (n++ == index)
			return file;
	}
	snprintf(node->name, sizeof(node->name), "file");
	node->path = image->path;
	return n == index ? image->file : NULL;
}

static const char *driver_of(const struct image_file *file)
{
	const struct file_ops *ops = file_state_of(file)->ops;

	if (ops == NULL)
		return file->is_block_device ? "host_device" : "file";
	return ops->driver != NULL ? ops->driver
				   : layer_disk(file)->format->name;
}

int image_get_node(const struct image *image, unsigned index,
		   struct image_node *node, struct error *err)
{
	const struct image_file *file = find_file(image, index, node);
	int rc;

	if (file == NULL)
		return -ENOENT;
	node->protocol = driver_of(file);
	limit_file(file, &node->limits);
	node->extent_size_hint = file_options_hint(file->fd);
	rc = image_file_size(file, &node->size);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	node->size = (node->size + IMAGE_SECTOR - 1) & ~(IMAGE_SECTOR - 1ULL);
	rc = image_file_usage(file, &node->actual_size);
	if (rc == -ENOTSUP)
		node->actual_size = UINT64_MAX;
	else if (rc < 0)
		return error_set_errno(err, rc, "Could not get the disk size");
	return 0;
}
