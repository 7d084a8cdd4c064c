/* SPDX-License-Identifier: ISC */
/*
 * From the VM file to processes. Names: device i of its kind is "disk0",
 * "net0", ...; its sockets in the run-time directory begin with that.
 * Memory that runs out is remembered in the builder and told once.
 */
#include "vm-run/plan.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <stdarg.h>
#include <string.h>

struct builder {
	struct plan *plan;
	const char *verbosity;
	unsigned n_of_kind[VMFILE_DEVICE + 1];
	bool is_out_of_memory;
};

static char *format_text(struct builder *builder, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static char *format_text(struct builder *builder, const char *format, ...)
{
	va_list args;
	char *text = NULL;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0) {
		builder->is_out_of_memory = true;
		text = NULL;
	}
	va_end(args);
	return text;
}

/* A word that is added; its parts are filled in by the caller. */
static struct plan_word *add_word(struct plan_process *process)
{
	return &process->arguments[process->n_arguments++];
}

static void add_text(struct builder *builder, struct plan_process *process,
		     const char *text)
{
	add_word(process)->before = format_text(builder, "%s", text);
}

/* "--option=value"; nothing where there is no value. */
static void add_option(struct builder *builder, struct plan_process *process,
		       const char *option, const char *value)
{
	if (value != NULL)
		add_word(process)->before =
			format_text(builder, "--%s=%s", option, value);
}

static struct plan_process *add_server(struct builder *builder,
				       const char *program, const char *kind,
				       int number)
{
	struct plan *plan = builder->plan;
	struct plan_process *server = &plan->servers[plan->n_servers++];

	server->program = program;
	if (number < 0)
		snprintf(server->name, sizeof(server->name), "%s", kind);
	else
		snprintf(server->name, sizeof(server->name), "%s%d", kind,
			 number);
	if (builder->verbosity != NULL)
		add_text(builder, server, builder->verbosity);
	return server;
}

/* A socket of the server's at path, or in the run-time directory. */
static void add_listener(struct builder *builder, struct plan_process *server,
			 const char *name, const char *option,
			 const char *suffix, const char *path)
{
	struct plan_listener *listener =
		&server->listeners[server->n_listeners++];

	listener->name = name;
	listener->option = option;
	if (path != NULL)
		listener->path.before = format_text(builder, "%s", path);
	else
		listener->path.run_file =
			format_text(builder, "%s.%s", server->name, suffix);
}

static void add_usual_listeners(struct builder *builder,
				struct plan_process *server, const char *path)
{
	add_listener(builder, server, "vhost", "socket-path", "sock", path);
	add_listener(builder, server, "control", "control", "control", NULL);
}

/*
 * The servers.
 */
static struct plan_process *add_disk(struct builder *builder,
				     const struct vmfile_device *device,
				     int number)
{
	struct plan_process *server =
		add_server(builder, "vm-disk", "disk", number);

	add_usual_listeners(builder, server, NULL);
	if (device->is_read_only)
		add_text(builder, server, "--read-only");
	add_option(builder, server, "format", device->format);
	add_option(builder, server, "cache", device->cache);
	add_option(builder, server, "queues", device->queues);
	add_option(builder, server, "serial", device->serial);
	add_text(builder, server, device->image);
	return server;
}

static struct plan_process *
add_net(struct builder *builder, const struct vmfile_device *device, int number)
{
	struct plan_process *server =
		add_server(builder, "vm-net", "net", number);

	add_usual_listeners(builder, server, device->listen);
	for (unsigned i = 0; i < device->n_plugs; i++)
		add_option(builder, server, "plug", device->plugs[i]);
	return server;
}

static struct plan_process *add_console(struct builder *builder,
					const struct vmfile_device *device,
					int number)
{
	struct plan_process *server =
		add_server(builder, "vm-console", "console", number);

	add_usual_listeners(builder, server, NULL);
	add_listener(builder, server, "attach", "attach", "attach",
		     device->attach);
	add_option(builder, server, "log", device->log);
	return server;
}

static void add_serial(struct builder *builder,
		       const struct vmfile_device *device)
{
	struct plan_process *server =
		add_server(builder, "vm-console", "serial", -1);

	add_listener(builder, server, "serial", "serial", "sock", NULL);
	add_listener(builder, server, "control", "control", "control", NULL);
	add_listener(builder, server, "attach", "attach", "attach",
		     device->attach);
	add_option(builder, server, "log", device->log);
}

/*
 * vm-cpu.
 */
static const char *const cpu_options[] = {
	[VMFILE_DISK] = "blk",
	[VMFILE_NET] = "net",
	[VMFILE_CONSOLE] = "console",
	[VMFILE_DEVICE] = "device",
};

/* For vm-cpu, whose suboptions stand between commas. */
static char *double_commas(struct builder *builder, const char *text)
{
	char *doubled = calloc(2, strlen(text) + 1);

	if (doubled == NULL)
		builder->is_out_of_memory = true;
	for (char *c = doubled; doubled != NULL && *text != '\0'; text++) {
		*c++ = *text;
		if (*text == ',')
			*c++ = ',';
	}
	return doubled;
}

