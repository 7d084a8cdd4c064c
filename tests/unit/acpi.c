/* SPDX-License-Identifier: ISC */
/*
 * The tables as a guest finds them: each reached from the RSDP, whole, with
 * a right checksum, taken by iasl; and the ASL's numbers are layout.h's.
 */
#include "vm-cpu/acpi.h"

#include "protocols/acpi.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/power.h"
#include "vm-cpu/ram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct ram ram = RAM_INIT;
static const uint64_t rsdp_gpa = LAYOUT_ACPI;

static void build(unsigned n_cpus)
{
	ram_deinit(&ram);
	assert_int_equal(ram_init(&ram, 2 << 20, false, NULL), 0);
	assert_int_equal(acpi_build(&ram, n_cpus, NULL), 0);
}

static uint8_t sum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *p++);
	return total;
}

/* A table, after the checks that hold for every one. */
static const void *table_at(uint64_t gpa, const char *signature)
{
	const struct acpi_header *header;

	assert_true(gpa >= LAYOUT_ACPI);
	header = ram_at(&ram, gpa, sizeof(*header));
	assert_non_null(header);
	assert_memory_equal(header->signature, signature, 4);
	assert_true(gpa + header->length <= LAYOUT_ACPI + LAYOUT_ACPI_SIZE);
	assert_int_equal(sum(header, header->length), 0);
	return header;
}

static const void *find_table(const char *signature)
{
	const struct acpi_rsdp *rsdp = ram_at(&ram, rsdp_gpa, sizeof(*rsdp));
	const struct acpi_header *xsdt = table_at(rsdp->xsdt_gpa, "XSDT");
	size_t n = (xsdt->length - sizeof(*xsdt)) / 8;

	for (size_t i = 0; i < n; i++) {
		uint64_t gpa;

		memcpy(&gpa, (const uint8_t *)(xsdt + 1) + i * 8, 8);
		if (memcmp(ram_at(&ram, gpa, 4), signature, 4) == 0)
			return table_at(gpa, signature);
	}
	return NULL;
}

static const struct acpi_header *find_dsdt(void)
{
	const struct acpi_fadt *fadt = find_table("FACP");

	return table_at(fadt->x_dsdt, "DSDT");
}

static void the_rsdp_leads_to_all(void **state)
{
	const struct acpi_rsdp *rsdp;

	(void)state;
	build(1);
	/* Where readers without a pointer look: §5.2.5.1. */
	assert_int_equal(rsdp_gpa % 16, 0);
	assert_true(rsdp_gpa >= 0xe0000 && rsdp_gpa < 0x100000);
	rsdp = ram_at(&ram, rsdp_gpa, sizeof(*rsdp));
	assert_memory_equal(rsdp->signature, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, sizeof(*rsdp)), 0);
	assert_non_null(find_table("FACP"));
	assert_non_null(find_table("APIC"));
	assert_non_null(find_table("MCFG"));
	assert_non_null(find_dsdt());
}

static void the_fadt_denies_what_is_not_there(void **state)
{
	const struct acpi_fadt *fadt;

	(void)state;
	build(1);
	fadt = find_table("FACP");
	assert_int_equal(fadt->header.revision, 6);
	assert_int_equal(fadt->header.length, 276);
	assert_int_equal(fadt->boot_flags, 0x34);
	assert_true(fadt->flags & 1 << 20); /* HW_REDUCED_ACPI */
	assert_true(fadt->flags & 1 << 10); /* RESET_REG_SUP */
	assert_int_equal(fadt->x_dsdt, fadt->dsdt);
	assert_true(fadt->reset_reg.address == LAYOUT_POWER + POWER_RESET);
	assert_true(fadt->sleep_control.address ==
		    LAYOUT_POWER + POWER_SLEEP_CONTROL);
	assert_true(fadt->sleep_status.address ==
		    LAYOUT_POWER + POWER_SLEEP_STATUS);
}

static void the_madt_has_every_processor(void **state)
{
	const struct acpi_madt *madt;
	const uint8_t *at, *end;
	unsigned n_cpus = 0, n_io_apics = 0;

	(void)state;
	build(64);
	madt = find_table("APIC");
	assert_int_equal(madt->local_apic_gpa, LAYOUT_LAPIC);
	at = (const uint8_t *)(madt + 1);
	end = (const uint8_t *)madt + madt->header.length;
	for (; at < end; at += at[1]) {
		assert_true(at[1] >= 2 && at[1] <= end - at);
		if (at[0] == ACPI_MADT_LOCAL_APIC)
			assert_int_equal(at[3], n_cpus++);
		n_io_apics += at[0] == ACPI_MADT_IO_APIC;
	}
	assert_ptr_equal(at, end);
	assert_int_equal(n_cpus, 64);
	assert_int_equal(n_io_apics, 1);
}

static void the_mcfg_is_the_ecam(void **state)
{
	const struct acpi_mcfg *mcfg;

	(void)state;
	build(1);
	mcfg = find_table("MCFG");
	assert_true(mcfg->ecam_gpa == LAYOUT_ECAM);
	assert_int_equal(mcfg->first_bus, 0);
	assert_true((mcfg->last_bus + UINT64_C(1)) << 20 == LAYOUT_ECAM_SIZE);
}

