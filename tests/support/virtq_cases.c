/* SPDX-License-Identifier: ISC */
/* See virtq_cases.h. */
#include "tests/support/virtq_cases.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void virtq_pair_init(struct virtq_pair *pair, uint16_t size, unsigned options)
{
	struct virtq_config config = {
		.size = size,
		.is_packed = options & PAIR_PACKED,
		.has_event_idx = options & PAIR_EVENT_IDX,
		.has_indirect = !(options & PAIR_NO_INDIRECT),
		.base = options & PAIR_PACKED ? 0x80008000 : 0,
	};
	const char *reason;

	assert_int_equal(driver_memory_init(&pair->arena, PAIR_GPA, PAIR_SIZE),
			 0);
	assert_int_equal(virtq_driver_init(&pair->driver, &pair->arena,
					   PAIR_RINGS, size, config.is_packed,
					   config.has_event_idx),
			 0);
	guest_memory_init(&pair->memory);
	/* Two regions, of which the second lies elsewhere in the file: what
	 * adjoins for the guest does not for us. */
	assert_int_equal(guest_memory_add(&pair->memory, PAIR_GPA, PAIR_FIRST,
					  0, pair->arena.fd, 0),
			 0);
	assert_int_equal(guest_memory_add(&pair->memory, PAIR_GPA + PAIR_FIRST,
					  PAIR_SIZE - PAIR_FIRST, 0,
					  pair->arena.fd, PAIR_FIRST),
			 0);
	config.desc_gpa = pair->driver.desc_gpa;
	config.driver_gpa = pair->driver.driver_gpa;
	config.device_gpa = pair->driver.device_gpa;
	assert_int_equal(
		virtq_new(&pair->device, &pair->memory, &config, &reason), 0);
}

void virtq_pair_deinit(struct virtq_pair *pair)
{
	virtq_free(pair->device);
	guest_memory_deinit(&pair->memory);
	virtq_driver_deinit(&pair->driver);
	driver_memory_deinit(&pair->arena);
}

void virtq_pair_expect_broken(struct virtq_pair *pair, const char *reason)
{
	struct virtq_element *element;

	assert_int_equal(virtq_pop(pair->device, &element), -EPROTO);
	assert_true(virtq_is_broken(pair->device));
	assert_string_equal(virtq_reason(pair->device), reason);
	assert_int_equal(virtq_pop(pair->device, &element), -EPROTO);
	assert_true(virtq_is_empty(pair->device));
}

/* Bytes go both ways, through a chain of buffers and through a table. */
void virtq_case_bytes(unsigned options)
{
	struct driver_buffer buffers[] = {
		{ .gpa = PAIR_DATA, .len = 3 },
		{ .gpa = PAIR_DATA + 100, .len = 5 },
		{ .gpa = PAIR_DATA + 200, .len = 4, .is_in = true },
		{ .gpa = PAIR_DATA + 300, .len = 60, .is_in = true },
	};

	for (int table = 0; table < 2; table++) {
		struct virtq_pair pair;
		struct virtq_element *element;
		char text[9] = { 0 };
		uint32_t len;

		virtq_pair_init(&pair, 8, options);
		assert_int_equal(virtq_pop(pair.device, &element), VIRTQ_EMPTY);
		memcpy(driver_memory_at(&pair.arena, PAIR_DATA), "abc", 3);
		memcpy(driver_memory_at(&pair.arena, PAIR_DATA + 100), "defgh",
		       5);
		assert_true(virtq_driver_add(&pair.driver, buffers, 4,
					     table ? PAIR_DATA + 4096 : 0,
					     &pair) >= 0);
		assert_int_equal(virtq_pop(pair.device, &element), VIRTQ_EMPTY);
		virtq_driver_publish(&pair.driver);
		assert_false(virtq_is_empty(pair.device));
		assert_int_equal(virtq_pop(pair.device, &element), 0);
		assert_int_equal(element->n_out, 2);
		assert_int_equal(element->n_in, 2);
		assert_int_equal(element->out_len, 8);
		assert_int_equal(element->in_len, 64);
		assert_int_equal(element->in_gpa[1], PAIR_DATA + 300);
		assert_int_equal(
			iov_read(element->out, element->n_out, 0, text, 9), 8);
		assert_string_equal(text, "abcdefgh");
		assert_int_equal(iov_write(element->in, element->n_in, 2,
					   "123456", 6),
				 6);
		virtq_push(pair.device, element, 8);
		assert_null(virtq_driver_get_used(&pair.driver, &len));
		virtq_flush(pair.device);
		assert_ptr_equal(virtq_driver_get_used(&pair.driver, &len),
				 &pair);
		assert_int_equal(len, 8);
		assert_memory_equal(driver_memory_at(&pair.arena,
						     PAIR_DATA + 202),
				    "12", 2);
		assert_memory_equal(driver_memory_at(&pair.arena,
						     PAIR_DATA + 300),
				    "3456", 4);
		assert_null(virtq_driver_get_used(&pair.driver, &len));
		virtq_pair_deinit(&pair);
	}
}

