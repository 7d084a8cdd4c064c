/* SPDX-License-Identifier: ISC */
/*
 * A virtio device on PCI (virtio 1.2 §4.1): modern interface, MSI-X, no
 * interrupt line. BAR 0 has the registers, a page for each structure, and one
 * doorbell for each queue at an address of its own, which KVM turns into a
 * write to the queue's eventfd; BAR 2 has the MSI-X table.
 *
 *	   0	common configuration
 *	1000	interrupt status
 *	2000	device configuration
 *	3000	doorbells, 4 bytes each
 *
 * The driver is hostile: every register may be written in any order, at any
 * width, at any time. What does not make sense is ignored, or costs this
 * device its next reset.
 *
 * Under the machine's lock (vm.h).
 */
#ifndef VM_CPU_VIRTIO_PCI_H
#define VM_CPU_VIRTIO_PCI_H

#include "lib/vhost/frontend.h"
#include "vm-cpu/msix.h"
#include "vm-cpu/pci.h"
#include "vm-cpu/virtio_device.h"

#include <stdbool.h>
#include <stdint.h>

struct virtio_pci_queue {
	struct vhost_frontend_queue ring;
	uint16_t vector; /* as the driver reads it back */
};

struct virtio_pci {
	struct pci_device pci;
	struct virtio_device device;
	struct msix msix;
	unsigned msix_cap, cfg_cap; /* offsets in configuration space */
	int config_fd; /* eventfd of the config-changed interrupt */
	int doorbell_fds[FRONTEND_QUEUES_MAX]; /* of the front end */
	unsigned n_doorbells;		       /* that KVM answers */
	uint64_t doorbell_gpa;

	/* What the driver wrote. */
	uint8_t status;
	bool is_resetting; /* until the back end has let go of the rings */
	bool is_started;
	bool is_reported; /* a driver's mistake, in the log */
	uint8_t isr, config_generation;
	uint32_t device_feature_select, driver_feature_select;
	uint64_t driver_features;
	uint16_t config_vector, queue_select;
	struct virtio_pci_queue queues[FRONTEND_QUEUES_MAX];
};

/*
 * Connect the back end that option names (its descriptor is taken over) and
 * put it on the bus.
 */
int virtio_pci_open(struct virtio_pci *virtio, struct pci_host *host,
		    struct event_loop *loop, struct device_option *option,
		    const struct virtio_place *place, struct error *err);
/*
 * Off the bus, disconnected; waits (seconds at most) until the back end has
 * closed too. Reset it first. Idempotent.
 */
void virtio_pci_close(struct virtio_pci *virtio);

/*
 * Reset by the machine. It is done when virtio_pci_is_resetting() is false,
 * which takes turns of the event loop: the back end may write to guest memory
 * until then.
 */
void virtio_pci_reset(struct virtio_pci *virtio);
bool virtio_pci_is_resetting(const struct virtio_pci *virtio);

#endif
