/* SPDX-License-Identifier: ISC */
/* The console device (virtio 1.2 §5.3). Little-endian. */
#ifndef PROTOCOLS_VIRTIO_CONSOLE_H
#define PROTOCOLS_VIRTIO_CONSOLE_H

#include <stdint.h>

/* Feature bits, §5.3.3; bit numbers. */
enum {
	VIRTIO_CONSOLE_F_SIZE = 0,
	VIRTIO_CONSOLE_F_MULTIPORT = 1,
	VIRTIO_CONSOLE_F_EMERG_WRITE = 2,
};

/* Virtqueues, §5.3.2; control queues and more ports only with MULTIPORT. */
enum {
	VIRTIO_CONSOLE_RECEIVEQ = 0,  /* to the driver */
	VIRTIO_CONSOLE_TRANSMITQ = 1, /* from the driver */
	VIRTIO_CONSOLE_CONTROL_RECEIVEQ = 2,
	VIRTIO_CONSOLE_CONTROL_TRANSMITQ = 3,
};

/* §5.3.4 */
struct virtio_console_config {
	uint16_t cols; /* with SIZE */
	uint16_t rows;
	uint32_t max_nr_ports; /* with MULTIPORT */
	uint32_t emerg_wr;     /* with EMERG_WRITE */
};
_Static_assert(sizeof(struct virtio_console_config) == 12, "wire size");

#endif
