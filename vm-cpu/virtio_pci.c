/* SPDX-License-Identifier: ISC */
/*
 * The PCI side of a virtio device: what is in its configuration space and
 * BARs. What the driver says through them is in virtio_pci_common.c.
 */
#include "vm-cpu/virtio_pci.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "protocols/virtio.h"
#include "vm-cpu/device_option.h"
#include "vm-cpu/virtio_pci_internal.h"
#include "vm-cpu/vm.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

enum {
	BAR_SIZE = 16 << 10,
	AT_COMMON = 0x0000,
	AT_ISR = 0x1000,
	AT_DEVICE = 0x2000,
	AT_NOTIFY = 0x3000,
	PAGE = 0x1000,
	DOORBELL = 4, /* bytes, the notify multiplier */
	/* A back end that lives for this connection may have to flush. */
	FINISH_MS = 10000,
};

static struct virtio_pci *virtio_of(struct pci_device *pci)
{
	return container_of(pci, struct virtio_pci, pci);
}

static uint64_t read_device_config(const struct virtio_pci *virtio,
				   uint64_t offset, unsigned width)
{
	const struct virtio_device *device = &virtio->device;
	uint64_t value = 0;

	if (offset < device->config_size) {
		uint64_t left = device->config_size - offset;

		memcpy(&value, device->config + offset,
		       width < left ? width : left);
	}
	return value;
}

static uint64_t read_isr(struct virtio_pci *virtio)
{
	uint8_t isr = virtio->isr;

	virtio->isr = 0;
	return isr;
}

/* Accesses that leave a structure's page end in nothing. */
static uint64_t read_bar(void *context, uint64_t offset, unsigned width)
{
	struct virtio_pci *virtio = virtio_of(context);
	uint64_t in_page = offset % PAGE;

	if (in_page + width > PAGE)
		return 0;
	switch (offset - in_page) {
	case AT_COMMON:
		return virtio_pci_common_read(virtio, (unsigned)in_page, width);
	case AT_ISR:
		return in_page == 0 ? read_isr(virtio) : 0;
	case AT_DEVICE:
		return read_device_config(virtio, in_page, width);
	default:
		return 0;
	}
}

/* Only where KVM does not answer: out of slots, or not on the way here. */
static void ring_doorbell(struct virtio_pci *virtio, uint64_t offset)
{
	if (offset / DOORBELL < virtio->device.n_queues)
		eventfd_write(virtio->doorbell_fds[offset / DOORBELL], 1);
}

static void write_bar(void *context, uint64_t offset, unsigned width,
		      uint64_t value)
{
	struct virtio_pci *virtio = virtio_of(context);
	uint64_t in_page = offset % PAGE;

	if (in_page + width > PAGE)
		return;
	switch (offset - in_page) {
	case AT_COMMON:
		virtio_pci_common_write(virtio, (unsigned)in_page, width,
					value);
		break;
	case AT_DEVICE:
		virtio_device_write_config(&virtio->device, (unsigned)in_page,
					   &value, width);
		break;
	case AT_NOTIFY:
		ring_doorbell(virtio, in_page);
		break;
	default:
		break;
	}
}

static uint64_t read_msix(void *context, uint64_t offset, unsigned width)
{
	return msix_read(&virtio_of(context)->msix, offset, width);
}

static void write_msix(void *context, uint64_t offset, unsigned width,
		       uint64_t value)
{
	msix_write(&virtio_of(context)->msix, offset, width, value);
}

static const struct bus_ops bar_ops = { read_bar, write_bar };
static const struct bus_ops msix_ops = { read_msix, write_msix };

static uint64_t doorbell_gpa(const struct virtio_pci *virtio, unsigned i)
{
	return virtio->doorbell_gpa + (uint64_t)i * DOORBELL;
}

/* The doorbells are somewhere else now, or nowhere. */
static void move_doorbells(struct pci_device *pci, uint64_t gpa)
{
	struct virtio_pci *virtio = virtio_of(pci);
	struct vm *vm = pci->host->vm;

	while (virtio->n_doorbells > 0) {
		unsigned i = --virtio->n_doorbells;

		vm_ioeventfd_detach(vm, virtio->doorbell_fds[i],
				    doorbell_gpa(virtio, i), 0);
	}
	if (!gpa)
		return;
	virtio->doorbell_gpa = gpa + AT_NOTIFY;
	for (unsigned i = 0; i < virtio->device.n_queues; i++) {
		/* KVM has slots for some hundreds; the rest comes here. */
		if (vm_ioeventfd_attach(vm, virtio->doorbell_fds[i],
					doorbell_gpa(virtio, i), 0) < 0)
			return;
		virtio->n_doorbells++;
	}
}

