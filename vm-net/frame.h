/* SPDX-License-Identifier: ISC */
/*
 * An Ethernet frame on its way through the switch, with what is left to do
 * to it (virtio-net's offloads).
 *
 * The first FRAME_HEAD bytes are a copy, read once and then decided upon; the
 * rest may stay in the memory of the guest that sends, which can change it
 * until it has been copied out.
 */
#ifndef VM_NET_FRAME_H
#define VM_NET_FRAME_H

#include "protocols/virtio_net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	FRAME_MIN = 14, /* an Ethernet header */
	FRAME_MAX = 65536 + 18,
	FRAME_HEAD = 192,    /* Ethernet, two tags, IP and TCP with options */
	FRAME_PIECES = 1024, /* of the sender's memory */
};

struct frame {
	size_t len;
	/* A transport checksum is still to be done (virtio 1.2 §5.1.6.2):
	 * over [csum_start, len), stored at csum_start + csum_offset. */
	bool needs_csum;
	uint16_t csum_start, csum_offset;
	/* More than one TCP segment, see segment.h. */
	uint8_t gso_type; /* VIRTIO_NET_HDR_GSO_... */
	uint16_t gso_size, ip_offset, header_len;
	unsigned n_iov;
	/* A segment's head, what the large frame's head has of its payload,
	 * and the rest in the sender's memory. */
	struct iovec iov[2 + FRAME_PIECES];
	uint8_t head[FRAME_HEAD];
	bool is_flat; /* flat holds the whole frame, finished */
	uint8_t flat[FRAME_MAX];
};

/*
 * A frame that lies behind its virtio-net header in n_iov pieces. header_len
 * is 10 or 12, features those negotiated. 0, or -EINVAL and the reason.
 */
int frame_from_guest(struct frame *frame, const struct iovec *iov,
		     unsigned n_iov, size_t header_len, uint64_t features,
		     const char **reason);
/* A finished frame in one buffer, which is not copied. */
int frame_from_bytes(struct frame *frame, const void *bytes, size_t len);

/* Its bytes [offset, offset + len) as pieces; their number. */
unsigned frame_slice(const struct frame *frame, size_t offset, size_t len,
		     struct iovec *iov);

/* Can a guest with these features have it, or its segments only? */
bool frame_is_taken(const struct frame *frame, uint64_t features);

/* The whole frame in one piece, its checksum done. Made once. Not for frames
 * that are to be segmented. */
const uint8_t *frame_flatten(struct frame *frame);

/*
 * The header for a guest with these features. A checksum that it does not
 * take over is done first (frame_flatten()).
 */
void frame_make_header(struct frame *frame, uint64_t features,
		       unsigned n_buffers, struct virtio_net_hdr *header);

/* Copy len bytes from offset on into the pieces, from byte `at` of them. */
void frame_copy(const struct frame *frame, size_t offset,
		const struct iovec *iov, unsigned n_iov, size_t at, size_t len);

#endif
