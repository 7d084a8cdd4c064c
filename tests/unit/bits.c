/* SPDX-License-Identifier: ISC */
#include "lib/image/bits.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	PART_LEN = 16, /* bytes */
	N_MAX = 1000,
	ROUNDS = 3000,
};

/* The same as one byte each. */
struct model {
	bool bits[N_MAX + 1];
	uint64_t n;
};

static void assert_same(const struct bits *bits, const struct model *model)
{
	uint64_t len;

	assert_int_equal(bits->n, model->n);
	for (uint64_t i = 0; i < bits->n; i += len) {
		bool is_set;

		len = bits_run(bits, i, &is_set);
		assert_true(len > 0 && len <= bits->n - i);
		for (uint64_t j = i; j < i + len; j++)
			assert_int_equal(is_set, model->bits[j]);
		/* The next one is another, or there is none. */
		assert_true(i + len == bits->n ||
			    model->bits[i + len] != is_set);
		assert_int_equal(bits_are_set(bits, i, i + len - 1), is_set);
		assert_false(bits_are_set(bits, i, i + len));
	}
}

static void set_some(struct bits *bits, struct model *model)
{
	uint64_t first = (uint64_t)rand() % N_MAX;
	uint64_t last = first + (uint64_t)rand() % (rand() % 8 ? 20 : N_MAX);

	assert_int_equal(0, bits_set(bits, first, last));
	for (uint64_t i = first; i <= last && i < model->n; i++)
		model->bits[i] = true;
}

static void resize(struct bits *bits, struct model *model)
{
	uint64_t n = (uint64_t)rand() % N_MAX;

	assert_int_equal(0, bits_resize(bits, n));
	if (n < model->n)
		memset(model->bits + n, 0, N_MAX - n);
	model->n = n;
}

static void test_as_a_plain_row(void **state)
{
	struct model model = { .n = 500 };
	struct bits bits;

	(void)state;
	srand(1);
	assert_int_equal(0, bits_init(&bits, model.n, PART_LEN));
	assert_same(&bits, &model);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (rand() % 10 == 0)
			resize(&bits, &model);
		else
			set_some(&bits, &model);
		assert_same(&bits, &model);
	}
	bits_deinit(&bits);
}

static void test_added(void **state)
{
	struct model a = { .n = N_MAX }, b = { .n = N_MAX };
	struct bits to, from;

	(void)state;
	srand(2);
	assert_int_equal(0, bits_init(&to, N_MAX, PART_LEN));
	assert_int_equal(0, bits_init(&from, N_MAX, PART_LEN));
	for (unsigned i = 0; i < 10; i++) {
		set_some(&to, &a);
		set_some(&from, &b);
	}
	assert_int_equal(0, bits_add(&to, &from));
	for (unsigned i = 0; i < N_MAX; i++)
		a.bits[i] |= b.bits[i];
	assert_same(&to, &a);
	assert_same(&from, &b);
	bits_deinit(&to);
	bits_deinit(&from);
}

/* Memory is for what is set; a row of 2^40 takes next to none. */
static void test_long(void **state)
{
	const uint64_t n = 1ULL << 40, part = 1 << 20;
	uint64_t n_used = 0;
	struct bits bits;
	bool is_set;

	(void)state;
	assert_int_equal(0, bits_init(&bits, n, part));
	assert_int_equal(0, bits_set(&bits, n / 2 - 1, n / 2));
	for (uint64_t i = 0; i < bits.n_parts; i++)
		n_used += bits_part(&bits, i) != NULL;
	assert_int_equal(2, n_used);
	assert_int_equal(n / 2 - 1, bits_run(&bits, 0, &is_set));
	assert_false(is_set);
	assert_int_equal(2, bits_run(&bits, n / 2 - 1, &is_set));
	assert_true(is_set);
	assert_int_equal(n / 2 - 1, bits_run(&bits, n / 2 + 1, &is_set));
	bits_deinit(&bits);
}

static void test_parts(void **state)
{
	struct bits bits;

	(void)state;
	assert_int_equal(0, bits_init(&bits, PART_LEN * 8 + 9, PART_LEN));
	assert_int_equal(2, bits.n_parts);
	assert_int_equal(PART_LEN + 2,
			 bits_part_len(&bits, 0) + bits_part_len(&bits, 1));
	assert_int_equal(PART_LEN, bits_part_len(&bits, 0));
	assert_int_equal(2, bits_part_len(&bits, 1));
	assert_null(bits_part(&bits, 1));
	assert_int_equal(0, bits_set(&bits, PART_LEN * 8 + 8, UINT64_MAX));
	assert_non_null(bits_part(&bits, 1));
	assert_int_equal(0, bits_part(&bits, 1)[0]);
	assert_int_equal(1, bits_part(&bits, 1)[1]);
	assert_null(bits_part(&bits, 0));
	bits_deinit(&bits);
	assert_int_equal(0, bits_init(&bits, 0, PART_LEN));
	assert_int_equal(0, bits_set(&bits, 0, 5));
	assert_false(bits_are_set(&bits, 0, 0));
	bits_deinit(&bits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_a_plain_row),
		cmocka_unit_test(test_added),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
