/* SPDX-License-Identifier: ISC */
/*
 * The front end against a back end that answers by a table and misbehaves on
 * demand: the order of its messages, what it keeps over reconnections, and
 * that no misbehaviour costs more than the connection.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/vhost/frontend.h"
#include "protocols/virtio.h"
#include "tests/support/scripted_backend.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	MEMORY_SIZE = 1 << 20,
	QUEUE_SIZE = 128,
	PATIENCE_MS = 20000,
	TIMEOUT_MS = 150, /* for answers; nobody is that slow here */
};

struct bench {
	struct scripted_backend backend;
	struct event_loop loop;
	struct vhost_frontend *frontend;
	struct vhost_frontend_options options;
	struct guest_memory memory;
	struct vhost_frontend_region regions[16];
	unsigned n_regions;
	int memory_fd;
	struct error err;
	unsigned n_changed, n_failed, n_stopped;
	char reason[256];
};

static void count_changed(void *context)
{
	((struct bench *)context)->n_changed++;
}

static void count_stopped(void *context)
{
	((struct bench *)context)->n_stopped++;
}

static void note_failed(void *context, const char *text)
{
	struct bench *bench = context;

	bench->n_failed++;
	snprintf(bench->reason, sizeof(bench->reason), "%s", text);
}

static const struct vhost_frontend_ops ops = {
	.config_changed = count_changed,
	.failed = note_failed,
};

static void add_regions(struct bench *bench, unsigned n)
{
	uint64_t size = MEMORY_SIZE / n;

	for (unsigned i = 0; i < n; i++) {
		bench->regions[i] = (struct vhost_frontend_region){
			.gpa = i * size,
			.size = size,
			.user = 0x7f0000000000 + i * size,
			.fd = bench->memory_fd,
			.offset = i * size,
		};
	}
	bench->n_regions = n;
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	*state = bench;
	scripted_backend_init(&bench->backend);
	assert_int_equal(event_loop_init(&bench->loop), 0);
	guest_memory_init(&bench->memory);
	bench->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(bench->memory_fd, MEMORY_SIZE), 0);
	add_regions(bench, 1);
	assert_int_equal(guest_memory_add(&bench->memory, 0, MEMORY_SIZE, 0,
					  bench->memory_fd, 0),
			 0);
	bench->options = (struct vhost_frontend_options){
		.fd = -1,
		.reconnect_seconds = FRONTEND_RECONNECT_FOREVER,
		.n_queues = 2,
		.n_queues_fixed = 1,
		.queue_unit = 1,
		.config_size = 60,
		.timeout_ms = TIMEOUT_MS,
		.label = "blk0",
	};
	log_set_level(LOG_LEVEL_ERROR);
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	vhost_frontend_free(bench->frontend);
	scripted_backend_stop(&bench->backend);
	event_loop_deinit(&bench->loop);
	guest_memory_deinit(&bench->memory);
	close_fd(&bench->memory_fd);
	free(bench);
	return 0;
}

