/* SPDX-License-Identifier: ISC */
/*
 * Frames and their offloads. Everything that a virtio-net header says is
 * checked here, once, against the frame's real length.
 */
#include "vm-net/frame.h"

#include "lib/virtio/virtq.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

static bool has_feature(uint64_t features, unsigned bit)
{
	return (features >> bit & 1) != 0;
}

/* The pieces behind the first `skip` bytes. */
static void refer(struct frame *frame, const struct iovec *iov, unsigned n_iov,
		  size_t skip)
{
	for (unsigned i = 0; i < n_iov; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		frame->iov[frame->n_iov++] = (struct iovec){
			.iov_base = (uint8_t *)iov[i].iov_base + skip,
			.iov_len = iov[i].iov_len - skip,
		};
		skip = 0;
	}
}

static int parse_header(struct frame *frame, const uint8_t *bytes,
			uint64_t features, const char **reason)
{
	struct virtio_net_hdr header;
	unsigned end;

	/* The field that the short header lacks is not for the device. */
	memcpy(&header, bytes, VIRTIO_NET_HDR_LEGACY_SIZE);
	if (header.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		*reason = "segmentation that was not negotiated";
		return -EINVAL;
	}
	frame->needs_csum = (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
	if (!frame->needs_csum)
		return 0;
	frame->csum_start = le16toh(header.csum_start);
	frame->csum_offset = le16toh(header.csum_offset);
	end = frame->csum_start + frame->csum_offset + 2u;
	if (!has_feature(features, VIRTIO_NET_F_CSUM)) {
		*reason = "checksum offload that was not negotiated";
		return -EINVAL;
	}
	if (frame->csum_start < FRAME_MIN || end > frame->len) {
		*reason = "checksum outside of the frame";
		return -EINVAL;
	}
	return 0;
}

int frame_from_guest(struct frame *frame, const struct iovec *iov,
		     unsigned n_iov, size_t header_len, uint64_t features,
		     const char **reason)
{
	uint8_t bytes[VIRTIO_NET_HDR_SIZE + FRAME_HEAD];
	size_t n_read, head_len, total = 0;

	for (unsigned i = 0; i < n_iov; i++)
		total += iov[i].iov_len;
	if (total < header_len + FRAME_MIN) {
		*reason = "shorter than its headers";
		return -EINVAL;
	}
	if (total > header_len + FRAME_MAX || n_iov > FRAME_PIECES) {
		*reason = "too long";
		return -EINVAL;
	}
	assert(header_len <= VIRTIO_NET_HDR_SIZE);
	n_read = iov_read(iov, n_iov, 0, bytes, header_len + FRAME_HEAD);
	assert(n_read >= header_len);
	head_len = n_read - header_len;
	memcpy(frame->head, bytes + header_len, head_len);
	frame->len = total - header_len;
	frame->is_flat = false;
	frame->n_iov = 1;
	frame->iov[0] = (struct iovec){
		.iov_base = frame->head,
		.iov_len = head_len,
	};
	refer(frame, iov, n_iov, n_read);
	return parse_header(frame, bytes, features, reason);
}

int frame_from_bytes(struct frame *frame, const void *bytes, size_t len)
{
	if (len < FRAME_MIN || len > FRAME_MAX)
		return -EINVAL;
	memcpy(frame->head, bytes, len < FRAME_HEAD ? len : FRAME_HEAD);
	frame->len = len;
	frame->needs_csum = false;
	frame->is_flat = false;
	frame->n_iov = 1;
	frame->iov[0] = (struct iovec){
		.iov_base = (void *)bytes,
		.iov_len = len,
	};
	return 0;
}

/* The Internet checksum (RFC 1071) of bytes, as it is stored. */
static uint16_t checksum(const uint8_t *bytes, size_t len)
{
	uint64_t sum = 0;

	for (; len >= 4; bytes += 4, len -= 4) {
		uint32_t word;

		memcpy(&word, bytes, sizeof(word));
		sum += word;
	}
	if (len >= 2) {
		uint16_t word;

		memcpy(&word, bytes, sizeof(word));
		sum += word;
		bytes += 2;
		len -= 2;
	}
	if (len == 1)
		sum += htole16(bytes[0]);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/*
 * The field holds the pseudo-header's sum, so that it is part of what is
 * summed up. A result of 0 means "none" in UDP; all ones is the same number.
 */
static void finish_checksum(struct frame *frame)
{
	uint8_t *field = frame->flat + frame->csum_start + frame->csum_offset;
	uint16_t sum = checksum(frame->flat + frame->csum_start,
				frame->len - frame->csum_start);

	if (sum == 0)
		sum = 0xffff;
	memcpy(field, &sum, sizeof(sum));
	frame->needs_csum = false;
}

const uint8_t *frame_flatten(struct frame *frame)
{
	if (frame->n_iov == 1 && !frame->needs_csum)
		return frame->iov[0].iov_base;
	if (!frame->is_flat) {
		(void)iov_read(frame->iov, frame->n_iov, 0, frame->flat,
			       frame->len);
		frame->is_flat = true;
	}
	if (frame->needs_csum)
		finish_checksum(frame);
	frame->n_iov = 1;
	frame->iov[0] = (struct iovec){
		.iov_base = frame->flat,
		.iov_len = frame->len,
	};
	return frame->flat;
}

void frame_make_header(struct frame *frame, uint64_t features,
		       unsigned n_buffers, struct virtio_net_hdr *header)
{
	*header = (struct virtio_net_hdr){
		.gso_type = VIRTIO_NET_HDR_GSO_NONE,
		.num_buffers = htole16((uint16_t)n_buffers),
	};
	if (!frame->needs_csum)
		return;
	if (!has_feature(features, VIRTIO_NET_F_GUEST_CSUM)) {
		(void)frame_flatten(frame);
		return;
	}
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = htole16(frame->csum_start);
	header->csum_offset = htole16(frame->csum_offset);
}

void frame_copy(const struct frame *frame, size_t offset,
		const struct iovec *iov, unsigned n_iov, size_t at, size_t len)
{
	for (unsigned i = 0; i < frame->n_iov && len > 0; i++) {
		const struct iovec *piece = &frame->iov[i];
		size_t n;

		if (offset >= piece->iov_len) {
			offset -= piece->iov_len;
			continue;
		}
		n = piece->iov_len - offset;
		if (n > len)
			n = len;
		n = iov_write(iov, n_iov, at,
			      (const uint8_t *)piece->iov_base + offset, n);
		at += n;
		len -= n;
		offset = 0;
	}
}
