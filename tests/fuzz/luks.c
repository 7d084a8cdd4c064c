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

static void look(const uint8_t *data, size_t len, unsigned flags)
{
	struct secrets *secrets = secrets_new();
	const struct image_open_options how = {
		.format = "luks",
		.flags = flags,
		.secrets = secrets,
		.key_secret = "key",
	};
	int fd = memfd_create("luks", MFD_CLOEXEC);
	struct image_info info;
	struct image *image;

	if (fd < 0 || write(fd, data, len) != (ssize_t)len ||
	    ftruncate(fd, 8 << 20) < 0 ||
	    secrets_add(secrets, "key", "abc", 3, NULL) < 0)
		abort();
	if (image_open_fd(&image, fd, "luks", &how, NULL) == 0) {
		image_get_info(image, &info, NULL);
		if (!(flags & IMAGE_METADATA_ONLY))
			walk_image(image, 0);
		image_close(image, NULL);
	}
	secrets_free(secrets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct luks_wire_header wire = { 0 }, back;
	struct luks luks;

	memcpy(&wire, data, len < sizeof(wire) ? len : sizeof(wire));
	look(data, len, IMAGE_READ_ONLY | IMAGE_METADATA_ONLY);
	if (luks_parse(&luks, &wire, NULL) < 0)
		return 0;
	luks_encode(&luks, &back);
	if (memcmp(&wire, &back, offsetof(struct luks_wire_header, version)))
		abort();
	if (is_little_work(&luks))
		look(data, len, IMAGE_READ_ONLY);
	return 0;
}