static int make(struct bench *bench)
{
	scripted_backend_start(&bench->backend);
	bench->options.socket_path = bench->backend.path;
	return vhost_frontend_new(&bench->frontend, &bench->loop,
				  &bench->options, &bench->memory,
				  bench->regions, bench->n_regions, &ops, bench,
				  &bench->err);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Turn the loop until condition holds; fail if it never does. */
#define run_until(bench, condition) \
	do { \
		int64_t end_ = now_ms() + PATIENCE_MS; \
		while (!(condition)) { \
			assert_true(now_ms() < end_); \
			event_loop_step(&(bench)->loop, 5); \
		} \
	} while (0)

static void fill_queue(struct vhost_frontend_queue *queue, unsigned i)
{
	*queue = (struct vhost_frontend_queue){
		.is_ready = true,
		.size = QUEUE_SIZE,
		.desc_gpa = 0x10000 * i + 0x1000,
		.driver_gpa = 0x10000 * i + 0x4000,
		.device_gpa = 0x10000 * i + 0x8000,
	};
}

static void set_used_index(struct bench *bench, unsigned i, uint16_t index)
{
	uint16_t *used =
		guest_memory_at(&bench->memory, 0x10000 * i + 0x8002, 2, 2);

	*used = index;
}

static void start(struct bench *bench)
{
	struct vhost_frontend_queue queues[2];

	fill_queue(&queues[0], 0);
	fill_queue(&queues[1], 1);
	assert_int_equal(vhost_frontend_start(bench->frontend,
					      BIT(VIRTIO_F_VERSION_1) |
						      BIT(VIRTIO_F_EVENT_IDX),
					      queues, 2),
			 0);
}

/* Kicked and called: the sign that connection n has read all of a start. */
static bool is_running(struct bench *bench)
{
	struct pollfd kick = {
		.fd = vhost_frontend_kick_fd(bench->frontend, 1),
		.events = POLLIN,
	};

	return poll(&kick, 1, 0) == 1;
}

static void take_events(struct bench *bench)
{
	eventfd_t value;

	for (unsigned i = 0; i < 2; i++) {
		eventfd_read(vhost_frontend_kick_fd(bench->frontend, i),
			     &value);
		eventfd_read(vhost_frontend_call_fd(bench->frontend, i),
			     &value);
	}
}

static unsigned told(struct bench *bench, int connection, uint32_t request,
		     struct scripted_told *last)
{
	return scripted_backend_told(&bench->backend, connection, request,
				     last);
}

/* The place of a request in connection's sequence; -1: not there. */
static int place(struct bench *bench, int connection, uint32_t request)
{
	for (unsigned i = 0; i < bench->backend.n_told; i++) {
		if (bench->backend.told[i].connection == connection &&
		    bench->backend.told[i].request == request)
			return (int)i;
	}
	return -1;
}

/* What a back end offers is known when the front end is made. */
static void test_handshake(void **state)
{
	struct bench *bench = *state;

	bench->backend.config[3] = 42;
	bench->backend.features |= BIT(VHOST_F_LOG_ALL) |
				   BIT(VIRTIO_F_ACCESS_PLATFORM) |
				   BIT(VIRTIO_F_RING_PACKED) |
				   BIT(VIRTIO_F_RING_RESET) | BIT(9) | BIT(55);
	assert_int_equal(make(bench), 0);
	assert_true(vhost_frontend_features(bench->frontend) ==
		    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_EVENT_IDX) |
		     BIT(VIRTIO_F_INDIRECT_DESC) | BIT(9) | BIT(55)));
	assert_int_equal(vhost_frontend_n_queues(bench->frontend), 2);
	assert_true(vhost_frontend_has_config(bench->frontend));
	assert_int_equal(vhost_frontend_config(bench->frontend)[3], 42);
	assert_true(vhost_frontend_is_connected(bench->frontend));
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_ENABLE, NULL), 0);
}

/* A packed ring is offered only where nobody will have to take it over. */
static void test_packed_without_reconnection(void **state)
{
	struct bench *bench = *state;

	bench->options.reconnect_seconds = FRONTEND_RECONNECT_NEVER;
	bench->backend.features |= BIT(VIRTIO_F_RING_PACKED);
	assert_int_equal(make(bench), 0);
	assert_true(vhost_frontend_features(bench->frontend) &
		    BIT(VIRTIO_F_RING_PACKED));
}

/* Net back ends count pairs; without MQ there are the fixed ones. */
static void test_queue_count(void **state)
{
	struct bench *bench = *state;

	bench->options.n_queues = 64;
	bench->options.n_queues_fixed = 2;
	bench->options.queue_unit = 2;
	bench->backend.n_queues = 3;
	assert_int_equal(make(bench), 0);
	assert_int_equal(vhost_frontend_n_queues(bench->frontend), 6);
	vhost_frontend_free(bench->frontend);
	bench->frontend = NULL;
	scripted_backend_stop(&bench->backend);

	scripted_backend_init(&bench->backend);
	bench->backend.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_F_MQ);
	assert_int_equal(make(bench), 0);
	assert_int_equal(vhost_frontend_n_queues(bench->frontend), 2);
	assert_int_equal(told(bench, 0, VHOST_USER_GET_QUEUE_NUM, NULL), 0);
}

