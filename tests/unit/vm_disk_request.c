/* SPDX-License-Identifier: ISC */
/* Block requests as drivers lay them out, and as they should not. */
#include "protocols/virtio_blk.h"
#include "vm-disk/request.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* After the above, which it needs. */
#include <cmocka.h>

enum {
	N_SECTORS = 2048,
	OUT_MAX = 8192,
	IN_MAX = 8192,
};

static const struct blk_limits limits = { .n_sectors = N_SECTORS };
static const struct blk_limits read_only = { .n_sectors = N_SECTORS,
					     .is_read_only = true };

static uint8_t out_buf[OUT_MAX], in_buf[IN_MAX];
static struct iovec pieces[OUT_MAX + IN_MAX];

/* An element over the two buffers, in pieces of at most piece_len bytes. */
static struct virtq_element element_of(size_t out_len, size_t in_len,
				       size_t piece_len)
{
	struct virtq_element element = { .out = pieces,
					 .out_len = out_len,
					 .in_len = in_len };
	unsigned n = 0;

	for (size_t at = 0; at < out_len; at += piece_len)
		pieces[n++] =
			(struct iovec){ out_buf + at, at + piece_len < out_len
							      ? piece_len
							      : out_len - at };
	element.n_out = (uint16_t)n;
	element.in = pieces + n;
	for (size_t at = 0; at < in_len; at += piece_len)
		pieces[n++] =
			(struct iovec){ in_buf + at, at + piece_len < in_len
							     ? piece_len
							     : in_len - at };
	element.n_in = (uint16_t)(n - element.n_out);
	return element;
}

static void put_header(uint32_t type, uint64_t sector)
{
	struct virtio_blk_header header = { .type = htole32(type),
					    .sector = htole64(sector) };

	memcpy(out_buf, &header, sizeof(header));
}

static void put_range(unsigned i, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct virtio_blk_range range = { .sector = htole64(sector),
					  .num_sectors = htole32(n),
					  .flags = htole32(flags) };

	memcpy(out_buf + 16 + i * sizeof(range), &range, sizeof(range));
}

/* The pieces of a parsed request are exactly these bytes, in order. */
static void check_pieces(const struct blk_request *request, uint8_t *from,
			 uint64_t len)
{
	for (unsigned i = 0; i < request->n_iov; i++) {
		assert_ptr_equal(request->iov[i].iov_base, from);
		from += request->iov[i].iov_len;
		assert_true(request->iov[i].iov_len <= len);
		len -= request->iov[i].iov_len;
	}
	assert_int_equal(len, 0);
}

static void check_answer(const struct virtq_element *element,
			 const struct blk_limits *l, uint8_t status)
{
	struct blk_request request;

	assert_int_equal(blk_request_parse(&request, element, l), 0);
	assert_int_equal(request.action, BLK_ANSWER);
	assert_int_equal(request.status, status);
	blk_request_deinit(&request);
}

/* As Linux does it: header, data and status are descriptors of their own;
 * then nothing is copied. */
static void test_usual_layout(void **state)
{
	struct blk_request request;
	struct iovec own[3] = { { out_buf, 16 },
				{ in_buf, 4096 },
				{ in_buf + 4096, 1 } };
	struct virtq_element element = { .n_out = 1,
					 .n_in = 2,
					 .out_len = 16,
					 .in_len = 4097,
					 .out = own,
					 .in = own + 1 };

	(void)state;
	put_header(VIRTIO_BLK_T_IN, 8);
	assert_int_equal(blk_request_parse(&request, &element, &limits), 0);
	assert_int_equal(request.action, BLK_READ);
	assert_int_equal(request.offset, 4096);
	assert_int_equal(request.len, 4096);
	assert_int_equal(request.n_iov, 1);
	assert_ptr_equal(request.iov, own + 1);
	assert_null(request.own);
}

