/* SPDX-License-Identifier: ISC */
/*
 * What a VM file comes to: the servers and vm-cpu, with their arguments and
 * listening sockets. vm-run starts it, or prints it as shell commands; both
 * come from this, so they cannot disagree.
 */
#ifndef VM_RUN_PLAN_H
#define VM_RUN_PLAN_H

#include "vm-run/vmfile.h"

#include <stdio.h>

struct error;

enum {
	PLAN_LISTENERS_MAX = 3,
	PLAN_ARGUMENTS_MAX = 48,
	PLAN_NAME_MAX = 16,
};

/*
 * One word: before, then a file's path in the run-time directory if run_file
 * is not NULL, then after. Either side may be NULL.
 */
struct plan_word {
	char *before, *run_file, *after;
};

/* A socket that vm-run opens and the server takes over. */
struct plan_listener {
	const char *name;   /* in LISTEN_FDNAMES */
	const char *option; /* that would make the server open it itself */
	struct plan_word path;
};

struct plan_process {
	char name[PLAN_NAME_MAX]; /* "disk0" */
	const char *program;
	struct plan_word arguments[PLAN_ARGUMENTS_MAX];
	unsigned n_arguments;
	struct plan_listener listeners[PLAN_LISTENERS_MAX];
	unsigned n_listeners;
};

struct plan {
	/* One for each device, and one for the serial port. */
	struct plan_process servers[VMFILE_DEVICES_MAX + 1];
	unsigned n_servers;
	struct plan_process cpu;
	bool is_restarted_on_reboot;
};

/* verbosity is an option handed on to all of them ("--quiet"), or NULL. */
int plan_new(struct plan **plan, const struct vmfile *vm, const char *verbosity,
	     struct error *err);
void plan_free(struct plan *plan);

/* The word as a string of its own, for this run-time directory; or NULL. */
char *plan_word_text(const struct plan_word *word, const char *run_dir);

/* As a shell script that does the same, but for servers that die: nobody
 * starts them again. */
void plan_print(const struct plan *plan, FILE *out);

#endif
