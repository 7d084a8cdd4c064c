/* SPDX-License-Identifier: ISC */
/*
 * The last words of a processor. Most of it is for one case: a host whose KVM
 * has neither vmx nor svm interprets the kernel, and stops at the first
 * instruction that its emulator lacks. The user must learn that this is not
 * their kernel's fault.
 */
#include "vm-cpu/vcpu_report.h"

#include "lib/base/error.h"
#include "vm-cpu/cpuid.h"
#include "vm-cpu/ram.h"
#include "vm-cpu/vcpu.h"
#include "vm-cpu/vm.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	INSTRUCTION_MAX = 15, /* bytes, by the architecture */
	FIRST_WITH_BYTES = 4, /* ndata of a KVM that gives them */
};

uint64_t vcpu_instruction_pointer(const struct vcpu *vcpu)
{
	struct kvm_regs regs;

	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

/* The bytes at RIP, from guest memory: as many as are on its page. */
static size_t read_instruction(const struct vcpu *vcpu, const struct vm *vm,
			       uint64_t rip, uint8_t *bytes)
{
	struct kvm_translation translation = { .linear_address = rip };
	size_t len = INSTRUCTION_MAX;
	const void *from;

	if (len > 4096 - rip % 4096)
		len = 4096 - rip % 4096;
	if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 ||
	    !translation.valid)
		return 0;
	from = ram_at(&vm->ram, translation.physical_address, len);
	if (from == NULL)
		return 0;
	memcpy(bytes, from, len);
	return len;
}

static size_t find_instruction(const struct vcpu *vcpu, const struct vm *vm,
			       uint64_t rip, uint8_t *bytes)
{
	const struct kvm_run *run = vcpu->run;
	size_t len;

	if (run->emulation_failure.ndata >= FIRST_WITH_BYTES &&
	    (run->emulation_failure.flags &
	     KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		len = run->emulation_failure.insn_size;
		if (len > INSTRUCTION_MAX)
			len = INSTRUCTION_MAX;
		memcpy(bytes, run->emulation_failure.insn_bytes, len);
		return len;
	}
	return read_instruction(vcpu, vm, rip, bytes);
}

static void report_emulation(const struct vcpu *vcpu, const struct vm *vm,
			     struct error *text)
{
	char hex[3 * INSTRUCTION_MAX + 1] = "";
	uint64_t rip = vcpu_instruction_pointer(vcpu);
	uint8_t bytes[INSTRUCTION_MAX];
	size_t len = find_instruction(vcpu, vm, rip, bytes);

	for (size_t i = 0; i < len; i++)
		snprintf(hex + 3 * i, 4, " %02x", bytes[i]);
	error_set(text, 0, "KVM cannot emulate the instruction%s at 0x%llx%s",
		  hex, (unsigned long long)rip,
		  cpuid_host_has_virtualization()
			  ? ""
			  : "; this host's KVM has neither vmx nor svm and "
			    "cannot run unmodified kernels");
}

void vcpu_report(const struct vcpu *vcpu, const struct vm *vm,
		 struct error *text)
{
	const struct kvm_run *run = vcpu->run;
	unsigned long long rip = vcpu_instruction_pointer(vcpu);

	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		error_set(text, 0, "guest crashed: triple fault at 0x%llx",
			  rip);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
			report_emulation(vcpu, vm, text);
		else
			error_set(text, 0, "KVM internal error %u at 0x%llx",
				  run->internal.suberror, rip);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		error_set(text, 0,
			  "KVM could not enter the guest at 0x%llx: "
			  "hardware reason 0x%llx",
			  rip,
			  (unsigned long long)run->fail_entry
				  .hardware_entry_failure_reason);
		break;
	default:
		error_set(text, 0, "KVM exit %u at 0x%llx is not known here",
			  run->exit_reason, rip);
		break;
	}
}
