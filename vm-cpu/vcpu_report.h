/* SPDX-License-Identifier: ISC */
/* Where a processor is, and why KVM cannot go on with it, in one line. */
#ifndef VM_CPU_VCPU_REPORT_H
#define VM_CPU_VCPU_REPORT_H

#include <stdint.h>

struct error;
struct vcpu;
struct vm;

/* Of a processor that does not run; 0 if KVM does not say. */
uint64_t vcpu_instruction_pointer(const struct vcpu *vcpu);

/* After KVM_RUN returned with an exit that ends the guest. */
void vcpu_report(const struct vcpu *vcpu, const struct vm *vm,
		 struct error *text);

#endif
