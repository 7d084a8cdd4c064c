/* SPDX-License-Identifier: ISC */
/*
 * The back end against a scripted front end: any order of messages, peers
 * that misbehave, queues that stop, drain and go on, and requests that a lost
 * back end had in flight. The device answers a request's tag with ~tag; it
 * can be told to hold requests, as a disk does.
 */
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"
#include "lib/vhost/backend.h"
#include "protocols/virtio.h"
#include "tests/support/vhost_peer.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	N_HELD_MAX = 64,
	MODES = BIT(VHOST_USER_PROTOCOL_F_MQ) |
		BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIG),
};

struct device {
	struct vhost_backend *backend;
	bool is_holding;
	struct virtq_element *held[N_HELD_MAX];
	uint64_t tags[N_HELD_MAX];
	struct vhost_queue *queue; /* of what is held */
	unsigned n_held;
	bool is_stopping;
	unsigned n_started, n_kicked, n_stopped, n_over;
	char reason[200];
	uint8_t config[16];
	uint8_t mac[6];
};

struct bench {
	struct event_loop loop;
	struct vhost_peer peer;
	struct device device;
	unsigned n_open;
};

static uint64_t tag_of(struct virtq_element *element)
{
	uint64_t tag = 0;

	iov_read(element->out, element->n_out, 0, &tag, sizeof(tag));
	return tag;
}

static void answer(struct vhost_queue *queue, struct virtq_element *element)
{
	uint64_t result = ~tag_of(element);

	iov_write(element->in, element->n_in, 0, &result, sizeof(result));
	vhost_queue_push(queue, element, sizeof(result));
}

static void device_started(void *context, struct vhost_queue *queue)
{
	struct device *device = context;

	device->n_started++;
	vhost_queue_set_context(queue, device);
}

static void device_kicked(void *context, struct vhost_queue *queue)
{
	struct device *device = context;
	struct virtq_element *element;

	device->n_kicked++;
	while (vhost_queue_pop(queue, &element) == 0) {
		if (!device->is_holding) {
			answer(queue, element);
			continue;
		}
		device->queue = queue;
		device->tags[device->n_held] = tag_of(element);
		device->held[device->n_held++] = element;
	}
	vhost_queue_flush(queue);
}

/* Finish the i-th held request. */
static void finish(struct device *device, unsigned i)
{
	answer(device->queue, device->held[i]);
	vhost_queue_flush(device->queue);
	device->n_held--;
	memmove(&device->held[i], &device->held[i + 1],
		(device->n_held - i) * sizeof(device->held[0]));
	memmove(&device->tags[i], &device->tags[i + 1],
		(device->n_held - i) * sizeof(device->tags[0]));
	if (device->n_held == 0 && device->is_stopping) {
		device->is_stopping = false;
		vhost_queue_drained(device->queue);
	}
}

static bool device_stop(void *context, struct vhost_queue *queue)
{
	struct device *device = context;

	device->n_stopped++;
	device->is_stopping = device->n_held > 0 && device->queue == queue;
	return !device->is_stopping;
}

static void device_get_config(void *context, uint8_t *config)
{
	struct device *device = context;

	memcpy(config, device->config, sizeof(device->config));
}

static int device_set_config(void *context, uint32_t offset,
			     const uint8_t *data, uint32_t len)
{
	struct device *device = context;

	if (offset < 8)
		return -EACCES;
	memcpy(device->config + offset, data, len);
	return 0;
}

static void device_rarp(void *context, const uint8_t mac[6])
{
	memcpy(((struct device *)context)->mac, mac, 6);
}

static void device_over(void *context, const char *reason)
{
	struct device *device = context;

	device->n_over++;
	snprintf(device->reason, sizeof(device->reason), "%s",
		 reason ? reason : "");
	vhost_backend_free(device->backend);
	device->backend = NULL;
}

static const struct vhost_device_ops test_device = {
	.name = "test",
	.device_id = 2,
	.features = BIT(5) | BIT(9),
	.config_size = 16,
	.has_inflight = true,
	.get_config = device_get_config,
	.set_config = device_set_config,
	.queue_started = device_started,
	.queue_kicked = device_kicked,
	.queue_stop = device_stop,
	.send_rarp = device_rarp,
	.disconnected = device_over,
};

static unsigned count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void attach(struct bench *bench, const struct vhost_device_ops *ops)
{
	vhost_peer_connect(&bench->peer);
	assert_int_equal(vhost_backend_new(&bench->device.backend, &bench->loop,
					   bench->peer.backend_fd, ops,
					   PEER_QUEUES, "test", &bench->device),
			 0);
}

static struct bench *bench_new(uint16_t queue_size, bool is_packed,
			       const struct vhost_device_ops *ops)
{
	static struct bench bench;

	bench = (struct bench){ .loop = EVENT_LOOP_INIT };
	bench.n_open = count_open();
	assert_int_equal(event_loop_init(&bench.loop), 0);
	vhost_peer_init(&bench.peer, &bench.loop, queue_size, is_packed);
	attach(&bench, ops);
	return &bench;
}

