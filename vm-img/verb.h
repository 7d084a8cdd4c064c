/* SPDX-License-Identifier: ISC */
/* The verbs: one file each, one row each in main.c's table. */
#ifndef VM_IMG_VERB_H
#define VM_IMG_VERB_H

#include "lib/base/options.h"

struct verb {
	const char *name;
	/* argv[0] is the verb. Returns the exit status. */
	int (*run)(int argc, char **argv);
	const struct option_spec *options;
	const char *operands;
};

int amend_run(int argc, char **argv);
int bench_run(int argc, char **argv);
int bitmap_run(int argc, char **argv);
int check_run(int argc, char **argv);
int commit_run(int argc, char **argv);
int compact_run(int argc, char **argv);
int compare_run(int argc, char **argv);
int convert_run(int argc, char **argv);
int create_run(int argc, char **argv);
int dd_run(int argc, char **argv);
int info_run(int argc, char **argv);
int map_run(int argc, char **argv);
int measure_run(int argc, char **argv);
int rebase_run(int argc, char **argv);
int resize_run(int argc, char **argv);
int snapshot_run(int argc, char **argv);

extern const struct option_spec amend_options[];
extern const struct option_spec bench_options[];
extern const struct option_spec bitmap_options[];
extern const struct option_spec check_options[];
extern const struct option_spec commit_options[];
extern const struct option_spec compact_options[];
extern const struct option_spec compare_options[];
extern const struct option_spec convert_options[];
extern const struct option_spec create_options[];
extern const struct option_spec dd_options[];
extern const struct option_spec info_options[];
extern const struct option_spec map_options[];
extern const struct option_spec measure_options[];
extern const struct option_spec rebase_options[];
extern const struct option_spec resize_options[];
extern const struct option_spec snapshot_options[];

/* --help: to standard output, status 0. */
_Noreturn void verb_help(void);

#endif
