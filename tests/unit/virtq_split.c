/* SPDX-License-Identifier: ISC */
/*
 * Split rings: against a driver that plays by the rules (what both kinds of
 * rings have in common is in tests/support/virtq_cases.c), and one that does
 * not.
 */
#include "tests/support/virtq_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_moves_bytes(void **state)
{
	(void)state;
	virtq_case_bytes(0);
	virtq_case_bytes(PAIR_EVENT_IDX);
}

static void test_random_order(void **state)
{
	(void)state;
	virtq_case_random(0);
	virtq_case_random(PAIR_EVENT_IDX);
}

static void test_crosses_regions(void **state)
{
	(void)state;
	virtq_case_adjoining(0);
}

static void test_unpops(void **state)
{
	(void)state;
	virtq_case_unpop(0);
}

static void test_logs_writes(void **state)
{
	(void)state;
	virtq_case_log(0);
	virtq_case_log(PAIR_EVENT_IDX);
}

static void test_calls(void **state)
{
	(void)state;
	virtq_case_calls(0);
	virtq_case_calls(PAIR_EVENT_IDX);
}

static void test_kicks(void **state)
{
	(void)state;
	virtq_case_kicks(0);
	virtq_case_kicks(PAIR_EVENT_IDX);
}

static void test_refuses_bad_buffers(void **state)
{
	(void)state;
	virtq_case_bad_buffers(0);
}

static void test_refuses_bad_tables(void **state)
{
	(void)state;
	virtq_case_bad_tables(0);
}

static void test_refuses_bad_rings(void **state)
{
	(void)state;
	virtq_case_bad_rings(0);
}

static void test_survives_remap(void **state)
{
	(void)state;
	virtq_case_remap(0);
	virtq_case_remap(PAIR_EVENT_IDX);
}

static void add(struct virtq_pair *pair, unsigned n)
{
	struct driver_buffer buffers[8] = { 0 };

	for (unsigned i = 0; i < n; i++)
		buffers[i] = (struct driver_buffer){
			.gpa = PAIR_DATA + i * 64,
			.len = 64,
		};
	assert_true(virtq_driver_add(&pair->driver, buffers, n, 0, pair) >= 0);
}

/* A chain that comes back to itself, in the ring and in a table. */
static void test_refuses_loops(void **state)
{
	struct virtq_pair pair;
	struct virtq_desc *table;

	(void)state;
	virtq_pair_init(&pair, 8, 0);
	add(&pair, 3);
	pair.driver.desc[2].flags |= VIRTQ_DESC_F_NEXT;
	pair.driver.desc[2].next = 1;
	virtq_driver_publish(&pair.driver);
	virtq_pair_expect_broken(&pair, "descriptors form a loop");
	virtq_pair_deinit(&pair);

	virtq_pair_init(&pair, 8, 0);
	virtq_driver_add(&pair.driver,
			 &(struct driver_buffer){ .gpa = PAIR_DATA, .len = 8 },
			 1, PAIR_DATA + 4096, &pair);
	table = driver_memory_at(&pair.arena, PAIR_DATA + 4096);
	table[0].flags |= VIRTQ_DESC_F_NEXT;
	table[0].next = 0;
	virtq_driver_publish(&pair.driver);
	virtq_pair_expect_broken(&pair, "descriptors form a loop");
	virtq_pair_deinit(&pair);
}

/* Heads and successors beyond the table. */
static void test_refuses_bad_indices(void **state)
{
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 8, 0);
	add(&pair, 1);
	pair.driver.avail->ring[0] = 8;
	virtq_driver_publish(&pair.driver);
	virtq_pair_expect_broken(&pair, "descriptor out of bounds");
	virtq_pair_deinit(&pair);

	virtq_pair_init(&pair, 8, 0);
	add(&pair, 2);
	pair.driver.desc[0].next = 65535;
	virtq_driver_publish(&pair.driver);
	virtq_pair_expect_broken(&pair, "descriptor out of bounds");
	virtq_pair_deinit(&pair);
}

/* The available index a ring and one ahead. */
static void test_refuses_index_ahead(void **state)
{
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 8, 0);
	pair.driver.avail->idx = 9;
	virtq_pair_expect_broken(&pair, "available index out of bounds");
	virtq_pair_deinit(&pair);
}

/* A driver that offers one request again and again without getting it back
 * does not make us keep more than the ring holds. */
