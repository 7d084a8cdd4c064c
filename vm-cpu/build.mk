PROGS += vm-cpu
vm-cpu_SRCS := $(addprefix vm-cpu/,acpi.c boot.c boot_bzimage.c boot_elf.c \
	bus.c config.c control.c cpu_state.c cpuid.c device_option.c \
	devices.c machine.c main.c msix.c pci.c pci_ports.c power.c ram.c \
	serial.c stream.c terminal.c vcpu.c vcpu_report.c virtio_device.c \
	virtio_net_config.c virtio_pci.c virtio_pci_common.c vm.c vm_irq.c)

# The DSDT as bytes for acpi.c to include.
GENERATED += $(B)/vm-cpu/dsdt.inc
$(B)/vm-cpu/dsdt.inc: vm-cpu/dsdt.asl
	@mkdir -p $(@D)
	$(call say,ASL)iasl -we -p $(@D)/dsdt $< >$(@D)/dsdt.log || \
		{ cat $(@D)/dsdt.log; exit 1; }
	@od -An -v -tx1 $(@D)/dsdt.aml | sed 's/ \(..\)/0x\1,/g' >$@

virtio_pci_FUZZ_SRCS := tests/support/scripted_backend.c \
	$(addprefix vm-cpu/,bus.c device_option.c devices.c msix.c pci.c \
	virtio_device.c virtio_net_config.c virtio_pci.c virtio_pci_common.c)

boot_FUZZ_SRCS := $(addprefix vm-cpu/,boot.c boot_bzimage.c boot_elf.c ram.c)
