/* SPDX-License-Identifier: ISC */
/*
 * Files of any content as qcow2 images: checked, described, read and mapped
 * all over, then written to in a few ways, resized, and read again. What was
 * written must be read back as long as no error was reported.
 */
#include "lib/image/image.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	FILE_MAX = 1 << 20,
	READ_LEN = 96 << 10,
	WRITE_LEN = 5000,
};

static struct image *open_copy(int fd, unsigned flags)
{
	const struct image_open_options how = {
		.format = "qcow2",
		.flags = flags | IMAGE_NO_BACKING,
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
		if (size > 1000)
			change(image, buf);
		(void)image_close(image, NULL);
	}
	close(fd);
	return 0;
}