/* The peer goes; everything is closed. */
static void bench_free(struct bench *bench)
{
	vhost_peer_close(&bench->peer);
	vhost_peer_settle(&bench->peer);
	assert_null(bench->device.backend);
	assert_int_equal(bench->device.n_over, 1);
	vhost_peer_deinit(&bench->peer);
	event_loop_deinit(&bench->loop);
	assert_int_equal(count_open(), bench->n_open);
}

/* The connection ends, for this reason. */
static void expect_over(struct bench *bench, const char *reason)
{
	vhost_peer_settle(&bench->peer);
	assert_int_equal(bench->device.n_over, 1);
	assert_string_equal(bench->device.reason, reason);
}

static void expect_used(struct bench *bench, unsigned queue, uint64_t tag)
{
	vhost_peer_settle(&bench->peer);
	assert_int_equal(vhost_peer_get_used(&bench->peer, queue), tag);
}

/* QEMU's order, a few requests, both kinds of rings. */
static void test_serves(void **state)
{
	(void)state;
	for (int is_packed = 0; is_packed < 2; is_packed++) {
		struct bench *bench = bench_new(16, is_packed, &test_device);
		struct vhost_peer *peer = &bench->peer;

		vhost_peer_handshake(peer, BIT(5), 0);
		vhost_peer_start(peer, 0, is_packed ? 0x8000 : 0);
		assert_int_equal(bench->device.n_started, 1);
		for (uint64_t tag = 1; tag < 100; tag++) {
			vhost_peer_count(peer->call_fds[0]);
			vhost_peer_request(peer, 0, tag);
			expect_used(bench, 0, tag);
			assert_int_equal(vhost_peer_count(peer->call_fds[0]),
					 1);
		}
		bench_free(bench);
		assert_int_equal(bench->device.n_stopped, 1);
	}
}

enum step {
	FEATURES,
	MEMORY,
	NUM,
	ADDR,
	BASE,
	KICK,
	CALL,
	ENABLE,
	N_STEPS,
};

static void take_step(struct vhost_peer *peer, enum step step)
{
	uint64_t features =
		BIT(VIRTIO_F_VERSION_1) | BIT(VHOST_USER_F_PROTOCOL_FEATURES);

	switch (step) {
	case FEATURES:
		vhost_peer_send_u64(peer, VHOST_USER_SET_FEATURES, features,
				    -1);
		break;
	case MEMORY:
		vhost_peer_set_mem_table(peer);
		break;
	case NUM:
		vhost_peer_send_state(peer, VHOST_USER_SET_VRING_NUM, 0, 16);
		break;
	case ADDR:
		vhost_peer_set_addr(peer, 0);
		break;
	case BASE:
		vhost_peer_send_state(peer, VHOST_USER_SET_VRING_BASE, 0, 0);
		break;
	case KICK:
		vhost_peer_set_kick(peer, 0);
		break;
	case CALL:
		vhost_peer_set_call(peer, 0);
		break;
	case ENABLE:
		vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
		break;
	case N_STEPS:
	default:
		break;
	}
}

/* All 40320 orders of the eight messages that make a queue run; the request
 * was there before the first of them. */
static void test_any_order(void **state)
{
	unsigned n_orders = 0;

	(void)state;
	for (unsigned number = 0; number < 40320; number += 7) {
		struct bench *bench = bench_new(16, false, &test_device);
		enum step steps[N_STEPS];
		unsigned rest = number;

		for (unsigned i = 0; i < N_STEPS; i++)
			steps[i] = (enum step)i;
		vhost_peer_request(&bench->peer, 0, 7);
		for (unsigned n = N_STEPS; n > 0; n--) {
			unsigned i = rest % n;

			rest /= n;
			take_step(&bench->peer, steps[i]);
			steps[i] = steps[n - 1];
			vhost_peer_settle(&bench->peer);
			assert_int_equal(bench->device.n_over, 0);
			if (n > 1)
				continue;
			expect_used(bench, 0, 7);
			assert_true(vhost_peer_count(bench->peer.call_fds[0]) >
				    0);
		}
		n_orders++;
		bench_free(bench);
	}
	assert_int_equal(n_orders, 5760);
}

/* Without a kick descriptor a queue is looked at all the same; without a
 * call descriptor nobody is called. */
static void test_polled(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	uint64_t tag = 0;

	(void)state;
	vhost_peer_handshake(peer, 0, 0);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_NUM, 0, 16);
	vhost_peer_set_addr(peer, 0);
	vhost_peer_send_u64(peer, VHOST_USER_SET_VRING_CALL,
			    VHOST_USER_VRING_NO_FD, -1);
	vhost_peer_send_u64(peer, VHOST_USER_SET_VRING_KICK,
			    VHOST_USER_VRING_NO_FD, -1);
	vhost_peer_settle(peer);
	vhost_peer_request(peer, 0, 1);
	for (unsigned i = 0; i < 200 && tag == 0; i++) {
		event_loop_step(&bench->loop, 10);
		tag = vhost_peer_get_used(peer, 0);
	}
	assert_int_equal(tag, 1);
	/* It stops being polled, too. */
	vhost_peer_send_state(peer, VHOST_USER_GET_VRING_BASE, 0, 0);
	assert_int_equal(vhost_peer_receive(peer, NULL), 0);
	vhost_peer_request(peer, 0, 2);
	for (unsigned i = 0; i < 5; i++)
		event_loop_step(&bench->loop, 2);
	assert_int_equal(vhost_peer_get_used(peer, 0), 0);
	bench_free(bench);
}

