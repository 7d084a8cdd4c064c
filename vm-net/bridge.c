/* SPDX-License-Identifier: ISC */
/*
 * The learning bridge (IEEE 802.1D-2004 §7.7 to §7.9, without spanning tree:
 * who plugs two uplinks into one network has made a loop).
 *
 * Fairness: a port brings in BRIDGE_BUDGET frames at most and then stands at
 * the end of the list of running ports, which the event loop comes back to
 * after everything else that is ready. Ports that frames went to are flushed
 * once after each such turn: one call to a guest for a batch.
 */
#include "vm-net/bridge.h"

#include "lib/base/cleanup.h"
#include "vm-net/segment.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>

static const char *const drop_names[DROP_N] = {
	[DROP_NONE] = "none",
	[DROP_RX_MALFORMED] = "rx_malformed",
	[DROP_RX_BAD_SOURCE] = "rx_bad_source",
	[DROP_RX_RESERVED] = "rx_reserved",
	[DROP_RX_LOCAL] = "rx_local",
	[DROP_RX_DISABLED] = "rx_disabled",
	[DROP_TX_DOWN] = "tx_down",
	[DROP_TX_NO_BUFFER] = "tx_no_buffer",
	[DROP_TX_TOO_LONG] = "tx_too_long",
};

const char *drop_name(enum drop reason)
{
	return drop_names[reason];
}

uint64_t bridge_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void flush_dirty(struct bridge *bridge)
{
	while (bridge->dirty != NULL) {
		struct port *port = bridge->dirty;

		bridge->dirty = port->next_dirty;
		port->is_dirty = false;
		port->ops->flush(port);
	}
}

static void enqueue(struct bridge *bridge, struct port *port)
{
	port->is_running = true;
	port->next_running = NULL;
	*bridge->running_end = port;
	bridge->running_end = &port->next_running;
	bridge->n_running++;
}

static struct port *dequeue(struct bridge *bridge)
{
	struct port *port = bridge->running;

	bridge->running = port->next_running;
	if (bridge->running == NULL)
		bridge->running_end = &bridge->running;
	port->is_running = false;
	bridge->n_running--;
	return port;
}

/* One turn for each that is running now. */
static void run_again(struct event_source *source, uint32_t events)
{
	struct bridge *bridge = container_of(source, struct bridge, again);

	(void)events;
	for (unsigned n = bridge->n_running; n > 0; n--) {
		struct port *port;

		if (bridge->running == NULL)
			break; /* ports may go away meanwhile */
		port = dequeue(bridge);
		if (port->ops->run(port))
			enqueue(bridge, port);
		flush_dirty(bridge);
	}
	if (bridge->running == NULL)
		(void)event_source_set(source, 0);
}

void bridge_run(struct port *port)
{
	struct bridge *bridge = port->bridge;

	if (port->is_running)
		return;
	if (port->ops->run(port)) {
		enqueue(bridge, port);
		(void)event_source_set(&bridge->again, EPOLLIN);
	}
	flush_dirty(bridge);
}

int bridge_init(struct bridge *bridge, struct event_loop *loop,
		uint64_t ageing_ms)
{
	uint32_t seed;
	int ret;

	memset(bridge, 0, sizeof(*bridge));
	bridge->loop = loop;
	bridge->running_end = &bridge->running;
	bridge->again = (struct event_source)EVENT_SOURCE_INIT;
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return -errno;
	mac_table_init(&bridge->table, ageing_ms, seed);
	bridge->again_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bridge->again_fd < 0)
		return -errno;
	ret = event_source_add(loop, &bridge->again, bridge->again_fd, 0,
			       run_again);
	if (ret < 0)
		close_fd(&bridge->again_fd);
	return ret;
}

void bridge_deinit(struct bridge *bridge)
{
	assert(bridge->n_ports == 0);
	event_source_remove(&bridge->again);
	close_fd(&bridge->again_fd);
}

int bridge_add(struct bridge *bridge, struct port *port,
	       const struct port_ops *ops, const char *name)
{
	unsigned id = 1;

	while (id < BRIDGE_PORTS_MAX && bridge->ports[id] != NULL)
		id++;
	if (id == BRIDGE_PORTS_MAX)
		return -ENOSPC;
	*port = (struct port){
		.bridge = bridge,
		.ops = ops,
		.name = name,
		.id = id,
	};
	bridge->ports[id] = port;
	bridge->n_ports++;
	if (id > bridge->max_id)
		bridge->max_id = id;
	return 0;
}

