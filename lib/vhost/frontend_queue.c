/* SPDX-License-Identifier: ISC */
/*
 * Starting and stopping the rings. A start is the same message for message
 * whether the driver asked for it or a new back end took the place of one
 * that died; what differs is in guest memory and in the in-flight region:
 *
 *	base of a split ring = its used index: what was taken but not used is
 *	taken again. The region says which of these the last back end had
 *	taken out of order, and it leaves those that it finished alone.
 *
 * The sequence ends with an answer from the back end, so that "running"
 * means that it has read all of it. Only then each kick and call is written
 * once: for kicks that the last back end read and did not act upon, and for
 * requests that it finished without a call.
 */
#include "lib/vhost/frontend_internal.h"
#include "protocols/virtio.h"

#include "lib/base/cleanup.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	/* Of a packed ring from its beginning: both wrap counters 1. */
	PACKED_BASE = 1 << 15,
	SPLIT_DESC = 16, /* bytes of a descriptor, either kind */
	PACKED_EVENT = 4,
};

static bool is_packed(const struct vhost_frontend *frontend)
{
	return frontend->driver_features & BIT(VIRTIO_F_RING_PACKED);
}

/* Our own address for gpa, which is known to be in a region. */
static uint64_t user_address(const struct vhost_frontend *frontend,
			     uint64_t gpa)
{
	for (unsigned i = 0; i < frontend->n_regions; i++) {
		const struct vhost_frontend_region *region =
			&frontend->regions[i];

		if (gpa - region->gpa < region->size)
			return region->user + (gpa - region->gpa);
	}
	return 0;
}

/* Virtio 1.2 §2.7 and §2.8: sizes and alignments of the three areas. */
int frontend_check_queue(const struct vhost_frontend *frontend,
			 const struct vhost_frontend_queue *queue)
{
	const struct guest_memory *memory = frontend->memory;
	uint64_t size = queue->size;
	uint64_t driver = 6 + 2 * size, device = 6 + 8 * size;
	unsigned driver_align = 2;

	if (is_packed(frontend)) {
		driver = PACKED_EVENT;
		device = PACKED_EVENT;
		driver_align = 4;
	} else if (size & (size - 1)) {
		return -EINVAL;
	}
	if (size == 0 || size > 32768 ||
	    !guest_memory_at(memory, queue->desc_gpa, size * SPLIT_DESC, 16) ||
	    !guest_memory_at(memory, queue->driver_gpa, driver, driver_align) ||
	    !guest_memory_at(memory, queue->device_gpa, device, 4))
		return -EINVAL;
	return 0;
}

static uint32_t find_base(const struct vhost_frontend *frontend,
			  const struct vhost_frontend_queue *queue)
{
	const _Atomic uint16_t *used;

	if (is_packed(frontend))
		return PACKED_BASE | (uint32_t)PACKED_BASE << 16;
	/* struct virtq_used: flags, then the index. */
	used = guest_memory_at(frontend->memory, queue->device_gpa + 2,
			       sizeof(*used), sizeof(*used));
	return used ? atomic_load_explicit(used, memory_order_acquire) : 0;
}

static void send_slots(struct vhost_frontend *frontend)
{
	struct vhost_message message;

	if (frontend->has_slots)
		return;
	frontend->has_slots = true;
	for (unsigned i = 0; i < frontend->n_regions; i++) {
		const struct vhost_frontend_region *region =
			&frontend->regions[i];

		vhost_message_init(&message, VHOST_USER_ADD_MEM_REG, 0,
				   sizeof(message.payload.region));
		message.payload.region = (struct vhost_user_mem_single){
			.region = { .gpa = region->gpa,
				    .size = region->size,
				    .user = region->user,
				    .mmap_offset = region->offset },
		};
		message.n_fds = 1;
		message.fds[0] = region->fd;
		frontend_send_acked(frontend, &message);
	}
}

