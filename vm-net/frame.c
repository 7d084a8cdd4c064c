/* SPDX-License-Identifier: ISC */
/*
 * Frames and their offloads. Everything that a virtio-net header says is
 * checked here, once, against the frame's real length.
 */
#include "vm-net/frame.h"

#include "lib/virtio/virtq.h"
#include "vm-net/checksum.h"
#include "vm-net/segment.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

static bool has_feature(uint64_t features, unsigned bit)
{
	return (features >> bit & 1) != 0;
}

/* The pieces of [skip, skip + len). */
static unsigned slice(const struct iovec *from, unsigned n_from, size_t skip,
		      size_t len, struct iovec *to)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_from && len > 0; i++) {
		size_t here = from[i].iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here -= skip;
		if (here > len)
			here = len;
		to[n++] = (struct iovec){
			.iov_base = (uint8_t *)from[i].iov_base + skip,
			.iov_len = here,
		};
		len -= here;
		skip = 0;
	}
	return n;
}

unsigned frame_slice(const struct frame *frame, size_t offset, size_t len,
		     struct iovec *iov)
{
	return slice(frame->iov, frame->n_iov, offset, len, iov);
}

static int parse_segmentation(struct frame *frame, uint64_t features,
			      const char **reason)
{
	unsigned feature;

	switch (frame->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return 0;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		feature = VIRTIO_NET_F_HOST_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		feature = VIRTIO_NET_F_HOST_TSO6;
		break;
	default:
		*reason = "unknown kind of segmentation";
		return -EINVAL;
	}
	if (!has_feature(features, feature)) {
		*reason = "segmentation that was not negotiated";
		return -EINVAL;
	}
	*reason = "segmentation of what is no TCP";
	return segment_check(frame);
}

static int parse_header(struct frame *frame, const uint8_t *bytes,
			uint64_t features, const char **reason)
{
	struct virtio_net_hdr header;
	unsigned end;

	/* The field that the short header lacks is not for the device. */
	memcpy(&header, bytes, VIRTIO_NET_HDR_LEGACY_SIZE);
	frame->gso_type = header.gso_type;
	frame->gso_size = le16toh(header.gso_size);
	frame->needs_csum = (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
	if (!frame->needs_csum && frame->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return 0;
	if (!frame->needs_csum) {
		*reason = "segmentation without checksum offload";
		return -EINVAL;
	}
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
	return parse_segmentation(frame, features, reason);
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
	frame->n_iov +=
		slice(iov, n_iov, n_read, total - n_read, frame->iov + 1);
	return parse_header(frame, bytes, features, reason);
}

int frame_from_bytes(struct frame *frame, const void *bytes, size_t len)
{
	if (len < FRAME_MIN || len > FRAME_MAX)
		return -EINVAL;
	memcpy(frame->head, bytes, len < FRAME_HEAD ? len : FRAME_HEAD);
	frame->len = len;
	frame->needs_csum = false;
	frame->gso_type = VIRTIO_NET_HDR_GSO_NONE;
	frame->is_flat = false;
	frame->n_iov = 1;
	frame->iov[0] = (struct iovec){
		.iov_base = (void *)bytes,
		.iov_len = len,
	};
	return 0;
}

/*
 * The field holds the pseudo-header's sum, so that it is part of what is
 * summed up. A result of 0 means "none" in UDP; all ones is the same number.
 */
static void finish_checksum(struct frame *frame)
{
	uint8_t *field = frame->flat + frame->csum_start + frame->csum_offset;
	uint16_t sum = (uint16_t)~checksum_fold(
		checksum_add(0, frame->flat + frame->csum_start,
			     frame->len - frame->csum_start));

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
	if (frame->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		header->gso_type = frame->gso_type;
		header->gso_size = htole16(frame->gso_size);
		header->hdr_len = htole16(frame->header_len);
	}
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = htole16(frame->csum_start);
	header->csum_offset = htole16(frame->csum_offset);
}

bool frame_is_taken(const struct frame *frame, uint64_t features)
{
	switch (frame->gso_type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return has_feature(features, VIRTIO_NET_F_GUEST_TSO4) &&
		       has_feature(features, VIRTIO_NET_F_GUEST_CSUM);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return has_feature(features, VIRTIO_NET_F_GUEST_TSO6) &&
		       has_feature(features, VIRTIO_NET_F_GUEST_CSUM);
	default:
		return true;
	}
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