struct random_state {
	struct virtq_pair pair;
	unsigned seed;
	struct virtq_element *taken[64];
	unsigned n_taken;
	unsigned long n_added, n_popped, n_back;
};

static unsigned roll(struct random_state *state, unsigned sides)
{
	return (unsigned)rand_r(&state->seed) % sides;
}

static void random_add(struct random_state *state)
{
	unsigned n = 1 + roll(state, 4);
	struct driver_buffer buffers[4];
	uint64_t slot = PAIR_DATA + (state->n_added % 256) * 1024;

	/* The request's own number is in its first bytes. */
	memcpy(driver_memory_at(&state->pair.arena, slot), &state->n_added, 8);
	for (unsigned i = 0; i < n; i++)
		buffers[i] = (struct driver_buffer){
			.gpa = slot + i * 128,
			.len = 64,
			.is_in = i > 0,
		};
	if (virtq_driver_add(&state->pair.driver, buffers, n,
			     roll(state, 3) ? 0 : slot + 512,
			     (void *)(state->n_added + 1)) >= 0)
		state->n_added++;
}

static void random_pop(struct random_state *state)
{
	struct virtq_element *element;
	uint64_t number;
	int r;

	if (state->n_taken == 64)
		return;
	r = virtq_pop(state->pair.device, &element);
	assert_false(virtq_is_broken(state->pair.device));
	if (r != 0)
		return;
	/* Taken in the order they were added. */
	iov_read(element->out, element->n_out, 0, &number, 8);
	assert_int_equal(number, state->n_popped++);
	element->counter = number;
	state->taken[state->n_taken++] = element;
}

static void random_push(struct random_state *state)
{
	unsigned i;

	if (state->n_taken == 0)
		return;
	i = roll(state, state->n_taken);
	virtq_push(state->pair.device, state->taken[i],
		   state->taken[i]->n_in
			   ? (uint32_t)(state->taken[i]->counter % 64)
			   : 0);
	state->taken[i] = state->taken[--state->n_taken];
}

static void random_get(struct random_state *state)
{
	uint32_t len;
	uintptr_t token =
		(uintptr_t)virtq_driver_get_used(&state->pair.driver, &len);

	if (!token)
		return;
	assert_true(len == 0 || len == (token - 1) % 64);
	state->n_back++;
}

/* Many requests, given back in any order: none is lost, none comes twice. */
void virtq_case_random(unsigned options)
{
	static const uint16_t sizes[] = { 4, 16, 64, 256 };

	for (unsigned s = 0; s < 4; s++) {
		struct random_state state = { .seed = s + 1 };

		virtq_pair_init(&state.pair, sizes[s], options);
		for (unsigned i = 0; i < 200000; i++) {
			switch (roll(&state, 6)) {
			case 0:
				random_add(&state);
				break;
			case 1:
				virtq_driver_publish(&state.pair.driver);
				break;
			case 2:
				random_pop(&state);
				break;
			case 3:
				random_push(&state);
				break;
			case 4:
				virtq_flush(state.pair.device);
				break;
			default:
				random_get(&state);
			}
		}
		virtq_driver_publish(&state.pair.driver);
		while (state.n_back < state.n_added) {
			random_pop(&state);
			random_push(&state);
			virtq_flush(state.pair.device);
			random_get(&state);
		}
		assert_true(state.n_added > 10000);
		assert_int_equal(state.pair.driver.n_free, sizes[s]);
		virtq_pair_deinit(&state.pair);
	}
}

