/* SPDX-License-Identifier: ISC */
/* Where the programs are: beside vm-run itself, or else in PATH. */
#ifndef VM_RUN_PROGRAM_H
#define VM_RUN_PROGRAM_H

struct error;

/* *path is the caller's to free. -ENOENT with a text. */
int program_find(char **path, const char *name, struct error *err);

#endif
