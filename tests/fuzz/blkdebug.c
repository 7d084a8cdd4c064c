/* SPDX-License-Identifier: ISC */
/* Any text as a file of blkdebug's rules, which then act on a file. */
#include "lib/image/blkdebug.h"
#include "lib/image/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_rules(const struct blkdebug *d)
{
	if (d->n_rules > BLKDEBUG_RULES_MAX)
		abort();
	for (unsigned i = 0; i < d->n_rules; i++)
		if (d->rules[i].event >= IMAGE_N_EVENTS ||
		    d->rules[i].error < 0 || d->rules[i].error > 4095 ||
		    d->rules[i].io_mask >= 1U << BLKDEBUG_N_IO)
			abort();
}

static void act(struct image_file *file)
{
	char buf[3000] = "";
	uint64_t n;
	bool is_data;

	for (unsigned i = 0; i < IMAGE_N_EVENTS; i++) {
		image_file_tell(file, i);
		(void)image_file_write(file, 100 * i, buf, sizeof(buf));
		(void)image_file_read(file, 1000 * i, buf, sizeof(buf));
		(void)image_file_zero(file, 700, 5000, false);
		(void)image_file_punch(file, 1024, 4096);
		(void)image_file_extent(file, 0, 4096, &is_data, &n);
		(void)image_file_flush(file);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct blkdebug *d = blkdebug_new();
	struct image_file *file;
	int fd;

	if (d == NULL)
		return 0;
	if (blkdebug_parse(d, (const char *)data, len, NULL) == 0 &&
	    blkdebug_check(d, NULL) == 0) {
		check_rules(d);
		fd = memfd_create("disk", MFD_CLOEXEC);
		if (image_file_open_fd(&file, fd, "disk", IMAGE_FILE_NO_LOCK,
				       NULL) < 0)
			abort();
		if (blkdebug_put_over(&file, "disk", d, 0, NULL) < 0)
			abort();
		act(file);
		image_file_close(file);
	}
	blkdebug_free(d);
	return 0;
}