/* Is this resource descriptor (§6.4) in the DSDT? */
static bool has_bytes(const void *bytes, size_t len)
{
	const struct acpi_header *dsdt = find_dsdt();

	return memmem(dsdt, dsdt->length, bytes, len) != NULL;
}

/* Range and length of a memory window; the granularity before is 0. */
static bool has_window32(uint64_t base, uint64_t size)
{
	uint32_t words[] = { 0, (uint32_t)base, (uint32_t)(base + size - 1), 0,
			     (uint32_t)size };

	return has_bytes(words, sizeof(words));
}

static bool has_window64(uint64_t base, uint64_t size)
{
	uint64_t words[] = { 0, base, base + size - 1, 0, size };

	return has_bytes(words, sizeof(words));
}

static bool has_fixed_memory(uint64_t base, uint64_t size)
{
	struct {
		uint8_t tag;
		uint16_t len;
		uint8_t is_writable;
		uint32_t base, size;
	} __attribute__((packed))
	fixed = { 0x86, 9, 1, (uint32_t)base, (uint32_t)size };

	return has_bytes(&fixed, sizeof(fixed));
}

static bool has_interrupt(uint32_t gsi)
{
	struct {
		uint8_t tag;
		uint16_t len;
		uint8_t flags; /* consumer, edge, high, exclusive */
		uint8_t n;
		uint32_t gsi;
	} __attribute__((packed)) interrupt = { 0x89, 6, 3, 1, gsi };

	return has_bytes(&interrupt, sizeof(interrupt));
}

static bool has_ports(uint16_t base, uint8_t n)
{
	struct {
		uint8_t tag, decodes;
		uint16_t min, max;
		uint8_t align, n;
	} __attribute__((packed)) ports = { 0x47, 1, base, base, 1, n };

	return has_bytes(&ports, sizeof(ports));
}

static bool has_region(uint64_t gpa)
{
	struct {
		uint8_t op[2];
		char name[4];
		uint8_t space, prefix;
		uint32_t gpa;
	} __attribute__((packed)) region = {
		{ 0x5b, 0x80 }, { 'R', 'E', 'G', 'S' }, 0, 0x0c, (uint32_t)gpa
	};

	return has_bytes(&region, sizeof(region));
}

static void the_dsdt_agrees_with_the_layout(void **state)
{
	(void)state;
	build(1);
	assert_true(has_window32(LAYOUT_MMIO32, LAYOUT_MMIO32_SIZE));
	assert_true(has_window64(LAYOUT_MMIO64, LAYOUT_MMIO64_SIZE));
	assert_true(has_fixed_memory(LAYOUT_ECAM, LAYOUT_ECAM_SIZE));
	assert_true(has_fixed_memory(LAYOUT_POWER, LAYOUT_POWER_SIZE));
	assert_true(has_interrupt(LAYOUT_GSI_COM1));
	assert_true(has_interrupt(LAYOUT_GSI_GED));
	assert_true(has_ports(LAYOUT_COM1, LAYOUT_COM1_SIZE));
	assert_true(has_ports(LAYOUT_PVPANIC, 1));
	assert_true(has_region(LAYOUT_POWER + POWER_EVENT));
	assert_false(has_interrupt(23));
}

/* iasl finds wrong lengths, types and checksums that we would not. */
static void disassemble(const char *folder, const void *table, size_t len)
{
	char command[256], path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/table.dat", folder);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(table, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	snprintf(command, sizeof(command),
		 "cd %s && iasl -d table.dat >log 2>&1 && "
		 "! grep -iE 'invalid|incorrect|error|warning' log table.dsl",
		 folder);
	/* NOLINTNEXTLINE(cert-env33-c): a test of what iasl says */
	assert_int_equal(system(command), 0);
}

static void iasl_takes_them(void **state)
{
	static const char *const names[] = { "FACP", "APIC", "MCFG" };
	char folder[] = "/tmp/pipevisor-acpi.XXXXXX", command[64];
	const struct acpi_header *table;

	(void)state;
	build(4);
	assert_non_null(mkdtemp(folder));
	for (unsigned i = 0; i < 3; i++) {
		table = find_table(names[i]);
		disassemble(folder, table, table->length);
	}
	table = find_dsdt();
	disassemble(folder, table, table->length);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	/* NOLINTNEXTLINE(cert-env33-c) */
	assert_int_equal(system(command), 0);
}

static void too_little_memory_is_an_error(void **state)
{
	struct ram tiny = RAM_INIT;

	(void)state;
	assert_int_equal(ram_init(&tiny, 4096, false, NULL), 0);
	assert_int_equal(acpi_build(&tiny, 1, NULL), -ENOMEM);
	ram_deinit(&tiny);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rsdp_leads_to_all),
		cmocka_unit_test(the_fadt_denies_what_is_not_there),
		cmocka_unit_test(the_madt_has_every_processor),
		cmocka_unit_test(the_mcfg_is_the_ecam),
		cmocka_unit_test(the_dsdt_agrees_with_the_layout),
		cmocka_unit_test(iasl_takes_them),
		cmocka_unit_test(too_little_memory_is_an_error),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	ram_deinit(&ram);
	return failed;
}
