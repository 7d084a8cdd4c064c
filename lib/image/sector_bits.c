/* SPDX-License-Identifier: ISC */
#include "lib/image/sector_bits.h"

#include <string.h>

enum {
	BYTE = 8,	 /* bits */
	LOOKED_AT = 256, /* bytes at once */
	MANY = LOOKED_AT * BYTE,
};

static bool get(const uint8_t *bits, uint64_t i, enum sector_bits_order order)
{
	uint64_t shift = i % BYTE;

	if (order == SECTOR_BITS_HIGHEST_FIRST)
		shift = BYTE - 1 - shift;
	return bits[i / BYTE] >> shift & 1;
}

static bool are_all(const uint8_t *bytes, uint64_t len, uint8_t value)
{
	return bytes[0] == value && memcmp(bytes, bytes + 1, len - 1) == 0;
}

uint64_t sector_bits_run(const uint8_t *bits, uint64_t first, uint64_t n,
			 enum sector_bits_order order, bool *is_set)
{
	const bool value = get(bits, first, order);
	const uint8_t whole = value ? 0xff : 0;
	uint64_t i = first, end = first + n;

	while (i < end) {
		const uint8_t *byte = bits + i / BYTE;

		if (i % BYTE == 0 && end - i >= MANY &&
		    are_all(byte, LOOKED_AT, whole))
			i += MANY;
		else if (i % BYTE == 0 && end - i >= BYTE && *byte == whole)
			i += BYTE;
		else if (get(bits, i, order) == value)
			i++;
		else
			break;
	}
	*is_set = value;
	return i - first;
}
