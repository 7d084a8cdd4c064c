/* SPDX-License-Identifier: ISC */
/*
 * The bitmaps that some formats have in the file, with a bit for each sector
 * of a block. Formats differ in which bit of a byte is its first sector's.
 */
#ifndef LIB_IMAGE_SECTOR_BITS_H
#define LIB_IMAGE_SECTOR_BITS_H

#include <stdbool.h>
#include <stdint.h>

enum sector_bits_order {
	SECTOR_BITS_LOWEST_FIRST,
	SECTOR_BITS_HIGHEST_FIRST,
};

/* How many of the n > 0 bits from bit first of bits on are as that one is,
 * which *is_set becomes. */
uint64_t sector_bits_run(const uint8_t *bits, uint64_t first, uint64_t n,
			 enum sector_bits_order order, bool *is_set);

#endif
