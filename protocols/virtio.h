/* SPDX-License-Identifier: ISC */
/*
 * What all virtio devices have in common, virtio 1.2: device ids (§5), the
 * device status (§2.1) and the feature bits that are not a device's own (§6).
 */
#ifndef PROTOCOLS_VIRTIO_H
#define PROTOCOLS_VIRTIO_H

/* Device ids, §5: those that have a name here. */
enum {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_SCSI = 8,
	VIRTIO_ID_GPU = 16,
	VIRTIO_ID_INPUT = 18,
	VIRTIO_ID_VSOCK = 19,
	VIRTIO_ID_FS = 26,
	VIRTIO_ID_MAX = 63, /* beyond, the PCI device id would not fit */
};

/* Device status, §2.1: bits. */
enum {
	VIRTIO_STATUS_ACKNOWLEDGE = 1 << 0,
	VIRTIO_STATUS_DRIVER = 1 << 1,
	VIRTIO_STATUS_DRIVER_OK = 1 << 2,
	VIRTIO_STATUS_FEATURES_OK = 1 << 3,
	VIRTIO_STATUS_NEEDS_RESET = 1 << 6,
	VIRTIO_STATUS_FAILED = 1 << 7,
};

/* Feature bits, §6: bit numbers. 0 to 23 and 50 to 127 are the device's. */
enum {
	VIRTIO_F_RESERVED_FIRST = 24,
	VIRTIO_F_INDIRECT_DESC = 28,
	VIRTIO_F_EVENT_IDX = 29,
	VIRTIO_F_VERSION_1 = 32,
	VIRTIO_F_ACCESS_PLATFORM = 33,
	VIRTIO_F_RING_PACKED = 34,
	VIRTIO_F_IN_ORDER = 35,
	VIRTIO_F_ORDER_PLATFORM = 36,
	VIRTIO_F_SR_IOV = 37,
	VIRTIO_F_NOTIFICATION_DATA = 38,
	VIRTIO_F_NOTIF_CONFIG_DATA = 39,
	VIRTIO_F_RING_RESET = 40,
	VIRTIO_F_RESERVED_END = 50,
};

#endif
