/* SPDX-License-Identifier: ISC */
/* Numbers and sizes as people write them. */
#ifndef LIB_BASE_SIZE_H
#define LIB_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Parse a size in bytes: digits (decimal, or 0x hexadecimal), an optional
 * fraction, and an optional suffix b, k, M, G, T, P or E of either case,
 * powers of 1024; without a suffix the unit is default_suffix ('b' for
 * bytes). Returns 0, -EINVAL (not a size) or -ERANGE (above 2^64-1).
 */
int size_parse(const char *text, char default_suffix, uint64_t *bytes);

/* Decimal or 0x number in [min, max], nothing after it. -EINVAL, -ERANGE. */
int number_parse(const char *text, uint64_t min, uint64_t max,
		 uint64_t *number);

/* "512 MiB", "1.5 GiB", "96 KiB", "17 B" (qemu-img's form). buf >= 16. */
const char *size_format(uint64_t bytes, char *buf, size_t len);

#endif
