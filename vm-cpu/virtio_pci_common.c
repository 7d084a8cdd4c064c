/* SPDX-License-Identifier: ISC */
/*
 * The common configuration (virtio 1.2 §4.1.4.3) and with it the life of a
 * device as its driver sees it:
 *
 *	reset -> features -> FEATURES_OK -> queues -> DRIVER_OK
 *	  ^         (no change from here)      (nor here)  |
 *	  +------------------- 0 is written ---------------+
 *
 * Reads come from an image of the structure, so every width works. A write
 * counts if it is one whole field (or half of a 64-bit one), as §4.1.3.1 has
 * drivers do.
 */
#include "vm-cpu/virtio_pci_internal.h"

#include "lib/base/log.h"
#include "protocols/virtio.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>

#define BIT(n) (UINT64_C(1) << (n))
#define AT(field) ((unsigned)offsetof(struct virtio_pci_common, field))

/* The selected queue, or NULL. */
static struct virtio_pci_queue *selected(struct virtio_pci *virtio)
{
	if (virtio->queue_select >= virtio->device.n_queues)
		return NULL;
	return &virtio->queues[virtio->queue_select];
}

static void clear(struct virtio_pci *virtio)
{
	eventfd_t value;

	virtio->status = 0;
	virtio->is_started = false;
	virtio->isr = 0;
	virtio->device_feature_select = 0;
	virtio->driver_feature_select = 0;
	virtio->driver_features = 0;
	virtio->queue_select = 0;
	virtio->config_vector = msix_bind(
		&virtio->msix, virtio->device.n_queues, VIRTIO_PCI_NO_VECTOR);
	for (unsigned i = 0; i < virtio->device.n_queues; i++) {
		virtio->queues[i] = (struct virtio_pci_queue){
			.ring.size = (uint16_t)virtio->device.kind->queue_size,
			.vector = msix_bind(&virtio->msix, i,
					    VIRTIO_PCI_NO_VECTOR),
		};
		/* What is left of the life before would come as a surprise
		 * to the next driver. */
		eventfd_read(vhost_frontend_call_fd(virtio->device.frontend, i),
			     &value);
		eventfd_read(vhost_frontend_kick_fd(virtio->device.frontend, i),
			     &value);
	}
	eventfd_read(virtio->config_fd, &value);
	virtio_device_read_config(&virtio->device);
}

static void finish_reset(void *context)
{
	struct virtio_pci *virtio = context;

	virtio->is_resetting = false;
	clear(virtio);
}

/* Status reads as before until nothing of the rings is used any more: a
 * driver waits for 0 (§2.1.2). */
void virtio_pci_reset(struct virtio_pci *virtio)
{
	/* Not on the bus: it never came to life. */
	if (virtio->is_resetting || !virtio->pci.host)
		return;
	if (!virtio->is_started) {
		clear(virtio);
		return;
	}
	virtio->is_resetting = true;
	vhost_frontend_stop(virtio->device.frontend, finish_reset);
}

bool virtio_pci_is_resetting(const struct virtio_pci *virtio)
{
	return virtio->is_resetting;
}

static void interrupt_config(struct virtio_pci *virtio)
{
	virtio->isr |= VIRTIO_PCI_ISR_CONFIG;
	eventfd_write(virtio->config_fd, 1);
}

static void need_reset(struct virtio_pci *virtio)
{
	virtio->status |= VIRTIO_STATUS_NEEDS_RESET;
	if (virtio->status & VIRTIO_STATUS_DRIVER_OK)
		interrupt_config(virtio);
}

static void start(struct virtio_pci *virtio)
{
	struct vhost_frontend_queue rings[FRONTEND_QUEUES_MAX];
	int r;

	for (unsigned i = 0; i < virtio->device.n_queues; i++)
		rings[i] = virtio->queues[i].ring;
	r = vhost_frontend_start(virtio->device.frontend,
				 virtio->driver_features, rings,
				 virtio->device.n_queues);
	if (r < 0) {
		/* Once: a guest can do this all day long. */
		if (r == -EINVAL && !virtio->is_reported)
			log_warn("%s: driver's queues are not in memory",
				 virtio->device.label);
		virtio->is_reported |= r == -EINVAL;
		need_reset(virtio);
		return;
	}
	virtio->is_started = true;
}

static bool are_features_good(const struct virtio_pci *virtio)
{
	return !(virtio->driver_features & ~virtio->device.features) &&
	       (virtio->driver_features & BIT(VIRTIO_F_VERSION_1));
}

static void write_status(struct virtio_pci *virtio, uint8_t status)
{
	uint8_t before = virtio->status;

	if (status == 0) {
		virtio_pci_reset(virtio);
		return;
	}
	/* Bits are only ever added; NEEDS_RESET is not the driver's. */
	status &= (uint8_t)~VIRTIO_STATUS_NEEDS_RESET;
	if ((status & VIRTIO_STATUS_FEATURES_OK) &&
	    !(before & VIRTIO_STATUS_FEATURES_OK) && !are_features_good(virtio))
		status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if (!((status | before) & VIRTIO_STATUS_FEATURES_OK))
		status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	virtio->status |= status;
	if ((virtio->status & ~before) & VIRTIO_STATUS_DRIVER_OK)
		start(virtio);
}

