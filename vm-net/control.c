/* SPDX-License-Identifier: ISC */
/* What a switch tells about itself. Nothing here changes it. */
#include "vm-net/control.h"

#include "lib/base/cleanup.h"
#include "lib/base/size.h"
#include "vm-net/bridge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int list_ports(struct control_request *request, int argc, char **argv,
		      void *context)
{
	const struct bridge *bridge = context;

	(void)argc;
	(void)argv;
	for (unsigned id = 1; id <= bridge->max_id; id++) {
		const struct port *port = bridge->ports[id];

		if (port != NULL)
			control_reply(request, "%u %s %s %s", id,
				      port->ops->kind,
				      port->ops->is_up(port) ? "up" : "down",
				      port->name);
	}
	return 0;
}

static void print_entry(void *context, const uint8_t mac[MAC_LEN],
			unsigned port, uint64_t age_ms)
{
	control_reply(context, "%02x:%02x:%02x:%02x:%02x:%02x %u %" PRIu64,
		      mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], port,
		      age_ms / 1000);
}

static int list_fdb(struct control_request *request, int argc, char **argv,
		    void *context)
{
	const struct bridge *bridge = context;

	(void)argc;
	(void)argv;
	mac_table_for_each(&bridge->table, bridge_now_ms(), print_entry,
			   request);
	return 0;
}

static void print_counters(struct control_request *request,
			   const struct port *port)
{
	const struct port_counters *counters = &port->counters;
	char line[1024];
	size_t len;

	len = (size_t)snprintf(line, sizeof(line),
			       "%u rx_frames=%" PRIu64 " rx_bytes=%" PRIu64
			       " tx_frames=%" PRIu64 " tx_bytes=%" PRIu64,
			       port->id, counters->rx_frames,
			       counters->rx_bytes, counters->tx_frames,
			       counters->tx_bytes);
	for (int i = DROP_NONE + 1; i < DROP_N; i++)
		len += (size_t)snprintf(line + len, sizeof(line) - len,
					" %s=%" PRIu64, drop_name((enum drop)i),
					counters->dropped[i]);
	control_reply(request, "%s", line);
}

static int print_stats(struct control_request *request, int argc, char **argv,
		       void *context)
{
	const struct bridge *bridge = context;
	uint64_t wanted = 0;

	if (argc > 1 &&
	    (number_parse(argv[1], 1, BRIDGE_PORTS_MAX - 1, &wanted) < 0 ||
	     bridge->ports[wanted] == NULL))
		return control_error(request, -ENOENT, "no port %s", argv[1]);
	for (unsigned id = 1; id <= bridge->max_id; id++) {
		if (bridge->ports[id] != NULL && (wanted == 0 || wanted == id))
			print_counters(request, bridge->ports[id]);
	}
	return 0;
}

const struct control_verb control_verbs[] = {
	{ "ports", "", "PORT KIND up|down NAME, one a line", 0, 0, list_ports },
	{ "fdb", "", "addresses seen: MAC PORT SECONDS-AGO", 0, 0, list_fdb },
	{ "stats", "[PORT]", "frames, bytes and drops of each port", 0, 1,
	  print_stats },
	{ .name = NULL },
};