/* Disabled with protocol features, until enabled; LOG_ALL and another kick
 * descriptor leave it running. */
static void test_ring_states(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	uint64_t features =
		BIT(VIRTIO_F_VERSION_1) | BIT(VHOST_USER_F_PROTOCOL_FEATURES);

	(void)state;
	vhost_peer_handshake(peer, 0, MODES);
	vhost_peer_start(peer, 0, 0);
	vhost_peer_request(peer, 0, 1);
	expect_used(bench, 0, 0);
	assert_int_equal(bench->device.n_started, 0);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
	expect_used(bench, 0, 1);
	assert_int_equal(bench->device.n_started, 1);
	vhost_peer_send_u64(peer, VHOST_USER_SET_FEATURES,
			    features | BIT(VHOST_F_LOG_ALL), -1);
	vhost_peer_set_addr(peer, 0);
	vhost_peer_request(peer, 0, 2);
	expect_used(bench, 0, 2);
	vhost_peer_set_kick(peer, 0);
	vhost_peer_request(peer, 0, 3);
	expect_used(bench, 0, 3);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 0);
	vhost_peer_settle(peer);
	vhost_peer_request(peer, 0, 4);
	expect_used(bench, 0, 0);
	assert_int_equal(bench->device.n_started, 1);
	assert_int_equal(bench->device.n_stopped, 0);
	bench_free(bench);
}

/* A network device is asked to look into a disabled queue, to drop. */
static void test_disabled_net(void **state)
{
	struct vhost_device_ops net = test_device;
	struct bench *bench;

	(void)state;
	net.device_id = 1;
	bench = bench_new(16, false, &net);
	vhost_peer_handshake(&bench->peer, 0, MODES);
	assert_int_equal(vhost_peer_ask(&bench->peer, VHOST_USER_GET_QUEUE_NUM),
			 PEER_QUEUES / 2);
	vhost_peer_start(&bench->peer, 0, 0);
	vhost_peer_request(&bench->peer, 0, 1);
	expect_used(bench, 0, 1);
	assert_int_equal(bench->device.n_started, 0);
	bench_free(bench);
}

/* GET_VRING_BASE waits for what is held, answers come in order, and the
 * queue goes on from there. */
static void test_stop_drains(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	struct vhost_message *reply;

	(void)state;
	bench->device.is_holding = true;
	vhost_peer_handshake(peer, 0, 0);
	vhost_peer_start(peer, 0, 0);
	vhost_peer_request(peer, 0, 1);
	vhost_peer_request(peer, 0, 2);
	vhost_peer_settle(peer);
	vhost_peer_send_state(peer, VHOST_USER_GET_VRING_BASE, 0, 0);
	vhost_peer_send(peer, VHOST_USER_GET_QUEUE_NUM, NULL, 0, -1);
	assert_int_equal(vhost_peer_receive(peer, NULL), VHOST_RECEIVE_AGAIN);
	/* Nothing new is taken meanwhile. */
	vhost_peer_request(peer, 0, 3);
	vhost_peer_settle(peer);
	assert_int_equal(bench->device.n_held, 2);
	finish(&bench->device, 1);
	assert_int_equal(vhost_peer_receive(peer, NULL), VHOST_RECEIVE_AGAIN);
	finish(&bench->device, 0);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->header.request, VHOST_USER_GET_VRING_BASE);
	assert_int_equal(reply->payload.state.num, 2);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->header.request, VHOST_USER_GET_QUEUE_NUM);
	assert_int_equal(vhost_peer_get_used(peer, 0), 2);
	assert_int_equal(vhost_peer_get_used(peer, 0), 1);
	/* Once more on a stopped queue; then it runs again. */
	vhost_peer_send_state(peer, VHOST_USER_GET_VRING_BASE, 0, 0);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->payload.state.num, 2);
	bench->device.is_holding = false;
	vhost_peer_set_kick(peer, 0);
	expect_used(bench, 0, 3);
	bench_free(bench);
}

/* The front end goes, or we close, with requests in progress: they are
 * finished first. */
static void test_close_drains(void **state)
{
	(void)state;
	for (int by_us = 0; by_us < 2; by_us++) {
		struct bench *bench = bench_new(16, false, &test_device);
		struct vhost_peer *peer = &bench->peer;

		bench->device.is_holding = true;
		vhost_peer_handshake(peer, 0, 0);
		vhost_peer_start(peer, 0, 0);
		vhost_peer_request(peer, 0, 1);
		vhost_peer_settle(peer);
		if (by_us)
			vhost_backend_close(bench->device.backend);
		else
			vhost_peer_close(peer);
		vhost_peer_settle(peer);
		assert_int_equal(bench->device.n_over, 0);
		finish(&bench->device, 0);
		expect_over(bench, "");
		assert_int_equal(vhost_peer_get_used(peer, 0), 1);
		bench_free(bench);
	}
}

