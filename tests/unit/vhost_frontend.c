/* SPDX-License-Identifier: ISC */
/*
 * The front end against a back end that answers by a table: the order of its
 * messages, and what it keeps over reconnections.
 */
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "protocols/virtio.h"
#include "tests/support/frontend_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BIT(n) (UINT64_C(1) << (n))

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
	assert_int_equal(bench_make(bench), 0);
	assert_true(vhost_frontend_features(bench->frontend) ==
		    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_EVENT_IDX) |
		     BIT(VIRTIO_F_INDIRECT_DESC) | BIT(9) | BIT(55)));
	assert_int_equal(vhost_frontend_n_queues(bench->frontend), 2);
	assert_true(vhost_frontend_has_config(bench->frontend));
	assert_int_equal(vhost_frontend_config(bench->frontend)[3], 42);
	assert_true(vhost_frontend_is_connected(bench->frontend));
	assert_int_equal(
		bench_told(bench, 0, VHOST_USER_SET_VRING_ENABLE, NULL), 0);
}

/* A packed ring is offered only where nobody will have to take it over. */
static void test_packed_without_reconnection(void **state)
{
	struct bench *bench = *state;

	bench->options.reconnect_seconds = FRONTEND_RECONNECT_NEVER;
	bench->backend.features |= BIT(VIRTIO_F_RING_PACKED);
	assert_int_equal(bench_make(bench), 0);
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
	assert_int_equal(bench_make(bench), 0);
	assert_int_equal(vhost_frontend_n_queues(bench->frontend), 6);
	vhost_frontend_free(bench->frontend);
	bench->frontend = NULL;
	scripted_backend_stop(&bench->backend);

	scripted_backend_init(&bench->backend);
	bench->backend.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_F_MQ);
	assert_int_equal(bench_make(bench), 0);
	assert_int_equal(vhost_frontend_n_queues(bench->frontend), 2);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_GET_QUEUE_NUM, NULL),
			 0);
}

/* All of a start, in an order that every back end takes. */
static void test_start(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	assert_int_equal(bench_make(bench), 0);
	bench_set_used_index(bench, 1, 77);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));

	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_FEATURES, &last),
			 1);
	assert_true(last.payload.u64 ==
		    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_EVENT_IDX) |
		     BIT(VHOST_USER_F_PROTOCOL_FEATURES)));
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_MEM_TABLE, &last),
			 1);
	assert_int_equal(last.n_fds, 1);
	assert_true(last.payload.memory.regions[0].size == BENCH_MEMORY_SIZE);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_VRING_NUM, &last),
			 2);
	assert_int_equal(last.payload.state.num, BENCH_QUEUE_SIZE);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_VRING_BASE, &last),
			 2);
	assert_int_equal(last.payload.state.index, 1);
	assert_int_equal(last.payload.state.num, 77);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_VRING_ADDR, &last),
			 2);
	assert_true(last.payload.addr.used == 0x7f0000018000);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_VRING_CALL, &last),
			 2);
	assert_int_equal(last.n_fds, 1);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_VRING_KICK, NULL),
			 2);
	assert_int_equal(
		bench_told(bench, 0, VHOST_USER_SET_VRING_ENABLE, NULL), 2);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_INFLIGHT_FD, NULL),
			 1);

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

	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	assert_int_equal(
		bench_told(bench, 0, VHOST_USER_SET_INFLIGHT_FD, &before), 1);
	bench_take_events(bench);
	bench_set_used_index(bench, 0, 65535);
	bench_set_used_index(bench, 1, 12345);
	scripted_backend_kill(&bench->backend);
	bench_run_until(bench, bench_is_running(bench));

	assert_int_equal(
		bench_told(bench, 1, VHOST_USER_SET_VRING_BASE, &after), 2);
	assert_int_equal(after.payload.state.num, 12345);
	assert_int_equal(
		bench_told(bench, -1, VHOST_USER_GET_INFLIGHT_FD, NULL), 1);
	assert_int_equal(
		bench_told(bench, 1, VHOST_USER_SET_INFLIGHT_FD, &after), 1);
	assert_true(after.inode == before.inode);
	assert_memory_equal(&after.payload.inflight, &before.payload.inflight,
			    sizeof(after.payload.inflight));
	assert_int_equal(bench->n_failed, 0);
}

/* A guest that starts while the back end is away gets it when it is back. */
static void test_start_while_away(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(bench_make(bench), 0);
	scripted_backend_refuse(&bench->backend, true);
	scripted_backend_kill(&bench->backend);
	bench_run_until(bench, !vhost_frontend_is_connected(bench->frontend));
	bench_start(bench);
	assert_false(bench_is_running(bench));
	scripted_backend_refuse(&bench->backend, false);
	bench_run_until(bench, bench_is_running(bench));
}

/* Reset: rings stopped, the in-flight region forgotten, and a new start. */
static void test_stop(void **state)
{
	struct bench *bench = *state;

	bench->backend.protocol_features |=
		BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE);
	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	bench_take_events(bench);
	vhost_frontend_stop(bench->frontend, bench_count_stopped);
	bench_run_until(bench, bench->n_stopped == 1);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_GET_VRING_BASE, NULL),
			 2);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_RESET_DEVICE, NULL),
			 1);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	assert_int_equal(bench_told(bench, 0, VHOST_USER_GET_INFLIGHT_FD, NULL),
			 2);
}

