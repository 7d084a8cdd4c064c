/* SPDX-License-Identifier: ISC */
/* Why KVM cannot go on with a processor, in one line. */
#ifndef VM_CPU_VCPU_REPORT_H
#define VM_CPU_VCPU_REPORT_H

struct error;
struct vcpu;
struct vm;

/* After KVM_RUN returned with an exit that ends the guest. */
void vcpu_report(const struct vcpu *vcpu, const struct vm *vm,
		 struct error *text);

#endif
