/* SPDX-License-Identifier: ISC */
/*
 * One call of the image library, for tests to look at what it leaves.
 *
 *	image-do IMAGE backing [NAME [FORMAT]]
 *	image-do IMAGE empty
 *	image-do IMAGE compress RAW-FILE
 *	image-do IMAGE zero|discard|write OFFSET LEN
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"

#include <errno.h>
#include <fcntl.h>
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
