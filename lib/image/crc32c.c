/* SPDX-License-Identifier: ISC */
/* Eight bytes at a time: table i has what a byte comes to with i more behind
 * it. A log is read whole before anybody knows what it is worth. */
#include "lib/image/crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

enum {
	WORD_LEN = sizeof(uint64_t),
	N_BYTES = 256,
};

static uint32_t tables[WORD_LEN][N_BYTES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
	const uint32_t polynomial = 0x82f63b78; /* reflected */

	for (unsigned i = 0; i < N_BYTES; i++) {
		uint32_t crc = i;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
		tables[0][i] = crc;
	}
	for (unsigned t = 1; t < WORD_LEN; t++)
		for (unsigned i = 0; i < N_BYTES; i++) {
			uint32_t crc = tables[t - 1][i];

			tables[t][i] = crc >> 8 ^ tables[0][crc & 0xff];
		}
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	pthread_once(&once, fill_tables);
	crc = ~crc;
	for (; len >= WORD_LEN; bytes += WORD_LEN, len -= WORD_LEN) {
		uint64_t word;

		memcpy(&word, bytes, sizeof(word));
		word = le64toh(word) ^ crc;
		crc = 0;
		for (unsigned i = 0; i < WORD_LEN; i++)
			crc ^= tables[WORD_LEN - 1 - i][word >> 8 * i & 0xff];
	}
	for (; len > 0; bytes++, len--)
		crc = crc >> 8 ^ tables[0][(crc ^ *bytes) & 0xff];
	return ~crc;
}
