/* SPDX-License-Identifier: ISC */
#include "vm-net/frame.h"

#include "lib/base/cleanup.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum {
	BYTES = 4096,
};

#define CSUM (UINT64_C(1) << VIRTIO_NET_F_CSUM)
#define GUEST_CSUM (UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM)

static struct frame frame;
static uint8_t bytes[BYTES];

/* A header and a frame of len bytes, each byte its own place. */
static struct virtio_net_hdr *prepare(size_t len)
{
	struct virtio_net_hdr *header = (void *)bytes;

	for (size_t i = 0; i < len; i++)
		bytes[sizeof(*header) + i] = (uint8_t)(i * 3);
	memset(header, 0, sizeof(*header));
	return header;
}

static int take(size_t len, uint64_t features)
{
	struct iovec iov = { .iov_base = bytes, .iov_len = len };
	const char *reason = NULL;
	int ret = frame_from_guest(&frame, &iov, 1, VIRTIO_NET_HDR_SIZE,
				   features, &reason);

	assert_true((ret < 0) == (reason != NULL));
	return ret;
}

/* Header and frame cut into pieces everywhere: always the same frame. */
static void test_pieces(void **state)
{
	struct iovec iov[BYTES];
	uint8_t out[BYTES];
	const char *reason;
	size_t len = 300;

	(void)state;
	prepare(len);
	for (size_t piece = 1; piece < 320; piece += 7) {
		unsigned n = 0;
		struct iovec to[2] = {
			{ .iov_base = out, .iov_len = 5 },
			{ .iov_base = out + 5, .iov_len = sizeof(out) - 5 },
		};

		for (size_t at = 0; at < len + 12; at += piece)
			iov[n++] = (struct iovec){
				.iov_base = bytes + at,
				.iov_len = len + 12 - at < piece ? len + 12 - at
								 : piece,
			};
		assert_int_equal(
			frame_from_guest(&frame, iov, n, 12, 0, &reason), 0);
		assert_int_equal(frame.len, len);
		assert_memory_equal(frame.head, bytes + 12, FRAME_HEAD);
		memset(out, 0, sizeof(out));
		frame_copy(&frame, 0, to, 2, 0, len);
		assert_memory_equal(out, bytes + 12, len);
		frame_copy(&frame, 100, to, 2, 3, 50);
		assert_memory_equal(out + 3, bytes + 112, 50);
		assert_memory_equal(frame_flatten(&frame), bytes + 12, len);
	}
}

static void test_lengths(void **state)
{
	static uint8_t large[FRAME_MAX + 13];
	struct iovec iov = { .iov_base = large, .iov_len = sizeof(large) };
	const char *reason;

	(void)state;
	prepare(100);
	assert_int_equal(take(0, 0), -EINVAL);
	assert_int_equal(take(11, 0), -EINVAL);
	assert_int_equal(take(25, 0), -EINVAL);
	assert_int_equal(take(26, 0), 0);
	assert_int_equal(frame_from_guest(&frame, &iov, 1, 12, 0, &reason),
			 -EINVAL);
	iov.iov_len--;
	assert_int_equal(frame_from_guest(&frame, &iov, 1, 12, 0, &reason), 0);
	assert_int_equal(frame_from_bytes(&frame, large, 13), -EINVAL);
	assert_int_equal(frame_from_bytes(&frame, large, FRAME_MAX + 1),
			 -EINVAL);
}

/* The driver changes the frame after it was looked at: the copy counts. */
static void test_head_is_read_once(void **state)
{
	uint8_t out[64];
	struct iovec iov = { .iov_base = out, .iov_len = sizeof(out) };

	(void)state;
	prepare(64);
	assert_int_equal(take(76, 0), 0);
	memset(bytes + 12, 0xff, 12);
	frame_copy(&frame, 0, &iov, 1, 0, 64);
	assert_int_equal(out[0], 0);
	assert_int_equal(out[1], 3);
}

static void test_bad_headers(void **state)
{
	static const struct {
		uint16_t start, offset;
		int ret;
	} cases[] = {
		{ 14, 0, 0 },	       { 34, 16, 0 },
		{ 98, 0, 0 },	       { 13, 16, -EINVAL },
		{ 0, 0, -EINVAL },     { 98, 1, -EINVAL },
		{ 14, 85, -EINVAL },   { 14, 84, 0 },
		{ 100, 0, -EINVAL },   { 65535, 2, -EINVAL },
		{ 2, 65535, -EINVAL }, { 65535, 65535, -EINVAL },
	};
	struct virtio_net_hdr *header = prepare(100);

	(void)state;
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	for (size_t i = 0; i < array_size(cases); i++) {
		header->csum_start = htole16(cases[i].start);
		header->csum_offset = htole16(cases[i].offset);
		assert_int_equal(take(112, CSUM), cases[i].ret);
	}
	header->csum_start = htole16(34);
	header->csum_offset = htole16(16);
	assert_int_equal(take(112, 0), -EINVAL); /* not negotiated */
	header->flags = 0;
	header->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	assert_int_equal(take(112, CSUM), -EINVAL);
	header->gso_type = 0x7f;
	assert_int_equal(take(112, CSUM), -EINVAL);
}

/* What it should be, the slow way (RFC 1071). */
static uint16_t sum_of(const uint8_t *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Whoever cannot do the checksum gets it done, of odd lengths, too. */
static void test_checksum(void **state)
{
	(void)state;
	for (size_t len = 60; len < 300; len++) {
		struct virtio_net_hdr *header = prepare(len), out;
		const uint8_t *flat;

		header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header->csum_start = htole16(34);
		header->csum_offset = htole16(16);
		assert_int_equal(take(len + 12, CSUM), 0);
		frame_make_header(&frame, GUEST_CSUM, 3, &out);
		assert_memory_equal(&out, header, 10);
		assert_int_equal(le16toh(out.num_buffers), 3);
		assert_true(frame.needs_csum);
		frame_make_header(&frame, 0, 1, &out);
		assert_int_equal(out.flags, 0);
		assert_false(frame.needs_csum);
		flat = frame_flatten(&frame);
		/* All of it summed up, the initial value was in the field. */
		{
			uint8_t check[BYTES];
			uint32_t before =
				(uint32_t)bytes[12 + 50] << 8 | bytes[12 + 51];
			uint32_t after;

			memcpy(check, flat + 34, len - 34);
			after = (uint32_t)check[16] << 8 | check[17];
			check[16] = bytes[12 + 50];
			check[17] = bytes[12 + 51];
			assert_int_equal(after,
					 (uint16_t)~sum_of(check, len - 34));
			assert_int_not_equal(before, after);
		}
		assert_memory_equal(flat, bytes + 12, 50);
		assert_memory_equal(flat + 52, bytes + 12 + 52, len - 52);
	}
}

/* UDP's 0 means "no checksum": the other zero is sent. */
static void test_checksum_zero(void **state)
{
	struct virtio_net_hdr *header = prepare(60);
	const uint8_t *flat;

	(void)state;
	memset(bytes + 12 + 34, 0, 60 - 34);
	bytes[12 + 34] = 0xff;
	bytes[12 + 35] = 0xff;
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = htole16(34);
	header->csum_offset = htole16(6);
	assert_int_equal(take(72, CSUM), 0);
	flat = frame_flatten(&frame);
	assert_int_equal(flat[40], 0xff);
	assert_int_equal(flat[41], 0xff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_head_is_read_once),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_checksum_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
