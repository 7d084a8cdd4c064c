/* SPDX-License-Identifier: ISC */
/* Which frame goes where, with ports that only note what they get. */
#include "vm-net/bridge.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum {
	N_PORTS = 4,
	FRAME_LEN = 60,
};

struct fake_port {
	struct port port;
	unsigned n_got, n_flushed, n_left, n_runs;
	enum drop refusal;
	uint8_t last[FRAME_LEN];
};

static struct event_loop loop;
static struct bridge bridge;
static struct fake_port ports[N_PORTS];

static struct fake_port *from_port(const struct port *port)
{
	return container_of(port, struct fake_port, port);
}

static bool is_up(const struct port *port)
{
	(void)port;
	return true;
}

static uint64_t features(const struct port *port)
{
	(void)port;
	return 0;
}

static enum drop deliver(struct port *port, struct frame *frame)
{
	struct fake_port *fake = from_port(port);
	struct iovec iov = { .iov_base = fake->last, .iov_len = FRAME_LEN };

	if (fake->refusal != DROP_NONE)
		return fake->refusal;
	fake->n_got++;
	frame_copy(frame, 0, &iov, 1, 0, FRAME_LEN);
	return DROP_NONE;
}

static void flush(struct port *port)
{
	from_port(port)->n_flushed++;
}

static void set_frame(uint8_t to, uint8_t from)
{
	static uint8_t bytes[FRAME_LEN];

	memset(bytes, 0, sizeof(bytes));
	bytes[0] = to == 0xff ? 0xff : 0x52;
	bytes[5] = to;
	bytes[6] = 0x52;
	bytes[11] = from;
	assert_int_equal(frame_from_bytes(&bridge.frame, bytes, sizeof(bytes)),
			 0);
}

/* Brings in n_left frames to the address 0x90, 64 at a time. */
static bool run(struct port *port)
{
	struct fake_port *fake = from_port(port);

	fake->n_runs++;
	for (int i = 0; i < BRIDGE_BUDGET && fake->n_left > 0; i++) {
		set_frame(0x90, (uint8_t)port->id);
		bridge_forward(port);
		fake->n_left--;
	}
	return fake->n_left > 0;
}

static const struct port_ops ops = {
	.kind = "fake",
	.is_up = is_up,
	.features = features,
	.deliver = deliver,
	.flush = flush,
	.run = run,
};

static int set_up(void **state)
{
	(void)state;
	if (event_loop_init(&loop) < 0 ||
	    bridge_init(&bridge, &loop, 300000) < 0)
		return -1;
	memset(ports, 0, sizeof(ports));
	for (int i = 0; i < N_PORTS; i++) {
		if (bridge_add(&bridge, &ports[i].port, &ops, "fake") < 0)
			return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < N_PORTS; i++)
		bridge_remove(&ports[i].port);
	bridge_deinit(&bridge);
	event_loop_deinit(&loop);
	return 0;
}

static void forward(unsigned i, uint8_t to, uint8_t from)
{
	set_frame(to, from);
	bridge_forward(&ports[i].port);
}

static void expect_got(unsigned a, unsigned b, unsigned c, unsigned d)
{
	const unsigned expected[N_PORTS] = { a, b, c, d };

	for (int i = 0; i < N_PORTS; i++)
		assert_int_equal(ports[i].n_got, expected[i]);
}

static void test_flood_and_learn(void **state)
{
	(void)state;
	/* Unknown: to all but the one it came from. */
	forward(0, 2, 1);
	expect_got(0, 1, 1, 1);
	/* The answer goes to where the question came from. */
	forward(1, 1, 2);
	expect_got(1, 1, 1, 1);
	forward(0, 2, 1);
	expect_got(1, 2, 1, 1);
	assert_int_equal(ports[1].last[11], 1);
	/* Broadcast: all but the source. */
	forward(3, 0xff, 4);
	expect_got(2, 3, 2, 1);
	/* A station that moved is followed. */
	forward(2, 0xff, 2);
	forward(0, 2, 1);
	expect_got(3, 4, 3, 2);
}

static void test_no_reflection(void **state)
{
	(void)state;
	forward(0, 0xff, 1);
	forward(0, 0xff, 2);
	expect_got(0, 2, 2, 2);
	forward(0, 2, 1);
	expect_got(0, 2, 2, 2);
	assert_int_equal(ports[0].port.counters.dropped[DROP_RX_LOCAL], 1);
}