/* What the access capability (§4.1.4.9) points to; false: to nothing. */
static bool find_window(const struct virtio_pci *virtio, uint64_t *offset,
			unsigned *width)
{
	struct virtio_pci_cfg_cap cap;

	memcpy(&cap, virtio->pci.config + virtio->cfg_cap, sizeof(cap));
	*offset = cap.cap.offset;
	*width = cap.cap.length;
	return cap.cap.bar == 0 &&
	       (*width == 1 || *width == 2 || *width == 4) &&
	       *offset <= BAR_SIZE - *width && *offset % *width == 0;
}

static bool is_window_data(const struct virtio_pci *virtio, unsigned offset,
			   unsigned width)
{
	unsigned data = virtio->cfg_cap +
			(unsigned)offsetof(struct virtio_pci_cfg_cap, data);

	return offset < data + 4 && offset + width > data;
}

static void before_config_read(struct pci_device *pci, unsigned offset,
			       unsigned width)
{
	struct virtio_pci *virtio = virtio_of(pci);
	uint8_t *data = pci->config + virtio->cfg_cap +
			offsetof(struct virtio_pci_cfg_cap, data);
	uint64_t value, at;
	unsigned len;

	if (!is_window_data(virtio, offset, width) ||
	    !find_window(virtio, &at, &len))
		return;
	value = read_bar(pci, at, len);
	memcpy(data, &value, len);
}

static void config_written(struct pci_device *pci, unsigned offset,
			   unsigned width)
{
	struct virtio_pci *virtio = virtio_of(pci);
	unsigned control = virtio->msix_cap +
			   (unsigned)offsetof(struct pci_msix_cap, control);
	uint16_t msix_control_now;
	uint64_t value = 0, at;
	unsigned len;

	if (offset < control + 2 && offset + width > control) {
		memcpy(&msix_control_now, pci->config + control,
		       sizeof(msix_control_now));
		msix_control(&virtio->msix, msix_control_now);
	}
	if (is_window_data(virtio, offset, width) &&
	    find_window(virtio, &at, &len)) {
		memcpy(&value,
		       pci->config + virtio->cfg_cap +
			       offsetof(struct virtio_pci_cfg_cap, data),
		       len);
		write_bar(pci, at, len, value);
	}
}

static int add_structure(struct pci_device *pci, unsigned type, uint32_t offset,
			 uint32_t length)
{
	const struct virtio_pci_cap cap = {
		.id = PCI_CAP_VENDOR,
		.len = sizeof(cap),
		.type = (uint8_t)type,
		.offset = offset,
		.length = length,
	};

	return pci_device_add_cap(pci, &cap, sizeof(cap));
}

static int add_notify(struct pci_device *pci, unsigned n_queues)
{
	const struct virtio_pci_notify_cap cap = {
		.cap = { .id = PCI_CAP_VENDOR,
			 .len = sizeof(cap),
			 .type = VIRTIO_PCI_CAP_NOTIFY,
			 .offset = AT_NOTIFY,
			 .length = n_queues * DOORBELL },
		.multiplier = DOORBELL,
	};

	return pci_device_add_cap(pci, &cap, sizeof(cap));
}

/* The one capability that the guest writes to, §4.1.4.9. */
static int add_window(struct virtio_pci *virtio)
{
	const struct virtio_pci_cfg_cap cap = {
		.cap = { .id = PCI_CAP_VENDOR,
			 .len = sizeof(cap),
			 .type = VIRTIO_PCI_CAP_PCI_CFG },
	};
	struct pci_device *pci = &virtio->pci;
	int at = pci_device_add_cap(pci, &cap, sizeof(cap));
	size_t offset = offsetof(struct virtio_pci_cap, offset);

	if (at < 0)
		return at;
	virtio->cfg_cap = (unsigned)at;
	pci->writable[at + (int)offsetof(struct virtio_pci_cap, bar)] = 0xff;
	/* Offset, length and data are the last twelve bytes. */
	memset(pci->writable + at + offset, 0xff, sizeof(cap) - offset);
	return 0;
}

