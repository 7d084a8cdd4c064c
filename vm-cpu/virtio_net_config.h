/* SPDX-License-Identifier: ISC */
/*
 * What a network device's guest needs to know and most vhost-user back ends
 * do not say: an address, and that the link is up. And what it must not be
 * told: none of them has a control queue, though some offer its features as
 * their VMM (QEMU) has one.
 */
#ifndef VM_CPU_VIRTIO_NET_CONFIG_H
#define VM_CPU_VIRTIO_NET_CONFIG_H

#include "protocols/virtio_net.h"

#include <stdbool.h>
#include <stdint.h>

struct device_option;

/* Offered features less what needs a control queue, plus what is ours. */
uint64_t virtio_net_features(uint64_t offered, bool has_config);

/*
 * Fill in *config: all of it if !has_config, else the address if the option
 * names one or the back end has none; it is made of identity then.
 */
void virtio_net_fill_config(struct virtio_net_config *config, uint64_t offered,
			    bool has_config, const struct device_option *option,
			    uint64_t identity);

#endif