/* RESET_DEVICE and status 0 stop queues, after what is held. */
static void test_reset(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	struct vhost_message *reply;
	uint64_t modes = MODES | BIT(VHOST_USER_PROTOCOL_F_STATUS) |
			 BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE);

	(void)state;
	vhost_peer_handshake(peer, 0, modes);
	vhost_peer_send_u64(peer, VHOST_USER_SET_STATUS, 15, -1);
	assert_int_equal(vhost_peer_ask(peer, VHOST_USER_GET_STATUS), 15);
	vhost_peer_start(peer, 0, 0);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
	bench->device.is_holding = true;
	vhost_peer_request(peer, 0, 1);
	vhost_peer_settle(peer);
	peer->flags = VHOST_USER_FLAG_NEED_REPLY;
	vhost_peer_send(peer, VHOST_USER_RESET_DEVICE, NULL, 0, -1);
	peer->flags = 0;
	assert_int_equal(vhost_peer_receive(peer, NULL), VHOST_RECEIVE_AGAIN);
	finish(&bench->device, 0);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->payload.u64, 0);
	assert_int_equal(vhost_peer_ask(peer, VHOST_USER_GET_STATUS), 0);
	assert_int_equal(bench->device.n_stopped, 1);
	/* Reset means disabled. */
	vhost_peer_set_kick(peer, 0);
	vhost_peer_request(peer, 0, 2);
	vhost_peer_settle(peer);
	assert_int_equal(bench->device.n_held, 0);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
	vhost_peer_settle(peer);
	assert_int_equal(bench->device.n_held, 1);
	vhost_peer_send_u64(peer, VHOST_USER_SET_STATUS, 0, -1);
	vhost_peer_settle(peer);
	finish(&bench->device, 0);
	assert_int_equal(vhost_peer_ask(peer, VHOST_USER_GET_STATUS), 0);
	assert_int_equal(bench->device.n_stopped, 2);
	bench_free(bench);
}

/* A memory table that changes waits for requests that use the old one, and
 * queues go on with the new one. */
static void test_memory_changes(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	struct vhost_message *reply;

	(void)state;
	vhost_peer_handshake(peer, 0, MODES);
	vhost_peer_start(peer, 0, 0);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
	bench->device.is_holding = true;
	vhost_peer_request(peer, 0, 1);
	vhost_peer_settle(peer);
	peer->flags = VHOST_USER_FLAG_NEED_REPLY;
	vhost_peer_set_mem_table(peer);
	vhost_peer_request(peer, 0, 2);
	assert_int_equal(vhost_peer_receive(peer, NULL), VHOST_RECEIVE_AGAIN);
	assert_int_equal(bench->device.n_held, 1);
	finish(&bench->device, 0);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->payload.u64, 0);
	/* The second was taken up then. */
	assert_int_equal(bench->device.n_held, 1);
	assert_int_equal(bench->device.tags[0], 2);
	finish(&bench->device, 0);
	expect_used(bench, 0, 1);
	expect_used(bench, 0, 2);
	assert_int_equal(bench->device.n_stopped, 0);
	bench_free(bench);
}

static struct vhost_user_mem_single region_at(uint64_t offset, uint64_t size)
{
	return (struct vhost_user_mem_single){
		.region.gpa = PEER_GPA + offset,
		.region.user = PEER_USER + offset,
		.region.size = size,
		.region.mmap_offset = offset,
	};
}

