/* SPDX-License-Identifier: ISC */
/* What virtio_pci.c and virtio_pci_common.c share. */
#ifndef VM_CPU_VIRTIO_PCI_INTERNAL_H
#define VM_CPU_VIRTIO_PCI_INTERNAL_H

#include "protocols/virtio_pci.h"
#include "vm-cpu/virtio_pci.h"

void virtio_pci_common_init(struct virtio_pci *virtio);
uint64_t virtio_pci_common_read(const struct virtio_pci *virtio,
				unsigned offset, unsigned width);
void virtio_pci_common_write(struct virtio_pci *virtio, unsigned offset,
			     unsigned width, uint64_t value);

/* What the back end tells; the context is the struct virtio_pci. */
extern const struct vhost_frontend_ops virtio_pci_frontend_ops;

#endif
