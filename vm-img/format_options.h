/* SPDX-License-Identifier: ISC */
/*
 * Creation options: what came after -o, checked against the format's table
 * and made plain (bytes for "64k", "on" for "yes") before a file is touched.
 */
#ifndef VM_IMG_FORMAT_OPTIONS_H
#define VM_IMG_FORMAT_OPTIONS_H

#include "lib/image/image.h"

#include <stdbool.h>

enum {
	FORMAT_OPTIONS_MAX = 64,
};

struct format_options {
	/* Strings are ours. */
	char *names[FORMAT_OPTIONS_MAX], *values[FORMAT_OPTIONS_MAX];
	unsigned n;
	bool wants_help;
};

/* Add the items of "name=value,name" (as one value is "on"); of two with the
 * same name the later one counts. -errno and a message. */
int format_options_parse(struct format_options *options, const char *text);
int format_options_set(struct format_options *options, const char *name,
		       const char *value);
/* NULL: not given. */
const char *format_options_get(const struct format_options *options,
			       const char *name);
/* Of a value that was checked to be on or off; NULL is off. */
bool format_options_is_on(const char *value);
void format_options_deinit(struct format_options *options);

/* Check names and values, in the order in which they were given, by one list
 * or the other (NULL: none); sizes and numbers are then as they are printed.
 * -EINVAL, -ERANGE. */
int format_options_check(struct format_options *options,
			 const struct image_option_spec *specs,
			 const struct image_option_spec *more,
			 struct error *err);
int format_options_check_or_report(struct format_options *options,
				   const struct image_option_spec *specs);

/* Is help from now on to tell of options that 7.2 has not, too? */
void format_options_have_later(bool have);

/* -b and -F, each of which may be NULL: stronger than the same with -o.
 * -ENOTSUP: the format (which can be created) has no backing files, or none of
 * that other format; -EINVAL: and -o wants one. */
int format_options_set_backing(struct format_options *options,
			       const char *format, const char *name,
			       const char *name_format, struct error *err);

/* Options that were checked, all of them in list, of FORMAT_OPTIONS_MAX; how
 * many. */
unsigned format_options_list(const struct format_options *options,
			     const struct image_option_spec *specs,
			     struct image_option *list);
/* Of options that were checked: fill in the fields that have options of their
 * own, and point list, of FORMAT_OPTIONS_MAX, to the others. */
void format_options_apply(const struct format_options *options,
			  const struct image_option_spec *specs,
			  struct image_option *list,
			  struct image_create_options *create);

/* " name=value" for each option given and each with a standard value. */
void format_options_print(const struct format_options *options,
			  const struct image_option_spec *specs);
/* Is there a format of that name? Or what QEMU has as a driver? */
bool format_options_is_format(const char *name);
bool format_options_is_driver(const char *name);
/* -o help of a list. */
void format_options_help(const struct image_option_spec *specs);
/*
 * All that can be said when an image of the format is made in the file of that
 * name, or in none (NULL); until the next call. NULL, and a message that begins
 * with noun and ": " unless it is NULL: nothing of that format can be made.
 */
const struct image_option_spec *
format_options_of_new(const char *format, const char *path, const char *noun);
/* -o help of a format, and of a file's name unless that is NULL, or a message.
 * An exit status. */
int format_options_help_new(const char *format, const char *path);

#endif