/* virtio 1.2 §2.7.4.1: no assumption about framing. */
static void test_any_layout(void **state)
{
	static const size_t lens[] = { 1, 2, 3, 5, 7, 15, 16, 17, 511, 513 };
	struct blk_request request;

	(void)state;
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct virtq_element element;

		element = element_of(16, 1024 + 1, lens[i]);
		put_header(VIRTIO_BLK_T_IN, 1);
		assert_int_equal(blk_request_parse(&request, &element, &limits),
				 0);
		assert_int_equal(request.action, BLK_READ);
		check_pieces(&request, in_buf, 1024);
		blk_request_deinit(&request);
		element = element_of(16 + 1024, 1, lens[i]);
		put_header(VIRTIO_BLK_T_OUT, 1);
		assert_int_equal(blk_request_parse(&request, &element, &limits),
				 0);
		assert_int_equal(request.action, BLK_WRITE);
		assert_int_equal(request.offset, 512);
		check_pieces(&request, out_buf + 16, 1024);
		blk_request_deinit(&request);
	}
}

static void test_status_is_the_last_byte(void **state)
{
	(void)state;
	for (size_t len = 1; len < 20; len++) {
		struct virtq_element element = element_of(16, len, 3);

		memset(in_buf, 0xee, sizeof(in_buf));
		blk_request_set_status(&element, VIRTIO_BLK_S_IOERR);
		assert_int_equal(in_buf[len - 1], VIRTIO_BLK_S_IOERR);
		assert_true(len == 1 || in_buf[len - 2] == 0xee);
		assert_int_equal(in_buf[len], 0xee);
	}
}

static void test_no_status_byte(void **state)
{
	struct virtq_element element = element_of(16 + 512, 0, 4096);
	struct blk_request request;

	(void)state;
	put_header(VIRTIO_BLK_T_OUT, 0);
	assert_int_equal(blk_request_parse(&request, &element, &limits),
			 -EPROTO);
}

static void test_no_whole_header(void **state)
{
	(void)state;
	put_header(VIRTIO_BLK_T_FLUSH, 0);
	for (size_t len = 0; len < 16; len++) {
		struct virtq_element element = element_of(len, 1, 4);

		check_answer(&element, &limits, VIRTIO_BLK_S_IOERR);
	}
}

static void test_sectors_out_of_range(void **state)
{
	static const uint64_t sectors[] = { N_SECTORS - 1,   N_SECTORS,
					    UINT64_MAX,	     UINT64_MAX - 1,
					    UINT64_MAX >> 9, 1ull << 55 };

	(void)state;
	for (unsigned i = 0; i < sizeof(sectors) / sizeof(sectors[0]); i++) {
		struct virtq_element element = element_of(16, 1024 + 1, 4096);

		put_header(VIRTIO_BLK_T_IN, sectors[i]);
		check_answer(&element, &limits, VIRTIO_BLK_S_IOERR);
		element = element_of(16 + 1024, 1, 4096);
		put_header(VIRTIO_BLK_T_OUT, sectors[i]);
		check_answer(&element, &limits, VIRTIO_BLK_S_IOERR);
	}
}

static void test_last_sectors_are_in_range(void **state)
{
	struct virtq_element element = element_of(16, 1024 + 1, 4096);
	struct blk_request request;

	(void)state;
	put_header(VIRTIO_BLK_T_IN, N_SECTORS - 2);
	assert_int_equal(blk_request_parse(&request, &element, &limits), 0);
	assert_int_equal(request.action, BLK_READ);
	blk_request_deinit(&request);
}

static void test_part_of_a_sector(void **state)
{
	struct virtq_element element = element_of(16, 100 + 1, 4096);

	(void)state;
	put_header(VIRTIO_BLK_T_IN, 0);
	check_answer(&element, &limits, VIRTIO_BLK_S_IOERR);
	element = element_of(16 + 513, 1, 4096);
	put_header(VIRTIO_BLK_T_OUT, 0);
	check_answer(&element, &limits, VIRTIO_BLK_S_IOERR);
}

static void test_unknown_types(void **state)
{
	static const uint32_t types[] = {
		2, 3, 5, 9, 10, 12, 14, VIRTIO_BLK_T_IN + 256, UINT32_MAX
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct virtq_element element = element_of(16, 513, 4096);

		put_header(types[i], 0);
		check_answer(&element, &limits, VIRTIO_BLK_S_UNSUPP);
	}
}

