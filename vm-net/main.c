/* SPDX-License-Identifier: ISC */
/* vm-net: a virtual Ethernet switch. */
#include "lib/base/cleanup.h"
#include "lib/base/control.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/options.h"
#include "lib/base/server.h"
#include "lib/base/size.h"
#include "lib/virtio/memory.h"
#include "vm-net/bridge.h"
#include "vm-net/control.h"
#include "vm-net/port_vde.h"
#include "vm-net/port_vhost.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
	OPTION_PLUG = OPTION_FIRST,
	OPTION_AGEING,
	PLUGS_MAX = 64,
	GUESTS_MAX = BRIDGE_PORTS_MAX - PLUGS_MAX - 1,
	AGEING_DEFAULT_S = 300, /* 802.1D-2004 table 7-5 */
	AGEING_MAX_S = 1000000, /* the same */
};

/* clang-format off */
static const struct option_spec specs[] = {
	{ OPTION_PLUG, "plug", "VDE_URL",
	  "an uplink: slirp://, tap://NAME, vde://PATH, ..." },
	{ OPTION_AGEING, "ageing", "SECONDS",
	  "forget addresses unseen for so long (300)" },
	OPTIONS_SERVER,
	OPTIONS_COMMON
};
/* clang-format on */

struct settings {
	struct server_options server;
	char *plugs[PLUGS_MAX];
	unsigned n_plugs;
	uint64_t ageing_s;
};

/* Everything that lives as long as the process. */
struct vm_net {
	struct event_loop loop;
	struct event_signals signals;
	struct bridge bridge;
	struct server server;
	struct control *control;
	struct vde_port *plugs[PLUGS_MAX];
	struct vhost_port *guests[GUESTS_MAX];
};

static void take_option(struct settings *settings, int id, const char *argument)
{
	switch (id) {
	case OPTION_PLUG:
		if (settings->n_plugs == PLUGS_MAX)
			options_fail("at most %d plugs", PLUGS_MAX);
		settings->plugs[settings->n_plugs++] = (char *)argument;
		break;
	case OPTION_AGEING:
		if (number_parse(argument, 1, AGEING_MAX_S,
				 &settings->ageing_s) < 0)
			options_fail("--ageing=%s: not 1 to %d seconds",
				     argument, AGEING_MAX_S);
		break;
	case OPTION_PRINT_CAPABILITIES:
		exit(puts("{\"type\": \"net\"}") < 0 || fflush(stdout) != 0);
	default:
		(void)server_option(&settings->server, id, argument);
	}
}

static void parse_options(struct settings *settings, int argc, char **argv)
{
	struct options options = {
		.specs = specs,
		.usage = "[OPTION]... [-- PROGRAM [ARGUMENT]...]",
		.about =
			"A virtual Ethernet switch: each vhost-user connection "
			"is a port, each plug an uplink.",
		.argc = argc,
		.argv = argv,
	};
	int id, operand;

	while ((id = options_next(&options, &operand)) >= 0)
		take_option(settings, id, options.argument);
	if (operand < argc && strcmp(argv[operand - 1], "--") != 0)
		options_fail("unexpected '%s'", argv[operand]);
	if (operand < argc)
		settings->server.chain = argv + operand;
}

static void guest_left(void *context, struct vhost_port *port)
{
	struct vm_net *net = context;

	for (unsigned i = 0; i < GUESTS_MAX; i++) {
		if (net->guests[i] == port)
			net->guests[i] = NULL;
	}
	server_closed(&net->server);
}

static int guest_came(struct server *server, int fd)
{
	struct vm_net *net = container_of(server, struct vm_net, server);
	unsigned i = 0;
	int ret;

	/* The server hands out no more than there are places. */
	while (net->guests[i] != NULL)
		i++;
	ret = vhost_port_new(&net->guests[i], &net->bridge, fd,
			     server_is_open(server), guest_left, net);
	if (ret < 0)
		log_warn("a connection was refused: %s", strerror(-ret));
	return ret;
}

static void last_guest_left(struct server *server)
{
	event_loop_stop(server->loop, EXIT_SUCCESS);
}

static void end(struct event_signals *signals, int number)
{
	(void)number;
	event_loop_stop(signals->source.loop, EXIT_SUCCESS);
}

static int start(struct vm_net *net, const struct settings *settings,
		 struct error *err)
{
	static const int ending[] = { SIGTERM, SIGINT, SIGHUP, 0 };
	int ret = event_loop_init(&net->loop);

	if (ret == 0)
		ret = event_signals_init(&net->loop, &net->signals, ending,
					 end);
	if (ret == 0)
		ret = guest_memory_guard();
	if (ret == 0)
		ret = bridge_init(&net->bridge, &net->loop,
				  settings->ageing_s * 1000);
	for (unsigned i = 0; i < settings->n_plugs && ret == 0; i++)
		ret = vde_port_new(&net->plugs[i], &net->bridge,
				   settings->plugs[i], err);
	if (ret == 0 && (settings->server.control_path != NULL ||
			 net->server.control_listener >= 0))
		ret = control_new(&net->control, &net->loop,
				  settings->server.control_path,
				  steal_fd(&net->server.control_listener),
				  control_verbs, &net->bridge, err);
	if (ret == 0)
		ret = server_start(&net->server, &net->loop, &settings->server,
				   GUESTS_MAX, err);
	return ret;
}

static void stop(struct vm_net *net)
{
	server_deinit(&net->server);
	control_free(net->control);
	for (unsigned i = 0; i < GUESTS_MAX; i++)
		vhost_port_free(net->guests[i]);
	for (unsigned i = 0; i < PLUGS_MAX; i++)
		vde_port_free(net->plugs[i]);
	bridge_deinit(&net->bridge);
	event_signals_deinit(&net->signals);
	event_loop_deinit(&net->loop);
}

int main(int argc, char **argv)
{
	static struct vm_net net = {
		.loop = EVENT_LOOP_INIT,
		.signals = EVENT_SIGNALS_INIT,
		.bridge = BRIDGE_INIT,
		.server = SERVER_INIT,
	};
	struct settings settings = { .ageing_s = AGEING_DEFAULT_S };
	struct error err = ERROR_INIT;
	int ret;

	log_init(argv[0]);
	parse_options(&settings, argc, argv);

	/* With a chain the server is another process from here on, so that
	 * what has threads (slirp://) is made afterwards. */
	net.server.connected = guest_came;
	net.server.finished = last_guest_left;
	ret = server_open(&net.server, &settings.server, "net", &err);
	if (ret == -EINVAL)
		options_fail("%s", error_text(&err, ret));
	if (ret < 0)
		die(EXIT_FAILURE, "%s", error_text(&err, ret));
	(void)signal(SIGPIPE, SIG_IGN); /* libvdeplug writes to sockets */

	ret = start(&net, &settings, &err);
	if (ret < 0)
		log_error("%s", error_text(&err, ret));
	else
		ret = event_loop_run(&net.loop);
	stop(&net);
	return ret < 0 ? EXIT_FAILURE : ret;
}