/* A buffer over the border of two regions is two pieces, data and table. */
void virtq_case_adjoining(unsigned options)
{
	struct driver_buffer buffer = {
		.gpa = PAIR_GPA + PAIR_FIRST - 10,
		.len = 30,
		.is_in = true,
	};
	struct virtq_pair pair;
	struct virtq_element *element;

	virtq_pair_init(&pair, 8, options);
	virtq_driver_add(&pair.driver, &buffer, 1, 0, &pair);
	buffer.gpa = PAIR_DATA;
	virtq_driver_add(&pair.driver, &buffer, 1, PAIR_GPA + PAIR_FIRST - 8,
			 &pair);
	virtq_driver_publish(&pair.driver);
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	assert_int_equal(element->n_in, 2);
	assert_int_equal(element->in[0].iov_len, 10);
	assert_int_equal(element->in[1].iov_len, 20);
	assert_int_equal(element->in_gpa[1], PAIR_GPA + PAIR_FIRST);
	virtq_drop(pair.device, element);
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	assert_int_equal(element->in_gpa[0], PAIR_DATA);
	virtq_drop(pair.device, element);
	virtq_pair_deinit(&pair);
}

/* What is taken back comes again, in its order. */
void virtq_case_unpop(unsigned options)
{
	struct driver_buffer buffers[2] = {
		{ .gpa = PAIR_DATA, .len = 8, .is_in = true },
		{ .gpa = PAIR_DATA + 8, .len = 8, .is_in = true },
	};
	struct virtq_pair pair;
	struct virtq_element *elements[3];
	uint32_t len;

	virtq_pair_init(&pair, 8, options);
	/* Over the ring's end, for the packed ring's wrap counter. */
	for (unsigned lap = 0; lap < 40; lap++) {
		uint16_t ids[3];

		for (unsigned i = 0; i < 3; i++)
			virtq_driver_add(&pair.driver, buffers, 1 + i % 2, 0,
					 &ids[i]);
		virtq_driver_publish(&pair.driver);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(virtq_pop(pair.device, &elements[i]),
					 0);
			ids[i] = elements[i]->id;
		}
		virtq_unpop(pair.device, elements + 1, 2);
		for (unsigned i = 1; i < 3; i++) {
			assert_int_equal(virtq_pop(pair.device, &elements[i]),
					 0);
			assert_int_equal(elements[i]->id, ids[i]);
		}
		for (unsigned i = 0; i < 3; i++)
			virtq_push(pair.device, elements[i], 1);
		virtq_flush(pair.device);
		for (unsigned i = 0; i < 3; i++)
			assert_ptr_equal(virtq_driver_get_used(&pair.driver,
							       &len),
					 &ids[i]);
	}
	virtq_pair_deinit(&pair);
}

static bool is_logged(const struct virtq_pair *pair, uint64_t gpa)
{
	uint64_t page = gpa / GUEST_MEMORY_LOG_PAGE;

	return pair->memory.log[page / 8] >> page % 8 & 1;
}

