/* SPDX-License-Identifier: ISC */
/*
 * A virtio device that is another process: the front end to it, and what the
 * guest is told of it. All devices are the same here; a table says what
 * differs by virtio's device id: how many queues there are without asking,
 * how long the config space is. What a back end does not supply itself (many
 * for net and fs offer no config space) is filled in.
 */
#ifndef VM_CPU_VIRTIO_DEVICE_H
#define VM_CPU_VIRTIO_DEVICE_H

#include "lib/vhost/frontend.h"
#include "protocols/vhost_user.h"

#include <stdbool.h>
#include <stdint.h>

struct device_option;
struct error;
struct ram;

struct virtio_kind {
	uint32_t device_id; /* virtio 1.2 §5; 0 ends the table */
	uint32_t pci_class;
	unsigned n_queues_fixed;
	unsigned queue_unit; /* of GET_QUEUE_NUM */
	unsigned queue_size; /* largest */
	unsigned config_size;
	bool is_in_order;
};

/* What a device's options do not say. */
struct virtio_place {
	unsigned number; /* among those of its name: 0 of "blk0" */
	unsigned n_cpus;
	/* The same at each start, and another for other devices. */
	uint64_t identity;
};

struct virtio_device {
	const struct device_option *option;
	const struct virtio_kind *kind;
	struct vhost_frontend *frontend;
	uint64_t identity;
	char label[24]; /* "blk0" */
	unsigned n_queues;
	uint64_t features; /* offered to the guest */
	uint8_t config[VHOST_USER_CONFIG_MAX];
	unsigned config_size;
};

const struct virtio_kind *virtio_kind_find(uint32_t device_id);

/*
 * Connect to the back end that option names (its descriptor is taken over)
 * and find out what it is.
 */
int virtio_device_open(struct virtio_device *device, struct event_loop *loop,
		       const struct ram *ram, struct device_option *option,
		       const struct virtio_place *place,
		       const struct vhost_frontend_ops *ops, void *context,
		       struct error *err);
/* Idempotent. */
void virtio_device_close(struct virtio_device *device);

/* Copy config space from the front end again. */
void virtio_device_read_config(struct virtio_device *device);
/* The driver's write; one that is out of bounds, or to what is ours, is
 * ignored. */
void virtio_device_write_config(struct virtio_device *device, unsigned offset,
				const void *data, unsigned len);

#endif