/* The server's socket, or that of somebody else's, as vm-cpu's option. */
static void add_cpu_device(struct builder *builder,
			   const struct vmfile_device *device,
			   const struct plan_process *server)
{
	struct plan_word *word = add_word(&builder->plan->cpu);
	_cleanup_free_ char *socket = NULL;

	if (device->socket != NULL)
		socket = double_commas(builder, device->socket);
	else if (device->listen != NULL)
		socket = double_commas(builder, device->listen);
	else
		word->run_file = format_text(
			builder, "%s", server->listeners[0].path.run_file);
	word->before =
		format_text(builder, "--%s=%s%s%s", cpu_options[device->kind],
			    device->id != NULL ? device->id : "",
			    device->id != NULL ? ":" : "",
			    socket != NULL ? socket : "");
	if (device->mac != NULL)
		word->after = format_text(builder, ",mac=%s", device->mac);
}

static void add_device(struct builder *builder,
		       const struct vmfile_device *device)
{
	static struct plan_process *(*const add[])(
		struct builder *, const struct vmfile_device *, int) = {
		[VMFILE_DISK] = add_disk,
		[VMFILE_NET] = add_net,
		[VMFILE_CONSOLE] = add_console,
	};
	unsigned number = builder->n_of_kind[device->kind]++;
	const struct plan_process *server = NULL;

	if (device->socket == NULL)
		server = add[device->kind](builder, device, (int)number);
	add_cpu_device(builder, device, server);
}

static void add_cpu_serial(struct builder *builder, const struct vmfile *vm)
{
	struct plan_process *cpu = &builder->plan->cpu;
	struct plan_word *word;

	switch (vm->serial) {
	case VMFILE_SERIAL_UNSET:
	case VMFILE_SERIAL_STDIO:
		break;
	case VMFILE_SERIAL_NONE:
		add_text(builder, cpu, "--serial=none");
		break;
	case VMFILE_SERIAL_CONSOLE:
		add_serial(builder, &vm->serial_console);
		word = add_word(cpu);
		word->before = format_text(builder, "--serial=");
		word->run_file = format_text(builder, "serial.sock");
		break;
	}
}

static void add_cpu(struct builder *builder, const struct vmfile *vm)
{
	struct plan_process *cpu = &builder->plan->cpu;

	snprintf(cpu->name, sizeof(cpu->name), "cpu");
	cpu->program = "vm-cpu";
	if (builder->verbosity != NULL)
		add_text(builder, cpu, builder->verbosity);
	add_option(builder, cpu, "memory", vm->memory);
	if (vm->with_hugepages)
		add_text(builder, cpu, "--hugepages");
	add_option(builder, cpu, "cpus", vm->cpus);
	add_option(builder, cpu, "kernel", vm->kernel);
	add_option(builder, cpu, "initrd", vm->initrd);
	add_option(builder, cpu, "append", vm->append);
	add_option(builder, cpu, "control", vm->control);
	add_cpu_serial(builder, vm);
	for (unsigned i = 0; i < vm->n_devices; i++)
		add_device(builder, &vm->devices[i]);
}

int plan_new(struct plan **plan, const struct vmfile *vm, const char *verbosity,
	     struct error *err)
{
	struct builder builder = { .verbosity = verbosity };

	builder.plan = calloc(1, sizeof(*builder.plan));
	if (builder.plan == NULL)
		return error_set_errno(err, -ENOMEM, "%s", vm->name);
	builder.plan->is_restarted_on_reboot = vm->is_restarted_on_reboot;
	add_cpu(&builder, vm);
	if (builder.is_out_of_memory) {
		plan_free(builder.plan);
		return error_set_errno(err, -ENOMEM, "%s", vm->name);
	}
	*plan = builder.plan;
	return 0;
}

static void deinit_word(struct plan_word *word)
{
	free(word->before);
	free(word->run_file);
	free(word->after);
}

static void deinit_process(struct plan_process *process)
{
	for (unsigned i = 0; i < process->n_arguments; i++)
		deinit_word(&process->arguments[i]);
	for (unsigned i = 0; i < process->n_listeners; i++)
		deinit_word(&process->listeners[i].path);
}

void plan_free(struct plan *plan)
{
	if (plan == NULL)
		return;
	for (unsigned i = 0; i < plan->n_servers; i++)
		deinit_process(&plan->servers[i]);
	deinit_process(&plan->cpu);
	free(plan);
}

char *plan_word_text(const struct plan_word *word, const char *run_dir)
{
	char *text;

	if (asprintf(&text, "%s%s%s%s%s",
		     word->before != NULL ? word->before : "",
		     word->run_file != NULL ? run_dir : "",
		     word->run_file != NULL ? "/" : "",
		     word->run_file != NULL ? word->run_file : "",
		     word->after != NULL ? word->after : "") < 0)
		return NULL;
	return text;
}