static void send_memory(struct vhost_frontend *frontend)
{
	struct vhost_message message;
	struct vhost_user_mem_table *table = &message.payload.memory;
	unsigned n = frontend->n_regions;

	if (n > VHOST_USER_MEM_TABLE_MAX) {
		send_slots(frontend);
		return;
	}
	vhost_message_init(
		&message, VHOST_USER_SET_MEM_TABLE, 0,
		(uint32_t)(offsetof(struct vhost_user_mem_table, regions) +
			   n * sizeof(table->regions[0])));
	table->n_regions = n;
	table->padding = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct vhost_frontend_region *region =
			&frontend->regions[i];

		table->regions[i] = (struct vhost_user_mem_region){
			.gpa = region->gpa,
			.size = region->size,
			.user = region->user,
			.mmap_offset = region->offset,
		};
		message.fds[message.n_fds++] = region->fd;
	}
	frontend_send_acked(frontend, &message);
}

static void send_state(struct vhost_frontend *frontend, uint32_t request,
		       uint32_t index, uint32_t num, frontend_handler *handle)
{
	struct vhost_message message;

	vhost_message_init(&message, request, 0, sizeof(message.payload.state));
	message.payload.state.index = index;
	message.payload.state.num = num;
	frontend_send(frontend, &message, handle);
}

static void send_eventfd(struct vhost_frontend *frontend, uint32_t request,
			 unsigned index, int fd)
{
	struct vhost_message message;

	vhost_message_init(&message, request, 0, sizeof(uint64_t));
	message.payload.u64 = index;
	message.n_fds = 1;
	message.fds[0] = fd;
	frontend_send(frontend, &message, NULL);
}

static void send_ring(struct vhost_frontend *frontend, unsigned index)
{
	const struct frontend_queue *queue = &frontend->queues[index];
	const struct vhost_frontend_queue *ring = &queue->driver;
	struct vhost_message message;

	send_state(frontend, VHOST_USER_SET_VRING_NUM, index, ring->size, NULL);
	send_state(frontend, VHOST_USER_SET_VRING_BASE, index,
		   find_base(frontend, ring), NULL);
	vhost_message_init(&message, VHOST_USER_SET_VRING_ADDR, 0,
			   sizeof(message.payload.addr));
	message.payload.addr = (struct vhost_user_vring_addr){
		.index = index,
		.desc = user_address(frontend, ring->desc_gpa),
		.avail = user_address(frontend, ring->driver_gpa),
		.used = user_address(frontend, ring->device_gpa),
	};
	frontend_send(frontend, &message, NULL);
	send_eventfd(frontend, VHOST_USER_SET_VRING_CALL, index,
		     queue->call_fd);
	send_eventfd(frontend, VHOST_USER_SET_VRING_KICK, index,
		     queue->kick_fd);
}

static void set_status(struct vhost_frontend *frontend, uint8_t status)
{
	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_STATUS))
		frontend_tell(frontend, VHOST_USER_SET_STATUS, status);
}

static void got_start(struct vhost_frontend *frontend,
		      struct vhost_message *reply)
{
	(void)reply;
	if (frontend->phase != FRONTEND_STARTING)
		return;
	frontend->phase = FRONTEND_RUNNING;
	for (unsigned i = 0; i < frontend->n_queues; i++) {
		const struct frontend_queue *queue = &frontend->queues[i];

		if (!queue->driver.is_ready)
			continue;
		/* A full counter is an event as well: EAGAIN is no error. */
		eventfd_write(queue->kick_fd, 1);
		eventfd_write(queue->call_fd, 1);
	}
}

static void send_rings(struct vhost_frontend *frontend)
{
	bool has_enable =
		frontend->offered & BIT(VHOST_USER_F_PROTOCOL_FEATURES);

	frontend->has_rings = true;
	for (unsigned i = 0; i < frontend->n_queues; i++) {
		if (frontend->queues[i].driver.is_ready)
			send_ring(frontend, i);
	}
	for (unsigned i = 0; has_enable && i < frontend->n_queues; i++) {
		if (frontend->queues[i].driver.is_ready)
			send_state(frontend, VHOST_USER_SET_VRING_ENABLE, i, 1,
				   NULL);
	}
	set_status(frontend, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				     VIRTIO_STATUS_FEATURES_OK |
				     VIRTIO_STATUS_DRIVER_OK);
	frontend_ask(frontend, VHOST_USER_GET_FEATURES, got_start);
}