/* Memory region by region, as with CONFIGURE_MEM_SLOTS. */
static void test_memory_slots(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	struct vhost_user_mem_single region;
	struct vhost_message *reply;
	uint64_t modes = MODES | BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);

	(void)state;
	vhost_peer_send_u64(peer, VHOST_USER_SET_PROTOCOL_FEATURES, modes, -1);
	vhost_peer_send_u64(peer, VHOST_USER_SET_FEATURES,
			    BIT(VIRTIO_F_VERSION_1), -1);
	assert_int_equal(vhost_peer_ask(peer, VHOST_USER_GET_MAX_MEM_SLOTS),
			 509);
	vhost_peer_start(peer, 0, 0);
	vhost_peer_request(peer, 0, 1);
	peer->flags = VHOST_USER_FLAG_NEED_REPLY;
	for (uint64_t at = 0; at < PEER_MEMORY; at += PEER_MEMORY / 16) {
		expect_used(bench, 0, 0);
		region = region_at(at, PEER_MEMORY / 16);
		vhost_peer_send(peer, VHOST_USER_ADD_MEM_REG, &region,
				sizeof(region), peer->memory.fd);
		assert_int_equal(vhost_peer_receive(peer, &reply), 0);
		assert_int_equal(reply->payload.u64, 0);
		if (at == 0) {
			/* Rings are there, data is not: the ring breaks. */
			vhost_peer_send(peer, VHOST_USER_REM_MEM_REG, &region,
					sizeof(region), -1);
			assert_int_equal(vhost_peer_receive(peer, &reply), 0);
			assert_int_equal(reply->payload.u64, 0);
			vhost_peer_send_state(peer, VHOST_USER_GET_VRING_BASE,
					      0, 0);
			assert_int_equal(vhost_peer_receive(peer, NULL), 0);
			peer->flags = 0;
			vhost_peer_send_state(peer, VHOST_USER_SET_VRING_BASE,
					      0, 0);
			peer->flags = VHOST_USER_FLAG_NEED_REPLY;
		}
	}
	/* The first slot again, twice, and one that is not there. */
	region = region_at(0, PEER_MEMORY / 16);
	for (unsigned i = 0; i < 2; i++) {
		vhost_peer_send(peer, VHOST_USER_ADD_MEM_REG, &region,
				sizeof(region), peer->memory.fd);
		assert_int_equal(vhost_peer_receive(peer, &reply), 0);
		assert_int_equal(reply->payload.u64, i);
	}
	region = region_at(0, PEER_MEMORY / 32);
	vhost_peer_send(peer, VHOST_USER_REM_MEM_REG, &region, sizeof(region),
			-1);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->payload.u64, 1);
	peer->flags = 0;
	vhost_peer_set_kick(peer, 0);
	expect_used(bench, 0, 1);
	bench_free(bench);
}

/* Config space: whole, in part, beyond its end, written, refused. */
static void test_config(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	struct vhost_user_config config = { .size = 60 };
	struct vhost_message *reply;

	(void)state;
	vhost_peer_handshake(peer, 0, MODES);
	memcpy(bench->device.config, "0123456789abcdef", 16);
	vhost_peer_send(peer, VHOST_USER_GET_CONFIG, &config, 12 + 60, -1);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->header.size, 12 + 60);
	assert_memory_equal(reply->payload.config.data, "0123456789abcdef\0\0",
			    18);
	config = (struct vhost_user_config){ .offset = 10, .size = 4 };
	vhost_peer_send(peer, VHOST_USER_GET_CONFIG, &config, 12, -1);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_memory_equal(reply->payload.config.data, "abcd", 4);
	memcpy(config.data, "XYZW", 4);
	peer->flags = VHOST_USER_FLAG_NEED_REPLY;
	vhost_peer_send(peer, VHOST_USER_SET_CONFIG, &config, 12 + 4, -1);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->payload.u64, 0);
	assert_memory_equal(bench->device.config, "0123456789XYZWef", 16);
	for (unsigned offset = 4; offset < 20; offset += 10) {
		config.offset = offset;
		vhost_peer_send(peer, VHOST_USER_SET_CONFIG, &config, 12 + 4,
				-1);
		assert_int_equal(vhost_peer_receive(peer, &reply), 0);
		assert_int_equal(reply->payload.u64, 1);
	}
	peer->flags = 0;
	vhost_peer_send(peer, VHOST_USER_SET_CONFIG, &config, 12 + 4, -1);
	expect_over(bench, "SET_CONFIG: beyond the config space");
	bench_free(bench);
}

/* The channel to the front end: one message, not one for each change. */
static void test_config_changed(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	struct vhost_receiver receiver = VHOST_RECEIVER_INIT;
	const char *reason;
	int fds[2];

	(void)state;
	vhost_peer_handshake(peer, 0,
			     MODES | BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ));
	vhost_backend_config_changed(bench->device.backend);
	assert_int_equal(socket_pair(fds), 0);
	vhost_peer_send(peer, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, fds[1]);
	close(fds[1]);
	vhost_peer_settle(peer);
	vhost_backend_config_changed(bench->device.backend);
	assert_int_equal(vhost_receive(&receiver, fds[0], VHOST_TO_FRONTEND,
				       false, &reason),
			 0);
	assert_int_equal(receiver.message.header.request,
			 VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(vhost_receive(&receiver, fds[0], VHOST_TO_FRONTEND,
				       false, &reason),
			 VHOST_RECEIVE_AGAIN);
	/* A peer that never reads it costs nothing. */
	for (unsigned i = 0; i < 100000; i++)
		vhost_backend_config_changed(bench->device.backend);
	vhost_peer_settle(peer);
	close(fds[0]);
	vhost_peer_settle(peer);
	vhost_backend_config_changed(bench->device.backend);
	assert_int_equal(bench->device.n_over, 0);
	vhost_peer_send_u64(peer, VHOST_USER_SEND_RARP, 0x665544332211, -1);
	vhost_peer_settle(peer);
	assert_memory_equal(bench->device.mac, "\x11\x22\x33\x44\x55\x66", 6);
	bench_free(bench);
}