/* All of a start, in an order that every back end takes. */
static void test_start(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	assert_int_equal(make(bench), 0);
	set_used_index(bench, 1, 77);
	start(bench);
	run_until(bench, is_running(bench));

	assert_int_equal(told(bench, 0, VHOST_USER_SET_FEATURES, &last), 1);
	assert_true(last.payload.u64 ==
		    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_EVENT_IDX) |
		     BIT(VHOST_USER_F_PROTOCOL_FEATURES)));
	assert_int_equal(told(bench, 0, VHOST_USER_SET_MEM_TABLE, &last), 1);
	assert_int_equal(last.n_fds, 1);
	assert_true(last.payload.memory.regions[0].size == MEMORY_SIZE);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_NUM, &last), 2);
	assert_int_equal(last.payload.state.num, QUEUE_SIZE);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_BASE, &last), 2);
	assert_int_equal(last.payload.state.index, 1);
	assert_int_equal(last.payload.state.num, 77);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_ADDR, &last), 2);
	assert_true(last.payload.addr.used == 0x7f0000018000);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_CALL, &last), 2);
	assert_int_equal(last.n_fds, 1);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_KICK, NULL), 2);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_ENABLE, NULL), 2);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_INFLIGHT_FD, NULL), 1);

	assert_true(place(bench, 0, VHOST_USER_SET_BACKEND_REQ_FD) <
		    place(bench, 0, VHOST_USER_SET_VRING_ENABLE));
	assert_true(place(bench, 0, VHOST_USER_SET_FEATURES) <
		    place(bench, 0, VHOST_USER_SET_MEM_TABLE));
	assert_true(place(bench, 0, VHOST_USER_SET_MEM_TABLE) <
		    place(bench, 0, VHOST_USER_SET_VRING_ADDR));
	assert_true(place(bench, 0, VHOST_USER_SET_INFLIGHT_FD) <
		    place(bench, 0, VHOST_USER_SET_VRING_KICK));
}

/* Over a reconnection: same eventfds, same region, used index as base. */
static void test_reconnect(void **state)
{
	struct bench *bench = *state;
	struct scripted_told before, after;

	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	assert_int_equal(told(bench, 0, VHOST_USER_SET_INFLIGHT_FD, &before),
			 1);
	take_events(bench);
	set_used_index(bench, 0, 65535);
	set_used_index(bench, 1, 12345);
	scripted_backend_kill(&bench->backend);
	run_until(bench, is_running(bench));

	assert_int_equal(told(bench, 1, VHOST_USER_SET_VRING_BASE, &after), 2);
	assert_int_equal(after.payload.state.num, 12345);
	assert_int_equal(told(bench, -1, VHOST_USER_GET_INFLIGHT_FD, NULL), 1);
	assert_int_equal(told(bench, 1, VHOST_USER_SET_INFLIGHT_FD, &after), 1);
	assert_true(after.inode == before.inode);
	assert_memory_equal(&after.payload.inflight, &before.payload.inflight,
			    sizeof(after.payload.inflight));
	assert_int_equal(bench->n_failed, 0);
}

/* A guest that starts while the back end is away gets it when it is back. */
static void test_start_while_away(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(make(bench), 0);
	scripted_backend_refuse(&bench->backend, true);
	scripted_backend_kill(&bench->backend);
	run_until(bench, !vhost_frontend_is_connected(bench->frontend));
	start(bench);
	assert_false(is_running(bench));
	scripted_backend_refuse(&bench->backend, false);
	run_until(bench, is_running(bench));
}

/* Reset: rings stopped, the in-flight region forgotten, and a new start. */
static void test_stop(void **state)
{
	struct bench *bench = *state;

	bench->backend.protocol_features |=
		BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE);
	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	take_events(bench);
	vhost_frontend_stop(bench->frontend, count_stopped);
	run_until(bench, bench->n_stopped == 1);
	assert_int_equal(told(bench, 0, VHOST_USER_GET_VRING_BASE, NULL), 2);
	assert_int_equal(told(bench, 0, VHOST_USER_RESET_DEVICE, NULL), 1);
	start(bench);
	run_until(bench, is_running(bench));
	assert_int_equal(told(bench, 0, VHOST_USER_GET_INFLIGHT_FD, NULL), 2);
}

/* A reset in the middle of a start, and one that the next start overtakes. */
static void test_stop_while_starting(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(make(bench), 0);
	start(bench);
	vhost_frontend_stop(bench->frontend, count_stopped);
	start(bench);
	run_until(bench, bench->n_stopped == 1 && is_running(bench));
	take_events(bench);
	vhost_frontend_stop(bench->frontend, count_stopped);
	run_until(bench, bench->n_stopped == 2);
	vhost_frontend_stop(bench->frontend, count_stopped);
	run_until(bench, bench->n_stopped == 3);
	assert_false(is_running(bench));
}

/* A reset is not held up by a back end that is away. */
static void test_stop_while_away(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	scripted_backend_refuse(&bench->backend, true);
	scripted_backend_kill(&bench->backend);
	run_until(bench, !vhost_frontend_is_connected(bench->frontend));
	vhost_frontend_stop(bench->frontend, count_stopped);
	run_until(bench, bench->n_stopped == 1);
	scripted_backend_refuse(&bench->backend, false);
}

