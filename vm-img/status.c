/* SPDX-License-Identifier: ISC */
/*
 * A cluster of qcow2 that was preallocated is data by its metadata, and a
 * hole in its file. Looking costs a system call for each extent, so it is
 * done only where the file is smaller on disk than its length by more than a
 * tenth, which is when QEMU looks.
 */
#include "vm-img/status.h"

#include "lib/image/image.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BLOCK = 512, /* st_blocks counts these */
	SLACK_CLUSTERS = 2,
};

static bool is_sparse(int fd, uint32_t cluster_size)
{
	uint64_t length, usage, slack;
	struct stat st;

	if (cluster_size < BLOCK || fstat(fd, &st) < 0)
		return false;
	length = (uint64_t)st.st_size / cluster_size;
	usage = (uint64_t)st.st_blocks * BLOCK / cluster_size;
	slack = usage / 10 > SLACK_CLUSTERS ? usage / 10 : SLACK_CLUSTERS;
	return length > usage && length - usage > slack;
}

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

/* A file beside a qcow2 image, which QEMU does not look into. */
static bool is_external(const struct image_extent *extent)
{
	return extent->has_own_fd &&
	       strcmp(image_format_name(extent->layer), "qcow2") == 0;
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
		.is_external = is_external(&extent),
		.file_path = extent.host_path,
		.has_marks = extent.has_marks,
		.marks = extent.marks,
	};
	status->is_zero = !status->is_data;
	status->is_data |= is_flat_hole(&extent);
	if (!status->is_zero && status->has_offset && !status->is_external &&
	    is_sparse(extent.host_fd, image_cluster_size(extent.layer)))
		look_for_hole(extent.host_fd, status);
	return 0;
}