/* Writes are in the dirty log while LOG_ALL is on. */
static void test_dirty_log(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	struct driver_memory log;
	struct vhost_user_log base = { .mmap_size = 4096 };
	struct vhost_message *reply;
	uint64_t features =
		BIT(VIRTIO_F_VERSION_1) | BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	unsigned page = PEER_DATA / 4096;

	(void)state;
	assert_int_equal(driver_memory_init(&log, 0, 4096), 0);
	vhost_peer_handshake(peer, 0,
			     MODES | BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD));
	vhost_peer_start(peer, 0, 0);
	vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
	vhost_peer_send(peer, VHOST_USER_SET_LOG_BASE, &base, sizeof(base),
			log.fd);
	assert_int_equal(vhost_peer_receive(peer, &reply), 0);
	assert_int_equal(reply->header.size, 0);
	vhost_peer_request(peer, 0, 1);
	expect_used(bench, 0, 1);
	assert_int_equal(log.host[page / 8], 0);
	vhost_peer_send_u64(peer, VHOST_USER_SET_FEATURES,
			    features | BIT(VHOST_F_LOG_ALL), -1);
	vhost_peer_request(peer, 0, 2);
	expect_used(bench, 0, 2);
	assert_int_equal(log.host[page / 8], 1 << page % 8);
	assert_true(log.host[PEER_GPA / 4096 / 8] != 0);
	log.host[page / 8] = 0;
	vhost_peer_send_u64(peer, VHOST_USER_SET_FEATURES, features, -1);
	vhost_peer_request(peer, 0, 3);
	expect_used(bench, 0, 3);
	assert_int_equal(log.host[page / 8], 0);
	driver_memory_deinit(&log);
	bench_free(bench);
}

/* A new call descriptor is signalled at once; a broken queue signals its
 * error descriptor, and the others run on. */
static void test_call_and_error(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	int err_fd = eventfd(0, EFD_NONBLOCK);
	uint64_t one = 1;

	(void)state;
	vhost_peer_handshake(peer, 0, 0);
	vhost_peer_start(peer, 0, 0);
	vhost_peer_start(peer, 1, 0);
	assert_int_equal(vhost_peer_count(peer->call_fds[0]), 1);
	vhost_peer_set_call(peer, 0);
	vhost_peer_settle(peer);
	assert_int_equal(vhost_peer_count(peer->call_fds[0]), 1);
	vhost_peer_send_u64(peer, VHOST_USER_SET_VRING_ERR, 0, err_fd);
	peer->drivers[0].avail->idx = 1000;
	assert_int_equal(write(peer->kick_fds[0], &one, 8), 8);
	vhost_peer_settle(peer);
	assert_int_equal(vhost_peer_count(err_fd), 1);
	assert_int_equal(write(peer->kick_fds[0], &one, 8), 8);
	vhost_peer_settle(peer);
	assert_int_equal(vhost_peer_count(err_fd), 0);
	vhost_peer_request(peer, 1, 9);
	expect_used(bench, 1, 9);
	/* Set up anew it runs again. */
	vhost_peer_send_state(peer, VHOST_USER_GET_VRING_BASE, 0, 0);
	assert_int_equal(vhost_peer_receive(peer, NULL), 0);
	peer->drivers[0].avail->idx = 0;
	vhost_peer_start(peer, 0, 0);
	vhost_peer_request(peer, 0, 10);
	expect_used(bench, 0, 10);
	close(err_fd);
	bench_free(bench);
}

/* A kick descriptor that is at its end, or cannot be waited for. */
static void test_odd_kicks(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	int fds[2];

	(void)state;
	vhost_peer_handshake(peer, 0, 0);
	vhost_peer_start(peer, 0, 0);
	assert_int_equal(pipe(fds), 0);
	vhost_peer_send_u64(peer, VHOST_USER_SET_VRING_KICK, 0, fds[0]);
	vhost_peer_settle(peer);
	close(fds[0]);
	assert_int_equal(write(fds[1], "12345678", 8), 8);
	close(fds[1]);
	vhost_peer_settle(peer);
	assert_int_equal(event_loop_step(&bench->loop, 0), 0);
	vhost_peer_send_u64(peer, VHOST_USER_SET_VRING_KICK, 0,
			    peer->memory.fd);
	expect_over(bench, "SET_VRING_KICK: descriptor cannot be waited for");
	bench_free(bench);
}

