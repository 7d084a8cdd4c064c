/* SPDX-License-Identifier: ISC */
/*
 * What the guest's processors say of themselves: what KVM supports here,
 * with the topology of one package of n cores of one thread each, and with
 * what cannot be used taken out.
 */
#ifndef VM_CPU_CPUID_H
#define VM_CPU_CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct kvm_cpuid2;

enum {
	CPUID_ENTRIES_MAX = 256,
};

/*
 * Read KVM's list into *cpuid, from malloc(), with room for
 * CPUID_ENTRIES_MAX entries.
 */
int cpuid_new(struct kvm_cpuid2 **cpuid, int kvm_fd, struct error *err);

/* Make *cpuid that of the processor of this APIC id, one of n_cpus. */
void cpuid_adjust(struct kvm_cpuid2 *cpuid, unsigned apic_id, unsigned n_cpus,
		  bool has_tsc_deadline);

/* Has this host's processor vmx or svm? Without, KVM interprets. */
bool cpuid_host_has_virtualization(void);

#endif