static void unlink_lists(struct bridge *bridge, struct port *port)
{
	struct port **at;

	for (at = &bridge->dirty; *at != NULL; at = &(*at)->next_dirty) {
		if (*at == port) {
			*at = port->next_dirty;
			break;
		}
	}
	for (at = &bridge->running; *at != NULL; at = &(*at)->next_running) {
		if (*at == port) {
			*at = port->next_running;
			if (*at == NULL)
				bridge->running_end = at;
			bridge->n_running--;
			break;
		}
	}
}

void bridge_remove(struct port *port)
{
	struct bridge *bridge = port->bridge;

	if (bridge == NULL)
		return;
	unlink_lists(bridge, port);
	mac_table_forget_port(&bridge->table, port->id);
	bridge->ports[port->id] = NULL;
	bridge->n_ports--;
	while (bridge->max_id > 0 && bridge->ports[bridge->max_id] == NULL)
		bridge->max_id--;
	port->bridge = NULL;
}

void bridge_drop(struct port *port, enum drop reason)
{
	port->counters.dropped[reason]++;
}

static void send_frame(struct bridge *bridge, struct port *port,
		       struct frame *frame)
{
	enum drop reason = port->ops->deliver(port, frame);

	if (reason != DROP_NONE) {
		bridge_drop(port, reason);
		return;
	}
	port->counters.tx_frames++;
	port->counters.tx_bytes += frame->len;
	if (port->ops->flush != NULL && !port->is_dirty) {
		port->is_dirty = true;
		port->next_dirty = bridge->dirty;
		bridge->dirty = port;
	}
}

static void send_to(struct bridge *bridge, struct port *port)
{
	const struct frame *frame = &bridge->frame;

	if (frame_is_taken(frame, port->ops->features(port))) {
		send_frame(bridge, port, &bridge->frame);
		return;
	}
	for (unsigned i = 0; i < segment_count(frame); i++) {
		segment_make(frame, i, &bridge->segment);
		send_frame(bridge, port, &bridge->segment);
	}
}

static void flood(struct bridge *bridge, const struct port *from)
{
	for (unsigned id = 1; id <= bridge->max_id; id++) {
		if (bridge->ports[id] != NULL && bridge->ports[id] != from)
			send_to(bridge, bridge->ports[id]);
	}
}

static bool is_multicast(const uint8_t mac[MAC_LEN])
{
	return (mac[0] & 1) != 0;
}

static bool is_zero(const uint8_t mac[MAC_LEN])
{
	static const uint8_t zero[MAC_LEN];

	return memcmp(mac, zero, MAC_LEN) == 0;
}

/* 01-80-C2-00-00-00 to -0F end at the first bridge: pause, spanning tree. */
static bool is_reserved(const uint8_t mac[MAC_LEN])
{
	static const uint8_t prefix[MAC_LEN - 1] = { 0x01, 0x80, 0xc2 };

	return memcmp(mac, prefix, sizeof(prefix)) == 0 && mac[5] < 0x10;
}

void bridge_forward(struct port *port)
{
	struct bridge *bridge = port->bridge;
	const uint8_t *to = bridge->frame.head, *from = to + MAC_LEN;
	uint64_t now_ms = bridge_now_ms();
	int id = -1;

	port->counters.rx_frames++;
	port->counters.rx_bytes += bridge->frame.len;
	if (is_multicast(from) || is_zero(from)) {
		bridge_drop(port, DROP_RX_BAD_SOURCE);
		return;
	}
	(void)mac_table_learn(&bridge->table, from, port->id, now_ms);
	if (is_reserved(to)) {
		bridge_drop(port, DROP_RX_RESERVED);
		return;
	}
	if (!is_multicast(to))
		id = mac_table_lookup(&bridge->table, to, now_ms);
	if (id < 0)
		flood(bridge, port);
	else if ((unsigned)id == port->id)
		bridge_drop(port, DROP_RX_LOCAL);
	else
		send_to(bridge, bridge->ports[id]);
}
