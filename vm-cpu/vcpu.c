/* SPDX-License-Identifier: ISC */
/*
 * Threads of processors. The main thread's wishes (park, stop) are flags; a
 * processor looks at them before each KVM_RUN. To make it look it is kicked:
 * immediate_exit makes KVM_RUN return at once if it is not yet there, a
 * signal if it is. The processor clears immediate_exit before it reads the
 * flags, and the main thread sets the flag before immediate_exit, so no kick
 * is lost.
 */
#include "vm-cpu/vcpu.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "vm-cpu/cpu_state.h"
#include "vm-cpu/cpuid.h"
#include "vm-cpu/vcpu_report.h"
#include "vm-cpu/vm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum {
	STACK_SIZE = 64 << 10,
	KICK = SIGUSR1,
};

static void access_port(const struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	struct vm *vm = vcpu->all->vm;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint64_t value;

	for (uint32_t i = 0; i < run->io.count; i++) {
		if (run->io.direction == KVM_EXIT_IO_OUT) {
			value = 0;
			memcpy(&value, data, run->io.size);
			bus_write(&vm->pio, run->io.port, run->io.size, value);
		} else {
			value = bus_read(&vm->pio, run->io.port, run->io.size);
			memcpy(data, &value, run->io.size);
		}
		data += run->io.size;
	}
}

/* An odd width (an access over a page's end, cut by KVM) goes by bytes. */
static void access_memory(const struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct vm *vm = vcpu->all->vm;
	unsigned len = run->mmio.len;
	unsigned width = (len & (len - 1)) == 0 ? len : 1;
	uint64_t value;

	for (unsigned i = 0; i < len; i += width) {
		if (run->mmio.is_write) {
			value = 0;
			memcpy(&value, run->mmio.data + i, width);
			bus_write(&vm->mmio, run->mmio.phys_addr + i, width,
				  value);
		} else {
			value = bus_read(&vm->mmio, run->mmio.phys_addr + i,
					 width);
			memcpy(run->mmio.data + i, &value, width);
		}
	}
}

static void crash(struct vcpu *vcpu)
{
	struct error text = ERROR_INIT;

	vcpu_report(vcpu, vcpu->all->vm, &text);
	vcpu->all->crashed(vcpu->all->context, text.text);
}

static void handle_exit(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->all->vm;

	vm_lock(vm);
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		access_port(vcpu);
		break;
	case KVM_EXIT_MMIO:
		access_memory(vcpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_HLT:
		break;
	default:
		crash(vcpu);
		break;
	}
	vm_unlock(vm);
}

/* Wait for as long as nobody may run. */
static void park(struct vcpus *vcpus)
{
	struct vm *vm = vcpus->vm;

	vm_lock(vm);
	vcpus->n_parked++;
	pthread_cond_signal(&vcpus->parked);
	while (vcpus->is_park_wanted && !vcpus->is_stop_wanted)
		pthread_cond_wait(&vcpus->go_on, &vm->lock);
	vcpus->n_parked--;
	vm_unlock(vm);
}

static void report_failure(struct vcpu *vcpu, int error)
{
	struct error text = ERROR_INIT;

	error_set_errno(&text, -error, "KVM_RUN");
	vm_lock(vcpu->all->vm);
	vcpu->all->crashed(vcpu->all->context, text.text);
	vm_unlock(vcpu->all->vm);
}

static void *run(void *argument)
{
	struct vcpu *vcpu = argument;
	struct vcpus *all = vcpu->all;
	char name[16];

	snprintf(name, sizeof(name), "vcpu %u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	for (;;) {
		__atomic_store_n(&vcpu->run->immediate_exit, 0,
				 __ATOMIC_SEQ_CST);
		if (all->is_stop_wanted)
			return NULL;
		if (all->is_park_wanted) {
			park(all);
			continue;
		}
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
			handle_exit(vcpu);
		else if (errno != EINTR && errno != EAGAIN)
			report_failure(vcpu, errno);
	}
}

static void kick_all(struct vcpus *vcpus)
{
	for (unsigned i = 0; i < vcpus->n; i++) {
		struct vcpu *vcpu = &vcpus->list[i];

		if (!vcpu->is_running)
			continue;
		__atomic_store_n(&vcpu->run->immediate_exit, 1,
				 __ATOMIC_SEQ_CST);
		pthread_kill(vcpu->thread, KICK);
	}
}

