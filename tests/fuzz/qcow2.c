/* SPDX-License-Identifier: ISC */
/*
 * Files of any content as qcow2 images: checked, described, read and mapped
 * all over, then written to in a few ways, resized, and read again. What was
 * written must be read back as long as no error was reported. Snapshots are
 * applied, made and deleted, bitmaps made, merged and removed; at last the
 * image is repaired, and what that calls clean must then be so.
 */
#include "lib/base/cleanup.h"
#include "lib/image/image.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	FILE_MAX = 1 << 20,
	REPAIRED_BITS = 34, /* a repair takes as long as the file is long */
	READ_LEN = 96 << 10,
	WRITE_LEN = 5000,
	DATA_FD = 100,
};

/* The one data file that there is, in memory; images name it so. */
#define DATA_PATH "/proc/self/fd/100"

static bool is_data_file(void *context, const char *path)
{
	(void)context;
	return strcmp(path, DATA_PATH) == 0;
}

static void make_data_file(void)
{
	int fd = memfd_create("data", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, FILE_MAX) < 0 || dup2(fd, DATA_FD) < 0)
		abort();
	close(fd);
}

static struct image *open_copy(int fd, unsigned flags)
{
	const struct image_open_options how = {
		.format = "qcow2",
		.flags = flags | IMAGE_NO_BACKING,
		.may_open = is_data_file,
	};
	struct image *image;

	return image_open_fd(&image, dup(fd), "fuzz", &how, NULL) < 0 ? NULL
								      : image;
}

static void ignore_line(void *context, const char *line)
{
	*(size_t *)context += strlen(line);
}

static void inspect(int fd)
{
	struct image *image = open_copy(fd, IMAGE_READ_ONLY | IMAGE_CHECK);
	size_t n = 0;
	struct image_check check = { .found = ignore_line, .context = &n };
	struct image_info info;

	if (image == NULL)
		return;
	if (image_get_info(image, &info, NULL) == 0)
		for (unsigned i = 0; i < info.n_snapshots; i++)
			n += strlen(info.snapshots[i].name);
	(void)image_check(image, &check, NULL);
	image_abandon(image);
}

static void read_around(struct image *image, uint64_t offset, uint8_t *buf)
{
	uint64_t size = image_size(image);
	uint64_t len = READ_LEN;
	struct image_extent extent;

	if (offset >= size)
		return;
	if (len > size - offset)
		len = size - offset;
	if (image_map(image, offset, len, 0, &extent, NULL) == 0 &&
	    (extent.len == 0 || extent.len > len))
		abort();
	(void)image_read(image, offset, buf, len, NULL);
}

static void write_and_read(struct image *image, uint64_t offset, uint8_t *buf)
{
	uint64_t size = image_size(image);
	uint64_t len = WRITE_LEN;
	uint8_t expected[WRITE_LEN];

	if (offset >= size)
		return;
	if (len > size - offset)
		len = size - offset;
	memset(expected, (int)(offset % 251) + 1, len);
	if (image_write(image, offset, expected, len, NULL) < 0 ||
	    image_read(image, offset, buf, len, NULL) < 0)
		return;
	if (memcmp(buf, expected, len) != 0)
		abort();
}

static void compress(struct image *image, uint8_t *buf)
{
	uint32_t len = image_cluster_size(image);

	if (len > READ_LEN || image_size(image) < len)
		return;
	memset(buf, 'x', len);
	if (image_write_compressed(image, 0, buf, len, NULL, NULL) < 0 ||
	    image_read(image, 0, buf, len, NULL) < 0)
		return;
	for (uint32_t i = 0; i < len; i++)
		if (buf[i] != 'x')
			abort();
}

static void change_snapshots(struct image *image, uint8_t *buf)
{
	const struct image_snapshot_info new = { .name = "new" };

	(void)image_snapshot_apply(image, 0, NULL);
	if (image_snapshot_create(image, &new, NULL) == 0)
		write_and_read(image, image_size(image) / 2, buf);
	(void)image_snapshot_apply(image, 1, NULL);
	(void)image_snapshot_delete(image, 0, NULL);
	(void)image_change_backing(image, "some/other/name", "raw", NULL);
}

