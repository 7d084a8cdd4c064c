/* SPDX-License-Identifier: ISC */
/*
 * Words are added as they lie in memory, four bytes at a time: one's
 * complement sums do not care about the order of bytes nor about the width,
 * if the carries come back in the end (RFC 1071 §2).
 */
#include "vm-net/checksum.h"

#include <endian.h>
#include <string.h>

uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t len)
{
	for (; len >= 4; bytes += 4, len -= 4) {
		uint32_t word;

		memcpy(&word, bytes, sizeof(word));
		sum += word;
	}
	if (len >= 2) {
		uint16_t word;

		memcpy(&word, bytes, sizeof(word));
		sum += word;
		bytes += 2;
		len -= 2;
	}
	if (len == 1)
		sum += htole16(bytes[0]);
	return sum;
}

uint16_t checksum_fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}