/* Every page written is in the dirty log: data, used entries, index. */
void virtq_case_log(unsigned options)
{
	struct driver_buffer buffers[] = {
		{ .gpa = PAIR_DATA, .len = 4096 },
		{ .gpa = PAIR_DATA + 4096, .len = 4096, .is_in = true },
		{ .gpa = PAIR_DATA + 8192, .len = 8192, .is_in = true },
	};
	struct driver_memory log;
	struct virtq_pair pair;
	struct virtq_element *element;

	virtq_pair_init(&pair, 8, options);
	assert_int_equal(driver_memory_init(&log, 0, 4096), 0);
	assert_int_equal(guest_memory_set_log(&pair.memory, log.fd, 4096, 0),
			 0);
	virtq_driver_add(&pair.driver, buffers, 3, 0, &pair);
	virtq_driver_publish(&pair.driver);
	assert_int_equal(virtq_pop(pair.device, &element), 0);
	assert_false(is_logged(&pair, PAIR_DATA + 4096));
	virtq_push(pair.device, element, 4096 + 1);
	virtq_flush(pair.device);
	assert_false(is_logged(&pair, PAIR_DATA));
	assert_true(is_logged(&pair, PAIR_DATA + 4096));
	assert_true(is_logged(&pair, PAIR_DATA + 8192));
	assert_false(is_logged(&pair, PAIR_DATA + 12288));
	assert_true(is_logged(&pair, options & PAIR_PACKED
					     ? pair.driver.desc_gpa
					     : pair.driver.device_gpa));
	/* Switched off, nothing more is logged. */
	memset(log.host, 0, 4096);
	guest_memory_enable_log(&pair.memory, false);
	virtq_enable_kicks(pair.device, false);
	guest_memory_enable_log(&pair.memory, true);
	assert_false(is_logged(&pair, pair.driver.device_gpa));
	virtq_enable_kicks(pair.device, true);
	assert_true(is_logged(&pair, pair.driver.device_gpa));
	virtq_pair_deinit(&pair);
	driver_memory_deinit(&log);
}

/* Give n requests through the queue; does the device want to call? */
static bool pass(struct virtq_pair *pair, unsigned n)
{
	struct driver_buffer buffer = {
		.gpa = PAIR_DATA,
		.len = 8,
		.is_in = true,
	};
	struct virtq_element *element;

	for (unsigned i = 0; i < n; i++)
		virtq_driver_add(&pair->driver, &buffer, 1, 0, pair);
	virtq_driver_publish(&pair->driver);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(virtq_pop(pair->device, &element), 0);
		virtq_push(pair->device, element, 8);
	}
	virtq_flush(pair->device);
	return virtq_wants_call(pair->device);
}

static void collect(struct virtq_pair *pair, unsigned n)
{
	uint32_t len;

	for (unsigned i = 0; i < n; i++)
		assert_ptr_equal(virtq_driver_get_used(&pair->driver, &len),
				 pair);
}

/* The driver is called when it asked for it, and not twice for the same. */
void virtq_case_calls(unsigned options)
{
	struct virtq_pair pair;

	virtq_pair_init(&pair, 16, options);
	assert_false(virtq_wants_call(pair.device));
	for (unsigned lap = 0; lap < 30; lap++) {
		virtq_driver_enable_calls(&pair.driver, true);
		assert_true(pass(&pair, 3));
		assert_false(virtq_wants_call(pair.device));
		if (options & PAIR_EVENT_IDX)
			/* The event is passed already: silence. */
			assert_false(pass(&pair, 2));
		else
			assert_true(pass(&pair, 2));
		collect(&pair, 5);
		virtq_driver_enable_calls(&pair.driver, false);
		assert_false(pass(&pair, 3));
		collect(&pair, 3);
	}
	virtq_pair_deinit(&pair);
}

/* The driver kicks when it was asked to; a request that came while kicks were
 * off is found when they are switched on. */
void virtq_case_kicks(unsigned options)
{
	struct driver_buffer buffer = { .gpa = PAIR_DATA, .len = 8 };
	struct virtq_pair pair;
	struct virtq_element *element;
	uint32_t len;

	virtq_pair_init(&pair, 16, options);
	for (unsigned lap = 0; lap < 30; lap++) {
		assert_false(virtq_enable_kicks(pair.device, true));
		virtq_driver_add(&pair.driver, &buffer, 1, 0, &pair);
		assert_true(virtq_driver_publish(&pair.driver));
		assert_false(virtq_enable_kicks(pair.device, false));
		virtq_driver_add(&pair.driver, &buffer, 1, 0, &pair);
		assert_false(virtq_driver_publish(&pair.driver));
		assert_true(virtq_enable_kicks(pair.device, true));
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(virtq_pop(pair.device, &element), 0);
			virtq_push(pair.device, element, 0);
		}
		virtq_flush(pair.device);
		assert_ptr_equal(virtq_driver_get_used(&pair.driver, &len),
				 &pair);
		assert_ptr_equal(virtq_driver_get_used(&pair.driver, &len),
				 &pair);
	}
	virtq_pair_deinit(&pair);
}

