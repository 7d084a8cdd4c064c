/* SPDX-License-Identifier: ISC */
/* When an interrupt is KVM's to deliver, and when it is pending. */
#include "vm-cpu/msix.h"
#include "lib/base/cleanup.h"
#include "tests/support/fake_vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

enum {
	N_VECTORS = 3,
	N_SOURCES = 4,
};

struct bench {
	struct vm vm;
	struct msix msix;
	int fds[N_SOURCES];
};

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	memset(&fake_vm, 0, sizeof(fake_vm));
	for (unsigned i = 0; i < N_SOURCES; i++)
		bench->fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(msix_init(&bench->msix, &bench->vm, N_VECTORS,
				   N_SOURCES, bench->fds),
			 0);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	msix_deinit(&bench->msix);
	assert_int_equal(fake_vm.n_irqfds, 0);
	assert_int_equal(fake_vm.n_mistakes, 0);
	for (unsigned i = 0; i < VM_MSI_MAX; i++)
		assert_false(bench->vm.msis[i].is_allocated);
	for (unsigned i = 0; i < N_SOURCES; i++)
		close(bench->fds[i]);
	free(bench);
	return 0;
}

static void set_vector(struct bench *bench, unsigned vector, uint32_t data,
		       bool is_masked)
{
	uint64_t at = vector * sizeof(struct pci_msix_entry);

	msix_write(&bench->msix, at, 4, 0xfee00000);
	msix_write(&bench->msix, at + 4, 4, 0);
	msix_write(&bench->msix, at + 8, 4, data);
	msix_write(&bench->msix, at + 12, 4, is_masked);
}

static bool is_joined(const struct bench *bench, unsigned source)
{
	for (unsigned i = 0; i < fake_vm.n_irqfds; i++) {
		if (fake_vm.irqfds[i].fd == bench->fds[source])
			return true;
	}
	return false;
}

