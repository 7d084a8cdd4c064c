/* SPDX-License-Identifier: ISC */
/*
 * The virtual machine as KVM knows it: its descriptors, guest memory, the
 * in-kernel interrupt controllers and their routing, the two buses, and the
 * one lock of all device state.
 *
 * The lock: whoever touches a device, a bus or this struct holds it. vCPU
 * threads take it around each access to a bus; the main thread around the
 * handling of events, never while it waits for them. So device code is
 * written as for one thread, may add and remove event sources, and must not
 * block. At steady state no exit comes here, so nobody waits for it.
 */
#ifndef VM_CPU_VM_H
#define VM_CPU_VM_H

#include "vm-cpu/bus.h"
#include "vm-cpu/ram.h"

#include <linux/kvm.h>
#include <pthread.h>

struct error;

enum {
	VM_MSI_MAX = 1024, /* message-signalled interrupts of all devices */
};

struct vm_msi {
	bool is_allocated, is_routed;
	uint64_t address;
	uint32_t data;
};

struct vm {
	int kvm_fd, fd;
	int vcpu_mmap_size;
	struct ram ram;
	struct bus pio, mmio;
	pthread_mutex_t lock;
	struct vm_msi msis[VM_MSI_MAX]; /* GSI LAYOUT_N_PINS + index */
};

#define VM_INIT \
	{ \
		.kvm_fd = -1, .fd = -1, .ram = RAM_INIT, .pio = BUS_INIT, \
		.mmio = BUS_INIT, .lock = PTHREAD_MUTEX_INITIALIZER \
	}

/* Open /dev/kvm, make the machine, its interrupt controllers and memory. */
int vm_init(struct vm *vm, uint64_t ram_size, bool with_hugepages,
	    struct error *err);
/*
 * A new machine in KVM with the same memory, all zero, and the same buses,
 * for a reboot. Processors are gone by then, and devices have detached their
 * eventfds; their MSIs stay allocated, without routes.
 */
int vm_reset(struct vm *vm, struct error *err);
void vm_deinit(struct vm *vm);

void vm_lock(struct vm *vm);
void vm_unlock(struct vm *vm);

/* Pin 0..23 of the I/O APIC (and its PIC twin), raised or lowered. */
int vm_set_irq(struct vm *vm, unsigned gsi, bool is_high);

/*
 * MSIs. vm_msi_alloc() gives a GSI (>= LAYOUT_N_PINS) without a route, or
 * -ENOSPC. vm_msi_route() sets what it sends, and costs nothing when that is
 * what it was; an irqfd on a GSI without a route is silent.
 */
int vm_msi_alloc(struct vm *vm);
void vm_msi_free(struct vm *vm, int gsi);
int vm_msi_route(struct vm *vm, int gsi, uint64_t address, uint32_t data);
/* Send it once from here (a pending vector that was just unmasked). */
int vm_msi_send(struct vm *vm, uint64_t address, uint32_t data);

/*
 * Join an eventfd to a GSI: a write to it interrupts the guest without us.
 * vm_irqfd_detach() leaves what was not delivered in the eventfd's counter.
 * Writes that came before vm_irqfd_attach() are delivered by it.
 */
int vm_irqfd_attach(struct vm *vm, int fd, int gsi);
int vm_irqfd_detach(struct vm *vm, int fd, int gsi);

/*
 * A guest's write of any value and `width` bytes (0: any width) at gpa
 * becomes a write to eventfd fd, and never an exit to us.
 */
int vm_ioeventfd_attach(struct vm *vm, int fd, uint64_t gpa, unsigned width);
int vm_ioeventfd_detach(struct vm *vm, int fd, uint64_t gpa, unsigned width);

#endif