static void expect_bad(unsigned options, const struct driver_buffer *buffers,
		       unsigned n, uint64_t table_gpa, const char *reason)
{
	struct virtq_pair pair;

	virtq_pair_init(&pair, 16, options);
	virtq_driver_add(&pair.driver, buffers, n, table_gpa, &pair);
	virtq_driver_publish(&pair.driver);
	virtq_pair_expect_broken(&pair, reason);
	virtq_pair_deinit(&pair);
}

/* Buffers that are none, each in a chain and in a table. */
void virtq_case_bad_buffers(unsigned options)
{
	static const struct {
		struct driver_buffer buffers[2];
		const char *reason;
	} cases[] = {
		{ { { .gpa = PAIR_DATA, .len = 8 },
		    { .gpa = PAIR_DATA, .len = 0 } },
		  "buffer of no length" },
		{ { { .gpa = PAIR_DATA, .len = 8 },
		    { .gpa = PAIR_GPA + PAIR_SIZE - 4, .len = 8 } },
		  "buffer outside of guest memory" },
		{ { { .gpa = PAIR_DATA, .len = 8 },
		    { .gpa = PAIR_GPA - 1, .len = 8 } },
		  "buffer outside of guest memory" },
		{ { { .gpa = PAIR_DATA, .len = 8 },
		    { .gpa = UINT64_MAX - 3, .len = 8 } },
		  "buffer outside of guest memory" },
		{ { { .gpa = PAIR_DATA, .len = UINT32_MAX },
		    { .gpa = PAIR_DATA, .len = 8 } },
		  "buffer outside of guest memory" },
		{ { { .gpa = PAIR_DATA, .len = 8, .is_in = true },
		    { .gpa = PAIR_DATA, .len = 8 } },
		  "readable buffer after a writable" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		expect_bad(options, cases[i].buffers, 2, 0, cases[i].reason);
		expect_bad(options, cases[i].buffers, 2, PAIR_DATA + 4096,
			   cases[i].reason);
	}
}

/* A request by table, its one descriptor changed as the case wants. */
static void expect_bad_table(unsigned options, uint64_t addr, uint32_t len,
			     uint16_t extra_flags, const char *reason)
{
	struct driver_buffer buffer = { .gpa = PAIR_DATA, .len = 8 };
	struct virtq_pair pair;

	virtq_pair_init(&pair, 16, options);
	virtq_driver_add(&pair.driver, &buffer, 1, PAIR_DATA + 4096, &pair);
	virtq_driver_publish(&pair.driver);
	pair.driver.desc[0].addr = addr;
	pair.driver.desc[0].len = len;
	if (options & PAIR_PACKED)
		pair.driver.ring[0].flags |= extra_flags;
	else
		pair.driver.desc[0].flags |= extra_flags;
	virtq_pair_expect_broken(&pair, reason);
	virtq_pair_deinit(&pair);
}

void virtq_case_bad_tables(unsigned options)
{
	uint64_t table = PAIR_DATA + 4096;
	struct virtq_pair pair;

	expect_bad_table(options, table, 0, 0, "indirect table of odd length");
	expect_bad_table(options, table, 17, 0, "indirect table of odd length");
	expect_bad_table(options, table, 0xfffffff0, 0,
			 "indirect table too long");
	expect_bad_table(options, PAIR_GPA + PAIR_SIZE - 8, 16, 0,
			 "indirect table outside of guest memory");
	expect_bad_table(options, table, 16, VIRTQ_DESC_F_NEXT,
			 "indirect table with a successor");
	expect_bad_table(options | PAIR_NO_INDIRECT, table, 16, 0,
			 "indirect table not negotiated");
	/* The table's entry is a table. */
	virtq_pair_init(&pair, 16, options);
	virtq_driver_add(&pair.driver,
			 &(struct driver_buffer){ .gpa = table, .len = 16 }, 1,
			 table, &pair);
	((struct virtq_desc *)driver_memory_at(&pair.arena, table))->flags |=
		VIRTQ_DESC_F_INDIRECT;
	((struct virtq_packed_desc *)driver_memory_at(&pair.arena, table))
		->flags |= options & PAIR_PACKED ? VIRTQ_DESC_F_INDIRECT : 0;
	virtq_driver_publish(&pair.driver);
	virtq_pair_expect_broken(&pair, "indirect table in an indirect table");
	virtq_pair_deinit(&pair);
}

/* Rings that are not where they should be, or not of a size. */
void virtq_case_bad_rings(unsigned options)
{
	struct virtq_config good = {
		.size = 16,
		.is_packed = options & PAIR_PACKED,
		.desc_gpa = PAIR_RINGS,
		.driver_gpa = PAIR_RINGS + 0x1000,
		.device_gpa = PAIR_RINGS + 0x2000,
	};
	struct virtq_config config;
	struct virtq_pair pair;
	struct virtq *queue;
	const char *reason;

	virtq_pair_init(&pair, 16, options);
#define EXPECT_BAD(change, code) \
	do { \
		config = good; \
		(change); \
		reason = NULL; \
		assert_int_equal(virtq_new(&queue, &pair.memory, &config, \
					   &reason), \
				 code); \
		assert_non_null(reason); \
	} while (0)
	EXPECT_BAD(config.size = 0, -EINVAL);
	EXPECT_BAD(config.size = 32769, -EINVAL);
	EXPECT_BAD(config.size = 65536, -EINVAL);
	if (!good.is_packed)
		EXPECT_BAD(config.size = 24, -EINVAL);
	EXPECT_BAD(config.desc_gpa = PAIR_GPA + PAIR_SIZE - 16, -EFAULT);
	EXPECT_BAD(config.desc_gpa += 8, -EFAULT);
	EXPECT_BAD(config.driver_gpa = PAIR_GPA + PAIR_SIZE, -EFAULT);
	EXPECT_BAD(config.driver_gpa += 1, -EFAULT);
	EXPECT_BAD(config.device_gpa = UINT64_MAX - 3, -EFAULT);
	EXPECT_BAD(config.device_gpa += 2, -EFAULT);
	/* No ring lies in two regions. */
	EXPECT_BAD(config.desc_gpa = PAIR_GPA + PAIR_FIRST - 16, -EFAULT);
	EXPECT_BAD(config.base = good.is_packed ? 16 : 65536, -EINVAL);
	if (good.is_packed)
		EXPECT_BAD(config.base = 16U << 16, -EINVAL);
#undef EXPECT_BAD
	virtq_pair_deinit(&pair);
}

/* The memory table changes under a queue: it goes on, or breaks. */
void virtq_case_remap(unsigned options)
{
	struct virtq_pair pair;
	const char *reason;

	virtq_pair_init(&pair, 16, options);
	assert_true(pass(&pair, 5));
	collect(&pair, 5);
	guest_memory_clear(&pair.memory);
	assert_int_equal(guest_memory_add(&pair.memory, PAIR_GPA, PAIR_SIZE, 0,
					  pair.arena.fd, 0),
			 0);
	assert_int_equal(virtq_remap(pair.device, &reason), 0);
	pass(&pair, 15);
	collect(&pair, 15);
	guest_memory_clear(&pair.memory);
	assert_int_equal(virtq_remap(pair.device, &reason), -EFAULT);
	assert_true(virtq_is_broken(pair.device));
	virtq_flush(pair.device);
	assert_false(virtq_wants_call(pair.device));
	assert_false(virtq_enable_kicks(pair.device, true));
	virtq_pair_deinit(&pair);
}
