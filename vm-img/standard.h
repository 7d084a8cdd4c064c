/* SPDX-License-Identifier: ISC */
/*
 * Standard input as an image, and standard output as the place of one: what
 * convert's "-" means.
 */
#ifndef VM_IMG_STANDARD_H
#define VM_IMG_STANDARD_H

#include <stdbool.h>
#include <stddef.h>

struct error;
struct image;

/* Is this name that of standard input or output? */
bool standard_is(const char *path);

/* Standard input comes piece by piece and can be read once. */
bool standard_is_pipe(void);

/*
 * Standard input as an image. What is a pipe goes to a file without a name
 * first, in TMPDIR or /var/tmp, in which zeroes take no space.
 */
int standard_open(struct image **image, const char *format, unsigned flags,
		  struct error *err);

/* As many bytes as there are before the end of the input, len at most. */
int standard_read(void *buf, size_t len, size_t *got, struct error *err);

/*
 * Standard output is about to be written to: not a terminal. -errno with a
 * text.
 */
int standard_prepare_output(struct error *err);

#endif
