/* SPDX-License-Identifier: ISC */
/* A whole dmg file: trailer, property list or resource fork, chunks. */
#include "lib/image/image.h"
#include "tests/support/image_walk.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct image_open_options how = {
		.format = "dmg",
		.flags = IMAGE_READ_ONLY,
		.may_open = walk_deny,
	};
	int fd = memfd_create("dmg", MFD_CLOEXEC);
	struct image *image;

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	if (image_open_fd(&image, fd, "dmg", &how, NULL) < 0)
		return 0;
	walk_image(image, 0);
	image_close(image, NULL);
	return 0;
}
