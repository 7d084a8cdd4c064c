/* SPDX-License-Identifier: ISC */
/*
 * Interrupts and doorbells of the machine (vm.h). KVM knows one routing
 * table, replaced as a whole: the pins of the I/O APIC always, one entry for
 * each MSI that has a route.
 */
#include "vm-cpu/vm.h"

#include "lib/base/cleanup.h"
#include "vm-cpu/layout.h"

#include <errno.h>
#include <sys/ioctl.h>

int vm_set_irq(struct vm *vm, unsigned gsi, bool is_high)
{
	struct kvm_irq_level level = { .irq = gsi, .level = is_high };

	return ioctl(vm->fd, KVM_IRQ_LINE, &level) < 0 ? -errno : 0;
}

static struct vm_msi *msi_of(struct vm *vm, int gsi)
{
	return &vm->msis[gsi - LAYOUT_N_PINS];
}

static void add_route(struct kvm_irq_routing *table,
		      struct kvm_irq_routing_entry entry)
{
	table->entries[table->nr++] = entry;
}

static int set_routes(struct vm *vm)
{
	_cleanup_free_ struct kvm_irq_routing *table = NULL;

	table = calloc(1, sizeof(*table) + (LAYOUT_N_PINS + VM_MSI_MAX) *
						   sizeof(table->entries[0]));
	if (table == NULL)
		return -ENOMEM;
	for (unsigned pin = 0; pin < LAYOUT_N_PINS; pin++)
		add_route(table, (struct kvm_irq_routing_entry){
					 .gsi = pin,
					 .type = KVM_IRQ_ROUTING_IRQCHIP,
					 .u.irqchip = {
						 .irqchip = KVM_IRQCHIP_IOAPIC,
						 .pin = pin,
					 } });
	for (unsigned i = 0; i < VM_MSI_MAX; i++) {
		const struct vm_msi *msi = &vm->msis[i];

		if (!msi->is_routed)
			continue;
		add_route(table,
			  (struct kvm_irq_routing_entry){
				  .gsi = LAYOUT_N_PINS + i,
				  .type = KVM_IRQ_ROUTING_MSI,
				  .u.msi = {
					  .address_lo = (__u32)msi->address,
					  .address_hi =
						  (__u32)(msi->address >> 32),
					  .data = msi->data,
				  } });
	}
	return ioctl(vm->fd, KVM_SET_GSI_ROUTING, table) < 0 ? -errno : 0;
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
	struct vm_msi *msi = msi_of(vm, gsi);
	bool was_routed = msi->is_routed;

	*msi = (struct vm_msi){ .is_allocated = false };
	if (was_routed)
		set_routes(vm);
}

int vm_msi_route(struct vm *vm, int gsi, uint64_t address, uint32_t data)
{
	struct vm_msi *msi = msi_of(vm, gsi), before = *msi;
	int r;

	if (msi->is_routed && msi->address == address && msi->data == data)
		return 0;
	msi->is_routed = true;
	msi->address = address;
	msi->data = data;
	r = set_routes(vm);
	if (r < 0)
		*msi = before;
	return r;
}

int vm_msi_send(struct vm *vm, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (__u32)address,
		.address_hi = (__u32)(address >> 32),
		.data = data,
	};

	return ioctl(vm->fd, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}

static int set_irqfd(struct vm *vm, int fd, int gsi, unsigned flags)
{
	struct kvm_irqfd irqfd = {
		.fd = (__u32)fd,
		.gsi = (__u32)gsi,
		.flags = flags,
	};

	return ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

int vm_irqfd_attach(struct vm *vm, int fd, int gsi)
{
	return set_irqfd(vm, fd, gsi, 0);
}

int vm_irqfd_detach(struct vm *vm, int fd, int gsi)
{
	return set_irqfd(vm, fd, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}

static int set_ioeventfd(struct vm *vm, int fd, uint64_t gpa, unsigned width,
			 unsigned flags)
{
	struct kvm_ioeventfd ioeventfd = {
		.addr = gpa,
		.len = width,
		.fd = fd,
		.flags = flags,
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &ioeventfd) < 0 ? -errno : 0;
}

int vm_ioeventfd_attach(struct vm *vm, int fd, uint64_t gpa, unsigned width)
{
	return set_ioeventfd(vm, fd, gpa, width, 0);
}

int vm_ioeventfd_detach(struct vm *vm, int fd, uint64_t gpa, unsigned width)
{
	return set_ioeventfd(vm, fd, gpa, width, KVM_IOEVENTFD_FLAG_DEASSIGN);
}