/* A reset in the middle of a start, and one that the next start overtakes. */
static void test_stop_while_starting(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	vhost_frontend_stop(bench->frontend, bench_count_stopped);
	bench_start(bench);
	bench_run_until(bench,
			bench->n_stopped == 1 && bench_is_running(bench));
	bench_take_events(bench);
	vhost_frontend_stop(bench->frontend, bench_count_stopped);
	bench_run_until(bench, bench->n_stopped == 2);
	vhost_frontend_stop(bench->frontend, bench_count_stopped);
	bench_run_until(bench, bench->n_stopped == 3);
	assert_false(bench_is_running(bench));
}

/* A reset is not held up by a back end that is away. */
static void test_stop_while_away(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	scripted_backend_refuse(&bench->backend, true);
	scripted_backend_kill(&bench->backend);
	bench_run_until(bench, !vhost_frontend_is_connected(bench->frontend));
	vhost_frontend_stop(bench->frontend, bench_count_stopped);
	bench_run_until(bench, bench->n_stopped == 1);
	scripted_backend_refuse(&bench->backend, false);
}

static void test_status(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	bench->backend.protocol_features |= BIT(VHOST_USER_PROTOCOL_F_STATUS);
	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_STATUS, &last), 3);
	assert_int_equal(last.payload.u64, 15);
	vhost_frontend_stop(bench->frontend, bench_count_stopped);
	bench_run_until(bench, bench->n_stopped == 1);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_STATUS, &last), 4);
	assert_int_equal(last.payload.u64, 0);
}

/* More regions than a table holds go one by one, if the back end can. */
static void test_memory_slots(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	bench_add_regions(bench, 16);
	bench->backend.protocol_features |=
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_MEM_TABLE, NULL),
			 0);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_ADD_MEM_REG, &last),
			 16);
	assert_true(last.payload.region.region.gpa ==
		    BENCH_MEMORY_SIZE / 16 * 15);
	assert_int_equal(last.n_fds, 1);
}

static void test_too_few_memory_slots(void **state)
{
	struct bench *bench = *state;

	bench_add_regions(bench, 16);
	assert_int_equal(bench_make(bench), -EPROTO);
	assert_string_equal(bench->err.text,
			    "back end takes less than 16 memory regions");
}

/* The back end says that its config space changed. */
static void test_config_change(void **state)
{
	struct bench *bench = *state;
	struct vhost_message message;

	assert_int_equal(bench_make(bench), 0);
	bench->backend.config[8] = 1;
	vhost_message_init(&message, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0,
			   0);
	for (unsigned i = 0; i < 50; i++)
		scripted_backend_send_channel(&bench->backend, &message.header,
					      sizeof(message.header));
	bench_run_until(bench, bench->n_changed == 1);
	assert_int_equal(vhost_frontend_config(bench->frontend)[8], 1);
}

/* Garbage on the channel costs the connection, like garbage elsewhere. */
static void test_channel_garbage(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	bench_take_events(bench);
	scripted_backend_send_channel(&bench->backend, "GET / HTTP/1.1\r\n",
				      16);
	bench_run_until(bench, bench_is_running(bench));
	assert_int_equal(bench->backend.n_connections, 2);
}

/* What the driver wrote is told to the next back end too, until a reset. */
static void test_config_write(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;
	uint8_t value = 1;

	assert_int_equal(bench_make(bench), 0);
	assert_int_equal(
		vhost_frontend_set_config(bench->frontend, 32, &value, 1), 0);
	assert_int_equal(vhost_frontend_set_config(bench->frontend, 60, &value,
						   1),
			 -EINVAL);
	assert_int_equal(vhost_frontend_set_config(bench->frontend, UINT32_MAX,
						   &value, 2),
			 -EINVAL);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	bench_take_events(bench);
	scripted_backend_kill(&bench->backend);
	bench_run_until(bench, bench_is_running(bench));
	assert_int_equal(bench_told(bench, 1, VHOST_USER_SET_CONFIG, &last), 1);
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
		{ true, 128, 0x1000, 0x4000, BENCH_MEMORY_SIZE },
		{ true, 128, UINT64_MAX - 15, 0x4000, 0x8000 },
	};

	assert_int_equal(bench_make(bench), 0);
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
					    &bench_ops, bench, &bench->err),
			 -ENOENT);
	assert_non_null(strstr(bench->err.text, "/nonexistent/socket"));
}

/* Too little to begin with: refused at once, with the reason. */
static void test_not_fit(void **state)
{
	struct bench *bench = *state;

	bench->backend.features = BIT(30);
	assert_int_equal(bench_make(bench), -EPROTO);
	assert_string_equal(bench->err.text, "back end offers no virtio 1.0");
}

static void test_needs_config(void **state)
{
	struct bench *bench = *state;

	bench->options.needs_config = true;
	bench->backend.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	assert_int_equal(bench_make(bench), -EPROTO);
	assert_string_equal(bench->err.text, "back end offers no config space");
}

/* A back end from before protocol features: rings start enabled. */
static void test_no_protocol_features(void **state)
{
	struct bench *bench = *state;
	struct scripted_told last;

	bench->backend.features &= ~BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	bench->options.n_queues_fixed = 2;
	assert_int_equal(bench_make(bench), 0);
	bench_start(bench);
	bench_run_until(bench, bench_is_running(bench));
	assert_int_equal(
		bench_told(bench, 0, VHOST_USER_SET_VRING_ENABLE, NULL), 0);
	assert_int_equal(bench_told(bench, 0, VHOST_USER_SET_FEATURES, &last),
			 1);
	assert_false(last.payload.u64 & BIT(VHOST_USER_F_PROTOCOL_FEATURES));
}

#define test(name) \
	cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

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
		test(test_not_fit),
		test(test_needs_config),
		test(test_no_protocol_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
