/* SPDX-License-Identifier: ISC */
/* Putting the parts together, in the order in which they need each other. */
#include "vm-cpu/machine.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "vm-cpu/acpi.h"
#include "vm-cpu/boot.h"
#include "vm-cpu/config.h"
#include "vm-cpu/control.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGCONT, 0 };

static void wake(struct machine *machine)
{
	uint64_t one = 1;

	/* Full means awake already. */
	(void)!write(machine->wake_fd, &one, sizeof(one));
}

void machine_end(struct machine *machine, enum exit_status status)
{
	if (machine->is_ending)
		return;
	machine->is_ending = true;
	vcpus_halt(&machine->vcpus);
	event_loop_stop(&machine->loop, status);
	wake(machine);
}

static void power_ended(void *context, enum exit_status status)
{
	struct machine *machine = context;

	if (status == STATUS_PANIC && !machine->is_ending)
		log_error("guest panicked");
	machine_end(machine, status);
}

static void vcpu_crashed(void *context, const char *text)
{
	struct machine *machine = context;

	if (!machine->is_ending)
		log_error("%s", text);
	machine_end(machine, STATUS_CRASH);
}

static void handle_wake(struct event_source *source, uint32_t events)
{
	uint64_t count;

	(void)events;
	(void)!read(source->fd, &count, sizeof(count));
}

/* The first one asks the guest, as a person at the button would. */
static void received_signal(struct event_signals *source, int number)
{
	struct machine *machine = container_of(source, struct machine, signals);

	if (number == SIGCONT) {
		terminal_continue();
	} else if (machine->is_terminating) {
		log_warn("stopped before the guest powered off");
		machine_end(machine, STATUS_FAILURE);
	} else {
		machine->is_terminating = true;
		power_press_button(&machine->power);
	}
}

static void stream_received(void *context, const uint8_t *data, size_t len)
{
	struct machine *machine = context;

	serial_receive(&machine->serial, data, len);
}

static void stream_drained(void *context)
{
	struct machine *machine = context;

	serial_drained(&machine->serial);
}

static void stream_quit(void *context)
{
	machine_end(context, STATUS_FAILURE);
}

static int init_loop(struct machine *machine, struct error *err)
{
	int r;

	signal(SIGPIPE, SIG_IGN);
	r = event_loop_init(&machine->loop);
	if (r == 0)
		r = event_signals_init(&machine->loop, &machine->signals,
				       signals, received_signal);
	if (r < 0)
		return error_set_errno(err, r, "event loop");
	machine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (machine->wake_fd < 0)
		return error_set_errno(err, -errno, "eventfd");
	return event_source_add(&machine->loop, &machine->wake,
				machine->wake_fd, EPOLLIN, handle_wake);
}

static int init_serial(struct machine *machine, struct error *err)
{
	struct stream *stream = &machine->stream;
	const char *spec = machine->config->serial;
	bool is_used = strcmp(spec, "none") != 0;
	int r;

	stream->received = stream_received;
	stream->drained = stream_drained;
	stream->quit = stream_quit;
	stream->context = machine;
	r = serial_init(&machine->serial, &machine->vm,
			is_used ? stream : NULL);
	if (r == 0 && is_used)
		r = stream_open(stream, &machine->loop, spec, err);
	return r < 0 ? error_prefix(err, r, "serial port") : 0;
}

int machine_init(struct machine *machine, struct config *config,
		 struct error *err)
{
	int r;

	machine->config = config;
	r = init_loop(machine, err);
	if (r == 0)
		r = vm_init(&machine->vm, config->memory_size,
			    config->has_hugepages, err);
	if (r == 0)
		r = power_init(&machine->power, &machine->vm, power_ended,
			       machine);
	if (r == 0)
		r = devices_init(&machine->devices, &machine->vm,
				 &machine->loop, &config->devices,
				 config->n_cpus, err);
	if (r == 0)
		r = pci_ports_init(&machine->pci_ports, &machine->vm,
				   &machine->devices.host, power_request_reset,
				   &machine->power);
	if (r == 0 && config->control_path != NULL)
		r = control_open(machine, config->control_path, err);
	if (r == 0)
		r = init_serial(machine, err);
	return r;
}

int machine_boot(struct machine *machine, struct error *err)
{
	const struct config *config = machine->config;
	struct boot_options options = {
		.kernel_path = config->kernel_path,
		.initrd_path = config->initrd_path,
		.cmdline = config->cmdline,
		.rsdp_gpa = LAYOUT_ACPI,
	};
	struct boot boot;
	int r;

	/* The first processor may end the machine before the last is made. */
	vm_lock(&machine->vm);
	r = boot_load(&boot, &machine->vm.ram, &options, err);
	if (r == 0)
		r = acpi_build(&machine->vm.ram, config->n_cpus, err);
	machine->vcpus.crashed = vcpu_crashed;
	machine->vcpus.context = machine;
	if (r == 0)
		r = vcpus_init(&machine->vcpus, &machine->vm, config->n_cpus,
			       &boot, err);
	if (r == 0)
		r = vcpus_start(&machine->vcpus, err);
	vm_unlock(&machine->vm);
	return r;
}

/* Waiting is done without the lock, handling with it (vm.h). */
enum exit_status machine_run(struct machine *machine)
{
	struct event_loop *loop = &machine->loop;
	struct pollfd pollfd = { .fd = loop->epoll_fd, .events = POLLIN };
	int r = 0;

	vm_lock(&machine->vm);
	while (!machine->is_ending) {
		vm_unlock(&machine->vm);
		poll(&pollfd, 1, -1);
		vm_lock(&machine->vm);
		r = event_loop_step(loop, 0);
		if (r < 0) {
			log_error("event loop: %s", strerror(-r));
			machine_end(machine, STATUS_FAILURE);
		}
	}
	vm_unlock(&machine->vm);
	return (enum exit_status)loop->status;
}

void machine_halt(struct machine *machine)
{
	vcpus_stop(&machine->vcpus);
	vcpus_deinit(&machine->vcpus);
}

int machine_reset(struct machine *machine, struct error *err)
{
	int r;

	devices_halt(&machine->devices);
	pci_ports_reset(&machine->pci_ports);
	r = vm_reset(&machine->vm, err);
	if (r < 0)
		return r;
	devices_reset(&machine->devices);
	serial_reset(&machine->serial);
	power_reset(&machine->power);
	machine->is_ending = false;
	machine->is_terminating = false;
	machine->loop.is_stopped = false;
	return 0;
}

void machine_deinit(struct machine *machine)
{
	machine_halt(machine);
	control_free(machine->control);
	machine->control = NULL;
	devices_deinit(&machine->devices);
	stream_close(&machine->stream);
	vm_deinit(&machine->vm);
	event_source_remove(&machine->wake);
	close_fd(&machine->wake_fd);
	event_signals_deinit(&machine->signals);
	event_loop_deinit(&machine->loop);
}
