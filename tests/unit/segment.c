/* SPDX-License-Identifier: ISC */
/* Large TCP segments cut up: each piece is checked as its receiver would. */
#include "vm-net/segment.h"

#include "lib/base/cleanup.h"
#include "vm-net/frame.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	ETH = 14,
	IPV4 = 20,
	IPV6 = 40,
	TCP = 20,
	FIN_PSH_ACK_CWR = 0x99,
};

/* Wraps in the second segment. */
static const uint32_t sequence = 0xfffffff0;

static const uint64_t features = BIT(VIRTIO_NET_F_CSUM) |
				 BIT(VIRTIO_NET_F_HOST_TSO4) |
				 BIT(VIRTIO_NET_F_HOST_TSO6);

struct made {
	uint8_t bytes[VIRTIO_NET_HDR_SIZE + FRAME_MAX];
	size_t len; /* of the frame */
	size_t ip, tcp, payload;
	size_t ip_options, tcp_options, tags;
	bool is_ipv6;
};

static struct made made;
static struct frame frame, segment;

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static uint8_t *bytes_at(size_t offset)
{
	return made.bytes + VIRTIO_NET_HDR_SIZE + offset;
}

static void make_ip(size_t payload_len)
{
	size_t tcp_len = TCP + made.tcp_options + payload_len;
	uint8_t *ip = bytes_at(made.ip);

	if (made.is_ipv6) {
		ip[0] = 0x60;
		put16(ip + 4, (unsigned)(tcp_len & 0xffff));
		ip[6] = 6;
		memset(ip + 8, 0xfd, 32);
		return;
	}
	ip[0] = (uint8_t)(0x45 + made.ip_options / 4);
	put16(ip + 2, (unsigned)(made.tcp - made.ip + tcp_len));
	put16(ip + 4, 0xffff); /* identification wraps, too */
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, (uint8_t[]){ 10, 0, 2, 15, 10, 0, 2, 2 }, 8);
}

/* A TCP segment with payload_len bytes of payload, to be cut. */
static struct virtio_net_hdr *make(size_t payload_len, unsigned gso_size)
{
	struct virtio_net_hdr *header = (void *)made.bytes;
	uint8_t *tcp;

	memset(made.bytes, 0, sizeof(made.bytes));
	made.ip = ETH + 4 * made.tags;
	made.tcp = made.ip + (made.is_ipv6 ? IPV6 : IPV4 + made.ip_options);
	made.payload = made.tcp + TCP + made.tcp_options;
	made.len = made.payload + payload_len;
	memset(bytes_at(0), 0x52, 12);
	for (size_t i = 0; i < made.tags; i++)
		put16(bytes_at(12 + 4 * i),
		      i == 0 && made.tags == 2 ? 0x88a8 : 0x8100);
	put16(bytes_at(made.ip - 2), made.is_ipv6 ? 0x86dd : 0x0800);
	make_ip(payload_len);
	tcp = bytes_at(made.tcp);
	put16(tcp, 4711);
	put16(tcp + 2, 80);
	put16(tcp + 4, sequence >> 16);
	put16(tcp + 6, sequence & 0xffff);
	tcp[12] = (uint8_t)((TCP + made.tcp_options) / 4 << 4);
	tcp[13] = FIN_PSH_ACK_CWR;
	for (size_t i = 0; i < payload_len; i++)
		*bytes_at(made.payload + i) = (uint8_t)(i * 11 + i / 256);
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->gso_type = made.is_ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6
					: VIRTIO_NET_HDR_GSO_TCPV4;
	header->gso_size = htole16((uint16_t)gso_size);
	header->csum_start = htole16((uint16_t)made.tcp);
	header->csum_offset = htole16(16);
	return header;
}

static int take(void)
{
	const char *reason;
	struct iovec iov[3] = {
		{ .iov_base = made.bytes, .iov_len = 70 },
		{ .iov_base = made.bytes + 70, .iov_len = 1000 },
		{ .iov_base = made.bytes + 1070,
		  .iov_len = made.len + VIRTIO_NET_HDR_SIZE - 1070 },
	};
	unsigned n = 3;

	if (made.len + VIRTIO_NET_HDR_SIZE <= 1070) {
		iov[0].iov_len = made.len + VIRTIO_NET_HDR_SIZE;
		n = 1;
	}
	return frame_from_guest(&frame, iov, n, VIRTIO_NET_HDR_SIZE, features,
				&reason);
}

