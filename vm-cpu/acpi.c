/* SPDX-License-Identifier: ISC */
/*
 * Tables one after the other from LAYOUT_ACPI on, each on a 16-byte boundary:
 * the RSDP first, where those who search the BIOS area find it too (ACPI 6.4
 * §5.2.5.1), then what it leads to. Section numbers are of that edition.
 */
#include "vm-cpu/acpi.h"

#include "lib/base/error.h"
#include "protocols/acpi.h"
#include "vm-cpu/layout.h"
#include "vm-cpu/power.h"
#include "vm-cpu/ram.h"

#include <errno.h>
#include <string.h>

static const uint8_t dsdt[] = {
#include "vm-cpu/dsdt.inc"
};

enum {
	N_TABLES = 3, /* that the XSDT lists: FADT, MADT, MCFG */
	ALIGN = 16,
};

struct xsdt {
	struct acpi_header header;
	uint64_t tables[N_TABLES];
} __attribute__((packed));

/* The tables' memory, and how much of it is used. */
struct area {
	uint8_t *host;
	uint64_t gpa;
	size_t size, used;
};

/* NULL when the area is full. */
static void *reserve(struct area *area, size_t len, uint64_t *gpa)
{
	size_t at = (area->used + ALIGN - 1) & ~(size_t)(ALIGN - 1);

	if (at > area->size || area->size - at < len)
		return NULL;
	area->used = at + len;
	*gpa = area->gpa + at;
	return memset(area->host + at, 0, len);
}

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len-- > 0)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static void put_header(struct acpi_header *header, const char *signature,
		       uint8_t revision, size_t len)
{
	memcpy(header->signature, signature, 4);
	header->length = (uint32_t)len;
	header->revision = revision;
	memcpy(header->oem_id, "PIPEVM", 6);
	memcpy(header->oem_table_id, "PIPEVM\0\0", 8);
	header->oem_revision = 1;
	memcpy(header->creator_id, "PIPE", 4);
	header->creator_revision = 1;
}

static void seal(struct acpi_header *header)
{
	header->checksum = 0;
	header->checksum = checksum(header, header->length);
}

static uint64_t put_dsdt(struct area *area)
{
	uint64_t gpa = 0;
	void *table = reserve(area, sizeof(dsdt), &gpa);

	if (table != NULL)
		memcpy(table, dsdt, sizeof(dsdt));
	return gpa;
}

static struct acpi_address byte_register(uint64_t offset)
{
	return (struct acpi_address){
		.space = ACPI_SPACE_MEMORY,
		.bit_width = 8,
		.access_size = 1,
		.address = LAYOUT_POWER + offset,
	};
}

/* §5.2.9: no fixed hardware; sleep and reset by registers of ours. */
static uint64_t put_fadt(struct area *area, uint64_t dsdt_gpa)
{
	uint64_t gpa = 0;
	struct acpi_fadt *fadt = reserve(area, sizeof(*fadt), &gpa);

	if (fadt == NULL)
		return 0;
	put_header(&fadt->header, "FACP", 6, sizeof(*fadt));
	fadt->minor_revision = 4;
	fadt->boot_flags =
		ACPI_BOOT_NO_VGA | ACPI_BOOT_NO_ASPM | ACPI_BOOT_NO_CMOS_RTC;
	fadt->flags = ACPI_FADT_RESET_REG_SUP | ACPI_FADT_HW_REDUCED;
	fadt->reset_reg = byte_register(POWER_RESET);
	fadt->reset_value = POWER_RESET_VALUE;
	/* Both: not every reader knows the wide one. */
	fadt->dsdt = (uint32_t)dsdt_gpa;
	fadt->x_dsdt = dsdt_gpa;
	fadt->sleep_control = byte_register(POWER_SLEEP_CONTROL);
	fadt->sleep_status = byte_register(POWER_SLEEP_STATUS);
	memcpy(&fadt->hypervisor_id, "PIPEVISO", 8);
	seal(&fadt->header);
	return gpa;
}

/*
 * §5.2.12. The serial port's line is named although it is as ISA has it:
 * without the PIC, Linux knows no other interrupts below 16.
 */
