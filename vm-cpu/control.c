/* SPDX-License-Identifier: ISC */
/* One small function for each verb; all run in the main thread, locked. */
#include "vm-cpu/control.h"

#include "vm-cpu/config.h"
#include "vm-cpu/machine.h"
#include "vm-cpu/vcpu_report.h"

#include <errno.h>
#include <stddef.h>

static int show_status(struct control_request *request, int argc, char **argv,
		       void *context)
{
	const struct machine *machine = context;
	const struct vcpus *vcpus = &machine->vcpus;

	(void)argc;
	(void)argv;
	control_reply(request, "state %s",
		      vcpus->is_paused ? "paused" : "running");
	control_reply(request, "cpus %u", machine->config->n_cpus);
	control_reply(request, "memory %llu",
		      (unsigned long long)machine->vm.ram.size);
	/* Where a guest hangs: only a processor that stands can be asked. */
	for (unsigned i = 0; vcpus->is_paused && i < vcpus->n; i++)
		control_reply(request, "cpu %u at 0x%llx", i,
			      (unsigned long long)vcpu_instruction_pointer(
				      &vcpus->list[i]));
	return 0;
}

static int pause_guest(struct control_request *request, int argc, char **argv,
		       void *context)
{
	struct machine *machine = context;

	(void)argc;
	(void)argv;
	if (machine->vcpus.is_paused)
		return control_error(request, -EALREADY, "already paused");
	vcpus_pause(&machine->vcpus);
	return 0;
}

static int resume_guest(struct control_request *request, int argc, char **argv,
			void *context)
{
	struct machine *machine = context;

	(void)argc;
	(void)argv;
	if (!machine->vcpus.is_paused)
		return control_error(request, -EALREADY, "not paused");
	if (!machine->is_ending)
		vcpus_resume(&machine->vcpus);
	return 0;
}

static int list_devices(struct control_request *request, int argc, char **argv,
			void *context)
{
	const struct machine *machine = context;

	(void)argc;
	(void)argv;
	devices_list(&machine->devices, request);
	return 0;
}

static int press_button(struct control_request *request, int argc, char **argv,
			void *context)
{
	struct machine *machine = context;

	(void)request;
	(void)argc;
	(void)argv;
	power_press_button(&machine->power);
	return 0;
}

static int reset(struct control_request *request, int argc, char **argv,
		 void *context)
{
	(void)request;
	(void)argc;
	(void)argv;
	machine_end(context, STATUS_RESET);
	return 0;
}

static int quit(struct control_request *request, int argc, char **argv,
		void *context)
{
	(void)request;
	(void)argc;
	(void)argv;
	machine_end(context, STATUS_FAILURE);
	return 0;
}

static const struct control_verb verbs[] = {
	{ "status", "", "state, processors, memory", 0, 0, show_status },
	{ "devices", "", "address, name, state, socket of each", 0, 0,
	  list_devices },
	{ "pause", "", "stop the processors", 0, 0, pause_guest },
	{ "resume", "", "let them go on", 0, 0, resume_guest },
	{ "powerdown", "", "press the power button", 0, 0, press_button },
	{ "reset", "", "as if the guest had asked for it", 0, 0, reset },
	{ "quit", "", "end at once", 0, 0, quit },
	{ NULL, NULL, NULL, 0, 0, NULL },
};

int control_open(struct machine *machine, const char *path, struct error *err)
{
	return control_new(&machine->control, &machine->loop, path, -1, verbs,
			   machine, err);
}
