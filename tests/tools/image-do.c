/* SPDX-License-Identifier: ISC */
/*
 * One call of the image library, for tests to look at what it leaves.
 *
 *	image-do IMAGE backing [NAME [FORMAT]]
 *	image-do IMAGE empty
 *	image-do IMAGE compress RAW-FILE
 *	image-do IMAGE zero|discard|write OFFSET LEN
 *	image-do IMAGE resize SIZE
 *	image-do IMAGE bitmap-add|-add-off NAME GRANULARITY
 *	image-do IMAGE bitmap-remove|-clear|-on|-off NAME
 *	image-do IMAGE bitmap-merge NAME SOURCE-IMAGE|= FROM
 *	image-do IMAGE bitmap-list NAME		(what is set, on stdout)
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct error err = ERROR_INIT;

static int compress(struct image *image, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t len = image_cluster_size(image);
	char *buf = malloc(len);
	uint64_t at = 0;
	int rc = 0;

	if (fd < 0 || buf == NULL)
		die(1, "%s: %s", path, strerror(errno));
	while (rc == 0 && at < image_size(image)) {
		ssize_t n = read(fd, buf, len);

		if (n <= 0)
			die(1, "%s: too short", path);
		rc = image_write_compressed(image, at, buf, (size_t)n, &err);
		at += (size_t)n;
	}
	free(buf);
	close(fd);
	return rc;
}

static int change(struct image *image, const char *verb, uint64_t offset,
		  uint64_t len)
{
	char *buf;
	int rc;

	if (strcmp(verb, "zero") == 0)
		return image_write_zeroes(image, offset, len, 0, &err);
	if (strcmp(verb, "discard") == 0)
		return image_discard(image, offset, len, &err);
	buf = malloc(len);
	if (buf == NULL)
		die(1, "out of memory");
	memset(buf, 7, len);
	rc = image_write(image, offset, buf, len, &err);
	free(buf);
	return rc;
}

static int merge(struct image *image, char **argv)
{
	const struct image_open_options how = { .flags = IMAGE_READ_ONLY };
	struct image *source = image;
	int rc = 0;

	if (strcmp(argv[1], "=") != 0)
		rc = image_open(&source, argv[1], &how, &err);
	if (rc == 0)
		rc = image_bitmap_merge(image, argv[0], source, argv[2], &err);
	if (source != image)
		image_close(source, NULL);
	return rc;
}

static int list(struct image *image, const char *name)
{
	uint64_t len;
	bool is_set;
	int rc = 0;

	for (uint64_t at = 0; at < image_size(image); at += len) {
		rc = image_bitmap_get(image, name, at, &is_set, &len, &err);
		if (rc < 0)
			break;
		printf("%10llu %10llu %5u\n", (unsigned long long)at,
		       (unsigned long long)len, is_set);
	}
	return rc;
}

static int bitmap(struct image *image, const char *verb, int argc, char **argv)
{
	if (strncmp(verb, "add", 3) == 0 && argc > 1)
		return image_bitmap_add(image, argv[0],
					strtoull(argv[1], NULL, 0),
					verb[3] == '\0', &err);
	if (strcmp(verb, "merge") == 0 && argc > 2)
		return merge(image, argv);
	if (strcmp(verb, "remove") == 0)
		return image_bitmap_remove(image, argv[0], &err);
	if (strcmp(verb, "clear") == 0)
		return image_bitmap_clear(image, argv[0], &err);
	if (strcmp(verb, "list") == 0)
		return list(image, argv[0]);
	return image_bitmap_enable(image, argv[0], strcmp(verb, "on") == 0,
				   &err);
}

static int resize(struct image *image, const char *size)
{
	const struct image_resize_options how = { .may_shrink = true };

	return image_resize(image, strtoull(size, NULL, 0), &how, &err);
}

int main(int argc, char **argv)
{
	const struct image_open_options how = { .flags = IMAGE_NO_BACKING };
	struct image *image;
	int rc;

	log_init("image-do");
	if (argc < 3)
		die(EXIT_USAGE, "usage: image-do IMAGE VERB ...");
	rc = image_open(&image, argv[1], &how, &err);
	if (rc < 0)
		die(1, "%s: %s", argv[1], error_text(&err, rc));
	if (strcmp(argv[2], "backing") == 0)
		rc = image_change_backing(image, argc > 3 ? argv[3] : NULL,
					  argc > 4 ? argv[4] : NULL, &err);
	else if (strcmp(argv[2], "empty") == 0)
		rc = image_make_empty(image, &err);
	else if (strcmp(argv[2], "compress") == 0 && argc > 3)
		rc = compress(image, argv[3]);
	else if (strcmp(argv[2], "resize") == 0 && argc > 3)
		rc = resize(image, argv[3]);
	else if (strncmp(argv[2], "bitmap-", 7) == 0 && argc > 3)
		rc = bitmap(image, argv[2] + 7, argc - 3, argv + 3);
	else if (argc > 4)
		rc = change(image, argv[2], strtoull(argv[3], NULL, 0),
			    strtoull(argv[4], NULL, 0));
	else
		die(EXIT_USAGE, "no such verb: %s", argv[2]);
	if (rc == 0)
		rc = image_close(image, &err);
	if (rc < 0)
		die(1, "%s: %s", argv[1], error_text(&err, rc));
	return 0;
}