/* One's complement sum of 16-bit words (RFC 1071), the slow way. */
static uint32_t add(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* As a receiver does: with the checksum in it, the sum is all ones. */
static void check_sums(const uint8_t *flat, size_t len)
{
	const uint8_t *ip = flat + made.ip;
	size_t tcp_len = len - made.tcp;
	uint32_t sum = 6 + (uint32_t)tcp_len;

	if (!made.is_ipv6)
		assert_int_equal(add(0, ip, made.tcp - made.ip), 0xffff);
	sum = made.is_ipv6 ? add(sum, ip + 8, 32) : add(sum, ip + 12, 8);
	assert_int_equal(add(sum, flat + made.tcp, tcp_len), 0xffff);
}

static void check_segment(unsigned i, unsigned n, size_t gso_size)
{
	const uint8_t *flat = frame_flatten(&segment);
	const uint8_t *ip = flat + made.ip, *tcp = flat + made.tcp;
	size_t len = segment.len - made.payload;
	unsigned flags = FIN_PSH_ACK_CWR;

	if (made.is_ipv6)
		assert_int_equal(get16(ip + 4), segment.len - made.tcp);
	else
		assert_int_equal(get16(ip + 2), segment.len - made.ip);
	if (!made.is_ipv6)
		assert_int_equal(get16(ip + 4), (0xffff + i) & 0xffff);
	assert_int_equal(get32(tcp + 4), (uint32_t)(sequence + i * gso_size));
	if (i > 0)
		flags &= ~0x80u;
	if (i < n - 1)
		flags &= ~0x09u;
	assert_int_equal(tcp[13], flags);
	if (i < n - 1)
		assert_int_equal(len, gso_size);
	assert_memory_equal(flat + made.payload,
			    bytes_at(made.payload + i * gso_size), len);
	check_sums(flat, segment.len);
}

static void check_all(size_t payload_len, unsigned gso_size)
{
	unsigned n;
	size_t total = 0;

	make(payload_len, gso_size);
	assert_int_equal(take(), 0);
	n = segment_count(&frame);
	assert_int_equal(n, payload_len == 0
				    ? 1
				    : (payload_len + gso_size - 1) / gso_size);
	for (unsigned i = 0; i < n; i++) {
		segment_make(&frame, i, &segment);
		total += segment.len - made.payload;
		check_segment(i, n, gso_size);
	}
	assert_int_equal(total, payload_len);
}

static void test_segments(void **state)
{
	static const size_t lens[] = { 0,    1,	   1447,  1448, 1449,
				       2896, 2897, 10001, 65000 };

	(void)state;
	for (int variant = 0; variant < 16; variant++) {
		made.is_ipv6 = (variant & 1) != 0;
		made.tags = variant & 2 ? (variant & 4 ? 2 : 1) : 0;
		made.tcp_options = variant & 8 ? 12 : 0;
		made.ip_options = variant & 4 ? 8 : 0;
		for (size_t i = 0; i < array_size(lens); i++)
			check_all(lens[i], 1448);
		check_all(1000, 77);
	}
	made.is_ipv6 = false;
	made.tags = made.ip_options = made.tcp_options = 0;
}

/* All headers as long as they can be. */
static void test_longest_headers(void **state)
{
	(void)state;
	made.tags = 2;
	made.ip_options = 40;
	made.tcp_options = 40;
	check_all(5000, 1448);
	made.tags = made.ip_options = made.tcp_options = 0;
}

static int after(size_t offset, uint8_t value)
{
	make(5000, 1448);
	*bytes_at(offset) = value;
	return take();
}

static void test_bad_headers(void **state)
{
	struct virtio_net_hdr *header;

	(void)state;
	make(5000, 1448);
	assert_int_equal(take(), 0);
	assert_int_equal(after(12, 0x86), -EINVAL); /* no IPv4 */
	assert_int_equal(after(ETH, 0x65), -EINVAL);
	assert_int_equal(after(ETH, 0x44), -EINVAL); /* shorter than it is */
	assert_int_equal(after(ETH, 0x4f), -EINVAL); /* TCP is elsewhere */
	assert_int_equal(after(ETH + 6, 0x20), -EINVAL); /* a fragment */
	assert_int_equal(after(ETH + 7, 0x01), -EINVAL);
	assert_int_equal(after(ETH + 6, 0x40), 0);     /* "don't" is fine */
	assert_int_equal(after(ETH + 9, 17), -EINVAL); /* UDP */
	assert_int_equal(after(ETH + IPV4 + 12, 0x40), -EINVAL);

	header = make(5000, 0);
	assert_int_equal(take(), -EINVAL);
	header = make(5000, 4); /* 1250 of them */
	assert_int_equal(take(), -EINVAL);
	header = make(5000, 1448);
	header->flags = 0;
	assert_int_equal(take(), -EINVAL);
	header = make(5000, 1448);
	header->csum_offset = htole16(6);
	assert_int_equal(take(), -EINVAL);
	header = make(5000, 1448);
	header->csum_start = htole16(38);
	assert_int_equal(take(), -EINVAL);
	header = make(5000, 1448);
	header->gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	assert_int_equal(take(), -EINVAL);
	header->gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN;
	assert_int_equal(take(), -EINVAL);
	header->gso_type = VIRTIO_NET_HDR_GSO_UDP;
	assert_int_equal(take(), -EINVAL);
}

/* Cut short in the middle of each header. */
static void test_short_frames(void **state)
{
	(void)state;
	for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
		made.is_ipv6 = is_ipv6 != 0;
		for (size_t len = FRAME_MIN; len < 94; len++) {
			int ret;

			make(0, 1448);
			if (len >= made.len)
				break;
			made.len = len;
			ret = take();
			assert_int_equal(ret, -EINVAL);
		}
	}
	made.is_ipv6 = false;
}

/* Whoever takes large segments gets the header that says what it is. */
static void test_passed_on(void **state)
{
	const uint64_t guest =
		BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4);
	struct virtio_net_hdr header;

	(void)state;
	make(5000, 1448);
	assert_int_equal(take(), 0);
	assert_true(frame_is_taken(&frame, guest));
	assert_false(frame_is_taken(&frame, 0));
	assert_false(frame_is_taken(&frame, BIT(VIRTIO_NET_F_GUEST_TSO4)));
	assert_false(
		frame_is_taken(&frame, BIT(VIRTIO_NET_F_GUEST_CSUM) |
					       BIT(VIRTIO_NET_F_GUEST_TSO6)));
	frame_make_header(&frame, guest, 1, &header);
	assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(le16toh(header.gso_size), 1448);
	assert_int_equal(le16toh(header.hdr_len), ETH + IPV4 + TCP);
	assert_int_equal(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	/* An ordinary frame afterwards has nothing left of it. */
	assert_int_equal(frame_from_bytes(&frame, bytes_at(0), 60), 0);
	frame_make_header(&frame, guest, 1, &header);
	assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(segment_count(&frame), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_longest_headers),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_short_frames),
		cmocka_unit_test(test_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
