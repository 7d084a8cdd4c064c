/* SPDX-License-Identifier: ISC */
/*
 * A hostile back end: what it says is the input. The first byte chooses the
 * front end's options, the next two how much of the rest goes over the
 * connection; what remains goes over the back end's own channel. The bytes
 * are sent in pieces as long as their headers say, so that descriptors can go
 * with answers that have one.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"
#include "lib/vhost/frontend.h"
#include "lib/vhost/message.h"
#include "protocols/virtio.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	MEMORY_SIZE = 1 << 20,
	N_QUEUES = 3,
	OPTION_MANY_REGIONS = 1 << 0,
	OPTION_IN_ORDER = 1 << 1,
	OPTION_NO_CONFIG = 1 << 2,
	OPTION_STOP = 1 << 3,
	OPTION_STAY = 1 << 4, /* no end of file after the input */
};

static int memory_fd = -1;
static struct guest_memory memory;
static unsigned n_changes;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	memory_fd = memfd_create("guest", MFD_CLOEXEC);
	guest_memory_init(&memory);
	return ftruncate(memory_fd, MEMORY_SIZE) < 0 ||
	       guest_memory_add(&memory, 0, MEMORY_SIZE, 0, memory_fd, 0) < 0;
}

static void count_change(void *context)
{
	(void)context;
	n_changes++;
}

static const struct vhost_frontend_ops ops = { .config_changed = count_change };

/* Message by message, each with a descriptor if an answer to it may have. */
static void send_messages(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		struct vhost_user_header header = { 0 };
		size_t len = size;
		struct iovec iov = { .iov_base = (void *)data };

		if (size >= sizeof(header)) {
			memcpy(&header, data, sizeof(header));
			if (header.size <= size - sizeof(header))
				len = sizeof(header) + header.size;
		}
		iov.iov_len = len;
		socket_send(fd, &iov, 1, &memory_fd,
			    header.request == VHOST_USER_GET_INFLIGHT_FD);
		data += len;
		size -= len;
	}
}

/* What the front end said; the channel is in it, if it gave one. */
static int take_channel(int fd)
{
	int channel = -1;
	char buf[4096];
	ssize_t n;

	do {
		int fds[SOCKET_FDS_MAX];
		unsigned n_fds = SOCKET_FDS_MAX;
		struct iovec iov = { buf, sizeof(buf) };

		n = socket_recv(fd, &iov, 1, fds, &n_fds);
		for (unsigned i = 0; n >= 0 && i < n_fds; i++) {
			close_fd(&channel);
			channel = fds[i];
		}
	} while (n > 0);
	return channel;
}

static void start(struct vhost_frontend *frontend)
{
	struct vhost_frontend_queue queues[N_QUEUES] = { 0 };

	for (unsigned i = 0; i < N_QUEUES; i++)
		queues[i] = (struct vhost_frontend_queue){
			.is_ready = i != 1,
			.size = 16,
			.desc_gpa = 0x10000 * i,
			.driver_gpa = 0x10000 * i + 0x1000,
			.device_gpa = 0x10000 * i + 0x2000,
		};
	vhost_frontend_start(frontend, UINT64_MAX, queues,
			     vhost_frontend_n_queues(frontend));
}

static void turn(struct event_loop *loop)
{
	for (unsigned i = 0; i < 64; i++)
		event_loop_step(loop, 0);
}

static int make(struct vhost_frontend **frontend, struct event_loop *loop,
		int fd, uint8_t choice)
{
	struct vhost_frontend_region regions[16];
	struct vhost_frontend_options options = {
		.fd = fd,
		.n_queues = N_QUEUES,
		.n_queues_fixed = 1,
		.queue_unit = 1,
		.is_in_order = choice & OPTION_IN_ORDER,
		.config_size = choice & OPTION_NO_CONFIG ? 0 : 60,
		.timeout_ms = 5,
		.label = "fuzz",
	};
	unsigned n = choice & OPTION_MANY_REGIONS ? 16 : 1;
	struct error err;

	for (unsigned i = 0; i < n; i++)
		regions[i] = (struct vhost_frontend_region){
			.gpa = MEMORY_SIZE / n * i,
			.size = MEMORY_SIZE / n,
			.user = 0x10000000 + MEMORY_SIZE / n * i,
			.fd = memory_fd,
		};
	return vhost_frontend_new(frontend, loop, &options, &memory, regions, n,
				  &ops, NULL, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct event_loop loop;
	struct vhost_frontend *frontend = NULL;
	int fds[2], channel;
	size_t len;

	if (size < 3 || event_loop_init(&loop) < 0 || socket_pair(fds) < 0)
		return 0;
	len = (size_t)data[1] | (size_t)data[2] << 8;
	if (len > size - 3)
		len = size - 3;
	send_messages(fds[1], data + 3, len);
	if (!(data[0] & OPTION_STAY))
		shutdown(fds[1], SHUT_WR);
	if (make(&frontend, &loop, fds[0], data[0]) == 0) {
		channel = take_channel(fds[1]);
		if (channel >= 0)
			send_messages(channel, data + 3 + len, size - 3 - len);
		start(frontend);
		turn(&loop);
		if (data[0] & OPTION_STOP)
			vhost_frontend_stop(frontend, NULL);
		turn(&loop);
		close_fd(&channel);
		turn(&loop);
	}
	vhost_frontend_free(frontend);
	close(fds[1]);
	event_loop_deinit(&loop);
	return 0;
}
