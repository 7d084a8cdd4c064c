/* SPDX-License-Identifier: ISC */
/* The virtio file system device, virtio 1.2 §5.11: its config space. */
#ifndef PROTOCOLS_VIRTIO_FS_H
#define PROTOCOLS_VIRTIO_FS_H

#include <stdint.h>

enum {
	VIRTIO_FS_TAG_MAX = 36,
};

struct virtio_fs_config {
	char tag[VIRTIO_FS_TAG_MAX]; /* UTF-8, zero-padded */
	uint32_t num_request_queues;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_fs_config) == 40, "virtio 1.2 §5.11.4");

#endif