static void test_joined_when_all_agree(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(msix_bind(&bench->msix, 0, 1), 1);
	assert_false(is_joined(bench, 0));
	set_vector(bench, 1, 0x41, false);
	assert_false(is_joined(bench, 0));
	msix_control(&bench->msix, PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
	assert_false(is_joined(bench, 0));
	msix_control(&bench->msix, PCI_MSIX_ENABLE);
	assert_true(is_joined(bench, 0));
	assert_int_equal(bench->vm.msis[0].data, 0x41);
	assert_true(bench->vm.msis[0].address == 0xfee00000);
	msix_control(&bench->msix, 0);
	assert_false(is_joined(bench, 0));
}

static void test_mask_of_one(void **state)
{
	struct bench *bench = *state;

	msix_control(&bench->msix, PCI_MSIX_ENABLE);
	set_vector(bench, 0, 0x40, false);
	set_vector(bench, 1, 0x41, false);
	msix_bind(&bench->msix, 0, 0);
	msix_bind(&bench->msix, 1, 1);
	msix_write(&bench->msix, 12, 4, PCI_MSIX_ENTRY_MASKED);
	assert_false(is_joined(bench, 0));
	assert_true(is_joined(bench, 1));
	/* What comes now is pending, and is not lost. */
	assert_int_equal(msix_read(&bench->msix, MSIX_PBA, 4), 0);
	eventfd_write(bench->fds[0], 1);
	assert_int_equal(msix_read(&bench->msix, MSIX_PBA, 4), 1);
	assert_int_equal(msix_read(&bench->msix, MSIX_PBA, 8), 1);
	msix_write(&bench->msix, 12, 4, 0);
	assert_true(is_joined(bench, 0));
	assert_int_equal(msix_read(&bench->msix, MSIX_PBA, 8), 0);
}

static void test_vectors_are_shared(void **state)
{
	struct bench *bench = *state;

	msix_control(&bench->msix, PCI_MSIX_ENABLE);
	set_vector(bench, 2, 0x42, false);
	for (unsigned i = 0; i < N_SOURCES; i++)
		assert_int_equal(msix_bind(&bench->msix, i, 2), 2);
	assert_int_equal(fake_vm.n_irqfds, N_SOURCES);
	assert_int_equal(fake_vm.irqfds[0].gsi, fake_vm.irqfds[3].gsi);
	assert_int_equal(msix_bind(&bench->msix, 0, MSIX_NO_VECTOR),
			 MSIX_NO_VECTOR);
	assert_int_equal(fake_vm.n_irqfds, N_SOURCES - 1);
}

static void test_no_such_vector(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(msix_bind(&bench->msix, 0, N_VECTORS), MSIX_NO_VECTOR);
	assert_int_equal(msix_bind(&bench->msix, 0, 0x7fff), MSIX_NO_VECTOR);
}

/* GSIs are few: a driver that gets none is told so. */
static void test_out_of_gsis(void **state)
{
	struct bench *bench = *state;

	for (unsigned i = 0; i < VM_MSI_MAX; i++)
		bench->vm.msis[i].is_allocated = true;
	assert_int_equal(msix_bind(&bench->msix, 0, 1), MSIX_NO_VECTOR);
	memset(bench->vm.msis, 0, sizeof(bench->vm.msis));
	assert_int_equal(msix_bind(&bench->msix, 0, 1), 1);
}

/* Routes go to KVM when they change, and not otherwise. */
static void test_routed_on_change(void **state)
{
	struct bench *bench = *state;

	msix_control(&bench->msix, PCI_MSIX_ENABLE);
	set_vector(bench, 0, 0x40, false);
	msix_bind(&bench->msix, 0, 0);
	assert_int_equal(fake_vm.n_routings, 1);
	for (unsigned i = 0; i < 10; i++) {
		msix_write(&bench->msix, 12, 4, PCI_MSIX_ENTRY_MASKED);
		msix_write(&bench->msix, 12, 4, 0);
	}
	assert_int_equal(fake_vm.n_routings, 1);
	msix_write(&bench->msix, 8, 4, 0x50);
	assert_int_equal(fake_vm.n_routings, 2);
	assert_int_equal(bench->vm.msis[0].data, 0x50);
}

static void test_table_accesses(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(msix_read(&bench->msix, 12, 4), PCI_MSIX_ENTRY_MASKED);
	msix_write(&bench->msix, 16, 8, UINT64_C(0x1122334455667788));
	assert_int_equal(msix_read(&bench->msix, 20, 4), 0x11223344);
	msix_write(&bench->msix, 24, 8, UINT64_MAX);
	assert_int_equal(msix_read(&bench->msix, 24, 4), UINT32_MAX);
	assert_int_equal(msix_read(&bench->msix, 28, 4), PCI_MSIX_ENTRY_MASKED);
	/* Of other widths, unaligned, beyond the table, in the PBA. */
	msix_write(&bench->msix, 16, 1, 0xff);
	msix_write(&bench->msix, 18, 4, 0xffffffff);
	msix_write(&bench->msix, N_VECTORS * 16, 4, 1);
	msix_write(&bench->msix, MSIX_PBA, 8, UINT64_MAX);
	msix_write(&bench->msix, MSIX_BAR_SIZE - 8, 8, UINT64_MAX);
	assert_int_equal(msix_read(&bench->msix, 16, 4), 0x55667788);
	assert_int_equal(msix_read(&bench->msix, N_VECTORS * 16, 4), 0);
	assert_int_equal(msix_read(&bench->msix, MSIX_BAR_SIZE - 8, 8), 0);
}

static void test_reset(void **state)
{
	struct bench *bench = *state;

	msix_control(&bench->msix, PCI_MSIX_ENABLE);
	set_vector(bench, 0, 0x40, false);
	msix_bind(&bench->msix, 0, 0);
	assert_true(is_joined(bench, 0));
	msix_reset(&bench->msix);
	assert_false(is_joined(bench, 0));
	assert_int_equal(msix_read(&bench->msix, 0, 4), 0);
	msix_control(&bench->msix, PCI_MSIX_ENABLE);
	assert_int_equal(fake_vm.n_irqfds, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_joined_when_all_agree), test(test_mask_of_one),
		test(test_vectors_are_shared),	  test(test_no_such_vector),
		test(test_out_of_gsis),		  test(test_routed_on_change),
		test(test_table_accesses),	  test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
