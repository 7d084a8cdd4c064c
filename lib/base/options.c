/* SPDX-License-Identifier: ISC */
/* Options by getopt_long(), and --help, from one table. */
#include "lib/base/options.h"

#include "lib/base/log.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SPECS_MAX = 128,
	HELP_COLUMN = 28,
};

static bool has_letter(const struct option_spec *spec)
{
	return spec->id > 0 && spec->id < OPTION_FIRST;
}

static unsigned count_specs(const struct option_spec *specs)
{
	unsigned n = 0;

	while (specs[n].name != NULL)
		n++;
	return n;
}

static const struct option_spec *find_spec(const struct options *options,
					   int id)
{
	const struct option_spec *spec;

	for (spec = options->specs; spec->name != NULL; spec++) {
		if (spec->id == id)
			return spec;
	}
	return NULL;
}

static void print_option(const struct option_spec *spec)
{
	char left[64];

	snprintf(left, sizeof(left), "%c%c%c --%s%s%s",
		 has_letter(spec) ? '-' : ' ',
		 has_letter(spec) ? (char)spec->id : ' ',
		 has_letter(spec) ? ',' : ' ', spec->name,
		 spec->argument != NULL ? "=" : "",
		 spec->argument != NULL ? spec->argument : "");
	if (strlen(left) < HELP_COLUMN)
		printf("  %-*s %s\n", HELP_COLUMN, left, spec->help);
	else
		printf("  %s\n  %*s %s\n", left, HELP_COLUMN, "", spec->help);
}

static _Noreturn void print_and_exit(const struct options *options,
				     bool is_help)
{
	const struct option_spec *spec;

	if (is_help) {
		printf("Usage: %s %s\n%s\n\n", log_program(), options->usage,
		       options->about);
		for (spec = options->specs; spec->name != NULL; spec++)
			print_option(spec);
	} else {
		printf("%s (Pipevisor) %s\n", log_program(), PIPEVISOR_VERSION);
	}
	exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

void options_fail(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_error("%s", text);
	die(EXIT_USAGE, "try '%s --help'", log_program());
}

/* getopt's two tables from ours. */
static void translate(const struct option_spec *specs, struct option *longs,
		      char *letters)
{
	/* '+': stop at the first operand; ':': tell what is missing. */
	*letters++ = '+';
	*letters++ = ':';
	for (; specs->name != NULL; specs++, longs++) {
		*longs = (struct option){
			.name = specs->name,
			.has_arg = specs->argument != NULL ? required_argument
							   : no_argument,
			.val = specs->id,
		};
		if (!has_letter(specs))
			continue;
		*letters++ = (char)specs->id;
		if (specs->argument != NULL)
			*letters++ = ':';
	}
	*letters = '\0';
	*longs = (struct option){ .name = NULL };
}

static _Noreturn void refuse(const struct options *options, int result)
{
	const struct option_spec *spec = find_spec(options, optopt);
	const char *word = options->argv[optind - 1];

	if (result == ':' && spec != NULL)
		options_fail("option '--%s' needs an argument", spec->name);
	if (spec != NULL)
		options_fail("option '--%s' takes no argument", spec->name);
	if (optopt != 0)
		options_fail("unknown option '-%c'", optopt);
	options_fail("unknown option '%s'", word);
}

int options_next(struct options *options, int *operand)
{
	struct option longs[SPECS_MAX];
	char letters[2 * SPECS_MAX + 3];
	int id;

	assert(count_specs(options->specs) < SPECS_MAX);
	if (!options->is_begun)
		optind = 0; /* GNU: forget what was parsed before */
	options->is_begun = true;
	translate(options->specs, longs, letters);
	opterr = 0;
	for (;;) {
		id = getopt_long(options->argc, options->argv, letters, longs,
				 NULL);
		options->argument = optarg;
		switch (id) {
		case OPTION_VERBOSE:
			log_set_level(LOG_LEVEL_DEBUG);
			break;
		case OPTION_QUIET:
			log_set_level(LOG_LEVEL_ERROR);
			break;
		case OPTION_HELP:
		case OPTION_VERSION:
			print_and_exit(options, id == OPTION_HELP);
		case '?':
		case ':':
			refuse(options, id);
		case -1:
			*operand = optind;
			return -1;
		default:
			return id;
		}
	}
}

bool suboption_next(char **cursor, char **key, char **value)
{
	char *read = *cursor, *write = read;

	*key = read;
	*value = NULL;
	if (read == NULL || *read == '\0')
		return false;
	for (; *read != '\0'; read++) {
		if (*read == ',' && *++read != ',')
			break;
		if (*read == '=' && *value == NULL) {
			*write++ = '\0';
			*value = write;
		} else {
			*write++ = *read;
		}
	}
	*cursor = read;
	*write = '\0';
	return true;
}
