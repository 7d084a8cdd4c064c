/* SPDX-License-Identifier: ISC */
/*
 * TCP segmentation, for IPv4 and IPv6.
 *
 *	| Ethernet, VLAN tags | IP | TCP | payload                     |
 *	                       ^ip_offset ^csum_start  ^header_len
 *
 * Every segment repeats the headers. Different in each are IP's length, the
 * identification and header checksum of IPv4, TCP's sequence number, and its
 * flags: FIN and PSH belong to the last segment, CWR to the first (RFC 3168
 * §6.1.2).
 */
#include "vm-net/segment.h"

#include "vm-net/checksum.h"
#include "vm-net/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	ETHERTYPE_OFFSET = 12,
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_QINQ = 0x88a8,
	VLAN_TAG_LEN = 4,
	VLAN_TAGS_MAX = 2,

	IPV4_LEN = 20, /* without options */
	IPV4_TOTAL_LEN = 2,
	IPV4_ID = 4,
	IPV4_FRAGMENT = 6,
	IPV4_PROTOCOL = 9,
	IPV4_CHECKSUM = 10,
	IPV4_ADDRESSES = 12,
	IPV4_ADDRESSES_LEN = 8,

	IPV6_LEN = 40,
	IPV6_PAYLOAD_LEN = 4,
	IPV6_NEXT_HEADER = 6,
	IPV6_ADDRESSES = 8,
	IPV6_ADDRESSES_LEN = 32,

	TCP_LEN = 20, /* without options */
	TCP_SEQUENCE = 4,
	TCP_DATA_OFFSET = 12,
	TCP_FLAGS = 13,
	TCP_CHECKSUM = 16,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_CWR = 0x80,
	PROTOCOL_TCP = 6,
};

static uint16_t get16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void put16(uint8_t *bytes, uint32_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *bytes)
{
	return (uint32_t)get16(bytes) << 16 | get16(bytes + 2);
}

static void put32(uint8_t *bytes, uint32_t value)
{
	put16(bytes, value >> 16);
	put16(bytes + 2, value);
}

/* Where IP begins, and the EtherType before it. */
static size_t find_ip(const struct frame *frame, uint16_t *ethertype)
{
	size_t at = ETHERTYPE_OFFSET;

	*ethertype = get16(frame->head + at);
	for (int i = 0; i < VLAN_TAGS_MAX && (*ethertype == ETHERTYPE_VLAN ||
					      *ethertype == ETHERTYPE_QINQ);
	     i++) {
		at += VLAN_TAG_LEN;
		*ethertype = get16(frame->head + at);
	}
	return at + 2;
}

/* The offset of TCP, or 0. head_len is at least 62 bytes behind any tag. */
static size_t check_ipv4(const uint8_t *ip)
{
	size_t len = (size_t)(ip[0] & 0xf) * 4;

	if (ip[0] >> 4 != 4 || len < IPV4_LEN ||
	    ip[IPV4_PROTOCOL] != PROTOCOL_TCP)
		return 0;
	/* More fragments, or not the first one. */
	if ((get16(ip + IPV4_FRAGMENT) & 0x3fff) != 0)
		return 0;
	return len;
}

static size_t check_ipv6(const uint8_t *ip)
{
	if (ip[0] >> 4 != 6 || ip[IPV6_NEXT_HEADER] != PROTOCOL_TCP)
		return 0;
	return IPV6_LEN;
}

int segment_check(struct frame *frame)
{
	bool is_ipv4 = frame->gso_type == VIRTIO_NET_HDR_GSO_TCPV4;
	size_t head_len = frame->len < FRAME_HEAD ? frame->len : FRAME_HEAD;
	uint16_t ethertype;
	size_t ip, tcp, len;

	/* Both kinds of IP, without options, fit behind any tags. */
	if (head_len < FRAME_MIN + VLAN_TAGS_MAX * VLAN_TAG_LEN + IPV4_LEN)
		return -EINVAL;
	ip = find_ip(frame, &ethertype);
	if (ethertype != (is_ipv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6) ||
	    ip + (is_ipv4 ? IPV4_LEN : IPV6_LEN) > head_len)
		return -EINVAL;
	len = is_ipv4 ? check_ipv4(frame->head + ip)
		      : check_ipv6(frame->head + ip);
	tcp = ip + len;
	if (len == 0 || tcp != frame->csum_start ||
	    frame->csum_offset != TCP_CHECKSUM || tcp + TCP_LEN > head_len)
		return -EINVAL;
	len = (size_t)(frame->head[tcp + TCP_DATA_OFFSET] >> 4) * 4;
	if (len < TCP_LEN || tcp + len > head_len)
		return -EINVAL;
	frame->ip_offset = (uint16_t)ip;
	frame->header_len = (uint16_t)(tcp + len);
	if (frame->gso_size == 0 || segment_count(frame) > SEGMENTS_MAX)
		return -EINVAL;
	return 0;
}