static void test_status(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	bench->backend.protocol_features |= BIT(VHOST_USER_PROTOCOL_F_STATUS);
	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	assert_int_equal(told(bench, 0, VHOST_USER_SET_STATUS, &last), 3);
	assert_int_equal(last.payload.u64, 15);
	vhost_frontend_stop(bench->frontend, count_stopped);
	run_until(bench, bench->n_stopped == 1);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_STATUS, &last), 4);
	assert_int_equal(last.payload.u64, 0);
}

/* More regions than a table holds go one by one, if the back end can. */
static void test_memory_slots(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	add_regions(bench, 16);
	bench->backend.protocol_features |=
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	assert_int_equal(told(bench, 0, VHOST_USER_SET_MEM_TABLE, NULL), 0);
	assert_int_equal(told(bench, 0, VHOST_USER_ADD_MEM_REG, &last), 16);
	assert_true(last.payload.region.region.gpa == MEMORY_SIZE / 16 * 15);
	assert_int_equal(last.n_fds, 1);
}

static void test_too_few_memory_slots(void **state)
{
	struct bench *bench = *state;

	add_regions(bench, 16);
	assert_int_equal(make(bench), -EPROTO);
	assert_string_equal(bench->err.text,
			    "back end takes less than 16 memory regions");
}

/* The back end says that its config space changed. */
static void test_config_change(void **state)
{
	struct bench *bench = *state;
	struct vhost_message message;

	assert_int_equal(make(bench), 0);
	bench->backend.config[8] = 1;
	vhost_message_init(&message, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0,
			   0);
	for (unsigned i = 0; i < 50; i++)
		scripted_backend_send_channel(&bench->backend, &message.header,
					      sizeof(message.header));
	run_until(bench, bench->n_changed == 1);
	assert_int_equal(vhost_frontend_config(bench->frontend)[8], 1);
}

/* Garbage on the channel costs the connection, like garbage elsewhere. */
static void test_channel_garbage(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	take_events(bench);
	scripted_backend_send_channel(&bench->backend, "GET / HTTP/1.1\r\n",
				      16);
	run_until(bench, is_running(bench));
	assert_int_equal(bench->backend.n_connections, 2);
}

/* What the driver wrote is told to the next back end too, until a reset. */
static void test_config_write(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;
	uint8_t value = 1;

	assert_int_equal(make(bench), 0);
	assert_int_equal(
		vhost_frontend_set_config(bench->frontend, 32, &value, 1), 0);
	assert_int_equal(vhost_frontend_set_config(bench->frontend, 60, &value,
						   1),
			 -EINVAL);
	assert_int_equal(vhost_frontend_set_config(bench->frontend, UINT32_MAX,
						   &value, 2),
			 -EINVAL);
	start(bench);
	run_until(bench, is_running(bench));
	take_events(bench);
	scripted_backend_kill(&bench->backend);
	run_until(bench, is_running(bench));
	assert_int_equal(told(bench, 1, VHOST_USER_SET_CONFIG, &last), 1);
	assert_int_equal(last.payload.config.offset, 32);
	assert_int_equal(last.payload.config.size, 1);
	assert_int_equal(last.payload.config.data[0], 1);
}

static void test_bad_rings(void **state)
{
	struct bench *bench = *state;
	static const struct vhost_frontend_queue bad[] = {
		{ true, 0, 0x1000, 0x4000, 0x8000 },
		{ true, 100, 0x1000, 0x4000, 0x8000 },
		{ true, 32768, 0xfe000, 0x4000, 0x8000 },
		{ true, 128, 0x1001, 0x4000, 0x8000 },
		{ true, 128, 0x1000, 0x4001, 0x8000 },
		{ true, 128, 0x1000, 0x4000, 0x8002 },
		{ true, 128, 0x1000, 0x4000, MEMORY_SIZE },
		{ true, 128, UINT64_MAX - 15, 0x4000, 0x8000 },
	};

	assert_int_equal(make(bench), 0);
	for (unsigned i = 0; i < array_size(bad); i++)
		assert_int_equal(vhost_frontend_start(bench->frontend,
						      BIT(VIRTIO_F_VERSION_1),
						      &bad[i], 1),
				 -EINVAL);
}

