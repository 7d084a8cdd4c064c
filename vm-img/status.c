/* SPDX-License-Identifier: ISC */
/*
 * A cluster of qcow2 that was preallocated is data by its metadata, and a
 * hole in its file. Looking costs a system call for each extent, so it is
 * done only for images with many of these, which is when QEMU looks.
 */
#include "vm-img/status.h"

#include "lib/image/image.h"

#include <string.h>
#include <unistd.h>

/* How much of the data is in a hole, or is not, as its beginning. */
static void look_for_hole(int fd, struct status *status)
{
	off_t start = (off_t)status->offset;
	off_t end = lseek(fd, start, SEEK_DATA);

	if (end < 0 || end > start) {
		status->is_zero = true;
	} else {
		end = lseek(fd, start, SEEK_HOLE);
	}
	if (end > start && (uint64_t)(end - start) < status->len)
		status->len = (uint64_t)(end - start);
}

/* A hole in a file that is the disk as it is: QEMU's drivers of these formats
 * call it data. */
static bool is_flat_hole(const struct image_extent *extent)
{
	const char *format = image_format_name(extent->layer);

	return extent->kind == IMAGE_EXTENT_ZERO && extent->has_host_offset &&
	       (strcmp(format, "vmdk") == 0 || strcmp(format, "vdi") == 0 ||
		strcmp(format, "vpc") == 0);
}

/* QEMU's drivers of these formats tell of no more than a block at a time. */
static bool is_by_blocks(const struct image_extent *extent)
{
	const char *format = image_format_name(extent->layer);

	return strcmp(format, "vmdk") == 0 || strcmp(format, "vdi") == 0 ||
	       strcmp(format, "qcow") == 0;
}

int status_get(struct image *image, uint64_t start, uint64_t len,
	       struct status *status, struct error *err)
{
	struct image_extent extent;
	int rc = image_map(image, start, len, IMAGE_MAP_CHAIN, &extent, err);

	if (rc < 0)
		return rc;
	*status = (struct status){
		.start = start,
		.len = extent.len,
		.depth = extent.depth,
		.is_present = extent.kind != IMAGE_EXTENT_HOLE,
		.is_compressed = extent.kind == IMAGE_EXTENT_COMPRESSED,
		.is_data = extent.kind == IMAGE_EXTENT_DATA ||
			   extent.kind == IMAGE_EXTENT_COMPRESSED,
		.has_offset = extent.has_host_offset &&
			      extent.kind != IMAGE_EXTENT_COMPRESSED,
		.offset = extent.host_offset,
		.layer = extent.layer,
		.is_by_blocks = is_by_blocks(&extent),
		.file_path = extent.host_path,
		.has_marks = extent.has_marks,
		.marks = extent.marks,
	};
	status->is_zero = !status->is_data;
	status->is_data |= is_flat_hole(&extent);
	if (!status->is_zero && status->has_offset && extent.host_fd >= 0 &&
	    image_has_holes(extent.layer))
		look_for_hole(extent.host_fd, status);
	return 0;
}
