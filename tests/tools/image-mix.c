/* SPDX-License-Identifier: ISC */
/*
 * Is each sector of a file that of one of two others?
 *
 *	image-mix FILE BEFORE AFTER
 *
 * What a file does not have, behind its end, is zeroes. Status 1, and the
 * first sector that is neither's.
 */
#include "lib/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	SECTOR = 512,
};

static size_t read_sector(FILE *f, unsigned char *buf)
{
	memset(buf, 0, SECTOR);
	return fread(buf, 1, SECTOR, f);
}

int main(int argc, char **argv)
{
	unsigned char buf[3][SECTOR];
	FILE *files[3];

	log_init("image-mix");
	if (argc != 4)
		die(EXIT_USAGE, "usage: image-mix FILE BEFORE AFTER");
	for (int i = 0; i < 3; i++) {
		files[i] = fopen(argv[i + 1], "re");
		if (files[i] == NULL)
			die(1, "%s: %s", argv[i + 1], strerror(errno));
	}
	for (unsigned long n = 0; read_sector(files[0], buf[0]) > 0; n++) {
		read_sector(files[1], buf[1]);
		read_sector(files[2], buf[2]);
		if (memcmp(buf[0], buf[1], SECTOR) != 0 &&
		    memcmp(buf[0], buf[2], SECTOR) != 0)
			die(1, "%s: sector %lu is of neither", argv[1], n);
	}
	for (int i = 0; i < 3; i++)
		fclose(files[i]);
	return 0;
}