static int add_msix(struct virtio_pci *virtio, unsigned n_vectors)
{
	enum {
		BAR = 2
	};
	const struct pci_msix_cap cap = {
		.id = PCI_CAP_MSIX,
		.control = (uint16_t)(n_vectors - 1),
		.table = BAR,
		.pba = MSIX_PBA | BAR,
	};
	struct pci_device *pci = &virtio->pci;
	int at = pci_device_add_cap(pci, &cap, sizeof(cap));

	if (at < 0)
		return at;
	virtio->msix_cap = (unsigned)at;
	pci->writable[at + (int)offsetof(struct pci_msix_cap, control) + 1] =
		(PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL) >> 8;
	pci->bars[1].size = MSIX_BAR_SIZE;
	pci->bars[1].ops = &msix_ops;
	return 0;
}

static int add_capabilities(struct virtio_pci *virtio)
{
	struct pci_device *pci = &virtio->pci;
	unsigned n_queues = virtio->device.n_queues;
	int r;

	r = add_structure(pci, VIRTIO_PCI_CAP_COMMON, AT_COMMON,
			  sizeof(struct virtio_pci_common));
	if (r >= 0)
		r = add_structure(pci, VIRTIO_PCI_CAP_ISR, AT_ISR, 1);
	if (r >= 0 && virtio->device.config_size > 0)
		r = add_structure(pci, VIRTIO_PCI_CAP_DEVICE, AT_DEVICE,
				  virtio->device.config_size);
	if (r >= 0)
		r = add_notify(pci, n_queues);
	if (r >= 0)
		r = add_window(virtio);
	if (r >= 0)
		r = add_msix(virtio, n_queues + 1);
	return r;
}

static int init_msix(struct virtio_pci *virtio, struct vm *vm)
{
	unsigned n = virtio->device.n_queues;
	int fds[FRONTEND_QUEUES_MAX + 1];

	virtio->config_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (virtio->config_fd < 0)
		return -errno;
	for (unsigned i = 0; i < n; i++) {
		virtio->doorbell_fds[i] =
			vhost_frontend_kick_fd(virtio->device.frontend, i);
		fds[i] = vhost_frontend_call_fd(virtio->device.frontend, i);
	}
	fds[n] = virtio->config_fd;
	return msix_init(&virtio->msix, vm, n + 1, n + 1, fds);
}

int virtio_pci_open(struct virtio_pci *virtio, struct pci_host *host,
		    struct event_loop *loop, struct device_option *option,
		    const struct virtio_place *place, struct error *err)
{
	const struct pci_identity identity = {
		.vendor_id = VIRTIO_PCI_VENDOR_ID,
		.device_id = (uint16_t)(VIRTIO_PCI_DEVICE_ID_BASE +
					option->device_id),
		.subsystem_vendor_id = VIRTIO_PCI_VENDOR_ID,
		.subsystem_id = (uint16_t)(VIRTIO_PCI_DEVICE_ID_BASE +
					   option->device_id),
		.class = virtio_kind_find(option->device_id)->pci_class,
		.revision = VIRTIO_PCI_REVISION,
	};
	int r;

	virtio->config_fd = -1;
	pci_device_init(&virtio->pci, &identity);
	r = virtio_device_open(&virtio->device, loop, &host->vm->ram, option,
			       place, &virtio_pci_frontend_ops, virtio, err);
	if (r < 0)
		return error_prefix(err, r, "%s%u", option->name,
				    place->number);
	virtio->pci.bars[0] = (struct pci_bar){
		.size = BAR_SIZE,
		.ops = &bar_ops,
		.moved = move_doorbells,
	};
	virtio->pci.before_read = before_config_read;
	virtio->pci.written = config_written;
	virtio_pci_common_init(virtio);
	r = init_msix(virtio, host->vm);
	if (r == 0)
		r = add_capabilities(virtio);
	if (r >= 0)
		r = pci_device_add(host, &virtio->pci);
	if (r < 0)
		return error_set_errno(err, r, "%s", virtio->device.label);
	return 0;
}

void virtio_pci_close(struct virtio_pci *virtio)
{
	pci_device_remove(&virtio->pci);
	if (virtio->msix.vm)
		msix_deinit(&virtio->msix);
	close_fd(&virtio->config_fd);
	if (virtio->device.frontend)
		vhost_frontend_finish(virtio->device.frontend, FINISH_MS);
	virtio_device_close(&virtio->device);
}
