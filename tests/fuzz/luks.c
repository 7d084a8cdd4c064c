/* SPDX-License-Identifier: ISC */
/*
 * A LUKS header, and what follows it. Key slots are tried where that is little
 * work: no input gets through with the password, but the key material is read.
 */
#include "lib/image/luks.h"

#include "lib/image/file.h"
#include "lib/image/image.h"
#include "tests/support/image_walk.h"

#include <endian.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
	ITERATIONS_MAX = 3,
};

static bool is_little_work(const struct luks *luks)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		if (luks->slots[i].is_active) {
			n++;
			if (luks->slots[i].iterations > ITERATIONS_MAX)
				return false;
		}
	return n < 2 && luks->master_iterations <= ITERATIONS_MAX;
}

static int make_file(const uint8_t *data, size_t len)
{
	int fd = memfd_create("luks", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len ||
	    ftruncate(fd, 8 << 20) < 0)
		abort();
	return fd;
}

static void look(const uint8_t *data, size_t len, bool is_detached,
		 unsigned flags)
{
	struct secrets *secrets = secrets_new();
	char header[32];
	const struct image_open_options how = {
		.format = "luks",
		.flags = flags,
		.secrets = secrets,
		.key_secret = "key",
		.header_path = is_detached ? header : NULL,
	};
	int fd = make_file(data, len);
	int header_fd = make_file(data, len);
	struct image_info info;
	struct image *image;

	snprintf(header, sizeof(header), "/proc/self/fd/%d", header_fd);
	if (secrets_add(secrets, "key", "abc", 3, NULL) < 0)
		abort();
	if (image_open_fd(&image, fd, "luks", &how, NULL) == 0) {
		image_get_info(image, &info, NULL);
		if (!(flags & IMAGE_METADATA_ONLY))
			walk_image(image, 0);
		image_close(image, NULL);
	}
	close(header_fd);
	secrets_free(secrets);
}

static void look_at_header(const uint8_t *data, size_t len, bool is_detached)
{
	struct luks_wire_header wire = { 0 }, back;
	struct luks luks;

	memcpy(&wire, data, len < sizeof(wire) ? len : sizeof(wire));
	look(data, len, is_detached, IMAGE_READ_ONLY | IMAGE_METADATA_ONLY);
	if (luks_parse(&luks, &wire, is_detached, NULL) < 0)
		return;
	luks_encode(&luks, &back);
	if (memcmp(&wire, &back, offsetof(struct luks_wire_header, version)) !=
	    0)
		abort();
	if (is_little_work(&luks))
		look(data, len, is_detached, IMAGE_READ_ONLY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	look_at_header(data, len, false);
	look_at_header(data, len, true);
	return 0;
}
