/* SPDX-License-Identifier: ISC */
/*
 * Virtio over PCI, virtio 1.2 §4.1, the modern interface: capabilities that
 * say where in the BARs what is, and the common configuration. All numbers
 * are little-endian.
 */
#ifndef PROTOCOLS_VIRTIO_PCI_H
#define PROTOCOLS_VIRTIO_PCI_H

#include <stdint.h>

enum {
	VIRTIO_PCI_VENDOR_ID = 0x1af4,
	VIRTIO_PCI_DEVICE_ID_BASE = 0x1040, /* plus the virtio device id */
	VIRTIO_PCI_REVISION = 1,
	VIRTIO_PCI_NO_VECTOR = 0xffff,
};

/* Types of structures, §4.1.4. */
enum {
	VIRTIO_PCI_CAP_COMMON = 1,
	VIRTIO_PCI_CAP_NOTIFY = 2,
	VIRTIO_PCI_CAP_ISR = 3,
	VIRTIO_PCI_CAP_DEVICE = 4,
	VIRTIO_PCI_CAP_PCI_CFG = 5,
};

struct virtio_pci_cap {
	uint8_t id, next; /* PCI_CAP_VENDOR */
	uint8_t len;	  /* of the capability */
	uint8_t type;
	uint8_t bar;
	uint8_t instance;
	uint8_t padding[2];
	uint32_t offset; /* in the BAR */
	uint32_t length; /* of the structure */
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_pci_cap) == 16, "virtio 1.2 §4.1.4");

struct virtio_pci_notify_cap {
	struct virtio_pci_cap cap;
	uint32_t multiplier;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_pci_notify_cap) == 20,
	       "virtio 1.2 §4.1.4.4");

/* Access to BARs without mapping them, through four bytes of this. */
struct virtio_pci_cfg_cap {
	struct virtio_pci_cap cap;
	uint8_t data[4];
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_pci_cfg_cap) == 20, "virtio 1.2 §4.1.4.9");

/* §4.1.4.3, as far as queue_device: what follows needs features that are not
 * offered here. */
struct virtio_pci_common {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_msix_vector;
	uint16_t num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_msix_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint64_t queue_desc;
	uint64_t queue_driver;
	uint64_t queue_device;
} __attribute__((packed));
_Static_assert(sizeof(struct virtio_pci_common) == 56, "virtio 1.2 §4.1.4.3");

/* §4.1.4.5 */
enum {
	VIRTIO_PCI_ISR_QUEUE = 1 << 0,
	VIRTIO_PCI_ISR_CONFIG = 1 << 1,
};

#endif
