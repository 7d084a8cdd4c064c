/* SPDX-License-Identifier: ISC */
/* What the verbs' command lines have in common. */
#ifndef VM_IMG_ARGUMENTS_H
#define VM_IMG_ARGUMENTS_H

#include "lib/base/options.h"

#include <stdint.h>

struct image;

/* Ids of options without a short letter. */
enum {
	OPTION_OUTPUT = OPTION_FIRST,
	OPTION_BACKING_CHAIN,
	OPTION_OBJECT,
	OPTION_IMAGE_OPTS,
	OPTION_TARGET_IMAGE_OPTS,
	OPTION_TARGET_IS_ZERO,
	OPTION_BITMAPS,
	OPTION_SALVAGE,
	OPTION_SKIP_BROKEN,
	OPTION_PREALLOCATION,
	OPTION_SHRINK,
};

/* clang-format off */
#define OPTIONS_LATER \
	{ OPTION_OBJECT, "object", "OBJECTDEF", \
	  "a secret for an encrypted image (not available yet)" }, \
	{ OPTION_IMAGE_OPTS, "image-opts", NULL, \
	  "FILENAME is a list of options (not available yet)" }
#define OPTIONS_END \
	{ OPTION_HELP, "help", NULL, "print this help and exit" }, \
	{ 0, NULL, NULL, NULL }
/* clang-format on */

struct arguments {
	const struct option_spec *specs;
	int argc;
	char **argv;
	const char *value; /* of the option just returned */
	/* After the last option: */
	char **operands;
	int n_operands;
};

/*
 * The id of the next option, -1 after the last. Options may come after
 * operands. What is wrong, and --help, end the program as qemu-img would;
 * options that are not there yet are refused here.
 */
int arguments_next(struct arguments *arguments);

/*
 * 0, or -EINVAL and a message that begins with what ("image size"): bytes,
 * with or without a suffix, at most INT64_MAX.
 */
int argument_size(const char *what, const char *text, uint64_t *size);

/* --output: true for "json", false for "human"; else the program ends. */
bool argument_is_json(const char *text);

/*
 * A cache mode as enum image_open_flags: IMAGE_DIRECT, IMAGE_UNSAFE, or 0
 * where the mode asks for a flush at the end, which is always done. -EINVAL.
 */
int argument_cache(const char *text, unsigned *flags);

/* image_open(), and qemu-img's message: NULL. format NULL: guess. */
struct image *open_or_report(const char *path, const char *format,
			     unsigned flags);

#endif
