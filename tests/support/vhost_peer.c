/* SPDX-License-Identifier: ISC */
/* See vhost_peer.h. */
#include "tests/support/vhost_peer.h"

#include "lib/base/cleanup.h"
#include "lib/base/socket.h"
#include "protocols/virtio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

enum {
	REQUEST_SLOT = 64, /* bytes of data of one request */
	N_SLOTS = 1024,
};

void vhost_peer_init(struct vhost_peer *peer, struct event_loop *loop,
		     uint16_t queue_size, bool is_packed)
{
	*peer = (struct vhost_peer){
		.loop = loop,
		.fd = -1,
		.backend_fd = -1,
		.queue_size = queue_size,
		.is_packed = is_packed,
	};
	assert_int_equal(
		driver_memory_init(&peer->memory, PEER_GPA, PEER_MEMORY), 0);
	for (unsigned i = 0; i < PEER_QUEUES; i++) {
		assert_int_equal(
			virtq_driver_init(&peer->drivers[i], &peer->memory,
					  PEER_GPA + i * PEER_RING, queue_size,
					  is_packed, false),
			0);
		peer->kick_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		peer->call_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
}

void vhost_peer_deinit(struct vhost_peer *peer)
{
	vhost_peer_close(peer);
	for (unsigned i = 0; i < PEER_QUEUES; i++) {
		virtq_driver_deinit(&peer->drivers[i]);
		close_fd(&peer->kick_fds[i]);
		close_fd(&peer->call_fds[i]);
	}
	driver_memory_deinit(&peer->memory);
}

void vhost_peer_connect(struct vhost_peer *peer)
{
	int fds[2];

	vhost_peer_close(peer);
	assert_int_equal(socket_pair(fds), 0);
	peer->fd = fds[0];
	peer->backend_fd = fds[1];
	peer->flags = 0;
}

void vhost_peer_close(struct vhost_peer *peer)
{
	vhost_sender_deinit(&peer->sender);
	vhost_receiver_deinit(&peer->receiver);
	close_fd(&peer->fd);
}

void vhost_peer_settle(struct vhost_peer *peer)
{
	/* Timers of 1 ms (polled queues) have their turn too. */
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(event_loop_step(peer->loop, 0), 0);
}

void vhost_peer_send(struct vhost_peer *peer, uint32_t request,
		     const void *payload, uint32_t size, int fd)
{
	struct vhost_message message = { 0 };

	vhost_message_init(&message, request, peer->flags, size);
	if (size > 0)
		memcpy(&message.payload, payload, size);
	if (fd >= 0)
		message.fds[message.n_fds++] = fd;
	assert_int_equal(vhost_send(&peer->sender, peer->fd, &message), 0);
}

void vhost_peer_send_u64(struct vhost_peer *peer, uint32_t request,
			 uint64_t value, int fd)
{
	vhost_peer_send(peer, request, &value, sizeof(value), fd);
}

void vhost_peer_send_state(struct vhost_peer *peer, uint32_t request,
			   uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = { .index = index, .num = num };

	vhost_peer_send(peer, request, &state, sizeof(state), -1);
}

int vhost_peer_receive(struct vhost_peer *peer, struct vhost_message **reply)
{
	const char *reason;
	int r;

	vhost_peer_settle(peer);
	r = vhost_receive(&peer->receiver, peer->fd, VHOST_TO_BACKEND, true,
			  &reason);
	if (reply)
		*reply = &peer->receiver.message;
	return r;
}

uint64_t vhost_peer_ask(struct vhost_peer *peer, uint32_t request)
{
	struct vhost_message *reply;

	vhost_peer_send(peer, request, NULL, 0, -1);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->header.request, request);
	return reply->payload.u64;
}

void vhost_peer_set_mem_table(struct vhost_peer *peer)
{
	struct vhost_user_mem_table table = {
		.n_regions = 1,
		.regions[0] = {
			.gpa = PEER_GPA,
			.size = PEER_MEMORY,
			.user = PEER_USER,
		},
	};

	vhost_peer_send(peer, VHOST_USER_SET_MEM_TABLE, &table, 8 + 32,
			peer->memory.fd);
}

