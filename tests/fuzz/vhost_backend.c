/* SPDX-License-Identifier: ISC */
/*
 * Bytes as what a front end sends. A record is a length, a number of
 * descriptors, and so many bytes; each descriptor is a new one for a memfd
 * with the rest of the input as its contents, or an eventfd that is ready.
 * Whatever comes, the connection is closed at most, and every descriptor is
 * closed with it.
 */
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"
#include "lib/vhost/backend.h"
#include "lib/vhost/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MEMORY_SIZE = 1 << 16,
	N_QUEUES = 3,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct device {
	struct vhost_backend *backend;
	bool is_over;
	struct virtq_element *held; /* one request, given back later */
	struct vhost_queue *queue;
	bool is_stopping;
};

static int memory_fd = -1, ready_fd;
static struct event_loop loop = EVENT_LOOP_INIT;

static void give_back(struct device *device)
{
	if (!device->held)
		return;
	vhost_queue_push(device->queue, device->held,
			 device->held->in_len > 4 ? 4 : 0);
	vhost_queue_flush(device->queue);
	device->held = NULL;
	if (device->is_stopping)
		vhost_queue_drained(device->queue);
	device->is_stopping = false;
}

static void kicked(void *context, struct vhost_queue *queue)
{
	struct device *device = context;
	struct virtq_element *element;

	while (vhost_queue_pop(queue, &element) == 0) {
		give_back(device);
		device->held = element;
		device->queue = queue;
	}
	vhost_queue_enable_kicks(queue, true);
}

static bool stopping(void *context, struct vhost_queue *queue)
{
	struct device *device = context;

	device->is_stopping = device->held && device->queue == queue;
	return !device->is_stopping;
}

static void get_config(void *context, uint8_t *config)
{
	(void)context;
	memset(config, 1, 20);
}

static int set_config(void *context, uint32_t offset, const uint8_t *data,
		      uint32_t len)
{
	(void)context;
	return len > 0 && data[0] == offset ? 0 : -EACCES;
}

static void rarp(void *context, const uint8_t mac[6])
{
	(void)context;
	(void)mac;
}

static void over(void *context, const char *reason)
{
	struct device *device = context;

	(void)reason;
	device->is_over = true;
	vhost_backend_free(device->backend);
}

static const struct vhost_device_ops ops = {
	.name = "fuzz",
	.device_id = 2,
	.config_size = 20,
	.has_inflight = true,
	.get_config = get_config,
	.set_config = set_config,
	.queue_kicked = kicked,
	.queue_stop = stopping,
	.send_rarp = rarp,
	.disconnected = over,
};

static void set_up(void)
{
	log_init("fuzz");
	log_set_level(LOG_LEVEL_ERROR);
	memory_fd = memfd_create("guest", MFD_CLOEXEC);
	ready_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	if (memory_fd < 0 || ftruncate(memory_fd, MEMORY_SIZE) != 0 ||
	    event_loop_init(&loop) != 0)
		abort();
}

static void settle(struct device *device)
{
	for (unsigned i = 0; i < 3 && !device->is_over; i++)
		event_loop_step(&loop, 0);
}

/* Send one record; how much of the input it took. */
static size_t send_record(int fd, const uint8_t *data, size_t size)
{
	size_t len = data[0];
	int fds[9];
	unsigned n_fds = data[1] % 10;
	struct iovec iov;

	if (len > size - 2)
		len = size - 2;
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = data[1] & 0x80 ? ready_fd : memory_fd;
	iov = (struct iovec){ .iov_base = (void *)(data + 2), .iov_len = len };
	if (len > 0)
		(void)socket_send(fd, &iov, 1, fds, n_fds);
	return 2 + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct device device = { .backend = NULL };
	uint8_t memory[4096] = { 0 };
	int fds[2];

	if (memory_fd < 0)
		set_up();
	if (socket_pair(fds) != 0)
		abort();
	memcpy(memory, data, size < sizeof(memory) ? size : sizeof(memory));
	(void)pwrite(memory_fd, memory, sizeof(memory), 0);
	(void)eventfd_write(ready_fd, 1);
	if (vhost_backend_new(&device.backend, &loop, fds[1], &ops, N_QUEUES,
			      "fuzz", &device) != 0)
		abort();
	while (size > 2 && !device.is_over) {
		size_t n = send_record(fds[0], data, size);

		data += n;
		size -= n;
		settle(&device);
		if (n % 3 == 0)
			give_back(&device);
	}
	close(fds[0]);
	for (unsigned i = 0; i < 100 && !device.is_over; i++) {
		give_back(&device);
		event_loop_step(&loop, 0);
	}
	if (!device.is_over)
		abort();
	return 0;
}
