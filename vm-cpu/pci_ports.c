/* SPDX-License-Identifier: ISC */
/* Configuration space by ports (pci_ports.h). */
#include "vm-cpu/pci_ports.h"

#include "vm-cpu/layout.h"
#include "vm-cpu/pci.h"
#include "vm-cpu/vm.h"

#include <stdbool.h>

enum {
	ADDRESS = 0, /* offsets from LAYOUT_PCI_PORTS */
	RESET_CONTROL = 1,
	DATA = 4,
	RESET_CPU = 1 << 2,
	REGISTER_MASK = 0xfc,
};

#define ADDRESS_ENABLE (UINT32_C(1) << 31)
#define ADDRESS_MASK UINT32_C(0x80fffffc)

/* The same in ECAM: 8 bits of register there are 12. */
static bool find(const struct pci_ports *ports, uint64_t offset,
		 uint64_t *ecam_offset)
{
	uint32_t address = ports->address;

	if (offset < DATA || !(address & ADDRESS_ENABLE))
		return false;
	*ecam_offset =
		(uint64_t)(address >> 8 & 0xffff) * PCI_CONFIG_EXPRESS_SIZE +
		(address & REGISTER_MASK) + (offset - DATA);
	return true;
}

static uint64_t read_port(void *context, uint64_t offset, unsigned width)
{
	const struct pci_ports *ports = context;
	uint64_t ecam_offset;

	if (offset == ADDRESS && width == 4)
		return ports->address;
	if (offset == RESET_CONTROL && width == 1)
		return 0;
	if (!find(ports, offset, &ecam_offset))
		return UINT64_MAX;
	return pci_host_read(ports->host, ecam_offset, width);
}

static void write_port(void *context, uint64_t offset, unsigned width,
		       uint64_t value)
{
	struct pci_ports *ports = context;
	uint64_t ecam_offset;

	if (offset == ADDRESS && width == 4)
		ports->address = (uint32_t)value & ADDRESS_MASK;
	else if (offset == RESET_CONTROL && width == 1 && value & RESET_CPU)
		ports->reset(ports->context);
	else if (find(ports, offset, &ecam_offset))
		pci_host_write(ports->host, ecam_offset, width, value);
}

int pci_ports_init(struct pci_ports *ports, struct vm *vm,
		   struct pci_host *host, void (*reset)(void *context),
		   void *context)
{
	static const struct bus_ops ops = { read_port, write_port };

	*ports = (struct pci_ports){
		.host = host,
		.reset = reset,
		.context = context,
	};
	return bus_add(&vm->pio, LAYOUT_PCI_PORTS, LAYOUT_PCI_PORTS_SIZE, &ops,
		       ports);
}

void pci_ports_reset(struct pci_ports *ports)
{
	ports->address = 0;
}
