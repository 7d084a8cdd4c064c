/* SPDX-License-Identifier: ISC */
/*
 * ACPI tables of a hardware-reduced machine. Specification: ACPI 6.4, by
 * section; MCFG: PCI Firmware Specification 3.3, §4.1.2. Little endian.
 */
#ifndef PROTOCOLS_ACPI_H
#define PROTOCOLS_ACPI_H

#include <stdint.h>

/* §5.2.5.3 */
struct acpi_rsdp {
	char signature[8]; /* "RSD PTR " */
	uint8_t checksum;  /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision; /* 2 */
	uint32_t rsdt_gpa;
	uint32_t length;
	uint64_t xsdt_gpa;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "acpi_rsdp");

/* §5.2.6 */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "acpi_header");

/* §5.2.3.2, generic address structure */
struct acpi_address {
	uint8_t space; /* ACPI_SPACE_* */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size; /* 1: byte */
	uint64_t address;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_address) == 12, "acpi_address");

enum {
	ACPI_SPACE_MEMORY = 0,
	ACPI_SPACE_IO = 1,
};

/* §5.2.9, revision 6 */
struct acpi_fadt {
	struct acpi_header header; /* "FACP" */
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved0;
	uint8_t preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint8_t pm_blocks[50]; /* fixed hardware: none */
	uint8_t day_alarm, month_alarm, century;
	uint16_t boot_flags; /* ACPI_BOOT_* */
	uint8_t reserved1;
	uint32_t flags; /* ACPI_FADT_* */
	struct acpi_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor_revision;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct acpi_address x_pm_blocks[8];
	struct acpi_address sleep_control;
	struct acpi_address sleep_status;
	uint64_t hypervisor_id;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_fadt) == 276, "acpi_fadt");

enum {
	/* IAPC_BOOT_ARCH, §5.2.9.3; no 8042 bit: there is none */
	ACPI_BOOT_NO_VGA = 1 << 2,
	ACPI_BOOT_NO_ASPM = 1 << 4,
	ACPI_BOOT_NO_CMOS_RTC = 1 << 5,

	/* §5.2.9, table 5-10 */
	ACPI_FADT_RESET_REG_SUP = 1 << 10,
	ACPI_FADT_HW_REDUCED = 1 << 20,
};

/* §5.2.12 */
struct acpi_madt {
	struct acpi_header header; /* "APIC" */
	uint32_t local_apic_gpa;
	uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt) == 44, "acpi_madt");

enum {
	ACPI_MADT_LOCAL_APIC = 0,
	ACPI_MADT_IO_APIC = 1,
	ACPI_MADT_OVERRIDE = 2,
	ACPI_MADT_LOCAL_NMI = 4,

	ACPI_MADT_ENABLED = 1,
	/* MPS INTI flags, §5.2.12.5 */
	ACPI_MADT_ACTIVE_HIGH = 1,
	ACPI_MADT_EDGE = 1 << 2,
};

/* §5.2.12.2 */
struct acpi_madt_local_apic {
	uint8_t type, length;
	uint8_t processor_uid;
	uint8_t apic_id;
	uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt_local_apic) == 8, "madt local apic");

/* §5.2.12.3 */
struct acpi_madt_io_apic {
	uint8_t type, length;
	uint8_t io_apic_id;
	uint8_t reserved;
	uint32_t gpa;
	uint32_t gsi_base;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt_io_apic) == 12, "madt io apic");

/* §5.2.12.5 */
struct acpi_madt_override {
	uint8_t type, length;
	uint8_t bus; /* 0: ISA */
	uint8_t source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt_override) == 10, "madt override");

/* §5.2.12.7 */
struct acpi_madt_local_nmi {
	uint8_t type, length;
	uint8_t processor_uid; /* 0xff: all */
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_madt_local_nmi) == 6, "madt local nmi");

/* MCFG with one segment */
struct acpi_mcfg {
	struct acpi_header header; /* "MCFG" */
	uint8_t reserved0[8];
	uint64_t ecam_gpa;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint8_t reserved1[4];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_mcfg) == 60, "acpi_mcfg");

#endif
