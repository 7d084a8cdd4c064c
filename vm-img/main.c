/* SPDX-License-Identifier: ISC */
/*
 * vm-img: disk images, as qemu-img: its verbs, option letters, output, texts
 * and exit statuses. Called by the name qemu-img its messages begin with it.
 */
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "vm-img/arguments.h"
#include "vm-img/object.h"
#include "vm-img/report.h"
#include "vm-img/trace.h"
#include "vm-img/verb.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DRIVERS_MAX = 64,
};

static const struct verb *current; /* NULL: not known yet */

static const struct verb verbs[] = {
	{ "amend", amend_run, amend_options, "FILENAME" },
	{ "bench", bench_run, bench_options, "FILENAME" },
	{ "bitmap", bitmap_run, bitmap_options, "FILENAME BITMAP" },
	{ "check", check_run, check_options, "FILENAME" },
	{ "commit", commit_run, commit_options, "FILENAME" },
	{ "compact", compact_run, compact_options, "FILENAME" },
	{ "compare", compare_run, compare_options, "FILENAME1 FILENAME2" },
	{ "convert", convert_run, convert_options,
	  "FILENAME [FILENAME2 ...] OUTPUT_FILENAME" },
	{ "create", create_run, create_options, "FILENAME [SIZE]" },
	{ "dd", dd_run, dd_options,
	  "[bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT" },
	{ "info", info_run, info_options, "FILENAME" },
	{ "map", map_run, map_options, "FILENAME" },
	{ "measure", measure_run, measure_options, "[FILENAME]" },
	{ "rebase", rebase_run, rebase_options, "FILENAME" },
	{ "resize", resize_run, resize_options, "FILENAME [+|-]SIZE" },
	{ "snapshot", snapshot_run, snapshot_options, "FILENAME" },
};

/* "info [--output=OFMT] [-U] FILENAME": scripts look for such a line to see
 * whether an option is there. */
static void print_synopsis(const struct verb *verb)
{
	const struct option_spec *o;

	printf("  %s", verb->name);
	for (o = verb->options; o->name != NULL; o++) {
		if (o->id < OPTION_FIRST)
			printf(" [-%c%s%s]", o->id,
			       o->argument != NULL ? " " : "",
			       o->argument != NULL ? o->argument : "");
		else
			printf(" [--%s%s%s]", o->name,
			       o->argument != NULL ? "=" : "",
			       o->argument != NULL ? o->argument : "");
	}
	printf(" %s\n", verb->operands);
}

static void print_options(const struct verb *verb)
{
	const struct option_spec *o;

	printf("\nOptions of %s:\n", verb->name);
	for (o = verb->options; o->name != NULL; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c%c --%s%s%s",
			 o->id < OPTION_FIRST ? '-' : ' ',
			 o->id < OPTION_FIRST ? o->id : ' ',
			 o->id < OPTION_FIRST ? ',' : ' ', o->name,
			 o->argument != NULL ? "=" : "",
			 o->argument != NULL ? o->argument : "");
		printf("  %-30s %s\n", left, o->help);
	}
}

static void print_version(void)
{
	printf("%s version 7.2.0 (Pipevisor %s)\n", log_program(),
	       PIPEVISOR_VERSION);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* As qemu-img, in one line and sorted: scripts look there for what they need,
 * be it a format or what stands under one. */
static void print_formats(void)
{
	const char *names[DRIVERS_MAX];
	unsigned n = 0;

	while (n < DRIVERS_MAX && (names[n] = image_driver_name(n)) != NULL)
		n++;
	qsort(names, n, sizeof(names[0]), compare_names);
	printf("\nSupported formats:");
	for (unsigned i = 0; i < n; i++)
		printf(" %s", names[i]);
	printf("\n");
}

void verb_help(void)
{
	print_version();
	if (current != NULL && arguments_compat() == COMPAT_10_2) {
		printf("usage: %s\n", log_program());
		print_synopsis(current);
		print_options(current);
		exit(report_finish(EXIT_SUCCESS));
	}
	printf("usage: %s [-h|--help] [-V|--version] [-T|--trace TRACE] "
	       "VERB [OPTION]... FILENAME...\n\nVerbs:\n",
	       log_program());
	for (unsigned i = 0; i < array_size(verbs); i++)
		print_synopsis(&verbs[i]);
	for (unsigned i = 0; i < array_size(verbs); i++)
		print_options(&verbs[i]);
	print_formats();
	exit(report_finish(EXIT_SUCCESS));
}

static const struct verb *find_verb(const char *name)
{
	for (unsigned i = 0; i < array_size(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	report_usage("Command not found: %s", name);
}

/* What stands before the verb: where that is. 0: there is none, and nothing
 * more to do. */
static int take_standard_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "trace", required_argument, NULL, 'T' },
		{ NULL, 0, NULL, 0 },
	};
	int id;

	opterr = 0;
	while ((id = getopt_long(argc, argv, "+:hVT:", longs, NULL)) >= 0) {
		switch (id) {
		case 'h':
			verb_help();
		case 'V':
			print_version();
			return 0;
		case 'T':
			trace_take(optarg);
			break;
		case ':':
			report_usage("missing argument for option '%s'",
				     argv[optind - 1]);
		default:
			report_usage("unrecognized option '%s'",
				     argv[optind - 1]);
		}
	}
	return optind < argc ? optind : 0;
}

/* Who stops reading, a file that may grow no more and a question of how far it
 * is before anything has begun end no work: calls fail, or nobody answers. */
static void ignore_signals(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
}

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *program = argc > 0 ? argv[0] : "vm-img";
	const struct verb *verb;
	int status, at;

	log_init(slash != NULL ? slash + 1 : program);
	/* What works has nothing to say. */
	log_set_level(LOG_LEVEL_WARN);
	ignore_signals();
	if (argc < 2)
		report_usage("Not enough arguments");
	at = take_standard_options(argc, argv);
	if (at == 0)
		return report_finish(EXIT_SUCCESS);
	if (strcmp(argv[at], "help") == 0)
		verb_help();
	trace_begin();
	verb = current = find_verb(argv[at]);
	status = verb->run(argc - at, argv + at);
	object_deinit();
	return report_finish(status);
}