void vhost_peer_set_addr(struct vhost_peer *peer, unsigned queue)
{
	const struct virtq_driver *driver = &peer->drivers[queue];
	struct vhost_user_vring_addr addr = {
		.index = queue,
		.desc = driver->desc_gpa - PEER_GPA + PEER_USER,
		.avail = driver->driver_gpa - PEER_GPA + PEER_USER,
		.used = driver->device_gpa - PEER_GPA + PEER_USER,
	};

	vhost_peer_send(peer, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr),
			-1);
}

void vhost_peer_set_kick(struct vhost_peer *peer, unsigned queue)
{
	vhost_peer_send_u64(peer, VHOST_USER_SET_VRING_KICK, queue,
			    peer->kick_fds[queue]);
}

void vhost_peer_set_call(struct vhost_peer *peer, unsigned queue)
{
	vhost_peer_send_u64(peer, VHOST_USER_SET_VRING_CALL, queue,
			    peer->call_fds[queue]);
}

void vhost_peer_handshake(struct vhost_peer *peer, uint64_t features,
			  uint64_t protocol_features)
{
	features |= 1ULL << VIRTIO_F_VERSION_1;
	if (peer->is_packed)
		features |= 1ULL << VIRTIO_F_RING_PACKED;
	assert_int_equal(vhost_peer_ask(peer, VHOST_USER_GET_FEATURES) &
				 features,
			 features);
	if (protocol_features) {
		features |= 1ULL << VHOST_USER_F_PROTOCOL_FEATURES;
		assert_int_equal(
			vhost_peer_ask(peer, VHOST_USER_GET_PROTOCOL_FEATURES) &
				protocol_features,
			protocol_features);
		vhost_peer_send_u64(peer, VHOST_USER_SET_PROTOCOL_FEATURES,
				    protocol_features, -1);
	}
	vhost_peer_send(peer, VHOST_USER_SET_OWNER, NULL, 0, -1);
	vhost_peer_send_u64(peer, VHOST_USER_SET_FEATURES, features, -1);
	vhost_peer_set_mem_table(peer);
}

void vhost_peer_start(struct vhost_peer *peer, unsigned queue, uint32_t base)
{
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_NUM, queue,
			      peer->queue_size);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_BASE, queue, base);
	vhost_peer_set_addr(peer, queue);
	vhost_peer_set_kick(peer, queue);
	vhost_peer_set_call(peer, queue);
	vhost_peer_settle(peer);
}

static uint64_t slot_gpa(uint64_t tag)
{
	return PEER_DATA + tag % N_SLOTS * REQUEST_SLOT;
}

void vhost_peer_request(struct vhost_peer *peer, unsigned queue, uint64_t tag)
{
	uint64_t one = 1;
	struct driver_buffer buffers[2] = {
		{ .gpa = slot_gpa(tag), .len = 8 },
		{ .gpa = slot_gpa(tag) + 8, .len = 8, .is_in = true },
	};
	uint64_t *data = driver_memory_at(&peer->memory, slot_gpa(tag));

	data[0] = tag;
	data[1] = 0;
	assert_true(virtq_driver_add(&peer->drivers[queue], buffers, 2, 0,
				     (void *)tag) >= 0);
	virtq_driver_publish(&peer->drivers[queue]);
	assert_int_equal(write(peer->kick_fds[queue], &one, 8), 8);
}

uint64_t vhost_peer_get_used(struct vhost_peer *peer, unsigned queue)
{
	uint32_t len;
	uint64_t tag =
		(uintptr_t)virtq_driver_get_used(&peer->drivers[queue], &len);
	uint64_t *data;

	if (tag == 0)
		return 0;
	data = driver_memory_at(&peer->memory, slot_gpa(tag));
	assert_int_equal(len, 8);
	assert_int_equal(data[1], ~tag);
	return tag;
}

uint64_t vhost_peer_count(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}
