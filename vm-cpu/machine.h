/* SPDX-License-Identifier: ISC */
/*
 * The whole machine, its life and its main loop:
 *
 *	machine_init -> machine_boot -> machine_run -> machine_halt
 *	                     ^                              |
 *	                     +--- the guest asked to reset -+
 */
#ifndef VM_CPU_MACHINE_H
#define VM_CPU_MACHINE_H

#include "lib/base/event.h"
#include "vm-cpu/devices.h"
#include "vm-cpu/pci_ports.h"
#include "vm-cpu/power.h"
#include "vm-cpu/serial.h"
#include "vm-cpu/stream.h"
#include "vm-cpu/vcpu.h"
#include "vm-cpu/vm.h"

#include <stdbool.h>

struct config;
struct control;
struct error;

struct machine {
	const struct config *config;
	struct event_loop loop;
	struct event_signals signals;
	struct event_source wake; /* the main thread, from a vCPU's */
	int wake_fd;
	struct vm vm;
	struct stream stream;
	struct serial serial;
	struct power power;
	struct vcpus vcpus;
	struct devices devices;
	struct pci_ports pci_ports;
	struct control *control;
	bool is_ending; /* the first reason to end is the one that counts */
	bool is_terminating; /* SIGTERM came once */
};

#define MACHINE_INIT \
	{ \
		.loop = EVENT_LOOP_INIT, .signals = EVENT_SIGNALS_INIT, \
		.wake = EVENT_SOURCE_INIT, .wake_fd = -1, .vm = VM_INIT, \
		.stream = STREAM_INIT, .vcpus = { \
			.vm = NULL \
		} \
	}

/* All but the guest: KVM, memory, buses, devices, signals, control. The
 * descriptors of the devices' options are taken over. */
int machine_init(struct machine *machine, struct config *config,
		 struct error *err);
/* Load the kernel and start the processors. */
int machine_boot(struct machine *machine, struct error *err);
/* Until the guest's run ends, however it does. */
enum exit_status machine_run(struct machine *machine);
/* Stop the processors. */
void machine_halt(struct machine *machine);
/* After machine_halt(): everything as machine_init() left it. */
int machine_reset(struct machine *machine, struct error *err);
void machine_deinit(struct machine *machine);

/* End the run from this side. */
void machine_end(struct machine *machine, enum exit_status status);

#endif