/* Bits of all that there are, and of a new one that takes them over. */
static void change_bitmaps(struct image *image)
{
	struct image_info info;
	uint64_t len;
	bool is_set;

	(void)image_bitmap_add(image, "new", 512, true, NULL);
	if (image_get_info(image, &info, NULL) < 0)
		return;
	for (unsigned i = 0; i < info.n_bitmaps && i < 4; i++) {
		const char *name = info.bitmaps[i].name;

		if (image_size(image) > 0 &&
		    image_bitmap_get(image, name, 0, &is_set, &len, NULL) ==
			    0 &&
		    (len == 0 || len > image_size(image)))
			abort();
		(void)image_bitmap_merge(image, "new", image, name, NULL);
	}
	if (image_get_info(image, &info, NULL) == 0 && info.n_bitmaps > 1) {
		_cleanup_free_ char *name = strdup(info.bitmaps[0].name);

		(void)image_bitmap_enable(image, name,
					  !info.bitmaps[0].is_enabled, NULL);
		(void)image_bitmap_clear(image, name, NULL);
		(void)image_bitmap_remove(image, name, NULL);
	}
}

/* A repair that says that nothing is wrong any more is believed. */
static void repair(int fd)
{
	const unsigned what = IMAGE_REPAIR_LEAKS | IMAGE_REPAIR_ERRORS;
	struct image *image = open_copy(fd, IMAGE_CHECK);
	struct image_check first = { .found = NULL }, then = { .found = NULL };
	off_t end = lseek(fd, 0, SEEK_END);

	if (image == NULL)
		return;
	if (end >> REPAIRED_BITS == 0 &&
	    image_repair(image, what, &first, NULL) == 0 &&
	    first.n_corruptions == 0 && first.n_check_errors == 0 &&
	    first.n_leaks == 0 && image_check(image, &then, NULL) == 0 &&
	    (then.n_corruptions != 0 || then.n_leaks != 0))
		abort();
	image_abandon(image);
}

static void change(struct image *image, uint8_t *buf)
{
	const struct image_resize_options shrink = { .may_shrink = true };
	uint64_t size = image_size(image);

	write_and_read(image, 0, buf);
	write_and_read(image, size / 2, buf);
	write_and_read(image, size - 700, buf);
	if (size > 40000) {
		(void)image_write_zeroes(image, 1000, 30000,
					 IMAGE_ZERO_MAY_UNMAP, NULL);
		(void)image_write_zeroes(image, 20000, 9000, 0, NULL);
		(void)image_discard(image, 8192, 20000, NULL);
	}
	(void)image_flush(image, NULL);
	(void)image_resize(image, (size + 70000) & ~511ULL, &shrink, NULL);
	write_and_read(image, size + 512, buf);
	(void)image_resize(image, (size / 2) & ~511ULL, &shrink, NULL);
	write_and_read(image, 100, buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t buf[READ_LEN];
	struct image *image;
	int fd;

	if (len > FILE_MAX)
		return 0;
	make_data_file();
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || pwrite(fd, data, len, 0) != (ssize_t)len)
		abort();
	inspect(fd);
	image = open_copy(fd, 0);
	if (image != NULL) {
		uint64_t size = image_size(image);

		read_around(image, 0, buf);
		read_around(image, size / 3, buf);
		read_around(image, size - size / 8, buf);
		change_bitmaps(image);
		if (size > 1000) {
			compress(image, buf);
			change_snapshots(image, buf);
		}
		if (image_size(image) > 1000)
			change(image, buf);
		if (len % 2 == 0)
			(void)image_make_empty(image, NULL);
		(void)image_close(image, NULL);
	}
	repair(fd);
	close(fd);
	return 0;
}
