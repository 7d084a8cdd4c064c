/* SPDX-License-Identifier: ISC */
/* What the verbs' command lines have in common. */
#ifndef VM_IMG_ARGUMENTS_H
#define VM_IMG_ARGUMENTS_H

#include "lib/base/options.h"

#include <stdint.h>

struct error;
struct image;
struct image_under;

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
	OPTION_PATTERN,
	OPTION_FLUSH_INTERVAL,
	OPTION_NO_DRAIN,
	OPTION_COMPAT,
	OPTION_ALLOW_PROTOCOLS,
	OPTION_FORCE,
	OPTION_INTEGRITY,
	OPTION_LIMITS,
	OPTION_ADD,
	OPTION_REMOVE,
	OPTION_CLEAR,
	OPTION_ENABLE,
	OPTION_DISABLE,
	OPTION_MERGE,
	/* Another name of an option: its id and this. */
	OPTION_ALIAS = 0x1000,
};

/* --compat: whose words to use where versions of qemu-img differ. */
enum compat {
	COMPAT_7_2,
	COMPAT_10_2,
};

/* clang-format off */
#define OPTIONS_OBJECT \
	{ OPTION_OBJECT, "object", "OBJECTDEF", \
	  "a secret for an encrypted image" }
#define OPTIONS_SOURCE \
	OPTIONS_OBJECT, \
	{ OPTION_IMAGE_OPTS, "image-opts", NULL, \
	  "FILENAME is a list of options" }
#define OPTIONS_END \
	{ OPTION_ALLOW_PROTOCOLS, "allow-protocols", NULL, \
	  "names inside images may be nbd: and json:" }, \
	{ OPTION_COMPAT, "compat", "VERSION", \
	  "words of qemu-img 7.2 (default) or 10.2" }, \
	{ OPTION_HELP, "help", NULL, "print this help and exit" }, \
	{ 0, NULL, NULL, NULL }
/* clang-format on */

/* In place of an option's id: value is an operand. */
enum {
	ARGUMENTS_OPERAND = 1,
};

struct arguments {
	const struct option_spec *specs;
	int argc;
	char **argv;
	bool is_in_order;  /* operands are returned where they stand */
	const char *value; /* of the option just returned */
	/* After the last option: */
	char **operands;
	int n_operands;
};

/*
 * The id of the next option, -1 after the last. Options may come after
 * operands. What is wrong, and --help, end the program as qemu-img would.
 * --object and --image-opts are done with here.
 */
int arguments_next(struct arguments *arguments);

/* With is_in_order: the next word, if it is a number below zero, which is no
 * option then; else NULL. */
const char *arguments_take_negative(struct arguments *arguments);

/* What --compat says, or said so far. */
enum compat arguments_compat(void);
/* Before the options are taken: for what they are taken as depends on it. */
void arguments_find_compat(int argc, char **argv);

/*
 * 0, or -EINVAL and a message that names what ("image size"): bytes, with or
 * without a suffix, from min to max.
 */
int argument_number(const char *what, const char *text, uint64_t min,
		    uint64_t max, uint64_t *number);
/* Of something other than bytes: no suffix, but octal and hexadecimal. */
int argument_count(const char *what, const char *text, uint64_t min,
		   uint64_t max, uint64_t *number);
/* Bytes from 0 to INT64_MAX. */
int argument_size(const char *what, const char *text, uint64_t *size);

/* --output: true for "json", false for "human"; else the program ends. */
bool argument_is_json(const char *text);

/*
 * A cache mode as enum image_open_flags: IMAGE_DIRECT, IMAGE_UNSAFE, or 0
 * where the mode asks for a flush at the end, which is always done. -EINVAL.
 */
int argument_cache(const char *text, unsigned *flags);

/*
 * image_open() of what name stands for, and qemu-img's message: NULL. format
 * NULL: guess. With --image-opts name is a list of options.
 */
struct image *open_or_report(const char *name, const char *format,
			     unsigned flags);
/* image_close(), which may be the last to write; 0 or -errno. */
int close_or_report(struct image *image);
/* The same of a path that came out of an image: nothing but a path. */
struct image *open_path_or_report(const char *path, const char *format,
				  unsigned flags);
/* And of a name that is no path. */
struct image *open_inside_or_report(const char *name, const char *format,
				    unsigned flags);
/* Of a name that --image-opts does not mean. */
struct image *open_target_or_report(const char *name, const char *format,
				    unsigned flags, bool is_options);
/*
 * An image without those under it, which the caller opens itself: what name
 * says of them goes to *under, NULL if that is nothing. Once.
 */
struct image *open_layer_or_report(const char *name, const char *format,
				   unsigned flags,
				   const struct image_under **under);
/* What the user wants to have under the image of: from its folder, or by a
 * name that is no path. 0, or -errno with a text. */
int open_backing(struct image **image, const char *of, const char *name,
		 const char *format, unsigned flags, struct error *err);
/* May an image be made by this name? -EINVAL. */
int check_new_or_report(const char *path);
/* An image that was just made: its name, and the id of its secret or NULL. */
struct image *open_new_or_report(const char *name, const char *format,
				 const char *key_secret, unsigned flags);

/* Was --image-opts given? */
bool arguments_have_image_opts(void);

#endif
