/* SPDX-License-Identifier: ISC */
/* The virtio side of the guest: a vhost-user back end of the console device
 * (virtio 1.2 §5.3), one port. */
#ifndef VM_CONSOLE_VIRTIO_CONSOLE_H
#define VM_CONSOLE_VIRTIO_CONSOLE_H

#include "vm-console/console.h"

struct vhost_backend;
struct vhost_queue;

struct virtio_console {
	struct console_side side;
	struct console *console;
	struct vhost_backend *backend; /* NULL: no connection */
	/* NULL: not running. */
	struct vhost_queue *receiveq, *transmitq;
	/* The connection is over. */
	void (*finished)(struct virtio_console *device);
};

void virtio_console_init(struct virtio_console *device,
			 struct console *console);
/* Serve the connection fd, which is taken over, also on failure. */
int virtio_console_connect(struct virtio_console *device, int fd,
			   bool must_greet);
void virtio_console_deinit(struct virtio_console *device);

#endif
