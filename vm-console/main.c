/* SPDX-License-Identifier: ISC */
/* vm-console: a guest's console for many viewers. */
#include "lib/base/cleanup.h"
#include "lib/base/control.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/options.h"
#include "lib/base/server.h"
#include "lib/base/size.h"
#include "lib/virtio/memory.h"
#include "vm-console/attach.h"
#include "vm-console/console.h"
#include "vm-console/control.h"
#include "vm-console/log_file.h"
#include "vm-console/serial.h"
#include "vm-console/viewer.h"
#include "vm-console/virtio_console.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
	OPTION_SERIAL = OPTION_FIRST,
	OPTION_SERIAL_FD,
	OPTION_ATTACH,
	OPTION_SCROLLBACK,
	OPTION_LOG,
	SCROLLBACK_DEFAULT = 64 * 1024,
	SCROLLBACK_MAX = 1 << 30,
	SOCKET_MODE = 0600,
};

/* clang-format off */
static const struct option_spec specs[] = {
	{ OPTION_SERIAL, "serial", "PATH",
	  "take the guest's serial port on this Unix socket" },
	{ OPTION_SERIAL_FD, "serial-fd", "N",
	  "take it from the open stream N, then end" },
	{ OPTION_ATTACH, "attach", "PATH",
	  "let viewers connect to this Unix socket" },
	{ OPTION_SCROLLBACK, "scrollback", "SIZE",
	  "output that a new viewer is shown (64k)" },
	{ OPTION_LOG, "log", "FILE",
	  "append all output to FILE, opened anew on SIGHUP" },
	OPTIONS_SERVER,
	OPTIONS_COMMON
};
/* clang-format on */

struct settings {
	struct server_options server;
	const char *serial_path, *serial_fd, *attach_path, *log_path;
	uint64_t scrollback;
};

/* Everything that lives as long as the process. */
struct vm_console {
	struct event_loop loop;
	struct event_signals signals;
	struct console console;
	struct log_file log;
	struct server server;
	struct virtio_console virtio;
	struct serial serial;
	struct listener attach;
	struct control *control;
};

static void take_option(struct settings *settings, int id, const char *argument)
{
	switch (id) {
	case OPTION_SERIAL:
		settings->serial_path = argument;
		break;
	case OPTION_SERIAL_FD:
		settings->serial_fd = argument;
		break;
	case OPTION_ATTACH:
		settings->attach_path = argument;
		break;
	case OPTION_SCROLLBACK:
		if (size_parse(argument, 'b', &settings->scrollback) < 0 ||
		    settings->scrollback > SCROLLBACK_MAX)
			options_fail("--scrollback=%s: not a size up to 1G",
				     argument);
		break;
	case OPTION_LOG:
		settings->log_path = argument;
		break;
	case OPTION_PRINT_CAPABILITIES:
		/* QEMU's schema (docs/interop/vhost-user.json) has this name. */
		exit(puts("{\"type\": \"serial\"}") < 0 || fflush(stdout) != 0);
	default:
		(void)server_option(&settings->server, id, argument);
	}
}

