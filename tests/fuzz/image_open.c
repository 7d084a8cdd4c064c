/* SPDX-License-Identifier: ISC */
/*
 * Any bytes as an image: probed, opened for writing, asked for all that
 * info, convert and check ask for, written to, resized and closed. Names in
 * it are never followed. The bytes begin with one that chooses among these.
 */
#include "lib/base/error.h"
#include "lib/image/image.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	STEPS = 64, /* extents looked at */
	BUF_LEN = 65536,
	FILE_LEN_MAX = 1 << 30,
};

enum choices {
	CHOICE_READ_ONLY = 1 << 0,
	CHOICE_CHECK = 1 << 1,
	CHOICE_WRITE = 1 << 2,
	CHOICE_ZERO = 1 << 3,
	CHOICE_RESIZE = 1 << 4,
	CHOICE_AS_QCOW2 = 1 << 5,
	CHOICE_END = 1 << 6, /* at the end of the disk, not the beginning */
};

/* A file in memory may be of 2^62 bytes, as none on a disk: a check of what
 * the image's offsets make of it would take days. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct rlimit limit = { FILE_LEN_MAX, FILE_LEN_MAX };

	(void)argc;
	(void)argv;
	return setrlimit(RLIMIT_FSIZE, &limit);
}

static bool deny(void *context, const char *path)
{
	(void)context;
	(void)path;
	return false;
}

static struct image *open_bytes(const uint8_t *data, size_t len,
				unsigned choices)
{
	const struct image_open_options how = {
		.format = choices & CHOICE_AS_QCOW2 ? "qcow2" : NULL,
		.flags = (choices & CHOICE_READ_ONLY ? IMAGE_READ_ONLY : 0) |
			 (choices & CHOICE_CHECK ? IMAGE_CHECK : 0),
		.may_open = deny,
	};
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct error err = ERROR_INIT;
	struct image *image = NULL;

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	if (image_open_fd(&image, fd, "image", &how, &err) < 0)
		return NULL;
	return image;
}

/* What a map says must lie within what was asked. */
static void walk(struct image *image, uint64_t offset, uint8_t *buf)
{
	for (int i = 0; i < STEPS && offset < image_size(image); i++) {
		uint64_t left = image_size(image) - offset;
		struct image_extent extent;
		size_t n;

		if (image_map(image, offset, left, IMAGE_MAP_CHAIN, &extent,
			      NULL) < 0)
			return;
		if (extent.offset != offset || extent.len == 0 ||
		    extent.len > left)
			abort();
		n = extent.len < BUF_LEN ? (size_t)extent.len : BUF_LEN;
		image_read(image, offset, buf, n, NULL);
		offset += extent.len;
	}
}

static void change(struct image *image, uint64_t offset, unsigned choices,
		   uint8_t *buf)
{
	const struct image_resize_options how = { .may_shrink = true };
	uint64_t left = image_size(image) - offset;
	size_t n = left < BUF_LEN ? (size_t)left : BUF_LEN;

	memset(buf, 0x55, BUF_LEN);
	if (choices & CHOICE_WRITE &&
	    image_write(image, offset, buf, n, NULL) == 0) {
		memset(buf, 0, BUF_LEN);
		if (image_read(image, offset, buf, n, NULL) == 0 && n > 0 &&
		    buf[n - 1] != 0x55)
			abort();
	}
	if (choices & CHOICE_ZERO) {
		image_write_zeroes(image, offset, n, IMAGE_ZERO_MAY_UNMAP,
				   NULL);
		image_discard(image, offset, n / 2, NULL);
	}
	if (choices & CHOICE_RESIZE) {
		image_resize(image, image_size(image) / 2 & ~UINT64_C(511),
			     &how, NULL);
		image_resize(image, image_size(image) + BUF_LEN, &how, NULL);
	}
	image_flush(image, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t buf[BUF_LEN];
	struct image_check check = { .found = NULL };
	struct image_info info;
	struct image *image;
	unsigned choices;
	uint64_t offset;

	if (len < 1)
		return 0;
	signal(SIGXFSZ, SIG_IGN); /* libFuzzer takes it after the start */
	choices = data[0];
	image = open_bytes(data + 1, len - 1, choices);
	if (image == NULL)
		return 0;
	image_get_info(image, &info, NULL);
	offset = choices & CHOICE_END && image_size(image) > BUF_LEN
			 ? image_size(image) - BUF_LEN
			 : 0;
	walk(image, offset, buf);
	if (!image_is_read_only(image))
		change(image, offset, choices, buf);
	image_check(image, &check, NULL);
	image_close(image, NULL);
	return 0;
}
