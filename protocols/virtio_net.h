/* SPDX-License-Identifier: ISC */
/* The network device of virtio 1.2 §5.1: features, config space and frame
 * header. */
#ifndef PROTOCOLS_VIRTIO_NET_H
#define PROTOCOLS_VIRTIO_NET_H

#include <stdint.h>

/* Feature bits (§5.1.3). */
enum {
	VIRTIO_NET_F_CSUM = 0,	     /* driver may leave checksums to us */
	VIRTIO_NET_F_GUEST_CSUM = 1, /* we may leave them to the driver */
	VIRTIO_NET_F_MTU = 3,
	VIRTIO_NET_F_MAC = 5,
	VIRTIO_NET_F_GUEST_TSO4 = 7, /* driver takes large frames */
	VIRTIO_NET_F_GUEST_TSO6 = 8,
	VIRTIO_NET_F_GUEST_ECN = 9,
	VIRTIO_NET_F_GUEST_UFO = 10,
	VIRTIO_NET_F_HOST_TSO4 = 11, /* driver may send large frames */
	VIRTIO_NET_F_HOST_TSO6 = 12,
	VIRTIO_NET_F_HOST_ECN = 13,
	VIRTIO_NET_F_HOST_UFO = 14,
	VIRTIO_NET_F_MRG_RXBUF = 15,
	VIRTIO_NET_F_STATUS = 16,
	VIRTIO_NET_F_CTRL_VQ = 17,
	VIRTIO_NET_F_CTRL_RX = 18, /* this and those to 23 need CTRL_VQ */
	VIRTIO_NET_F_CTRL_VLAN = 19,
	VIRTIO_NET_F_GUEST_ANNOUNCE = 21,
	VIRTIO_NET_F_MQ = 22,
	VIRTIO_NET_F_CTRL_MAC_ADDR = 23,
	VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2,
	VIRTIO_NET_F_NOTF_COAL = 53,
	VIRTIO_NET_F_HASH_REPORT = 57,
	VIRTIO_NET_F_RSS = 60,
	VIRTIO_NET_F_STANDBY = 62,
	VIRTIO_NET_F_SPEED_DUPLEX = 63,
};

/* Config space (§5.1.4), as far as MTU. */
struct virtio_net_config {
	uint8_t mac[6];
	uint16_t status;
	uint16_t max_virtqueue_pairs;
	uint16_t mtu;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_net_config) == 12, "virtio 1.2 §5.1.4");

enum {
	VIRTIO_NET_S_LINK_UP = 1,
	VIRTIO_NET_S_ANNOUNCE = 2,
};

/* struct virtio_net_hdr.flags (§5.1.6). */
enum {
	VIRTIO_NET_HDR_F_NEEDS_CSUM = 1,
	VIRTIO_NET_HDR_F_DATA_VALID = 2,
};

/* struct virtio_net_hdr.gso_type (§5.1.6). */
enum {
	VIRTIO_NET_HDR_GSO_NONE = 0,
	VIRTIO_NET_HDR_GSO_TCPV4 = 1,
	VIRTIO_NET_HDR_GSO_UDP = 3,
	VIRTIO_NET_HDR_GSO_TCPV6 = 4,
	VIRTIO_NET_HDR_GSO_ECN = 0x80,
};

/*
 * Before each frame, little-endian. num_buffers is there with VERSION_1 or
 * MRG_RXBUF; without both the header is the first 10 bytes (§5.1.6.1).
 */
struct virtio_net_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t num_buffers;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_net_hdr) == 12, "virtio 1.2 §5.1.6");

enum {
	VIRTIO_NET_HDR_LEGACY_SIZE = 10,
	VIRTIO_NET_HDR_SIZE = 12,
};

#endif