static void test_nobody_listens(void **state)
{
	struct bench *bench = *state;

	scripted_backend_start(&bench->backend);
	bench->options.socket_path = "/nonexistent/socket";
	assert_int_equal(vhost_frontend_new(&bench->frontend, &bench->loop,
					    &bench->options, &bench->memory,
					    bench->regions, bench->n_regions,
					    &ops, bench, &bench->err),
			 -ENOENT);
	assert_non_null(strstr(bench->err.text, "/nonexistent/socket"));
}

/* Policies: given up at once, and after a time. */
static void test_never_reconnect(void **state)
{
	struct bench *bench = *state;

	bench->options.reconnect_seconds = FRONTEND_RECONNECT_NEVER;
	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	scripted_backend_kill(&bench->backend);
	run_until(bench, bench->n_failed == 1);
	assert_string_equal(bench->reason, "closed the connection");
	assert_int_equal(bench->backend.n_connections, 1);
	vhost_frontend_stop(bench->frontend, count_stopped);
	run_until(bench, bench->n_stopped == 1);
}

static void test_reconnect_seconds(void **state)
{
	struct bench *bench = *state;
	int64_t begin;

	bench->options.reconnect_seconds = 1;
	assert_int_equal(make(bench), 0);
	scripted_backend_refuse(&bench->backend, true);
	scripted_backend_kill(&bench->backend);
	begin = now_ms();
	run_until(bench, bench->n_failed == 1);
	assert_in_range(now_ms() - begin, 900, 5000);
	scripted_backend_refuse(&bench->backend, false);
}

/* Too little to begin with: refused at once, with the reason. */
static void test_not_fit(void **state)
{
	struct bench *bench = *state;

	bench->backend.features = BIT(30);
	assert_int_equal(make(bench), -EPROTO);
	assert_string_equal(bench->err.text, "back end offers no virtio 1.0");
}

static void test_needs_config(void **state)
{
	struct bench *bench = *state;

	bench->options.needs_config = true;
	bench->backend.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	assert_int_equal(make(bench), -EPROTO);
	assert_string_equal(bench->err.text, "back end offers no config space");
}

/* A back end from before protocol features: rings start enabled. */
static void test_no_protocol_features(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	bench->backend.features &= ~BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	bench->options.n_queues_fixed = 2;
	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	assert_int_equal(told(bench, 0, VHOST_USER_SET_VRING_ENABLE, NULL), 0);
	assert_int_equal(told(bench, 0, VHOST_USER_SET_FEATURES, &last), 1);
	assert_false(last.payload.u64 & BIT(VHOST_USER_F_PROTOCOL_FEATURES));
}

/* It comes back with less than the guest was told: wait for a better one. */
static void test_comes_back_with_less(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(make(bench), 0);
	start(bench);
	run_until(bench, is_running(bench));
	take_events(bench);
	bench->backend.features &= ~BIT(VIRTIO_F_EVENT_IDX);
	scripted_backend_kill(&bench->backend);
	run_until(bench, told(bench, 3, VHOST_USER_GET_CONFIG, NULL) == 1);
	assert_false(is_running(bench));
	assert_int_equal(told(bench, 2, VHOST_USER_SET_MEM_TABLE, NULL), 0);
	bench->backend.features |= BIT(VIRTIO_F_EVENT_IDX);
	run_until(bench, is_running(bench));
}

static const uint32_t faulty_requests[] = {
	VHOST_USER_GET_FEATURES,       VHOST_USER_GET_PROTOCOL_FEATURES,
	VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_GET_QUEUE_NUM,
	VHOST_USER_GET_CONFIG,	       VHOST_USER_SET_MEM_TABLE,
	VHOST_USER_GET_INFLIGHT_FD,    VHOST_USER_SET_INFLIGHT_FD,
	VHOST_USER_SET_VRING_ADDR,     VHOST_USER_SET_VRING_KICK,
	VHOST_USER_SET_VRING_ENABLE,
};

/* A wrong value that no front end can see as one. */
static bool is_fault(uint32_t request, enum scripted_fault fault)
{
	bool is_ack = request == VHOST_USER_SET_BACKEND_REQ_FD ||
		      request == VHOST_USER_SET_MEM_TABLE ||
		      request == VHOST_USER_SET_INFLIGHT_FD ||
		      request == VHOST_USER_GET_CONFIG;
	bool has_fd = request == VHOST_USER_GET_INFLIGHT_FD;
	bool has_no_answer = request == VHOST_USER_SET_VRING_ADDR ||
			     request == VHOST_USER_SET_VRING_KICK ||
			     request == VHOST_USER_SET_VRING_ENABLE;

	if (has_no_answer && fault == SCRIPTED_SILENT)
		return false;
	/* The inflight description may be 20 bytes as well as 24. */
	if (has_fd && fault == SCRIPTED_TOO_SHORT)
		return false;
	return fault != SCRIPTED_NEGATIVE || is_ack;
}

