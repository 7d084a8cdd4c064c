/* SPDX-License-Identifier: ISC */
/*
 * CPUID for the guest. Leaves and bits by name of: Intel SDM vol. 2A,
 * "CPUID"; AMD APM vol. 3, appendix E; KVM's Documentation/virt/kvm/x86/
 * cpuid.rst. Each function below fixes one leaf.
 */
#include "vm-cpu/cpuid.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define BIT(n) (UINT32_C(1) << (n))

/* The bits of x from `low` on, `width` of them, become `value`. */
static void set_field(uint32_t *x, unsigned low, unsigned width, uint32_t value)
{
	uint32_t mask = (BIT(width) - 1) << low;

	*x = (*x & ~mask) | ((value << low) & mask);
}

/* Bits of an APIC id that number the cores. */
static unsigned core_bits(unsigned n_cpus)
{
	unsigned bits = 0;

	while ((1u << bits) < n_cpus)
		bits++;
	return bits;
}

int cpuid_new(struct kvm_cpuid2 **cpuid, int kvm_fd, struct error *err)
{
	_cleanup_free_ struct kvm_cpuid2 *list = NULL;

	list = calloc(1, sizeof(*list) +
				 CPUID_ENTRIES_MAX * sizeof(list->entries[0]));
	if (list == NULL)
		return -ENOMEM;
	list->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, list) < 0)
		return error_set_errno(err, -errno, "/dev/kvm: CPUID");
	*cpuid = steal_ptr(&list);
	return 0;
}

static void fix_features(struct kvm_cpuid_entry2 *e, unsigned apic_id,
			 unsigned n_cpus, bool has_tsc_deadline)
{
	set_field(&e->ebx, 24, 8, apic_id);
	set_field(&e->ebx, 16, 8, n_cpus);
	if (n_cpus > 1)
		e->edx |= BIT(28); /* HTT: the count above is valid */
	else
		e->edx &= ~BIT(28);
	e->ecx &= ~BIT(5); /* VMX: no nesting unless asked for */
	e->ecx |= BIT(31); /* HYPERVISOR */
	if (has_tsc_deadline)
		e->ecx |= BIT(24);
}

/* Intel: deterministic cache parameters. L1 and L2 are each core's own. */
static void fix_intel_caches(struct kvm_cpuid_entry2 *e, unsigned n_cpus)
{
	unsigned level = (e->eax >> 5) & 7;
	unsigned ids = BIT(core_bits(n_cpus)) - 1;

	if ((e->eax & 0x1f) == 0)
		return;
	set_field(&e->eax, 14, 12, level >= 3 ? ids : 0);
	set_field(&e->eax, 26, 6, ids);
}

/* AMD: as above. */
static void fix_amd_caches(struct kvm_cpuid_entry2 *e, unsigned n_cpus)
{
	if ((e->eax & 0x1f) != 0)
		set_field(&e->eax, 14, 12,
			  ((e->eax >> 5) & 7) >= 3 ? n_cpus - 1 : 0);
}

/* Extended topology: a level of one thread, a level of n cores, the end. */
static void fix_topology(struct kvm_cpuid_entry2 *e, unsigned apic_id,
			 unsigned n_cpus)
{
	e->eax = e->ebx = 0;
	e->ecx = e->index & 0xff;
	e->edx = apic_id;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= 1 << 8; /* thread */
	} else if (e->index == 1) {
		e->eax = core_bits(n_cpus);
		e->ebx = n_cpus;
		e->ecx |= 2 << 8; /* core */
	}
}

static void fix_amd_size(struct kvm_cpuid_entry2 *e, unsigned n_cpus)
{
	set_field(&e->ecx, 0, 8, n_cpus - 1);
	set_field(&e->ecx, 12, 4, core_bits(n_cpus));
}

static void fix_amd_topology(struct kvm_cpuid_entry2 *e, unsigned apic_id)
{
	e->eax = apic_id;
	e->ebx = apic_id & 0xff; /* core, of one thread */
	e->ecx = 0;		 /* node 0 of 1 */
}

/* Leaves 0xb and 0x1f need their three subleaves, which KVM leaves out. */
static void add_subleaves(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	bool have[3] = { false, false, false };
	bool is_there = false;

	for (unsigned i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function != function)
			continue;
		is_there = true;
		if (e->index < 3)
			have[e->index] = true;
	}
	for (unsigned index = 0; is_there && index < 3; index++) {
		if (have[index] || cpuid->nent == CPUID_ENTRIES_MAX)
			continue;
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = index,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};
	}
}

void cpuid_adjust(struct kvm_cpuid2 *cpuid, unsigned apic_id, unsigned n_cpus,
		  bool has_tsc_deadline)
{
	add_subleaves(cpuid, 0xb);
	add_subleaves(cpuid, 0x1f);
	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			fix_features(e, apic_id, n_cpus, has_tsc_deadline);
			break;
		case 4:
			fix_intel_caches(e, n_cpus);
			break;
		case 6:
			e->eax |= BIT(2); /* ARAT: KVM's timer never stops */
			break;
		case 0xb:
		case 0x1f:
			fix_topology(e, apic_id, n_cpus);
			break;
		case 0x80000001:
			e->ecx &= ~BIT(2); /* SVM: no nesting */
			break;
		case 0x80000008:
			fix_amd_size(e, n_cpus);
			break;
		case 0x8000000a: /* SVM's own features */
			e->eax = e->ebx = e->ecx = e->edx = 0;
			break;
		case 0x8000001d:
			fix_amd_caches(e, n_cpus);
			break;
		case 0x8000001e:
			fix_amd_topology(e, apic_id);
			break;
		default:
			break;
		}
	}
}

bool cpuid_host_has_virtualization(void)
{
	unsigned eax, ebx, ecx, edx;

	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & BIT(5)))
		return true;
	return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) &&
	       (ecx & BIT(2));
}