unsigned segment_count(const struct frame *frame)
{
	size_t payload = frame->len - frame->header_len;

	if (frame->gso_type == VIRTIO_NET_HDR_GSO_NONE || payload == 0)
		return 1;
	return (unsigned)((payload + frame->gso_size - 1) / frame->gso_size);
}

/* What TCP's checksum field holds before the sum over TCP is added. */
static uint16_t pseudo_header(const struct frame *frame, const uint8_t *ip,
			      size_t tcp_len)
{
	bool is_ipv4 = frame->gso_type == VIRTIO_NET_HDR_GSO_TCPV4;
	uint8_t rest[4] = { 0, PROTOCOL_TCP };
	uint64_t sum;

	put16(rest + 2, (uint32_t)tcp_len);
	sum = checksum_add(0, rest, sizeof(rest));
	if (is_ipv4)
		sum = checksum_add(sum, ip + IPV4_ADDRESSES,
				   IPV4_ADDRESSES_LEN);
	else
		sum = checksum_add(sum, ip + IPV6_ADDRESSES,
				   IPV6_ADDRESSES_LEN);
	return checksum_fold(sum);
}

static void set_ip(const struct frame *frame, uint8_t *ip, size_t ip_len,
		   unsigned i)
{
	uint16_t sum;

	if (frame->gso_type == VIRTIO_NET_HDR_GSO_TCPV6) {
		put16(ip + IPV6_PAYLOAD_LEN, (uint32_t)(ip_len - IPV6_LEN));
		return;
	}
	put16(ip + IPV4_TOTAL_LEN, (uint32_t)ip_len);
	put16(ip + IPV4_ID, get16(ip + IPV4_ID) + i);
	memset(ip + IPV4_CHECKSUM, 0, 2);
	sum = (uint16_t)~checksum_fold(
		checksum_add(0, ip, (size_t)(ip[0] & 0xf) * 4));
	memcpy(ip + IPV4_CHECKSUM, &sum, sizeof(sum));
}

void segment_make(const struct frame *frame, unsigned i, struct frame *segment)
{
	size_t offset = frame->header_len + (size_t)i * frame->gso_size;
	size_t rest = frame->len - offset;
	size_t len = rest < frame->gso_size ? rest : frame->gso_size;
	uint8_t *ip = segment->head + frame->ip_offset;
	uint8_t *tcp = segment->head + frame->csum_start;
	size_t tcp_len = frame->header_len - frame->csum_start + len;
	uint16_t sum;

	memcpy(segment->head, frame->head, frame->header_len);
	segment->len = frame->header_len + len;
	segment->gso_type = VIRTIO_NET_HDR_GSO_NONE;
	segment->needs_csum = true;
	segment->csum_start = frame->csum_start;
	segment->csum_offset = frame->csum_offset;
	segment->is_flat = false;
	segment->iov[0] = (struct iovec){
		.iov_base = segment->head,
		.iov_len = frame->header_len,
	};
	segment->n_iov = 1 + frame_slice(frame, offset, len, segment->iov + 1);

	set_ip(frame, ip, segment->len - frame->ip_offset, i);
	put32(tcp + TCP_SEQUENCE,
	      get32(tcp + TCP_SEQUENCE) + i * frame->gso_size);
	if (rest > len)
		tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (i > 0)
		tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	sum = pseudo_header(frame, ip, tcp_len);
	memcpy(tcp + TCP_CHECKSUM, &sum, sizeof(sum));
}