/* The fault comes on the first connection: making the front end fails, or
 * starting is done again with the next. */
static void test_faults(void **state)
{
	for (unsigned i = 0; i < array_size(faulty_requests); i++) {
		for (int f = SCRIPTED_CLOSE; f < SCRIPTED_FAULTS_END; f++) {
			struct bench *bench;
			int r;

			if (!is_fault(faulty_requests[i], f))
				continue;
			set_up(state);
			bench = *state;
			bench->backend.fault_connection = 0;
			bench->backend.fault_request = faulty_requests[i];
			bench->backend.fault = f;
			r = make(bench);
			if (r == 0) {
				start(bench);
				run_until(bench,
					  bench->backend.n_connections > 1 &&
						  is_running(bench));
				assert_true(bench->backend.is_faulty_done);
			} else {
				assert_true(bench->backend.is_faulty_done);
				assert_true(bench->err.text[0]);
			}
			tear_down(state);
		}
	}
	set_up(state);
	scripted_backend_start(&((struct bench *)*state)->backend);
}

/* The same faults of a back end that comes back: only one connection more. */
static void test_faults_at_reconnection(void **state)
{
	for (unsigned i = 0; i < array_size(faulty_requests); i++) {
		for (int f = SCRIPTED_CLOSE; f < SCRIPTED_FAULTS_END; f++) {
			struct bench *bench;

			/* Asked once in a life. */
			if (!is_fault(faulty_requests[i], f) ||
			    faulty_requests[i] == VHOST_USER_GET_INFLIGHT_FD)
				continue;
			set_up(state);
			bench = *state;
			bench->backend.fault_connection = 1;
			bench->backend.fault_request = faulty_requests[i];
			bench->backend.fault = f;
			assert_int_equal(make(bench), 0);
			start(bench);
			run_until(bench, is_running(bench));
			take_events(bench);
			scripted_backend_kill(&bench->backend);
			run_until(bench, bench->backend.n_connections == 3 &&
						 is_running(bench));
			assert_true(bench->backend.is_faulty_done);
			assert_int_equal(bench->n_failed, 0);
			tear_down(state);
		}
	}
	set_up(state);
	scripted_backend_start(&((struct bench *)*state)->backend);
}

/* A back end that never gets past its handshake: one line, not a flood. */
static void test_one_log_line(void **state)
{
	struct bench *bench = *state;
	char path[] = "/tmp/frontend.log.XXXXXX", text[4096];
	int log = mkstemp(path), saved = dup(2);
	ssize_t len;
	unsigned n_lines = 0;

	unlink(path);
	assert_int_equal(make(bench), 0);
	bench->backend.fault_request = VHOST_USER_GET_FEATURES;
	bench->backend.fault = SCRIPTED_GARBAGE;
	log_set_level(LOG_LEVEL_INFO);
	dup2(log, 2);
	scripted_backend_kill(&bench->backend);
	run_until(bench, told(bench, 6, VHOST_USER_GET_FEATURES, NULL) == 1);
	dup2(saved, 2);
	close(saved);
	len = pread(log, text, sizeof(text), 0);
	for (ssize_t i = 0; i < len; i++)
		n_lines += text[i] == '\n';
	close(log);
	assert_int_equal(n_lines, 1);
	text[len] = 0;
	assert_non_null(strstr(text, "blk0: back end closed the connection"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_handshake),
		test(test_packed_without_reconnection),
		test(test_queue_count),
		test(test_start),
		test(test_reconnect),
		test(test_start_while_away),
		test(test_stop),
		test(test_stop_while_starting),
		test(test_stop_while_away),
		test(test_status),
		test(test_memory_slots),
		test(test_too_few_memory_slots),
		test(test_config_change),
		test(test_channel_garbage),
		test(test_config_write),
		test(test_bad_rings),
		test(test_nobody_listens),
		test(test_never_reconnect),
		test(test_reconnect_seconds),
		test(test_not_fit),
		test(test_needs_config),
		test(test_no_protocol_features),
		test(test_comes_back_with_less),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_faults_at_reconnection),
		test(test_one_log_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