/* Messages that cost the connection, and what is said of them. */
static void test_refuses(void **state)
{
	static const struct {
		uint32_t request;
		uint64_t value;
		uint32_t size;
		const char *reason;
	} cases[] = {
		{ VHOST_USER_SET_FEATURES, UINT64_MAX, 8,
		  "SET_FEATURES: feature that was not offered" },
		{ VHOST_USER_SET_PROTOCOL_FEATURES, UINT64_MAX, 8,
		  "SET_PROTOCOL_FEATURES: feature that was not offered" },
		{ VHOST_USER_SET_VRING_KICK, 4, 8,
		  "SET_VRING_KICK: no such queue" },
		{ VHOST_USER_SET_VRING_CALL, 0, 8,
		  "SET_VRING_CALL: no descriptor" },
		{ VHOST_USER_SET_VRING_NUM, 4, 8,
		  "SET_VRING_NUM: no such queue" },
		{ VHOST_USER_SET_VRING_NUM, 0, 8,
		  "SET_VRING_NUM: queue size out of bounds" },
		{ VHOST_USER_SET_VRING_NUM, (2000ULL << 32), 8,
		  "SET_VRING_NUM: queue size out of bounds" },
		{ VHOST_USER_GET_VRING_BASE, 0xffffffff, 8,
		  "GET_VRING_BASE: no such queue" },
		{ VHOST_USER_SET_VRING_ENABLE, 4, 8,
		  "SET_VRING_ENABLE: no such queue" },
		{ VHOST_USER_SET_LOG_BASE, 4096, 8,
		  "SET_LOG_BASE: log without a descriptor" },
		{ VHOST_USER_SET_BACKEND_REQ_FD, 0, 0,
		  "SET_BACKEND_REQ_FD: no descriptor" },
		{ VHOST_USER_POSTCOPY_ADVISE, 0, 0,
		  "POSTCOPY_ADVISE: was not negotiated" },
		{ VHOST_USER_NET_SET_MTU, 1500, 8,
		  "NET_SET_MTU: was not negotiated" },
		{ VHOST_USER_GET_FEATURES, 0, 8,
		  "GET_FEATURES: message too long" },
		{ 77, 0, 0, "request: unknown request" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct bench *bench = bench_new(16, false, &test_device);

		vhost_peer_send(&bench->peer, cases[i].request, &cases[i].value,
				cases[i].size, -1);
		expect_over(bench, cases[i].reason);
		bench_free(bench);
	}
}

/* Bytes of no meaning, a length of 4 GiB, silence, an end in a message, and a
 * front end that asks and never listens. */
static void test_bad_peers(void **state)
{
	static const uint8_t garbage[64] = "GET / HTTP/1.0\r\n\r\n";
	static const uint32_t huge[3] = { 5, 1, 0xffffffff };
	struct bench *bench;

	(void)state;
	bench = bench_new(16, false, &test_device);
	assert_int_equal(write(bench->peer.fd, garbage, 64), 64);
	expect_over(bench, "request: message of another protocol version");
	bench_free(bench);

	bench = bench_new(16, false, &test_device);
	assert_int_equal(write(bench->peer.fd, huge, 12), 12);
	expect_over(bench, "SET_MEM_TABLE: message too long");
	bench_free(bench);

	bench = bench_new(16, false, &test_device);
	vhost_peer_settle(&bench->peer);
	assert_int_equal(bench->device.n_over, 0);
	assert_int_equal(write(bench->peer.fd, huge, 5), 5);
	vhost_peer_close(&bench->peer);
	vhost_peer_settle(&bench->peer);
	assert_int_equal(bench->device.n_over, 1);
	bench_free(bench);

	bench = bench_new(16, false, &test_device);
	vhost_peer_handshake(&bench->peer, 0, MODES);
	vhost_peer_start(&bench->peer, 0, 0);
	vhost_peer_send_state(&bench->peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
	for (unsigned i = 0; i < 900; i++) {
		vhost_peer_send(&bench->peer, VHOST_USER_GET_FEATURES, NULL, 0,
				-1);
		vhost_peer_settle(&bench->peer);
		vhost_sender_flush(&bench->peer.sender, bench->peer.fd);
	}
	/* Its answers wait, its queues do not. */
	vhost_peer_request(&bench->peer, 0, 3);
	expect_used(bench, 0, 3);
	assert_int_equal(bench->device.n_over, 0);
	bench_free(bench);
}

/* A front end that cuts its memory short loses its connection. */
static void test_memory_cut_short(void **state)
{
	struct bench *bench = bench_new(16, false, &test_device);
	struct vhost_peer *peer = &bench->peer;
	uint64_t one = 1;

	(void)state;
	assert_int_equal(guest_memory_guard(), 0);
	vhost_peer_handshake(peer, 0, 0);
	vhost_peer_start(peer, 0, 0);
	vhost_peer_settle(peer);
	assert_int_equal(ftruncate(peer->memory.fd, 0), 0);
	assert_int_equal(write(peer->kick_fds[0], &one, 8), 8);
	expect_over(bench, "guest memory was cut short");
	bench_free(bench);
	signal(SIGBUS, SIG_DFL);
}

/* Ask for an in-flight region, or bring the one of before. */
static int get_inflight(struct bench *bench,
			struct vhost_user_inflight *inflight)
{
	struct vhost_message *reply;

	*inflight = (struct vhost_user_inflight){
		.num_queues = 2,
		.queue_size = bench->peer.queue_size,
	};
	vhost_peer_send(&bench->peer, VHOST_USER_GET_INFLIGHT_FD, inflight,
			sizeof(*inflight), -1);
	assert_int_equal(vhost_peer_receive(&bench->peer, &reply), 0);
	*inflight = reply->payload.inflight;
	return vhost_message_take_fd(reply, 0);
}

/* The back end goes away as if killed: nothing more is given back. */
static void lose_backend(struct bench *bench)
{
	struct device *device = &bench->device;

	for (unsigned i = 0; i < device->n_held; i++)
		vhost_queue_drop(device->queue, device->held[i]);
	device->n_held = 0;
	vhost_backend_free(device->backend);
	device->backend = NULL;
}

/* Eight requests, some given back out of order, then the back end is lost:
 * the next one gets the others, oldest first, then what came meanwhile. */
static void test_inflight(void **state)
{
	uint64_t modes = MODES | BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	static const uint64_t expected[] = { 11, 13, 14, 16, 18, 19 };

	(void)state;
	for (int is_packed = 0; is_packed < 2; is_packed++) {
		/* Laps: over the end of the ring as well. */
		struct bench *bench = bench_new(32, is_packed, &test_device);
		struct vhost_peer *peer = &bench->peer;
		struct device *device = &bench->device;
		struct vhost_user_inflight inflight;
		int fd;

		device->is_holding = true;
		vhost_peer_handshake(peer, 0, modes);
		fd = get_inflight(bench, &inflight);
		assert_true(fd >= 0);
		vhost_peer_send(peer, VHOST_USER_SET_INFLIGHT_FD, &inflight,
				sizeof(inflight), fd);
		vhost_peer_start(peer, 0, is_packed ? 0x80008000 : 0);
		vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE, 0, 1);
		for (unsigned lap = 0; lap < 9; lap++) {
			for (uint64_t tag = 11; tag < 19; tag++)
				vhost_peer_request(peer, 0, tag);
			vhost_peer_settle(peer);
			assert_int_equal(device->n_held, 8);
			finish(device, 6); /* 17 */
			finish(device, 4); /* 15 */
			finish(device, 1); /* 12 */
			lose_backend(bench);
			expect_used(bench, 0, 17);
			expect_used(bench, 0, 15);
			expect_used(bench, 0, 12);
			vhost_peer_request(peer, 0, 19);

			attach(bench, &test_device);
			vhost_peer_handshake(peer, 0, modes);
			vhost_peer_send(peer, VHOST_USER_SET_INFLIGHT_FD,
					&inflight, sizeof(inflight), fd);
			/* The base is of no interest. */
			vhost_peer_start(peer, 0, 0);
			vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE,
					      0, 1);
			vhost_peer_settle(peer);
			assert_int_equal(device->n_held, 6);
			for (unsigned i = 0; i < 6; i++)
				assert_int_equal(device->tags[i], expected[i]);
			for (unsigned i = 0; i < 6; i++)
				finish(device, 5 - i);
			for (unsigned i = 0; i < 6; i++)
				expect_used(bench, 0, expected[5 - i]);
			expect_used(bench, 0, 0);
		}
		close(fd);
		bench_free(bench);
	}
}

