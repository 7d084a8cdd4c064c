/* SPDX-License-Identifier: ISC */
/* The command line of vm-cpu(1). */
#include "vm-cpu/config.h"

#include "lib/base/error.h"
#include "lib/base/options.h"
#include "lib/base/size.h"
#include "lib/vhost/frontend.h"
#include "vm-cpu/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPTION_KERNEL = OPTION_FIRST,
	OPTION_INITRD,
	OPTION_APPEND,
	OPTION_MEMORY,
	OPTION_CPUS,
	OPTION_HUGEPAGES,
	OPTION_SERIAL,
	OPTION_BLK,
	OPTION_NET,
	OPTION_CONSOLE,
	OPTION_FS,
	OPTION_RNG,
	OPTION_DEVICE,
	OPTION_RECONNECT,
	OPTION_REBOOT,
	OPTION_CONTROL_PATH,
	OPTION_READY,

	MEMORY_DEFAULT = 256 << 20,
};

static const struct option_spec specs[] = {
	{ OPTION_KERNEL, "kernel", "FILE", "bzImage, or ELF with a PVH note" },
	{ OPTION_INITRD, "initrd", "FILE", "initial RAM disk" },
	{ OPTION_APPEND, "append", "TEXT",
	  "kernel command line (console=ttyS0)" },
	{ OPTION_MEMORY, "memory", "SIZE", "guest memory, in MiB (256M)" },
	{ OPTION_CPUS, "cpus", "N", "processors, 1 to 64 (1)" },
	{ OPTION_HUGEPAGES, "hugepages", NULL, "memory in pages of 2 MiB" },
	{ OPTION_SERIAL, "serial", "WHERE",
	  "stdio, none, fd:N or a Unix socket's path (stdio)" },
	{ OPTION_BLK, "blk", "SOCKET[,...]", "a disk (virtio-blk)" },
	{ OPTION_NET, "net", "SOCKET[,mac=MAC]", "a network (virtio-net)" },
	{ OPTION_CONSOLE, "console", "SOCKET[,...]",
	  "a console (virtio-console)" },
	{ OPTION_FS, "fs", "SOCKET[,tag=NAME]", "a file system (virtio-fs)" },
	{ OPTION_RNG, "rng", "SOCKET[,...]", "random numbers (virtio-rng)" },
	{ OPTION_DEVICE, "device", "ID:SOCKET[,...]",
	  "any device, by virtio's id" },
	{ OPTION_RECONNECT, "reconnect", "WHEN",
	  "to a lost device: forever, never or SECONDS (forever)" },
	{ OPTION_REBOOT, "reboot", NULL, "boot again when the guest resets" },
	{ OPTION_CONTROL_PATH, "control", "PATH",
	  "take control lines on this Unix socket" },
	{ OPTION_READY, "ready-fd", "N",
	  "write a newline to descriptor N when the guest starts" },
	OPTIONS_COMMON,
};

static void set_memory(struct config *config, const char *text)
{
	if (size_parse(text, 'M', &config->memory_size) < 0 ||
	    config->memory_size == 0)
		options_fail("--memory=%s: not a size", text);
}

static uint64_t number(const char *option, const char *text, uint64_t min,
		       uint64_t max)
{
	uint64_t value;

	if (number_parse(text, min, max, &value) < 0)
		options_fail("--%s=%s: not a number from %llu to %llu", option,
			     text, (unsigned long long)min,
			     (unsigned long long)max);
	return value;
}

static void add_device(struct config *config, const char *name,
		       const char *argument)
{
	struct error err = ERROR_INIT;
	int r = device_option_add(&config->devices, name, argument, &err);

	if (r < 0)
		options_fail("--%s=%s: %s", name, argument,
			     error_text(&err, r));
}

static const char *name_of(int id)
{
	for (const struct option_spec *spec = specs; spec->name; spec++)
		if (spec->id == id)
			return spec->name;
	return "";
}

static void take(struct config *config, int id, const char *argument)
{
	switch (id) {
	case OPTION_KERNEL:
		config->kernel_path = argument;
		break;
	case OPTION_INITRD:
		config->initrd_path = argument;
		break;
	case OPTION_APPEND:
		config->cmdline = argument;
		break;
	case OPTION_MEMORY:
		set_memory(config, argument);
		break;
	case OPTION_CPUS:
		config->n_cpus =
			(unsigned)number("cpus", argument, 1, VCPUS_MAX);
		break;
	case OPTION_HUGEPAGES:
		config->has_hugepages = true;
		break;
	case OPTION_SERIAL:
		config->serial = argument;
		break;
	case OPTION_RECONNECT:
		if (device_option_parse_reconnect(
			    argument, &config->devices.reconnect_seconds) < 0)
			options_fail("--reconnect=%s: not forever, never or "
				     "seconds",
				     argument);
		break;
	case OPTION_REBOOT:
		config->is_rebooting = true;
		break;
	case OPTION_CONTROL_PATH:
		config->control_path = argument;
		break;
	case OPTION_READY:
		config->ready_fd =
			(int)number("ready-fd", argument, 0, INT32_MAX);
		break;
	default:
		add_device(config, name_of(id), argument);
		break;
	}
}

/* The variable is for this process alone. */
static void take_inherited(struct config *config)
{
	const char *text = getenv("VM_DEVICES");
	struct error err = ERROR_INIT;
	int r;

	if (text == NULL)
		return;
	r = device_option_add_inherited(&config->devices, text, &err);
	if (r < 0)
		options_fail("VM_DEVICES: %s", error_text(&err, r));
	unsetenv("VM_DEVICES");
}

void config_parse(struct config *config, int argc, char **argv)
{
	struct options options = {
		.specs = specs,
		.usage = "--kernel=FILE [OPTION]...",
		.about = "Run a virtual machine on KVM; each of its devices "
			 "is another process.",
		.argc = argc,
		.argv = argv,
	};
	int id, operand;

	*config = (struct config){
		.cmdline = "console=ttyS0",
		.memory_size = MEMORY_DEFAULT,
		.n_cpus = 1,
		.serial = "stdio",
		.ready_fd = -1,
		.devices.reconnect_seconds = FRONTEND_RECONNECT_FOREVER,
	};
	while ((id = options_next(&options, &operand)) != -1)
		take(config, id, options.argument);
	if (operand < argc)
		options_fail("%s: unexpected argument", argv[operand]);
	if (config->kernel_path == NULL)
		options_fail("--kernel is needed");
	take_inherited(config);
}

void config_deinit(struct config *config)
{
	device_options_deinit(&config->devices);
}
