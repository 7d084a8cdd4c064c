/* SPDX-License-Identifier: ISC */
#ifndef LIB_BASE_TEXT_H
#define LIB_BASE_TEXT_H

/* A copy of with, or NULL of NULL, in the place of *text, which is freed.
 * -ENOMEM: it is still there. */
int text_replace(char **text, const char *with);

#endif
