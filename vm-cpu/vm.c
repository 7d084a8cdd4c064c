/* SPDX-License-Identifier: ISC */
/* Making the machine in KVM: descriptors, memory slots, controllers. */
#include "vm-cpu/vm.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-cpu/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

static const char kvm_path[] = "/dev/kvm";

/* What nothing here works without, and what it is called in messages. */
static const struct {
	int number;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQCHIP, "interrupt controllers" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_SIGNAL_MSI, "signal MSI" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd of any length" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
	{ KVM_CAP_EXT_CPUID, "CPUID" },
};

static int open_kvm(struct vm *vm, struct error *err)
{
	int version;

	vm->kvm_fd = open(kvm_path, O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return error_set_errno(err, -errno, "%s", kvm_path);
	version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return error_set(err, -ENOTSUP, "%s: not KVM's version %d",
				 kvm_path, KVM_API_VERSION);
	for (size_t i = 0; i < array_size(needed); i++)
		if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, needed[i].number) <=
		    0)
			return error_set(err, -ENOTSUP, "%s: has no %s",
					 kvm_path, needed[i].name);
	vm->vcpu_mmap_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vm->vcpu_mmap_size < (int)sizeof(struct kvm_run))
		return error_set(err, -ENOTSUP, "%s: no vCPU mapping",
				 kvm_path);
	return 0;
}

static int set_memory(struct vm *vm, struct error *err)
{
	for (unsigned i = 0; i < vm->ram.n_regions; i++) {
		const struct vhost_frontend_region *region =
			&vm->ram.regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = region->gpa,
			.memory_size = region->size,
			.userspace_addr = region->user,
		};

		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return error_set_errno(err, -errno, "%s: guest memory",
					       kvm_path);
	}
	return 0;
}

/* The machine itself; EINTR because creating one takes a while. */
static int create(struct vm *vm, struct error *err)
{
	__u64 identity = LAYOUT_KVM_IDENTITY;

	do
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		return error_set_errno(err, -errno, "%s: create a machine",
				       kvm_path);
	/* Intel's real mode needs both; others take them and shrug. */
	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0)
		return error_set_errno(err, -errno, "%s: reserve pages",
				       kvm_path);
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return error_set_errno(err, -errno, "%s: interrupt controllers",
				       kvm_path);
	return set_memory(vm, err);
}

int vm_init(struct vm *vm, uint64_t ram_size, bool with_hugepages,
	    struct error *err)
{
	int r;

	r = open_kvm(vm, err);
	if (r == 0)
		r = ram_init(&vm->ram, ram_size, with_hugepages, err);
	if (r == 0)
		r = create(vm, err);
	return r;
}

int vm_reset(struct vm *vm, struct error *err)
{
	int r = ram_clear(&vm->ram);

	if (r < 0)
		return error_set_errno(err, r, "guest memory");
	close_fd(&vm->fd);
	for (unsigned i = 0; i < VM_MSI_MAX; i++)
		vm->msis[i].is_routed = false;
	return create(vm, err);
}

void vm_deinit(struct vm *vm)
{
	close_fd(&vm->fd);
	ram_deinit(&vm->ram);
	close_fd(&vm->kvm_fd);
}

void vm_lock(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
}

void vm_unlock(struct vm *vm)
{
	pthread_mutex_unlock(&vm->lock);
}