static uint64_t put_madt(struct area *area, unsigned n_cpus)
{
	struct {
		struct acpi_madt madt;
		struct acpi_madt_io_apic io_apic;
		struct acpi_madt_override com1;
		struct acpi_madt_local_nmi nmi;
		struct acpi_madt_local_apic cpus[];
	} __attribute__((packed)) * table;
	size_t len = sizeof(*table) + n_cpus * sizeof(table->cpus[0]);
	uint64_t gpa = 0;

	table = reserve(area, len, &gpa);
	if (table == NULL)
		return 0;
	put_header(&table->madt.header, "APIC", 5, len);
	table->madt.local_apic_gpa = (uint32_t)LAYOUT_LAPIC;
	table->io_apic = (struct acpi_madt_io_apic){
		.type = ACPI_MADT_IO_APIC,
		.length = sizeof(table->io_apic),
		.gpa = (uint32_t)LAYOUT_IOAPIC,
	};
	table->com1 = (struct acpi_madt_override){
		.type = ACPI_MADT_OVERRIDE,
		.length = sizeof(table->com1),
		.source = LAYOUT_GSI_COM1,
		.gsi = LAYOUT_GSI_COM1,
		.flags = ACPI_MADT_ACTIVE_HIGH | ACPI_MADT_EDGE,
	};
	table->nmi = (struct acpi_madt_local_nmi){
		.type = ACPI_MADT_LOCAL_NMI,
		.length = sizeof(table->nmi),
		.processor_uid = 0xff,
		.lint = 1,
	};
	for (unsigned i = 0; i < n_cpus; i++)
		table->cpus[i] = (struct acpi_madt_local_apic){
			.type = ACPI_MADT_LOCAL_APIC,
			.length = sizeof(table->cpus[0]),
			.processor_uid = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = ACPI_MADT_ENABLED,
		};
	seal(&table->madt.header);
	return gpa;
}

static uint64_t put_mcfg(struct area *area)
{
	uint64_t gpa = 0;
	struct acpi_mcfg *mcfg = reserve(area, sizeof(*mcfg), &gpa);

	if (mcfg == NULL)
		return 0;
	put_header(&mcfg->header, "MCFG", 1, sizeof(*mcfg));
	mcfg->ecam_gpa = LAYOUT_ECAM;
	mcfg->last_bus = (uint8_t)((LAYOUT_ECAM_SIZE >> 20) - 1);
	seal(&mcfg->header);
	return gpa;
}

static uint64_t put_xsdt(struct area *area, const uint64_t *tables)
{
	uint64_t gpa = 0;
	struct xsdt *xsdt = reserve(area, sizeof(*xsdt), &gpa);

	if (xsdt == NULL)
		return 0;
	put_header(&xsdt->header, "XSDT", 1, sizeof(*xsdt));
	memcpy(xsdt->tables, tables, sizeof(xsdt->tables));
	seal(&xsdt->header);
	return gpa;
}

static void put_rsdp(struct acpi_rsdp *rsdp, uint64_t xsdt_gpa)
{
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "PIPEVM", 6);
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt_gpa = xsdt_gpa;
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}

int acpi_build(struct ram *ram, unsigned n_cpus, struct error *err)
{
	struct area area = {
		.host = ram_at(ram, LAYOUT_ACPI, LAYOUT_ACPI_SIZE),
		.gpa = LAYOUT_ACPI,
		.size = LAYOUT_ACPI_SIZE,
	};
	struct acpi_rsdp *rsdp;
	uint64_t tables[N_TABLES], rsdp_gpa, xsdt_gpa, dsdt_gpa;

	if (area.host == NULL)
		return error_set(err, -ENOMEM,
				 "ACPI: the guest needs memory of 1 MiB");
	rsdp = reserve(&area, sizeof(*rsdp), &rsdp_gpa);
	dsdt_gpa = put_dsdt(&area);
	tables[0] = put_fadt(&area, dsdt_gpa);
	tables[1] = put_madt(&area, n_cpus);
	tables[2] = put_mcfg(&area);
	xsdt_gpa = put_xsdt(&area, tables);
	if (xsdt_gpa == 0 || tables[1] == 0)
		return error_set(err, -ENOSPC, "ACPI: tables too long");
	put_rsdp(rsdp, xsdt_gpa);
	return 0;
}