/* Regions that cannot be one, and regions that say what cannot be. */
static void test_bad_inflight(void **state)
{
	uint64_t modes = MODES | BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);

	(void)state;
	for (int is_packed = 0; is_packed < 2; is_packed++) {
		for (unsigned seed = 0; seed < 300; seed++) {
			struct bench *bench =
				bench_new(16, is_packed, &test_device);
			struct vhost_peer *peer = &bench->peer;
			struct vhost_user_inflight inflight;
			unsigned state_of_rand = seed;
			uint8_t *region;
			int fd;

			vhost_peer_handshake(peer, 0, modes);
			fd = get_inflight(bench, &inflight);
			region =
				mmap(NULL, inflight.mmap_size,
				     PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			for (uint64_t i = 0; i < inflight.mmap_size; i++)
				if (rand_r(&state_of_rand) % 4 == 0)
					region[i] =
						(uint8_t)(rand_r(&state_of_rand) %
							  (seed % 2 ? 256
								    : 18));
			/* Version and size as they should be. */
			memcpy(region + 8, "\1\0\x10\0", 4);
			vhost_peer_send(peer, VHOST_USER_SET_INFLIGHT_FD,
					&inflight, sizeof(inflight), fd);
			for (unsigned i = 0; i < 4; i++)
				vhost_peer_request(peer, 0, i + 1);
			vhost_peer_start(peer, 0, is_packed ? 0x80008000 : 0);
			vhost_peer_send_state(peer, VHOST_USER_SET_VRING_ENABLE,
					      0, 1);
			vhost_peer_settle(peer);
			munmap(region, inflight.mmap_size);
			close(fd);
			bench_free(bench);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serves),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_polled),
		cmocka_unit_test(test_ring_states),
		cmocka_unit_test(test_disabled_net),
		cmocka_unit_test(test_stop_drains),
		cmocka_unit_test(test_close_drains),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_memory_changes),
		cmocka_unit_test(test_memory_slots),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_config_changed),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_call_and_error),
		cmocka_unit_test(test_odd_kicks),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_bad_peers),
		cmocka_unit_test(test_memory_cut_short),
		cmocka_unit_test(test_inflight),
		cmocka_unit_test(test_bad_inflight),
	};

	log_init("test");
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
