/* SPDX-License-Identifier: ISC */
#include "vm-net/mac_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum {
	AGEING_MS = 300000,
	PLACES = MAC_TABLE_BUCKETS * MAC_TABLE_WAYS,
};

static struct mac_table table;

static int set_up(void **state)
{
	(void)state;
	mac_table_init(&table, AGEING_MS, 12345);
	return 0;
}

/* Address number n; all differ. */
static const uint8_t *mac(uint32_t n)
{
	static uint8_t bytes[4][MAC_LEN];
	static unsigned next;
	uint8_t *m = bytes[next++ % 4];

	m[0] = 0x52;
	m[1] = 0x54;
	memcpy(m + 2, &n, sizeof(n));
	return m;
}

static void test_learn_and_move(void **state)
{
	(void)state;
	assert_int_equal(mac_table_lookup(&table, mac(1), 0), -1);
	assert_true(mac_table_learn(&table, mac(1), 7, 1000));
	assert_true(mac_table_learn(&table, mac(2), 8, 1000));
	assert_int_equal(mac_table_lookup(&table, mac(1), 1000), 7);
	assert_int_equal(mac_table_lookup(&table, mac(2), 1000), 8);
	assert_true(mac_table_learn(&table, mac(1), 9, 2000));
	assert_int_equal(mac_table_lookup(&table, mac(1), 2000), 9);
	assert_int_equal(table.n_entries[7], 0);
	assert_int_equal(table.n_entries[9], 1);
}

static void test_ageing(void **state)
{
	(void)state;
	assert_true(mac_table_learn(&table, mac(1), 7, 1000));
	assert_int_equal(mac_table_lookup(&table, mac(1), 1000 + AGEING_MS), 7);
	assert_int_equal(mac_table_lookup(&table, mac(1), 1001 + AGEING_MS),
			 -1);
	/* Seen again, it is young again. */
	assert_true(mac_table_learn(&table, mac(1), 7, 200000));
	assert_int_equal(mac_table_lookup(&table, mac(1), 1001 + AGEING_MS), 7);
}

static void test_forget_port(void **state)
{
	(void)state;
	mac_table_learn(&table, mac(1), 7, 0);
	mac_table_learn(&table, mac(2), 8, 0);
	mac_table_forget_port(&table, 7);
	assert_int_equal(mac_table_lookup(&table, mac(1), 0), -1);
	assert_int_equal(mac_table_lookup(&table, mac(2), 0), 8);
	assert_int_equal(table.n_entries[7], 0);
}

/* One port invents a hundred thousand addresses: the others keep theirs. */
static void test_flooding_costs_nobody_else(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		assert_true(mac_table_learn(&table, mac(i), 1 + i % 4, 0));
	for (uint32_t i = 1000; i < 101000; i++)
		assert_true(mac_table_learn(&table, mac(i), 9, 1));
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(mac_table_lookup(&table, mac(i), 1),
				 1 + i % 4);
	assert_true(table.n_entries[9] <= PLACES - 100);
	/* A table full of one port's addresses still takes others'. */
	for (uint32_t i = 200000; i < 200500; i++) {
		assert_true(mac_table_learn(&table, mac(i), 5, 2));
		assert_int_equal(mac_table_lookup(&table, mac(i), 2), 5);
	}
	/* And the flooder's newest address is known, not its oldest. */
	assert_true(mac_table_learn(&table, mac(300000), 9, 3));
	assert_int_equal(mac_table_lookup(&table, mac(300000), 3), 9);
}

static void test_stale_places_are_used(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < PLACES * 4; i++)
		mac_table_learn(&table, mac(i), 9, 0);
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(mac_table_learn(&table, mac(1000000 + i), 3,
					    AGEING_MS + 1));
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(mac_table_lookup(&table, mac(1000000 + i),
						  AGEING_MS + 1),
				 3);
}

struct visits {
	unsigned n;
	uint64_t age_ms;
	unsigned port;
};

static void count_visit(void *context, const uint8_t m[MAC_LEN], unsigned port,
			uint64_t age_ms)
{
	struct visits *visits = context;

	(void)m;
	visits->n++;
	visits->port = port;
	visits->age_ms = age_ms;
}

static void test_for_each(void **state)
{
	struct visits visits = { .n = 0 };

	(void)state;
	mac_table_learn(&table, mac(1), 7, 0);
	mac_table_learn(&table, mac(2), 8, 5000);
	mac_table_for_each(&table, AGEING_MS + 1000, count_visit, &visits);
	assert_int_equal(visits.n, 1);
	assert_int_equal(visits.port, 8);
	assert_int_equal(visits.age_ms, AGEING_MS - 4000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		TEST(test_learn_and_move),
		TEST(test_ageing),
		TEST(test_forget_port),
		TEST(test_flooding_costs_nobody_else),
		TEST(test_stale_places_are_used),
		TEST(test_for_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
