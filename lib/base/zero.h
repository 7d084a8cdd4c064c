/* SPDX-License-Identifier: ISC */
/* Are bytes all zero? */
#ifndef LIB_BASE_ZERO_H
#define LIB_BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool is_zero(const uint8_t *buf, size_t len)
{
	/* Equal to itself one byte on: all bytes are as the first. */
	return len == 0 || (buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0);
}

#endif
