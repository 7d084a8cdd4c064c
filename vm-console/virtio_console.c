/* SPDX-License-Identifier: ISC */
/*
 * Requests are done at once and in order, so nothing is in flight between two
 * turns of the loop: what a killed vm-console had not given back the next one
 * finds where the used index says.
 */
#include "vm-console/virtio_console.h"

#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/vhost/backend.h"
#include "protocols/virtio.h"
#include "protocols/virtio_console.h"

#include <errno.h>
#include <string.h>

enum {
	N_QUEUES = 2,
};

/* What the driver wrote, until the guest is to be held up. A request larger
 * than a piece may get a slow viewer less than its due. */
static void pass_output(struct virtio_console *device,
			struct vhost_queue *queue)
{
	static uint8_t bytes[CONSOLE_PIECE];
	struct virtq_element *element;

	while (console_can_output(device->console) &&
	       vhost_queue_pop(queue, &element) == 0) {
		size_t at = 0, n;

		while ((n = iov_read(element->out, element->n_out, at, bytes,
				     sizeof(bytes))) > 0) {
			console_output(device->console, bytes, n);
			at += n;
		}
		/* One by one: what was shown and is not given back would be
		 * shown again by the next vm-console. */
		vhost_queue_push(queue, element, 0);
		vhost_queue_flush(queue);
	}
}

static void push_input(struct virtio_console *device, struct vhost_queue *queue)
{
	struct virtq_element *element;
	size_t len, n;
	const uint8_t *bytes;

	for (;;) {
		bytes = console_peek_input(device->console, &device->side,
					   &len);
		if (len == 0 || vhost_queue_pop(queue, &element) != 0)
			break;
		n = iov_write(element->in, element->n_in, 0, bytes, len);
		vhost_queue_push(queue, element, (uint32_t)n);
		vhost_queue_flush(queue);
		console_drop_input(device->console, n);
		if (n == 0)
			vhost_queue_break(queue, "buffer without room");
	}
}

static void pull(struct console_side *side)
{
	struct virtio_console *device =
		container_of(side, struct virtio_console, side);

	if (!vhost_queue_is_enabled(device->receiveq))
		return;
	do {
		push_input(device, device->receiveq);
	} while (device->console->input_len > 0 &&
		 vhost_queue_enable_kicks(device->receiveq, true));
}

static void take_output(struct virtio_console *device,
			struct vhost_queue *queue)
{
	do {
		pass_output(device, queue);
	} while (device->console->held_since_us == 0 &&
		 vhost_queue_enable_kicks(queue, true));
}

static void resume(struct console_side *side)
{
	struct virtio_console *device =
		container_of(side, struct virtio_console, side);

	if (device->transmitq)
		take_output(device, device->transmitq);
}

static void queue_started(void *context, struct vhost_queue *queue)
{
	struct virtio_console *device = context;

	if (vhost_queue_index(queue) == VIRTIO_CONSOLE_TRANSMITQ) {
		device->transmitq = queue;
		return;
	}
	device->receiveq = queue;
	device->side.is_open = true;
}

static void queue_kicked(void *context, struct vhost_queue *queue)
{
	struct virtio_console *device = context;

	if (vhost_queue_index(queue) == VIRTIO_CONSOLE_RECEIVEQ)
		console_sides_changed(device->console);
	else
		take_output(device, queue);
}

static bool queue_stop(void *context, struct vhost_queue *queue)
{
	struct virtio_console *device = context;

	if (vhost_queue_index(queue) == VIRTIO_CONSOLE_TRANSMITQ) {
		device->transmitq = NULL;
		return true;
	}
	device->receiveq = NULL;
	device->side.is_open = false;
	console_sides_changed(device->console);
	return true;
}

/* No feature that gives any of it a meaning. */
static void get_config(void *context, uint8_t *config)
{
	(void)context;
	memset(config, 0, sizeof(struct virtio_console_config));
}

static void disconnected(void *context, const char *reason)
{
	struct virtio_console *device = context;

	if (reason)
		log_warn("connection closed: %s", reason);
	vhost_backend_free(device->backend);
	device->backend = NULL;
	device->finished(device);
}

static const struct vhost_device_ops device_ops = {
	.name = "console",
	.device_id = VIRTIO_ID_CONSOLE,
	.config_size = sizeof(struct virtio_console_config),
	.get_config = get_config,
	.queue_started = queue_started,
	.queue_kicked = queue_kicked,
	.queue_stop = queue_stop,
	.disconnected = disconnected,
};

void virtio_console_init(struct virtio_console *device, struct console *console)
{
	device->console = console;
	device->side.pull = pull;
	device->side.resume = resume;
	console->sides[CONSOLE_VIRTIO] = &device->side;
}

int virtio_console_connect(struct virtio_console *device, int fd,
			   bool must_greet)
{
	int ret = vhost_backend_new(&device->backend, device->console->loop, fd,
				    &device_ops, N_QUEUES, "console", device);

	if (ret == 0 && must_greet)
		(void)vhost_backend_expect_greeting(device->backend);
	return ret;
}

void virtio_console_deinit(struct virtio_console *device)
{
	vhost_backend_free(device->backend);
	device->backend = NULL;
}
