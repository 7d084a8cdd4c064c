/* SPDX-License-Identifier: ISC */
/* The terminal on standard input, put in raw mode and always put back. */
#ifndef VM_CONSOLE_TERMINAL_H
#define VM_CONSOLE_TERMINAL_H

/* Raw from now on until terminal_restore() or exit(3). 0 or -errno. */
int terminal_set_raw(int fd);
/* As it was before. Idempotent. */
void terminal_restore(void);

/*
 * A descriptor for the same terminal, pipe or file as fd that does not block,
 * where fd's other users would be surprised if theirs did not: a description
 * of its own where there can be one. The caller's; or -errno.
 */
int terminal_open_private(int fd, int access_mode);

#endif
