/* SPDX-License-Identifier: ISC */
/*
 * Entry states: Linux's 64-bit boot protocol (Documentation/x86/boot.rst,
 * "64-bit Boot Protocol") and PVH (protocols/pvh.h). Bits by their names in
 * Intel SDM vol. 3A.
 */
#include "vm-cpu/cpu_state.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-cpu/boot.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/ram.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	CR0_PE = 1 << 0,
	CR0_ET = 1 << 4,
	CR4_PAE = 1 << 5,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,

	PTE_PRESENT = 1 << 0,
	PTE_WRITE = 1 << 1,
	PTE_LARGE = 1 << 7,

	/* As the boot protocol wants them: __BOOT_CS, __BOOT_DS. */
	SELECTOR_CODE = 0x10,
	SELECTOR_DATA = 0x18,
	SELECTOR_TSS = 0x20,

	MSR_IA32_MISC_ENABLE = 0x1a0,
	MISC_ENABLE_FAST_STRING = 1,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MTRR_ENABLE = 1 << 11,
	MTRR_WRITE_BACK = 6,
};

#define CR0_PG (UINT64_C(1) << 31)

/* A descriptor, from its parts (Intel SDM vol. 3A, figure 3-8). */
static uint64_t descriptor(const struct kvm_segment *s)
{
	uint64_t limit = s->g ? s->limit >> 12 : s->limit;
	uint64_t flags = s->type | (uint64_t)s->s << 4 | (uint64_t)s->dpl << 5 |
			 (uint64_t)s->present << 7 | (uint64_t)s->avl << 12 |
			 (uint64_t)s->l << 13 | (uint64_t)s->db << 14 |
			 (uint64_t)s->g << 15;

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | flags << 40 |
	       (limit >> 16 & 0xf) << 48 | (s->base >> 24 & 0xff) << 56;
}

static void set_segments(struct kvm_sregs *sregs, struct ram *ram, bool is_64)
{
	struct kvm_segment code = {
		.limit = UINT32_MAX,
		.selector = SELECTOR_CODE,
		.type = 11, /* code, readable, accessed */
		.present = 1,
		.db = !is_64,
		.s = 1,
		.l = is_64,
		.g = 1,
	};
	struct kvm_segment data = code, tss;
	uint64_t *gdt = ram_at(ram, LAYOUT_GDT, 6 * sizeof(*gdt));

	data.selector = SELECTOR_DATA;
	data.type = 3; /* data, writable, accessed */
	data.db = 1;
	data.l = 0;
	tss = data;
	tss.selector = SELECTOR_TSS;
	tss.type = 11; /* busy TSS */
	tss.s = 0;
	tss.db = 0;
	tss.g = 0;
	tss.limit = 0x67;
	gdt[SELECTOR_CODE / 8] = descriptor(&code);
	gdt[SELECTOR_DATA / 8] = descriptor(&data);
	gdt[SELECTOR_TSS / 8] = descriptor(&tss);
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = tss;
	sregs->gdt.base = LAYOUT_GDT;
	sregs->gdt.limit = 6 * sizeof(*gdt) - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
}

/* The first 4 GiB, one to one, in pages of 2 MiB. */
static void set_paging(struct kvm_sregs *sregs, struct ram *ram)
{
	enum {
		ENTRIES = 512,
		GIBS = 4
	};
	uint64_t(*table)[ENTRIES] =
		ram_at(ram, LAYOUT_PAGE_TABLES, (2 + GIBS) * sizeof(*table));
	uint64_t page = sizeof(*table);

	table[0][0] = (LAYOUT_PAGE_TABLES + page) | PTE_PRESENT | PTE_WRITE;
	for (unsigned gib = 0; gib < GIBS; gib++) {
		table[1][gib] = (LAYOUT_PAGE_TABLES + (2 + gib) * page) |
				PTE_PRESENT | PTE_WRITE;
		for (uint64_t i = 0; i < ENTRIES; i++)
			table[2 + gib][i] = gib * LAYOUT_GIB | i << 21 |
					    PTE_PRESENT | PTE_WRITE | PTE_LARGE;
	}
	sregs->cr3 = LAYOUT_PAGE_TABLES;
	sregs->cr4 |= CR4_PAE;
	sregs->cr0 |= CR0_PG;
	sregs->efer |= EFER_LME | EFER_LMA;
}

int cpu_state_boot(int vcpu_fd, struct ram *ram, const struct boot *boot,
		   struct error *err)
{
	struct kvm_regs regs = { .rip = boot->entry_gpa, .rflags = 2 };
	struct kvm_sregs sregs;
	bool is_64 = boot->mode == BOOT_LINUX64;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return error_set_errno(err, -errno, "vCPU registers");
	sregs.cr0 = CR0_PE | CR0_ET;
	set_segments(&sregs, ram, is_64);
	if (is_64) {
		set_paging(&sregs, ram);
		regs.rsi = boot->info_gpa;
	} else {
		regs.rbx = boot->info_gpa;
	}
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return error_set_errno(err, -errno, "vCPU registers");
	return 0;
}

/*
 * Both are what firmware leaves behind: Linux takes RAM for uncached where
 * MTRRs say nothing. A KVM that knows neither register stops at its number.
 */
int cpu_state_init(int vcpu_fd, struct error *err)
{
	static const struct kvm_msr_entry entries[] = {
		{ .index = MSR_MTRR_DEF_TYPE,
		  .data = MTRR_ENABLE | MTRR_WRITE_BACK },
		{ .index = MSR_IA32_MISC_ENABLE,
		  .data = MISC_ENABLE_FAST_STRING },
	};
	_cleanup_free_ struct kvm_msrs *msrs =
		calloc(1, sizeof(*msrs) + sizeof(entries));

	if (msrs == NULL)
		return -ENOMEM;
	msrs->nmsrs = array_size(entries);
	memcpy(msrs->entries, entries, sizeof(entries));
	if (ioctl(vcpu_fd, KVM_SET_MSRS, msrs) < 0)
		return error_set_errno(err, -errno, "vCPU MSRs");
	return 0;
}
