/* SPDX-License-Identifier: ISC */
/*
 * What a guest puts on its transmit queue: header and frame, cut into pieces
 * anywhere, with any features. What comes out is compared with what went in.
 */
#include "vm-net/frame.h"
#include "vm-net/segment.h"

#include <stdlib.h>
#include <string.h>

static struct frame frame, segment;

static void require(int is_true)
{
	if (!is_true)
		abort();
}

/* Cut bytes at places that the bytes themselves choose. */
static unsigned cut(uint8_t *bytes, size_t len, struct iovec *iov)
{
	unsigned n = 0;

	while (len > 0 && n < FRAME_PIECES) {
		size_t piece = (size_t)bytes[0] * 2;

		if (piece > len || n >= FRAME_PIECES - 2)
			piece = len;
		iov[n++] =
			(struct iovec){ .iov_base = bytes, .iov_len = piece };
		bytes += piece;
		len -= piece;
		/* Behind an empty piece one with a single byte. */
		if (piece == 0) {
			iov[n++] = (struct iovec){ .iov_base = bytes++,
						   .iov_len = 1 };
			len--;
		}
	}
	return n;
}

/* Large segments: their payload is in the segments, all of it, in order. */
static void cut_up(const uint8_t *bytes)
{
	size_t at = frame.header_len;

	for (unsigned i = 0; i < segment_count(&frame); i++) {
		size_t len;

		segment_make(&frame, i, &segment);
		len = segment.len - frame.header_len;
		require(memcmp(frame_flatten(&segment) + frame.header_len,
			       bytes + at, len) == 0);
		at += len;
	}
	require(at == frame.len);
}

/* Deliver to a guest with these features, as the vhost port does. */
static void deliver(uint64_t features, uint8_t *out)
{
	struct iovec iov[3] = {
		{ .iov_base = out, .iov_len = 1 },
		{ .iov_base = out + 1, .iov_len = 40 },
		{ .iov_base = out + 41, .iov_len = FRAME_MAX - 41 },
	};
	struct virtio_net_hdr header;

	frame_make_header(&frame, features, 1, &header);
	frame_copy(&frame, 0, iov, 3, 0, frame.len);
	if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		require(header.csum_start + header.csum_offset + 2u <=
			frame.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct iovec iov[FRAME_PIECES + 1];
	static uint8_t out[FRAME_MAX];
	const char *reason = NULL;
	uint64_t features;
	size_t header_len;
	uint8_t *bytes;
	unsigned n;

	if (size < 2)
		return 0;
	/* Checksums and segmentation, both ways. */
	features = (data[0] & 3u) | (uint64_t)(data[0] >> 2) << 7;
	header_len =
		data[1] & 1 ? VIRTIO_NET_HDR_SIZE : VIRTIO_NET_HDR_LEGACY_SIZE;
	size -= 2;
	bytes = malloc(size + 1); /* so that every byte beyond is caught */
	memcpy(bytes, data + 2, size);
	n = cut(bytes, size, iov);
	if (n > FRAME_PIECES || frame_from_guest(&frame, iov, n, header_len,
						 features, &reason) < 0) {
		free(bytes);
		return 0;
	}
	require(frame.len == size - header_len);
	deliver(UINT64_MAX, out);
	require(memcmp(out, bytes + header_len, frame.len) == 0);
	if (!frame_is_taken(&frame, 0)) {
		cut_up(bytes + header_len);
		free(bytes);
		return 0;
	}
	deliver(0, out);
	require(!frame.needs_csum);
	require(memcmp(out, frame_flatten(&frame), frame.len) == 0);
	free(bytes);
	return 0;
}
