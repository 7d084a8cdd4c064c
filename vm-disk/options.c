/* SPDX-License-Identifier: ISC */
/* The command line of vm-disk, by the table. */
#include "vm-disk/options.h"

#include "lib/base/options.h"
#include "lib/base/size.h"
#include "lib/vhost/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPTION_BLK_FILE = OPTION_FIRST,
	OPTION_CACHE,
	OPTION_FORMAT,
	OPTION_KEY_FILE,
	OPTION_QUEUES,
	OPTION_READ_ONLY,
	OPTION_SERIAL,
};

/* clang-format off */
static const struct option_spec specs[] = {
	{ OPTION_BLK_FILE, "blk-file", "PATH", "the same as IMAGE" },
	{ OPTION_CACHE, "cache", "MODE",
	  "writeback (the default), or none: O_DIRECT" },
	{ OPTION_FORMAT, "format", "FORMAT",
	  "the image's format, instead of guessing it" },
	{ OPTION_KEY_FILE, "key-file", "PATH",
	  "what is in it is the encrypted image's password" },
	{ OPTION_QUEUES, "queues", "N", "offer N request queues (16)" },
	{ OPTION_READ_ONLY, "read-only", NULL, "refuse all writes" },
	{ OPTION_SERIAL, "serial", "TEXT",
	  "serial number, at most 20 bytes (the file name)" },
	OPTIONS_SERVER,
	OPTIONS_COMMON
};
/* clang-format on */

/* vhost-user, "Backend program conventions" and vhost-user.json. */
static _Noreturn void print_capabilities(void)
{
	puts("{\n  \"type\": \"block\",\n"
	     "  \"features\": [\n    \"read-only\",\n    \"blk-file\"\n  ]\n}");
	exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

static unsigned parse_queues(const char *text)
{
	uint64_t n;

	if (number_parse(text, 1, VHOST_QUEUES_MAX, &n) < 0)
		options_fail("--queues=%s: not a number from 1 to %d", text,
			     VHOST_QUEUES_MAX);
	return (unsigned)n;
}

static bool parse_cache(const char *text)
{
	if (strcmp(text, "none") != 0 && strcmp(text, "writeback") != 0)
		options_fail("--cache=%s: neither writeback nor none", text);
	return strcmp(text, "none") == 0;
}

static void take_option(struct disk_options *options, int id,
			const char *argument)
{
	switch (id) {
	case OPTION_BLK_FILE:
		options->image_path = argument;
		break;
	case OPTION_CACHE:
		options->is_direct = parse_cache(argument);
		break;
	case OPTION_FORMAT:
		options->format = argument;
		break;
	case OPTION_KEY_FILE:
		options->key_file = argument;
		break;
	case OPTION_QUEUES:
		options->n_queues = parse_queues(argument);
		break;
	case OPTION_READ_ONLY:
		options->is_read_only = true;
		break;
	case OPTION_SERIAL:
		options->serial = argument;
		break;
	case OPTION_PRINT_CAPABILITIES:
		print_capabilities();
	default:
		server_option(&options->server, id, argument);
	}
}

/* IMAGE [-- PROGRAM [ARGUMENT]...]; no IMAGE where --blk-file named it. */
static void take_operands(struct disk_options *options, int n, char **operands,
			  bool is_chain)
{
	if (!is_chain && n > 0 && !options->image_path) {
		options->image_path = operands[0];
		operands++;
		n--;
		is_chain = n > 0 && strcmp(operands[0], "--") == 0;
		operands += is_chain;
		n -= is_chain;
	}
	if (!options->image_path)
		options_fail("no image");
	if (n > 0 && !is_chain)
		options_fail("%s: one image only", operands[0]);
	if (n > 0)
		options->server.chain = operands;
	else if (is_chain)
		options_fail("no program after --");
}

void disk_options_parse(struct disk_options *options, int argc, char **argv)
{
	struct options parser = {
		.specs = specs,
		.usage = "[OPTION]... IMAGE [-- PROGRAM [ARGUMENT]...]",
		.about = "Serve a disk image as a vhost-user-blk back end.",
		.argc = argc,
		.argv = argv,
	};
	int id, operand;
	bool is_chain;

	*options = (struct disk_options){ .n_queues = DISK_QUEUES_DEFAULT };
	while ((id = options_next(&parser, &operand)) != -1)
		take_option(options, id, parser.argument);
	is_chain = operand > 1 && strcmp(argv[operand - 1], "--") == 0 &&
		   options->image_path;
	take_operands(options, argc - operand, argv + operand, is_chain);
}
