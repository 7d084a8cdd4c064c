/* SPDX-License-Identifier: ISC */
#include "lib/image/sector_bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	LEN = 1024,
	N = LEN * 8,
	ROUNDS = 3000,
};

/* As it is said, bit by bit. */
static bool bit(const uint8_t *bits, uint64_t i, enum sector_bits_order order)
{
	return bits[i / 8] &
	       (order == SECTOR_BITS_LOWEST_FIRST ? 1 << i % 8 : 0x80 >> i % 8);
}

static void look(const uint8_t *bits, uint64_t first, uint64_t n,
		 enum sector_bits_order order)
{
	uint64_t wanted = 1;
	bool is_set;

	while (wanted < n &&
	       bit(bits, first + wanted, order) == bit(bits, first, order))
		wanted++;
	assert_int_equal(wanted,
			 sector_bits_run(bits, first, n, order, &is_set));
	assert_int_equal(bit(bits, first, order), is_set);
}

/* Rows of any length, from any place on, to any end. */
static void test_rows(void **state)
{
	uint8_t bits[LEN];

	(void)state;
	srand(1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t first = (uint64_t)rand() % N;

		memset(bits, round & 1 ? 0xff : 0, sizeof(bits));
		for (unsigned i = round % 4; i > 0; i--)
			bits[rand() % LEN] ^= (uint8_t)(1 << rand() % 8);
		look(bits, first, 1 + (uint64_t)rand() % (N - first),
		     SECTOR_BITS_LOWEST_FIRST);
		look(bits, first, N - first, SECTOR_BITS_HIGHEST_FIRST);
	}
}

/* What is behind the last of them is not read. */
static void test_short(void **state)
{
	uint8_t *bits = malloc(1);

	(void)state;
	assert_non_null(bits);
	bits[0] = 0xf1;
	for (uint64_t first = 0; first < 8; first++)
		for (uint64_t n = 1; n <= 8 - first; n++) {
			look(bits, first, n, SECTOR_BITS_LOWEST_FIRST);
			look(bits, first, n, SECTOR_BITS_HIGHEST_FIRST);
		}
	free(bits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