static void send_inflight(struct vhost_frontend *frontend)
{
	struct vhost_message message;

	vhost_message_init(&message, VHOST_USER_SET_INFLIGHT_FD, 0,
			   sizeof(message.payload.inflight));
	message.payload.inflight = frontend->inflight;
	message.n_fds = 1;
	message.fds[0] = frontend->inflight_fd;
	frontend_send_acked(frontend, &message);
}

static void got_inflight(struct vhost_frontend *frontend,
			 struct vhost_message *reply)
{
	/* The driver reset the device meanwhile: nothing is in flight. */
	if (frontend->phase != FRONTEND_STARTING)
		return;
	/* An answer without a region: it says that it has no need of one. */
	if (reply->n_fds == 1 && reply->payload.inflight.mmap_size > 0) {
		frontend->inflight = reply->payload.inflight;
		frontend->inflight_fd = vhost_message_take_fd(reply, 0);
		send_inflight(frontend);
	}
	send_rings(frontend);
}

static void ask_inflight(struct vhost_frontend *frontend)
{
	struct vhost_message message;
	uint16_t size = 0;

	for (unsigned i = 0; i < frontend->n_queues; i++) {
		const struct vhost_frontend_queue *queue =
			&frontend->queues[i].driver;

		if (queue->is_ready && queue->size > size)
			size = queue->size;
	}
	vhost_message_init(&message, VHOST_USER_GET_INFLIGHT_FD, 0,
			   sizeof(message.payload.inflight));
	message.payload.inflight = (struct vhost_user_inflight){
		.num_queues = (uint16_t)frontend->n_queues,
		.queue_size = size,
	};
	frontend_send(frontend, &message, got_inflight);
}

void frontend_start_queues(struct vhost_frontend *frontend)
{
	uint64_t protocol =
		frontend->offered & BIT(VHOST_USER_F_PROTOCOL_FEATURES);

	frontend->phase = FRONTEND_STARTING;
	set_status(frontend, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	frontend_tell(frontend, VHOST_USER_SET_FEATURES,
		      frontend->driver_features | protocol);
	set_status(frontend, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				     VIRTIO_STATUS_FEATURES_OK);
	send_memory(frontend);
	if (!frontend_has(frontend, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD)) {
		send_rings(frontend);
	} else if (frontend->inflight_fd >= 0) {
		send_inflight(frontend);
		send_rings(frontend);
	} else {
		ask_inflight(frontend);
	}
}

static void got_base(struct vhost_frontend *frontend,
		     struct vhost_message *reply)
{
	(void)frontend;
	(void)reply;
}

static void got_stop(struct vhost_frontend *frontend,
		     struct vhost_message *reply)
{
	(void)reply;
	frontend_stopped(frontend);
}

void frontend_stop_queues(struct vhost_frontend *frontend)
{
	frontend->phase = FRONTEND_STOPPING;
	for (unsigned i = 0; frontend->has_rings && i < frontend->n_queues;
	     i++) {
		if (frontend->queues[i].driver.is_ready)
			send_state(frontend, VHOST_USER_GET_VRING_BASE, i, 0,
				   got_base);
	}
	frontend->has_rings = false;
	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_STATUS))
		set_status(frontend, 0);
	/* What a reset does to the memory slots is not said: see has_slots. */
	else if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_RESET_DEVICE) &&
		 !frontend->has_slots)
		frontend_ask(frontend, VHOST_USER_RESET_DEVICE, NULL);
	frontend_ask(frontend, VHOST_USER_GET_FEATURES, got_stop);
}

void frontend_stop_nothing(struct vhost_frontend *frontend)
{
	bool is_asking = frontend->phase == FRONTEND_IDLE ||
			 frontend->phase == FRONTEND_HANDSHAKE;

	if (frontend->phase == FRONTEND_IDLE)
		frontend->phase = FRONTEND_STOPPING;
	/* The answer to anything will do; without a peer, the next try. */
	if (is_asking)
		frontend_ask(frontend, VHOST_USER_GET_FEATURES, got_stop);
	else
		event_timer_set(&frontend->timer, 1, 0);
}

void frontend_forget_inflight(struct vhost_frontend *frontend)
{
	close_fd(&frontend->inflight_fd);
}
