/* SPDX-License-Identifier: ISC */
/*
 * Options. A program states each option once, in a table; getopt_long() and
 * --help are both made from it, so they cannot disagree.
 */
#ifndef LIB_BASE_OPTIONS_H
#define LIB_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* id: the short letter if the option has one, else a number above 255. */
struct option_spec {
	int id;
	const char *name;     /* long name; NULL ends the table */
	const char *argument; /* shown in --help; NULL: takes none */
	const char *help;     /* one line */
};

enum {
	OPTION_HELP = 'h',
	OPTION_VERBOSE = 'v',
	OPTION_QUIET = 'q',
	OPTION_VERSION = 'V',
	OPTION_FIRST = 256, /* ids of options without a short letter */
};

/* clang-format off */
/* Last rows of every program's table; options_next() acts on them itself. */
#define OPTIONS_COMMON \
	{ OPTION_VERBOSE, "verbose", NULL, "log more" }, \
	{ OPTION_QUIET, "quiet", NULL, "log errors only" }, \
	{ OPTION_VERSION, "version", NULL, "print the version and exit" }, \
	{ OPTION_HELP, "help", NULL, "print this help and exit" }, \
	{ 0, NULL, NULL, NULL }
/* clang-format on */

struct options {
	const struct option_spec *specs;
	const char *usage; /* "[OPTION]... IMAGE [-- PROGRAM [ARGUMENT]...]" */
	const char *about; /* one line under the usage */
	int argc;
	char **argv;
	/* After options_next() returned an id: */
	const char *argument; /* NULL where it takes none */
	bool is_begun;	      /* options_next()'s own; begin with false */
};

/*
 * The next option's id, or -1 after the last; *operand is then the index of
 * the first operand. Options stop at the first operand or at "--" (which is
 * skipped). --help and --version print to standard output and exit 0; an
 * unknown option, or a missing or unwanted argument, prints one line and
 * exits 2.
 */
int options_next(struct options *options, int *operand);

/* "PROGRAM: TEXT" and "Try 'PROGRAM --help'", then exit 2. */
_Noreturn void options_fail(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/*
 * Walk "key=value,key,key=value". Each call cuts one item off *cursor in
 * place, sets *key and *value (NULL without '='), and returns false at the
 * end. A doubled comma stands for a comma in the value, as in QEMU.
 */
bool suboption_next(char **cursor, char **key, char **value);

#endif