static void parse_options(struct settings *settings, int argc, char **argv)
{
	struct options options = {
		.specs = specs,
		.usage = "[OPTION]... [-- PROGRAM [ARGUMENT]...]\n"
			 "       vm-console attach [OPTION]... PATH",
		.about = "A guest's console, virtio or serial, for many "
			 "viewers at once.",
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
	if (settings->serial_path && settings->serial_fd)
		options_fail("--serial and --serial-fd exclude each other");
	settings->server.is_optional = true;
}

/* What is asked for on the command line, or inherited by name. */
static int open_listeners(struct vm_console *vm,
			  const struct settings *settings, struct error *err)
{
	struct socket_activation *inherited = &vm->server.inherited;
	int serial = socket_activation_take(inherited, "serial");
	int attach = socket_activation_take(inherited, "attach");
	int ret = 0;

	if (settings->serial_path || serial >= 0)
		ret = serial_listen(&vm->serial, settings->serial_path, serial,
				    err);
	else if (settings->serial_fd)
		ret = serial_take_fd(&vm->serial, settings->serial_fd, err);
	if (ret == 0 && (settings->attach_path || attach >= 0))
		ret = listener_open(&vm->attach, settings->attach_path,
				    SOCKET_MODE, attach, err);
	return ret;
}

static bool has_guest(const struct vm_console *vm)
{
	return vm->server.listener.fd >= 0 || vm->server.connect_path ||
	       vm->server.is_single || vm->serial.listener.fd >= 0 ||
	       vm->serial.fd >= 0;
}

static int guest_came(struct server *server, int fd)
{
	struct vm_console *vm = container_of(server, struct vm_console, server);
	int ret =
		virtio_console_connect(&vm->virtio, fd, server_is_open(server));

	if (ret < 0)
		log_warn("a connection was refused: %s", strerror(-ret));
	return ret;
}

static void guest_left(struct virtio_console *virtio)
{
	server_closed(&container_of(virtio, struct vm_console, virtio)->server);
}

static void last_guest_left(struct server *server)
{
	console_end(&container_of(server, struct vm_console, server)->console);
}

static void viewer_came(struct listener *listener, int fd)
{
	struct vm_console *vm =
		container_of(listener, struct vm_console, attach);
	int ret = viewer_new(&vm->console, listener, fd);

	if (ret < 0)
		log_warn("a viewer was refused: %s", strerror(-ret));
}

static void handle_signal(struct event_signals *signals, int number)
{
	struct vm_console *vm =
		container_of(signals, struct vm_console, signals);

	if (number != SIGHUP)
		event_loop_stop(&vm->loop, EXIT_SUCCESS);
	else if (vm->console.log)
		(void)log_file_reopen(vm->console.log);
}

static int start(struct vm_console *vm, const struct settings *settings,
		 struct error *err)
{
	static const int handled[] = { SIGTERM, SIGINT, SIGHUP, 0 };
	int ret = event_loop_init(&vm->loop);

	if (ret == 0)
		ret = event_signals_init(&vm->loop, &vm->signals, handled,
					 handle_signal);
	if (ret == 0)
		ret = guest_memory_guard();
	if (ret == 0)
		ret = console_init(&vm->console, &vm->loop,
				   settings->scrollback);
	if (ret < 0)
		return ret;
	virtio_console_init(&vm->virtio, &vm->console);
	ret = serial_start(&vm->serial, &vm->console);
	if (ret < 0)
		return error_set_errno(err, ret, "serial side");
	if (vm->attach.fd >= 0)
		ret = listener_start(&vm->attach, &vm->loop,
				     CONSOLE_VIEWERS_MAX, viewer_came);
	if (ret == 0 &&
	    (settings->server.control_path || vm->server.control_listener >= 0))
		ret = control_new(&vm->control, &vm->loop,
				  settings->server.control_path,
				  steal_fd(&vm->server.control_listener),
				  control_verbs, &vm->console, err);
	if (ret == 0)
		ret = server_start(&vm->server, &vm->loop, &settings->server, 1,
				   err);
	return ret;
}

static void stop(struct vm_console *vm)
{
	virtio_console_deinit(&vm->virtio);
	serial_deinit(&vm->serial);
	control_free(vm->control);
	console_deinit(&vm->console);
	listener_deinit(&vm->attach);
	server_deinit(&vm->server);
	log_file_close(&vm->log);
	event_signals_deinit(&vm->signals);
	event_loop_deinit(&vm->loop);
}

/* All that can fail before a chain's program runs. */
static int open_all(struct vm_console *vm, const struct settings *settings,
		    struct error *err)
{
	int ret;

	vm->server.connected = guest_came;
	vm->server.finished = last_guest_left;
	vm->virtio.finished = guest_left;
	vm->serial.finished = console_end;
	ret = server_open(&vm->server, &settings->server, "console", err);
	if (ret == 0)
		ret = open_listeners(vm, settings, err);
	if (ret == 0 && !has_guest(vm))
		ret = error_set(err, -EINVAL,
				"no guest: one of --socket-path, --connect, "
				"--fd, --serial, --serial-fd or -- PROGRAM is "
				"needed");
	if (ret == 0 && settings->log_path) {
		ret = log_file_open(&vm->log, settings->log_path, err);
		vm->console.log = &vm->log;
	}
	return ret;
}

int main(int argc, char **argv)
{
	static struct vm_console vm = {
		.loop = EVENT_LOOP_INIT,
		.signals = EVENT_SIGNALS_INIT,
		.console = CONSOLE_INIT,
		.log = LOG_FILE_INIT,
		.server = SERVER_INIT,
		.serial = SERIAL_INIT,
		.attach = LISTENER_INIT,
	};
	struct settings settings = { .scrollback = SCROLLBACK_DEFAULT };
	struct error err = ERROR_INIT;
	int ret;

	log_init(argv[0]);
	if (argc > 1 && strcmp(argv[1], "attach") == 0)
		return attach_main(argc - 1, argv + 1);
	parse_options(&settings, argc, argv);
	/* Writes to streams that are gone are noticed by their result. */
	(void)signal(SIGPIPE, SIG_IGN);

	ret = open_all(&vm, &settings, &err);
	if (ret == -EINVAL)
		options_fail("%s", error_text(&err, ret));
	if (ret == 0)
		ret = start(&vm, &settings, &err);
	if (ret < 0)
		log_error("%s", error_text(&err, ret));
	else
		ret = event_loop_run(&vm.loop);
	stop(&vm);
	return ret < 0 ? EXIT_FAILURE : ret;
}