static int make_vcpu(struct vcpu *vcpu, const struct kvm_cpuid2 *supported,
		     struct error *err)
{
	struct vm *vm = vcpu->all->vm;
	bool has_tsc_deadline = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION,
				      KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	_cleanup_free_ struct kvm_cpuid2 *cpuid = NULL;
	size_t size =
		sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]);
	void *mapping;

	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (vcpu->fd < 0)
		return error_set_errno(err, -errno, "vCPU %u", vcpu->index);
	mapping = mmap(NULL, (size_t)vm->vcpu_mmap_size, PROT_READ | PROT_WRITE,
		       MAP_SHARED, vcpu->fd, 0);
	if (mapping == MAP_FAILED)
		return error_set_errno(err, -errno, "vCPU %u", vcpu->index);
	vcpu->run = mapping;
	cpuid = malloc(size);
	if (cpuid == NULL)
		return -ENOMEM;
	memcpy(cpuid, supported, size);
	cpuid_adjust(cpuid, vcpu->index, vcpu->all->n, has_tsc_deadline);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		return error_set_errno(err, -errno, "vCPU %u: CPUID",
				       vcpu->index);
	return cpu_state_init(vcpu->fd, err);
}

static void ignore(int number)
{
	(void)number;
}

/* Not SA_RESTART: KVM_RUN shall return. */
static int catch_kicks(void)
{
	struct sigaction action = { .sa_handler = ignore };

	return sigaction(KICK, &action, NULL) < 0 ? -errno : 0;
}

int vcpus_init(struct vcpus *vcpus, struct vm *vm, unsigned n,
	       const struct boot *boot, struct error *err)
{
	_cleanup_free_ struct kvm_cpuid2 *supported = NULL;
	int r;

	vcpus->vm = vm;
	vcpus->n = n;
	vcpus->list = calloc(n, sizeof(vcpus->list[0]));
	if (vcpus->list == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		vcpus->list[i] =
			(struct vcpu){ .all = vcpus, .index = i, .fd = -1 };
	pthread_cond_init(&vcpus->parked, NULL);
	pthread_cond_init(&vcpus->go_on, NULL);
	r = catch_kicks();
	if (r == 0)
		r = cpuid_new(&supported, vm->kvm_fd, err);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = make_vcpu(&vcpus->list[i], supported, err);
	if (r == 0)
		r = cpu_state_boot(vcpus->list[0].fd, &vm->ram, boot, err);
	return r;
}

int vcpus_start(struct vcpus *vcpus, struct error *err)
{
	pthread_attr_t attributes;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	for (unsigned i = 0; i < vcpus->n; i++) {
		struct vcpu *vcpu = &vcpus->list[i];

		r = pthread_create(&vcpu->thread, &attributes, run, vcpu);
		if (r != 0)
			return error_set_errno(err, -r, "vCPU %u", i);
		vcpu->is_running = true;
	}
	pthread_attr_destroy(&attributes);
	return 0;
}

void vcpus_halt(struct vcpus *vcpus)
{
	vcpus->is_park_wanted = true;
	kick_all(vcpus);
}

/*
 * KVMCLOCK_CTRL tells the guest's watchdogs that time passed without it. A
 * guest without kvmclock has nothing to be told: EINVAL.
 */
void vcpus_pause(struct vcpus *vcpus)
{
	vcpus_halt(vcpus);
	while (vcpus->n_parked < vcpus->n)
		pthread_cond_wait(&vcpus->parked, &vcpus->vm->lock);
	vcpus->is_paused = true;
}

void vcpus_resume(struct vcpus *vcpus)
{
	for (unsigned i = 0; i < vcpus->n; i++)
		ioctl(vcpus->list[i].fd, KVM_KVMCLOCK_CTRL, 0);
	vcpus->is_paused = false;
	vcpus->is_park_wanted = false;
	pthread_cond_broadcast(&vcpus->go_on);
}

void vcpus_stop(struct vcpus *vcpus)
{
	if (vcpus->list == NULL)
		return;
	vm_lock(vcpus->vm);
	vcpus->is_stop_wanted = true;
	kick_all(vcpus);
	pthread_cond_broadcast(&vcpus->go_on);
	vm_unlock(vcpus->vm);
	for (unsigned i = 0; i < vcpus->n; i++) {
		struct vcpu *vcpu = &vcpus->list[i];

		if (vcpu->is_running)
			pthread_join(vcpu->thread, NULL);
		vcpu->is_running = false;
	}
}

void vcpus_deinit(struct vcpus *vcpus)
{
	if (vcpus->list == NULL)
		return;
	for (unsigned i = 0; i < vcpus->n; i++) {
		struct vcpu *vcpu = &vcpus->list[i];

		if (vcpu->run != NULL)
			munmap(vcpu->run, (size_t)vcpus->vm->vcpu_mmap_size);
		close_fd(&vcpu->fd);
	}
	pthread_cond_destroy(&vcpus->parked);
	pthread_cond_destroy(&vcpus->go_on);
	free(vcpus->list);
	*vcpus = (struct vcpus){ .vm = NULL };
}
