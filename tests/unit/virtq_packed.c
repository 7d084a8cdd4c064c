/* SPDX-License-Identifier: ISC */
/*
 * Packed rings: against a driver that plays by the rules (what both kinds of
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
	virtq_case_bytes(PAIR_PACKED);
	virtq_case_bytes(PAIR_PACKED | PAIR_EVENT_IDX);
}

static void test_random_order(void **state)
{
	(void)state;
	virtq_case_random(PAIR_PACKED);
	virtq_case_random(PAIR_PACKED | PAIR_EVENT_IDX);
}

static void test_crosses_regions(void **state)
{
	(void)state;
	virtq_case_adjoining(PAIR_PACKED);
}

static void test_unpops(void **state)
{
	(void)state;
	virtq_case_unpop(PAIR_PACKED);
}

static void test_logs_writes(void **state)
{
	(void)state;
	virtq_case_log(PAIR_PACKED);
	virtq_case_log(PAIR_PACKED | PAIR_EVENT_IDX);
}

static void test_calls(void **state)
{
	(void)state;
	virtq_case_calls(PAIR_PACKED);
	virtq_case_calls(PAIR_PACKED | PAIR_EVENT_IDX);
}

static void test_kicks(void **state)
{
	(void)state;
	virtq_case_kicks(PAIR_PACKED);
	virtq_case_kicks(PAIR_PACKED | PAIR_EVENT_IDX);
}

static void test_refuses_bad_buffers(void **state)
{
	(void)state;
	virtq_case_bad_buffers(PAIR_PACKED);
}

static void test_refuses_bad_tables(void **state)
{
	(void)state;
	virtq_case_bad_tables(PAIR_PACKED);
}

static void test_refuses_bad_rings(void **state)
{
	(void)state;
	virtq_case_bad_rings(PAIR_PACKED);
}

static void test_survives_remap(void **state)
{
	(void)state;
	virtq_case_remap(PAIR_PACKED);
	virtq_case_remap(PAIR_PACKED | PAIR_EVENT_IDX);
}

static void add(struct virtq_pair *pair, unsigned n)
{
	struct driver_buffer buffers[8] = { 0 };

	for (unsigned i = 0; i < n; i++)
		buffers[i] = (struct driver_buffer){
			.gpa = PAIR_DATA + i * 64,
			.len = 64,
			.is_in = true,
		};
	assert_true(virtq_driver_add(&pair->driver, buffers, n, 0, pair) >= 0);
}

/* Every entry says that another follows. */
static void test_refuses_loops(void **state)
{
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 8, PAIR_PACKED);
	add(&pair, 8);
	virtq_driver_publish(&pair.driver);
	pair.driver.ring[7].flags |= VIRTQ_DESC_F_NEXT;
	virtq_pair_expect_broken(&pair, "descriptors form a loop");
	virtq_pair_deinit(&pair);
}

/* Entries that the device has not given back, offered again. */
static void test_bounds_what_is_out(void **state)
{
	struct virtq_element *elements[8];
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 8, PAIR_PACKED);
	for (unsigned i = 0; i < 8; i++)
		add(&pair, 1);
	virtq_driver_publish(&pair.driver);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(virtq_pop(pair.device, &elements[i]), 0);
	for (unsigned i = 0; i < 8; i++)
		pair.driver.ring[i].flags =
			VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_USED;
	virtq_pair_expect_broken(&pair, "more requests than the ring holds");
	for (unsigned i = 0; i < 8; i++)
		virtq_drop(pair.device, elements[i]);
	virtq_pair_deinit(&pair);
}

/* The same without the device's flush between: no array runs over. */
static void test_bounds_what_is_not_flushed(void **state)
{
	struct virtq_element *element;
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 4, PAIR_PACKED);
	for (unsigned i = 0; i < 100; i++) {
		pair.driver.ring[i % 4] = (struct virtq_packed_desc){
			.addr = PAIR_DATA,
			.len = 8,
			.flags = i / 4 % 2 ? VIRTQ_DESC_F_USED
					   : VIRTQ_DESC_F_AVAIL,
		};
		assert_int_equal(virtq_pop(pair.device, &element), 0);
		virtq_push(pair.device, element, 0);
	}
	virtq_pair_deinit(&pair);
}