static void write_feature(struct virtio_pci *virtio, uint32_t value)
{
	unsigned shift = virtio->driver_feature_select * 32;

	if (virtio->driver_feature_select > 1 ||
	    (virtio->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	virtio->driver_features &= ~((uint64_t)UINT32_MAX << shift);
	virtio->driver_features |= (uint64_t)value << shift;
}

static void write_vector(struct virtio_pci *virtio, uint16_t vector)
{
	struct virtio_pci_queue *queue = selected(virtio);

	if (queue)
		queue->vector =
			msix_bind(&virtio->msix, virtio->queue_select, vector);
}

static void set_half(uint64_t *field, unsigned half, uint32_t value)
{
	unsigned shift = half * 32;

	*field &= ~((uint64_t)UINT32_MAX << shift);
	*field |= (uint64_t)value << shift;
}

/* Fields of a queue that is not yet enabled. */
static void write_queue(struct virtio_pci *virtio, unsigned offset,
			unsigned width, uint64_t value)
{
	struct virtio_pci_queue *queue = selected(virtio);
	struct vhost_frontend_queue *ring;
	uint64_t *areas[3];
	unsigned i;

	if (!queue || queue->ring.is_ready ||
	    (virtio->status & VIRTIO_STATUS_DRIVER_OK))
		return;
	ring = &queue->ring;
	areas[0] = &ring->desc_gpa;
	areas[1] = &ring->driver_gpa;
	areas[2] = &ring->device_gpa;
	if (offset == AT(queue_size) && width == 2) {
		/* Smaller than it was offered; the front end checks more. */
		if (value > 0 && value <= virtio->device.kind->queue_size)
			ring->size = (uint16_t)value;
	} else if (offset == AT(queue_enable) && width == 2) {
		ring->is_ready = value == 1;
	} else if (offset >= AT(queue_desc) && offset % width == 0) {
		i = (offset - AT(queue_desc)) / 8;
		if (i < 3 && width == 8)
			*areas[i] = value;
		else if (i < 3 && width == 4)
			set_half(areas[i], offset / 4 % 2, (uint32_t)value);
	}
}

static bool is_field(unsigned offset, unsigned width, unsigned at,
		     unsigned size)
{
	return offset == at && width == size;
}

void virtio_pci_common_write(struct virtio_pci *virtio, unsigned offset,
			     unsigned width, uint64_t value)
{
	if (virtio->is_resetting)
		return;
	if (is_field(offset, width, AT(device_feature_select), 4))
		virtio->device_feature_select = (uint32_t)value;
	else if (is_field(offset, width, AT(driver_feature_select), 4))
		virtio->driver_feature_select = (uint32_t)value;
	else if (is_field(offset, width, AT(driver_feature), 4))
		write_feature(virtio, (uint32_t)value);
	else if (is_field(offset, width, AT(config_msix_vector), 2))
		virtio->config_vector =
			msix_bind(&virtio->msix, virtio->device.n_queues,
				  (uint16_t)value);
	else if (is_field(offset, width, AT(device_status), 1))
		write_status(virtio, (uint8_t)value);
	else if (is_field(offset, width, AT(queue_select), 2))
		virtio->queue_select = (uint16_t)value;
	else if (is_field(offset, width, AT(queue_msix_vector), 2))
		write_vector(virtio, (uint16_t)value);
	else
		write_queue(virtio, offset, width, value);
}

static uint32_t half_of(uint64_t features, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(features >> (select * 32));
}

uint64_t virtio_pci_common_read(const struct virtio_pci *virtio,
				unsigned offset, unsigned width)
{
	struct virtio_pci_common image = {
		.device_feature_select = virtio->device_feature_select,
		.device_feature = half_of(virtio->device.features,
					  virtio->device_feature_select),
		.driver_feature_select = virtio->driver_feature_select,
		.driver_feature = half_of(virtio->driver_features,
					  virtio->driver_feature_select),
		.config_msix_vector = virtio->config_vector,
		.num_queues = (uint16_t)virtio->device.n_queues,
		.device_status = virtio->status,
		.config_generation = virtio->config_generation,
		.queue_select = virtio->queue_select,
		.queue_msix_vector = VIRTIO_PCI_NO_VECTOR,
	};
	uint64_t value = 0;

	/* A queue that is not there has size 0. */
	if (virtio->queue_select < virtio->device.n_queues) {
		const struct virtio_pci_queue *queue =
			&virtio->queues[virtio->queue_select];

		image.queue_size = queue->ring.size;
		image.queue_msix_vector = queue->vector;
		image.queue_enable = queue->ring.is_ready;
		image.queue_notify_off = virtio->queue_select;
		image.queue_desc = queue->ring.desc_gpa;
		image.queue_driver = queue->ring.driver_gpa;
		image.queue_device = queue->ring.device_gpa;
	}
	if (offset < sizeof(image)) {
		size_t left = sizeof(image) - offset;

		memcpy(&value, (const uint8_t *)&image + offset,
		       width < left ? width : left);
	}
	return value;
}

void virtio_pci_common_init(struct virtio_pci *virtio)
{
	virtio->config_vector = VIRTIO_PCI_NO_VECTOR;
	for (unsigned i = 0; i < virtio->device.n_queues; i++)
		virtio->queues[i] = (struct virtio_pci_queue){
			.ring.size = (uint16_t)virtio->device.kind->queue_size,
			.vector = VIRTIO_PCI_NO_VECTOR,
		};
}

static void config_changed(void *context)
{
	struct virtio_pci *virtio = context;

	virtio_device_read_config(&virtio->device);
	virtio->config_generation++;
	if (virtio->status & VIRTIO_STATUS_DRIVER_OK)
		interrupt_config(virtio);
}

static void failed(void *context, const char *text)
{
	struct virtio_pci *virtio = context;

	log_error("%s: back end %s; the device is dead", virtio->device.label,
		  text);
	need_reset(virtio);
}

const struct vhost_frontend_ops virtio_pci_frontend_ops = {
	.config_changed = config_changed,
	.failed = failed,
};
