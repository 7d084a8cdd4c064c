/* SPDX-License-Identifier: ISC */
/*
 * Any bytes as an image: probed, opened for writing, asked for all that
 * info, convert and check ask for, written to, resized and closed. Names in
 * it are never followed. The bytes begin with one that chooses among these.
 */
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "tests/support/image_walk.h"

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
	FILE_LEN_MAX = 1 << 30,
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

static struct image *open_bytes(const uint8_t *data, size_t len,
				unsigned choices)
{
	const struct image_open_options how = {
		.format = choices & WALK_AS_NAMED ? "qcow2" : NULL,
		.flags = (choices & WALK_READ_ONLY ? IMAGE_READ_ONLY : 0) |
			 (choices & WALK_CHECK ? IMAGE_CHECK : 0),
		.may_open = walk_deny,
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct image *image;
	unsigned choices;

	if (len < 1)
		return 0;
	signal(SIGXFSZ, SIG_IGN); /* libFuzzer takes it after the start */
	choices = data[0];
	image = open_bytes(data + 1, len - 1, choices);
	if (image == NULL)
		return 0;
	walk_image(image, choices | WALK_READ_BACK);
	image_close(image, NULL);
	return 0;
}
