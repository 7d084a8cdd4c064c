/* SPDX-License-Identifier: ISC */
/* The few bytes of a network device's config space. */
#include "vm-cpu/virtio_net_config.h"

#include "vm-cpu/device_option.h"

#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

uint64_t virtio_net_features(uint64_t offered, bool has_config)
{
	const uint64_t control =
		BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
		BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) |
		BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
		BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
		BIT(VIRTIO_NET_F_NOTF_COAL) | BIT(VIRTIO_NET_F_HASH_REPORT) |
		BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_STANDBY) |
		BIT(VIRTIO_NET_F_SPEED_DUPLEX);

	offered &= ~control;
	if (!has_config)
		offered &= ~BIT(VIRTIO_NET_F_MTU);
	return offered | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS);
}

/* Under QEMU's locally administered prefix. */
static void make_mac(uint8_t *mac, uint64_t identity)
{
	mac[0] = 0x52;
	mac[1] = 0x54;
	mac[2] = 0x00;
	for (unsigned i = 3; i < 6; i++)
		mac[i] = (uint8_t)(identity >> (8 * i));
}

void virtio_net_fill_config(struct virtio_net_config *config, uint64_t offered,
			    bool has_config, const struct device_option *option,
			    uint64_t identity)
{
	if (!has_config)
		*config =
			(struct virtio_net_config){ .max_virtqueue_pairs = 1 };
	if (!has_config || !(offered & BIT(VIRTIO_NET_F_STATUS)))
		config->status = VIRTIO_NET_S_LINK_UP;
	if (option->has_mac)
		memcpy(config->mac, option->mac, sizeof(config->mac));
	else if (!has_config || !(offered & BIT(VIRTIO_NET_F_MAC)))
		make_mac(config->mac, identity);
}
