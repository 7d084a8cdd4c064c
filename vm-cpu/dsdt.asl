/* SPDX-License-Identifier: ISC */
/*
 * What the guest's ACPI sees beside the processors: the PCI host bridge,
 * a serial port, the power button, and a panic port. The numbers are those
 * of vm-cpu/layout.h; tests/unit/acpi.c compares them.
 */
DefinitionBlock ("", "DSDT", 2, "PIPEVM", "PIPEVM", 1)
{
    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_SEG, 0)
            Name (_BBN, 0)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed,
                    PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
                    NonCacheable, ReadWrite,
                    0, 0xC0000000, 0xDFFFFFFF, 0, 0x20000000)
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
                    NonCacheable, ReadWrite,
                    0, 0x4000000000, 0x5FFFFFFFFF, 0, 0x2000000000)
            })
        }

        /* Linux believes MCFG when a device claims its range. */
        Device (RSVD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xE0000000, 0x00100000)
                Memory32Fixed (ReadWrite, 0xFEA00000, 0x00001000)
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 4 }
            })
        }

        Device (PWRB)
        {
            Name (_HID, EisaId ("PNP0C0C"))
            Name (_UID, 0)
        }

        /* Reading the register tells what happened and forgets it. */
        Device (GED)
        {
            Name (_HID, "ACPI0013")
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 9 }
            })
            OperationRegion (REGS, SystemMemory, 0xFEA00000, 4)
            Field (REGS, DWordAcc, NoLock, Preserve)
            {
                ESEL, 32
            }
            Method (_EVT, 1, Serialized)
            {
                Local0 = ESEL
                If ((Local0 & 1))
                {
                    Notify (\_SB.PWRB, 0x80)
                }
            }
        }

        /* pvpanic (QEMU docs/specs/pvpanic.rst) */
        Device (PEVT)
        {
            Name (_HID, "QEMU0001")
            Name (_UID, 0)
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0505, 0x0505, 1, 1)
            })
        }
    }

    /* SLP_TYP 5 in the sleep control register is power-off. */
    Name (\_S5, Package (4) { 5, 0, 0, 0 })
}
