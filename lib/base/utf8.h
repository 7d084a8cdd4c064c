/* SPDX-License-Identifier: ISC */
/* Characters in UTF-8 (RFC 3629, section 3). */
#ifndef LIB_BASE_UTF8_H
#define LIB_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum {
	UTF8_LEN_MAX = 4,
};

/* c, at most 0x10ffff, to the bytes at to, UTF8_LEN_MAX at most; how many. */
size_t utf8_put(char *to, uint32_t c);
/* The first character of text that ends with NUL, and how many bytes it
 * takes. 0: it is none. */
size_t utf8_get(const char *text, uint32_t *c);

#endif
