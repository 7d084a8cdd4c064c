/* SPDX-License-Identifier: ISC */
/* A control request's words (protocols/control.md, "Requests"). */
#ifndef LIB_BASE_CONTROL_LINE_H
#define LIB_BASE_CONTROL_LINE_H

#include <stddef.h>

/*
 * Cut line, len bytes without its newline and followed by one byte that may
 * be written to, into at most n_max words, in place. Returns their number (0
 * for a blank line) or -EINVAL with *reason.
 */
int control_line_split(char *line, size_t len, char **words, int n_max,
		       const char **reason);

#endif
