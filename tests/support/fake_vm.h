/* SPDX-License-Identifier: ISC */
/*
 * KVM's part of a struct vm, for tests and fuzz targets of devices: interrupts
 * and doorbells are noted instead of done. These are definitions, which take
 * the place of vm_irq.c; include it in one source of a program.
 */
#ifndef TESTS_SUPPORT_FAKE_VM_H
#define TESTS_SUPPORT_FAKE_VM_H

#include "vm-cpu/layout.h"
#include "vm-cpu/vm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	FAKE_JOINS_MAX = 2048,
};

/* An irqfd (gsi) or an ioeventfd (gpa). */
struct fake_join {
	int fd, gsi;
	uint64_t gpa;
};

static struct {
	struct fake_join irqfds[FAKE_JOINS_MAX], doorbells[FAKE_JOINS_MAX];
	unsigned n_irqfds, n_doorbells, n_routings;
	unsigned doorbells_max; /* 0: no limit */
	unsigned n_mistakes;	/* what KVM would have refused */
} fake_vm;

static int fake_find(const struct fake_join *joins, unsigned n, int fd, int gsi,
		     uint64_t gpa)
{
	for (unsigned i = 0; i < n; i++) {
		if (joins[i].fd == fd && joins[i].gsi == gsi &&
		    joins[i].gpa == gpa)
			return (int)i;
	}
	return -1;
}

static int fake_add(struct fake_join *joins, unsigned *n, int fd, int gsi,
		    uint64_t gpa)
{
	if (*n == FAKE_JOINS_MAX)
		return -ENOSPC;
	joins[(*n)++] = (struct fake_join){ fd, gsi, gpa };
	return 0;
}

static int fake_remove(struct fake_join *joins, unsigned *n, int fd, int gsi,
		       uint64_t gpa)
{
	int i = fake_find(joins, *n, fd, gsi, gpa);

	if (i < 0) {
		fake_vm.n_mistakes++;
		return -ENOENT;
	}
	joins[i] = joins[--*n];
	return 0;
}

int vm_set_irq(struct vm *vm, unsigned gsi, bool is_high)
{
	(void)vm;
	(void)gsi;
	(void)is_high;
	return 0;
}

int vm_msi_alloc(struct vm *vm)
{
	for (int i = 0; i < VM_MSI_MAX; i++) {
		if (vm->msis[i].is_allocated)
			continue;
		vm->msis[i] = (struct vm_msi){ .is_allocated = true };
		return LAYOUT_N_PINS + i;
	}
	return -ENOSPC;
}

void vm_msi_free(struct vm *vm, int gsi)
{
	struct vm_msi *msi = &vm->msis[gsi - LAYOUT_N_PINS];

	fake_vm.n_mistakes += !msi->is_allocated;
	*msi = (struct vm_msi){ .is_allocated = false };
}

int vm_msi_route(struct vm *vm, int gsi, uint64_t address, uint32_t data)
{
	struct vm_msi *msi = &vm->msis[gsi - LAYOUT_N_PINS];

	fake_vm.n_mistakes += !msi->is_allocated;
	if (msi->is_routed && msi->address == address && msi->data == data)
		return 0;
	fake_vm.n_routings++;
	msi->is_routed = true;
	msi->address = address;
	msi->data = data;
	return 0;
}

int vm_msi_send(struct vm *vm, uint64_t address, uint32_t data)
{
	(void)vm;
	(void)address;
	(void)data;
	return 0;
}

int vm_irqfd_attach(struct vm *vm, int fd, int gsi)
{
	(void)vm;
	for (unsigned i = 0; i < fake_vm.n_irqfds; i++)
		fake_vm.n_mistakes += fake_vm.irqfds[i].fd == fd;
	return fake_add(fake_vm.irqfds, &fake_vm.n_irqfds, fd, gsi, 0);
}

int vm_irqfd_detach(struct vm *vm, int fd, int gsi)
{
	(void)vm;
	return fake_remove(fake_vm.irqfds, &fake_vm.n_irqfds, fd, gsi, 0);
}

int vm_ioeventfd_attach(struct vm *vm, int fd, uint64_t gpa, unsigned width)
{
	(void)vm;
	(void)width;
	if (fake_vm.doorbells_max &&
	    fake_vm.n_doorbells == fake_vm.doorbells_max)
		return -ENOSPC;
	return fake_add(fake_vm.doorbells, &fake_vm.n_doorbells, fd, 0, gpa);
}

int vm_ioeventfd_detach(struct vm *vm, int fd, uint64_t gpa, unsigned width)
{
	(void)vm;
	(void)width;
	return fake_remove(fake_vm.doorbells, &fake_vm.n_doorbells, fd, 0, gpa);
}

#endif