static void test_bounds_what_is_out(void **state)
{
	struct virtq_element *elements[8];
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 8, 0);
	add(&pair, 1);
	pair.driver.avail->idx = 8;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(virtq_pop(pair.device, &elements[i]), 0);
	pair.driver.avail->idx = 9;
	virtq_pair_expect_broken(&pair, "more requests than the ring holds");
	/* What is out can be given back all the same. */
	for (unsigned i = 0; i < 8; i++)
		virtq_push(pair.device, elements[i], 0);
	virtq_flush(pair.device);
	assert_int_equal(pair.driver.used->idx, 8);
	virtq_pair_deinit(&pair);
}

/* More pieces than a vectored system call takes. */
static void test_refuses_too_many_pieces(void **state)
{
	struct driver_buffer *buffers = calloc(1025, sizeof(*buffers));
	struct virtq_element *element;
	struct virtq_pair pair;

	(void)state;
	for (unsigned i = 0; i < 1025; i++)
		buffers[i] = (struct driver_buffer){
			.gpa = PAIR_DATA,
			.len = 1,
		};
	virtq_pair_init(&pair, 8, 0);
	virtq_driver_add(&pair.driver, buffers, 1024, PAIR_DATA + 4096, &pair);
	virtq_driver_add(&pair.driver, buffers, 1025, PAIR_DATA + 65536, &pair);
	virtq_driver_publish(&pair.driver);
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	assert_int_equal(element->n_out, 1024);
	virtq_drop(pair.device, element);
	virtq_pair_expect_broken(&pair, "request of too many pieces");
	virtq_pair_deinit(&pair);
	free(buffers);
}

/* Chained buffers and then a table (virtio 1.2 2.7.5.3.2). */
static void test_chain_then_table(void **state)
{
	struct virtq_pair pair;
	struct virtq_element *element;
	struct virtq_desc *table;

	(void)state;
	virtq_pair_init(&pair, 8, 0);
	add(&pair, 2);
	table = driver_memory_at(&pair.arena, PAIR_DATA + 4096);
	table[0] = (struct virtq_desc){ .addr = PAIR_DATA, .len = 5 };
	pair.driver.desc[1] = (struct virtq_desc){
		.addr = PAIR_DATA + 4096,
		.len = 16,
		.flags = VIRTQ_DESC_F_INDIRECT,
	};
	virtq_driver_publish(&pair.driver);
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	assert_int_equal(element->n_out, 2);
	assert_int_equal(element->out_len, 64 + 5);
	virtq_drop(pair.device, element);
	virtq_pair_deinit(&pair);
}

/* A new device side goes on where the ring says, and by the base. */
static void test_resumes(void **state)
{
	struct virtq_pair pair;
	struct virtq_element *element;
	struct virtq_config config;
	const char *reason;
	uint32_t len;

	(void)state;
	virtq_pair_init(&pair, 8, 0);
	for (unsigned i = 0; i < 3; i++)
		add(&pair, 1);
	virtq_driver_publish(&pair.driver);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(virtq_pop(pair.device, &element), 0);
		virtq_push(pair.device, element, 0);
	}
	virtq_flush(pair.device);
	assert_int_equal(virtq_base(pair.device), 2);
	assert_int_equal(virtq_used_index(pair.device), 2);
	/* The third was in flight when the device side was lost. */
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	virtq_drop(pair.device, element);
	virtq_free(pair.device);
	config = (struct virtq_config){
		.size = 8,
		.desc_gpa = pair.driver.desc_gpa,
		.driver_gpa = pair.driver.driver_gpa,
		.device_gpa = pair.driver.device_gpa,
		.base = 3,
	};
	assert_int_equal(
		virtq_new(&pair.device, &pair.memory, &config, &reason), 0);
	assert_int_equal(virtq_pop(pair.device, &element), VIRTQ_EMPTY);
	assert_int_equal(virtq_pop_head(pair.device, 2, &element), 0);
	virtq_push(pair.device, element, 0);
	virtq_flush(pair.device);
	for (unsigned i = 0; i < 3; i++)
		assert_ptr_equal(virtq_driver_get_used(&pair.driver, &len),
				 &pair);
	virtq_pair_deinit(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves_bytes),
		cmocka_unit_test(test_random_order),
		cmocka_unit_test(test_crosses_regions),
		cmocka_unit_test(test_unpops),
		cmocka_unit_test(test_logs_writes),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_refuses_bad_buffers),
		cmocka_unit_test(test_refuses_bad_tables),
		cmocka_unit_test(test_refuses_bad_rings),
		cmocka_unit_test(test_survives_remap),
		cmocka_unit_test(test_refuses_loops),
		cmocka_unit_test(test_refuses_bad_indices),
		cmocka_unit_test(test_refuses_index_ahead),
		cmocka_unit_test(test_bounds_what_is_out),
		cmocka_unit_test(test_refuses_too_many_pieces),
		cmocka_unit_test(test_chain_then_table),
		cmocka_unit_test(test_resumes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