static void test_ranges(void **state)
{
	struct virtq_element element =
		element_of(16 + BLK_RANGES_MAX * 16, 1, 10);
	struct blk_request request;

	(void)state;
	put_header(VIRTIO_BLK_T_WRITE_ZEROES, 0);
	for (unsigned i = 0; i < BLK_RANGES_MAX; i++)
		put_range(i, i * 8, 8, i % 2);
	assert_int_equal(blk_request_parse(&request, &element, &limits), 0);
	assert_int_equal(request.action, BLK_WRITE_ZEROES);
	assert_int_equal(request.n_ranges, BLK_RANGES_MAX);
	for (unsigned i = 0; i < BLK_RANGES_MAX; i++) {
		assert_int_equal(request.ranges[i].offset, i * 4096);
		assert_int_equal(request.ranges[i].len, 4096);
		assert_int_equal(request.ranges[i].may_unmap, i % 2);
	}
}

static void test_wrong_ranges(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t n_sectors, flags;
		uint8_t status;
	} cases[] = {
		{ VIRTIO_BLK_T_DISCARD, 0, 8, 1, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 8, 2, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 1u << 31,
		  VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, N_SECTORS, 1, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, N_SECTORS - 1, 2, 0,
		  VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, UINT64_MAX, 2, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0, UINT32_MAX, 0,
		  VIRTIO_BLK_S_IOERR },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct virtq_element element = element_of(16 + 32, 1, 4096);

		put_header(cases[i].type, 0);
		put_range(0, 0, 8, 0); /* the first alone would be fine */
		put_range(1, cases[i].sector, cases[i].n_sectors,
			  cases[i].flags);
		check_answer(&element, &limits, cases[i].status);
	}
}

static void test_wrong_number_of_ranges(void **state)
{
	static const size_t lens[] = {
		0, 1, 15, 17, (BLK_RANGES_MAX + 1) * 16, 4096
	};

	(void)state;
	put_header(VIRTIO_BLK_T_DISCARD, 0);
	memset(out_buf + 16, 0, 4096);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct virtq_element element = element_of(16 + lens[i], 1, 512);

		check_answer(&element, &limits, VIRTIO_BLK_S_IOERR);
	}
}

static void test_read_only(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_DISCARD,
					  VIRTIO_BLK_T_WRITE_ZEROES };
	struct virtq_element element;
	struct blk_request request;

	(void)state;
	memset(out_buf, 0, sizeof(out_buf));
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		element = element_of(16 + (i == 0 ? 512 : 16), 1, 4096);
		put_header(types[i], 0);
		check_answer(&element, &read_only, VIRTIO_BLK_S_IOERR);
	}
	element = element_of(16, 513, 4096);
	put_header(VIRTIO_BLK_T_IN, 0);
	assert_int_equal(blk_request_parse(&request, &element, &read_only), 0);
	assert_int_equal(request.action, BLK_READ);
	blk_request_deinit(&request);
	element = element_of(16, 1, 4096);
	put_header(VIRTIO_BLK_T_FLUSH, 0);
	assert_int_equal(blk_request_parse(&request, &element, &read_only), 0);
	assert_int_equal(request.action, BLK_FLUSH);
}

/* 1024 descriptors of 4 GiB each are a request too, but not one of ours. */
static void test_too_much_data(void **state)
{
	static const struct blk_limits huge = { .n_sectors = 1ull << 54 };
	struct iovec own[3] = { { out_buf, 16 },
				{ in_buf, 1ull << 40 },
				{ in_buf, 1 } };
	struct virtq_element element = { .n_out = 1,
					 .n_in = 2,
					 .out_len = 16,
					 .in_len = (1ull << 40) + 1,
					 .out = own,
					 .in = own + 1 };

	(void)state;
	put_header(VIRTIO_BLK_T_IN, 0);
	check_answer(&element, &huge, VIRTIO_BLK_S_IOERR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usual_layout),
		cmocka_unit_test(test_any_layout),
		cmocka_unit_test(test_status_is_the_last_byte),
		cmocka_unit_test(test_no_status_byte),
		cmocka_unit_test(test_no_whole_header),
		cmocka_unit_test(test_sectors_out_of_range),
		cmocka_unit_test(test_last_sectors_are_in_range),
		cmocka_unit_test(test_part_of_a_sector),
		cmocka_unit_test(test_unknown_types),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_wrong_ranges),
		cmocka_unit_test(test_wrong_number_of_ranges),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_too_much_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
