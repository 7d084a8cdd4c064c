/* SPDX-License-Identifier: ISC */
/* Topology and features in CPUID, on lists as KVM gives them. */
#include "vm-cpu/cpuid.h"

#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct kvm_cpuid2 *list;

static void add(uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx,
		uint32_t ecx, uint32_t edx)
{
	list->entries[list->nent++] = (struct kvm_cpuid_entry2){
		.function = function,
		.index = index,
		.eax = eax,
		.ebx = ebx,
		.ecx = ecx,
		.edx = edx,
	};
}

static const struct kvm_cpuid_entry2 *find(uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < list->nent; i++)
		if (list->entries[i].function == function &&
		    list->entries[i].index == index)
			return &list->entries[i];
	return NULL;
}

static int set_up(void **state)
{
	(void)state;
	list = calloc(1, sizeof(*list) +
				 CPUID_ENTRIES_MAX * sizeof(list->entries[0]));
	return list == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	free(list);
	return 0;
}

static void features(void **state)
{
	const struct kvm_cpuid_entry2 *e;

	(void)state;
	add(1, 0, 0, 0xff020800, 0xffffffffu & ~(1u << 31), 0xffffffff);
	add(6, 0, 0, 0, 0, 0);
	add(0x80000001, 0, 0, 0, 0xffffffff, 0);
	add(0x8000000a, 0, 1, 2, 3, 4);
	cpuid_adjust(list, 3, 4, true);
	e = find(1, 0);
	assert_int_equal(e->ebx, 0x03040800);
	assert_true(e->ecx & 1u << 31); /* hypervisor */
	assert_true(e->ecx & 1u << 24); /* TSC deadline */
	assert_false(e->ecx & 1u << 5); /* VMX */
	assert_true(e->edx & 1u << 28); /* HTT */
	assert_true(find(6, 0)->eax & 1u << 2);
	assert_false(find(0x80000001, 0)->ecx & 1u << 2);
	assert_int_equal(find(0x8000000a, 0)->edx, 0);
	cpuid_adjust(list, 0, 1, true);
	assert_false(find(1, 0)->edx & 1u << 28);
}

static void levels_of_topology(void **state)
{
	(void)state;
	add(0xb, 0, 0, 0, 0, 0);
	cpuid_adjust(list, 5, 6, true);
	assert_int_equal(find(0xb, 0)->eax, 0);
	assert_int_equal(find(0xb, 0)->ebx, 1);
	assert_int_equal(find(0xb, 0)->ecx, 0x100);
	assert_int_equal(find(0xb, 0)->edx, 5);
	assert_int_equal(find(0xb, 1)->eax, 3); /* ids 0 to 7 */
	assert_int_equal(find(0xb, 1)->ebx, 6);
	assert_int_equal(find(0xb, 1)->ecx, 0x201);
	assert_int_equal(find(0xb, 1)->edx, 5);
	assert_int_equal(find(0xb, 2)->ebx, 0);
	assert_int_equal(find(0xb, 2)->ecx, 2);
	/* What KVM does not have is not made up. */
	assert_null(find(0x1f, 0));
	/* Once more: nothing is added twice. */
	cpuid_adjust(list, 5, 6, true);
	assert_int_equal(list->nent, 3);
}

static void who_shares_a_cache(void **state)
{
	(void)state;
	add(4, 0, 0xfc01c121, 0, 0, 0); /* L1 data */
	add(4, 1, 0xfc01c163, 0, 0, 0); /* L3 */
	add(4, 2, 0, 0, 0, 0);
	add(0x8000001d, 0, 0x01c121, 0, 0, 0);
	add(0x8000001d, 1, 0x03c163, 0, 0, 0);
	add(0x80000008, 0, 0, 0, 0x7001, 0);
	add(0x8000001e, 0, 9, 9, 9, 0);
	cpuid_adjust(list, 2, 4, true);
	assert_int_equal(find(4, 0)->eax >> 14 & 0xfff, 0);
	assert_int_equal(find(4, 1)->eax >> 14 & 0xfff, 3);
	assert_int_equal(find(4, 1)->eax >> 26, 3);
	assert_int_equal(find(4, 2)->eax, 0);
	assert_int_equal(find(0x8000001d, 0)->eax >> 14 & 0xfff, 0);
	assert_int_equal(find(0x8000001d, 1)->eax >> 14 & 0xfff, 3);
	assert_int_equal(find(0x80000008, 0)->ecx, 0x2003);
	assert_int_equal(find(0x8000001e, 0)->eax, 2);
	assert_int_equal(find(0x8000001e, 0)->ebx, 2);
	assert_int_equal(find(0x8000001e, 0)->ecx, 0);
}

static void a_full_list_is_not_overrun(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUID_ENTRIES_MAX - 1; i++)
		add(0x40000000 + i, 0, 0, 0, 0, 0);
	add(0xb, 0, 0, 0, 0, 0);
	cpuid_adjust(list, 0, 2, true);
	assert_int_equal(list->nent, CPUID_ENTRIES_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(features),
		TEST(levels_of_topology),
		TEST(who_shares_a_cache),
		TEST(a_full_list_is_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