static void test_sources_that_are_none(void **state)
{
	static const uint8_t multicast[MAC_LEN] = { 0x01, 0, 0x5e, 0, 0, 9 };
	uint8_t bytes[FRAME_LEN] = { 0x52, 0, 0, 0, 0, 1 };

	(void)state;
	memcpy(bytes + MAC_LEN, multicast, MAC_LEN);
	frame_from_bytes(&bridge.frame, bytes, sizeof(bytes));
	bridge_forward(&ports[0].port);
	memset(bytes + MAC_LEN, 0, MAC_LEN);
	frame_from_bytes(&bridge.frame, bytes, sizeof(bytes));
	bridge_forward(&ports[0].port);
	expect_got(0, 0, 0, 0);
	assert_int_equal(ports[0].port.counters.dropped[DROP_RX_BAD_SOURCE], 2);
	assert_int_equal(mac_table_lookup(&bridge.table, multicast,
					  bridge_now_ms()),
			 -1);
}

/* Spanning tree's and its neighbours stay on their link; others do not. */
static void test_reserved_addresses(void **state)
{
	uint8_t bytes[FRAME_LEN] = { 0x01, 0x80, 0xc2, 0, 0, 0x0f, 0x52, 1 };

	(void)state;
	frame_from_bytes(&bridge.frame, bytes, sizeof(bytes));
	bridge_forward(&ports[0].port);
	expect_got(0, 0, 0, 0);
	bytes[5] = 0x10;
	frame_from_bytes(&bridge.frame, bytes, sizeof(bytes));
	bridge_forward(&ports[0].port);
	expect_got(0, 1, 1, 1);
}

/* A port that does not keep up loses its own frames, nobody else's. */
static void test_slow_port(void **state)
{
	(void)state;
	ports[1].refusal = DROP_TX_NO_BUFFER;
	for (int i = 0; i < 10; i++)
		forward(0, 0xff, 1);
	expect_got(0, 0, 10, 10);
	assert_int_equal(ports[1].port.counters.dropped[DROP_TX_NO_BUFFER], 10);
	assert_int_equal(ports[1].port.counters.tx_frames, 0);
	assert_int_equal(ports[2].port.counters.tx_frames, 10);
	assert_int_equal(ports[2].port.counters.tx_bytes, 10 * FRAME_LEN);
	assert_int_equal(ports[0].port.counters.rx_frames, 10);
}

/* One with a thousand frames to send takes turns with one that has ten. */
static void test_fairness(void **state)
{
	(void)state;
	ports[0].n_left = 1000;
	ports[1].n_left = 10;
	bridge_run(&ports[0].port);
	assert_int_equal(ports[0].n_left, 1000 - BRIDGE_BUDGET);
	bridge_run(&ports[1].port);
	assert_int_equal(ports[1].n_left, 0);
	assert_int_equal(ports[1].n_runs, 1);
	/* A kick meanwhile does not jump the queue. */
	bridge_run(&ports[0].port);
	assert_int_equal(ports[0].n_runs, 1);
	ports[2].n_left = 1000;
	bridge_run(&ports[2].port);
	for (int i = 0; i < 100; i++)
		assert_int_equal(event_loop_step(&loop, 0), 0);
	assert_int_equal(ports[0].n_left, 0);
	assert_int_equal(ports[2].n_left, 0);
	assert_int_equal(ports[0].n_runs, (1000 + 63) / 64);
	/* One flush a batch, not one a frame: 33 turns brought frames in. */
	assert_int_equal(ports[3].n_got, 2010);
	assert_int_equal(ports[3].n_flushed, 33);
}

/* A port goes away with frames still to bring in, and its addresses too. */
static void test_remove(void **state)
{
	(void)state;
	forward(0, 0xff, 1);
	ports[0].n_left = 1000;
	ports[1].n_left = 1000;
	bridge_run(&ports[0].port);
	bridge_run(&ports[1].port);
	bridge_remove(&ports[1].port);
	bridge_remove(&ports[1].port);
	for (int i = 0; i < 100; i++)
		assert_int_equal(event_loop_step(&loop, 0), 0);
	assert_int_equal(ports[0].n_left, 0);
	assert_true(ports[1].n_left > 0);
	bridge_remove(&ports[0].port);
	ports[2].n_got = ports[3].n_got = 0;
	forward(2, 1, 3); /* known no more: flooded */
	assert_int_equal(ports[3].n_got, 1);
	/* The lowest number is used again. */
	assert_int_equal(bridge_add(&bridge, &ports[1].port, &ops, "new"), 0);
	assert_int_equal(ports[1].port.id, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_flood_and_learn),
		TEST(test_no_reflection),
		TEST(test_sources_that_are_none),
		TEST(test_reserved_addresses),
		TEST(test_slow_port),
		TEST(test_fairness),
		TEST(test_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