/* The first entry of a batch becomes visible last: whoever looks at it sees
 * all of the batch, and until flush nothing of it. */
static void test_batch_is_whole(void **state)
{
	struct virtq_element *elements[3];
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 8, PAIR_PACKED);
	for (unsigned i = 0; i < 3; i++)
		add(&pair, 2);
	virtq_driver_publish(&pair.driver);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtq_pop(pair.device, &elements[i]), 0);
	for (unsigned i = 0; i < 3; i++)
		virtq_push(pair.device, elements[i], 1);
	for (unsigned i = 0; i < 8; i++)
		assert_false(pair.driver.ring[i].flags & VIRTQ_DESC_F_USED);
	virtq_flush(pair.device);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(!(pair.driver.ring[i].flags &
				   VIRTQ_DESC_F_USED),
				 i % 2);
	virtq_pair_deinit(&pair);
}

/* What a device left half done is undone, and only that. */
static void test_revokes(void **state)
{
	struct virtq_element *elements[3];
	struct virtq_pair pair;

	(void)state;
	virtq_pair_init(&pair, 8, PAIR_PACKED);
	for (unsigned i = 0; i < 3; i++)
		add(&pair, 1);
	virtq_driver_publish(&pair.driver);
	assert_true(virtq_packed_is_pending(pair.device, 0, true));
	assert_false(virtq_packed_is_pending(pair.device, 3, true));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtq_pop(pair.device, &elements[i]), 0);
	for (unsigned i = 0; i < 3; i++)
		virtq_push(pair.device, elements[i], 1);
	virtq_flush(pair.device);
	assert_false(virtq_packed_is_pending(pair.device, 0, true));
	virtq_packed_revoke(pair.device, 1, true, 2);
	assert_false(virtq_packed_is_pending(pair.device, 0, true));
	assert_true(virtq_packed_is_pending(pair.device, 1, true));
	assert_true(virtq_packed_is_pending(pair.device, 2, true));
	virtq_pair_deinit(&pair);
}

/* A new device side goes on by the base, with descriptors that were kept. */
static void test_resumes(void **state)
{
	struct virtq_pair pair;
	struct virtq_element *element;
	struct virtq_packed_desc kept[2];
	struct virtq_config config;
	const struct virtq_packed_desc *last;
	const char *reason;
	uint32_t len, base;
	unsigned n;

	(void)state;
	/* A ring of any size, not a power of two alone. */
	virtq_pair_init(&pair, 5, PAIR_PACKED);
	add(&pair, 2);
	add(&pair, 2);
	virtq_driver_publish(&pair.driver);
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	virtq_push(pair.device, element, 0);
	virtq_flush(pair.device);
	base = virtq_base(pair.device);
	assert_int_equal(base, 0x80028002);
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	last = virtq_last_descs(pair.device, &n);
	assert_int_equal(n, 2);
	memcpy(kept, last, sizeof(kept));
	base = virtq_base(pair.device);
	assert_int_equal(base, 0x80028004);
	virtq_drop(pair.device, element);
	virtq_free(pair.device);
	config = (struct virtq_config){
		.size = 5,
		.is_packed = true,
		.desc_gpa = pair.driver.desc_gpa,
		.driver_gpa = pair.driver.driver_gpa,
		.device_gpa = pair.driver.device_gpa,
		.base = base,
	};
	assert_int_equal(
		virtq_new(&pair.device, &pair.memory, &config, &reason), 0);
	assert_int_equal(virtq_pop(pair.device, &element), VIRTQ_EMPTY);
	assert_int_equal(virtq_pop_descs(pair.device, kept, 2, &element), 0);
	assert_int_equal(element->in_len, 128);
	virtq_push(pair.device, element, 5);
	virtq_flush(pair.device);
	assert_ptr_equal(virtq_driver_get_used(&pair.driver, &len), &pair);
	assert_ptr_equal(virtq_driver_get_used(&pair.driver, &len), &pair);
	assert_int_equal(len, 5);
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
		cmocka_unit_test(test_bounds_what_is_out),
		cmocka_unit_test(test_bounds_what_is_not_flushed),
		cmocka_unit_test(test_batch_is_whole),
		cmocka_unit_test(test_revokes),
		cmocka_unit_test(test_resumes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
