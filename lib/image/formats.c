/* SPDX-License-Identifier: ISC */
/* The formats there are, and the guess which of them an image is in. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <string.h>

/* clang-format off */
const struct image_format *const image_formats[] = {
	&image_format_raw,
	&image_format_qcow2,
	&image_format_vdi,
	&image_format_vpc,
	&image_format_vmdk,
	&image_format_vhdx,
	&image_format_parallels,
	&image_format_qed,
	&image_format_qcow1,
	&image_format_bochs,
	&image_format_cloop,
	&image_format_luks,
	&image_format_dmg,
	&image_format_null_co,
	&image_format_null_aio,
	&image_format_file,
	&image_format_host_device,
	&image_format_host_cdrom,
	&image_format_nbd,
	&image_format_blkdebug,
	&image_format_throttle,
	&image_format_compress,
	&image_format_preallocate,
	&image_format_blklogwrites,
	&image_format_copy_before_write,
	&image_format_quorum,
	&image_format_blkverify,
	NULL,
};

static const char *const names[] = {
	"raw",
	"qcow2",
	"vdi",
	"vpc",
	"vmdk",
	"vhdx",
	"parallels",
	"qed",
	"qcow",
	"bochs",
	"cloop",
	"luks",
	"dmg",
	"null-co",
	"null-aio",
	NULL,
};
/* clang-format on */

/*
 * Formats without a reader. Guessing "raw" for one of them would show a guest
 * the container instead of the disk, and let it write over its header.
 */
static const struct foreign_format {
	const char *name;
	unsigned offset;
	const char *magic;
} foreign_formats[] = {
	{ "luks2", 0, "LUKS\xba\xbe" },
};

const char *const *image_format_names(void)
{
	return names;
}

const char *image_driver_name(unsigned index)
{
	return image_formats[index] != NULL ? image_formats[index]->name : NULL;
}

bool image_driver_is_known(const char *name)
{
	return image_format_find(name) != NULL;
}

const struct image_format *image_format_find(const char *name)
{
	for (unsigned i = 0; image_formats[i] != NULL; i++)
		if (strcmp(image_formats[i]->name, name) == 0)
			return image_formats[i];
	return NULL;
}

static bool is_foreign(const struct foreign_format *f, const uint8_t *head,
		       size_t len)
{
	size_t n = strlen(f->magic);

	return f->offset + n <= len &&
	       memcmp(head + f->offset, f->magic, n) == 0;
}

int image_format_probe(const struct image_format **format, const uint8_t *head,
		       size_t len, uint64_t file_size, struct error *err)
{
	int best = 0;

	for (unsigned i = 0; image_formats[i] != NULL; i++) {
		int score = image_formats[i]->probe(head, len, file_size);

		if (score > best) {
			best = score;
			*format = image_formats[i];
		}
	}
	for (unsigned i = 0; best < 100 && i < array_size(foreign_formats); i++)
		if (is_foreign(&foreign_formats[i], head, len))
			return error_set(
				err, -ENOTSUP,
				"Image format '%s' is not supported yet",
				foreign_formats[i].name);
	return 0;
}
