/* SPDX-License-Identifier: ISC */
/* The command line of vm-disk. */
#ifndef VM_DISK_OPTIONS_H
#define VM_DISK_OPTIONS_H

#include "lib/base/server.h"

#include <stdbool.h>

enum {
	/* More than most guests have CPUs: an unused queue costs nothing. */
	DISK_QUEUES_DEFAULT = 16,
};

struct disk_options {
	const char *image_path;
	const char *format;   /* NULL: probe */
	const char *key_file; /* with the password; NULL: none */
	const char *serial;   /* NULL: the image's file name */
	unsigned n_queues;
	bool is_read_only, is_direct;
	struct server_options server;
};

/* Exits on --help, --print-capabilities and wrong usage. */
void disk_options_parse(struct disk_options *options, int argc, char **argv);

#endif
