/* SPDX-License-Identifier: ISC */
/* A private folder for the sockets of one machine. */
#ifndef VM_RUN_RUN_DIR_H
#define VM_RUN_RUN_DIR_H

struct error;

enum {
	/* Sockets' paths have 107 bytes; their names here take 20. */
	RUN_DIR_MAX = 88,
};

/* Of mode 0700, in XDG_RUNTIME_DIR, or else in /tmp. */
int run_dir_make(char path[RUN_DIR_MAX], struct error *err);
/* What is left in it is removed too. */
void run_dir_remove(const char *path);

#endif
