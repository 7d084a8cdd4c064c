/* SPDX-License-Identifier: ISC */
/*
 * All devices of the machine that are other processes: the PCI bus and what
 * the options put on it, in their order, from slot 1 on.
 */
#ifndef VM_CPU_DEVICES_H
#define VM_CPU_DEVICES_H

#include "vm-cpu/device_option.h"
#include "vm-cpu/pci.h"

struct control_request;
struct error;
struct event_loop;
struct virtio_pci;
struct vm;

struct devices {
	struct pci_host host;
	struct event_loop *loop;
	unsigned n_devices;
	struct virtio_pci *list[DEVICE_OPTIONS_MAX];
};

/* Connect to all back ends; descriptors in options are taken over. */
int devices_init(struct devices *devices, struct vm *vm,
		 struct event_loop *loop, struct device_options *options,
		 unsigned n_cpus, struct error *err);

/*
 * A reset of the machine, in two halves, with the processors halted. First,
 * while the old machine is still there in KVM: returns when no back end
 * touches guest memory any more, and nothing of the devices is in KVM. Then,
 * in the new one: all devices as after power-on.
 */
void devices_halt(struct devices *devices);
void devices_reset(struct devices *devices);

/* One reply line for each: slot, name, state, socket, queues. */
void devices_list(const struct devices *devices,
		  struct control_request *request);

/*
 * Stop and disconnect all, and wait (seconds at most) until back ends that
 * live for this connection have flushed and gone. Idempotent.
 */
void devices_deinit(struct devices *devices);

#endif
