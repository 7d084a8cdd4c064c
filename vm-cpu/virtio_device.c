/* SPDX-License-Identifier: ISC */
/* What differs between devices, and the way to their back ends. */
#include "vm-cpu/virtio_device.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "protocols/virtio.h"
#include "protocols/virtio_blk.h"
#include "protocols/virtio_fs.h"
#include "vm-cpu/device_option.h"
#include "vm-cpu/ram.h"
#include "vm-cpu/virtio_net_config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Virtio 1.2 §5. Config spaces are as long as all back ends know them: one
 * that is asked for more than it has refuses.
 *	id, PCI class; queues, unit, their size; config space; in order
 */
static const struct virtio_kind kinds[] = {
	{ VIRTIO_ID_NET, 0x020000, 2, 2, 1024, 12, true },
	{ VIRTIO_ID_BLOCK, 0x018000, 1, 1, 256, 60, false },
	{ VIRTIO_ID_CONSOLE, 0x078000, 2, 1, 256, 12, false },
	{ VIRTIO_ID_RNG, 0x00ff00, 1, 1, 64, 0, false },
	{ VIRTIO_ID_SCSI, 0x010000, 3, 1, 256, 36, false },
	{ VIRTIO_ID_GPU, 0x038000, 2, 1, 256, 16, false },
	{ VIRTIO_ID_INPUT, 0x098000, 2, 1, 64, 136, false },
	{ VIRTIO_ID_VSOCK, 0x028000, 3, 1, 256, 8, false },
	{ VIRTIO_ID_FS, 0x018000, 2, 1, 256, sizeof(struct virtio_fs_config),
	  false },
	/* Any other. */
	{ 0, 0xff0000, 1, 1, 256, 0, false },
};

const struct virtio_kind *virtio_kind_find(uint32_t device_id)
{
	const struct virtio_kind *kind = kinds;

	while (kind->device_id && kind->device_id != device_id)
		kind++;
	return kind;
}

/* How many queues to ask for. */
static int count_queues(const struct virtio_kind *kind,
			const struct device_option *option, unsigned n_cpus,
			unsigned *n_queues, struct error *err)
{
	unsigned wanted = option->n_queues;

	switch (option->device_id) {
	case VIRTIO_ID_NET:
		/* More pairs are switched on by a control queue. */
		if (wanted > 1)
			return error_set(err, -EINVAL,
					 "a network has one pair of queues");
		*n_queues = kind->n_queues_fixed;
		return 0;
	case VIRTIO_ID_BLOCK:
		*n_queues = wanted ? wanted : n_cpus;
		return 0;
	case VIRTIO_ID_FS: /* one of high priority comes first, §5.11.2 */
		*n_queues = 1 + (wanted ? wanted : 1);
		return 0;
	default:
		*n_queues = kind->n_queues_fixed;
		if (wanted)
			*n_queues = wanted;
		else if (kind->device_id == 0)
			*n_queues = FRONTEND_QUEUES_MAX;
		return 0;
	}
}

static void fill_fs(struct virtio_device *device)
{
	struct virtio_fs_config config = {
		.num_request_queues = device->n_queues - 1,
	};
	const char *tag = device->option->tag;

	/* Zero-padded, and without an end if it fills it. */
	memcpy(config.tag, tag, strnlen(tag, sizeof(config.tag)));
	memcpy(device->config, &config, sizeof(config));
}

void virtio_device_read_config(struct virtio_device *device)
{
	uint64_t offered = vhost_frontend_features(device->frontend);
	bool has_config = vhost_frontend_has_config(device->frontend);
	struct virtio_net_config net;
	uint16_t n_queues = (uint16_t)device->n_queues;

	if (has_config)
		memcpy(device->config, vhost_frontend_config(device->frontend),
		       device->config_size);
	switch (device->option->device_id) {
	case VIRTIO_ID_NET:
		memcpy(&net, device->config, sizeof(net));
		virtio_net_fill_config(&net, offered, has_config,
				       device->option, device->identity);
		memcpy(device->config, &net, sizeof(net));
		break;
	case VIRTIO_ID_BLOCK: /* those of this device, not of the back end */
		memcpy(device->config +
			       offsetof(struct virtio_blk_config, num_queues),
		       &n_queues, sizeof(n_queues));
		break;
	case VIRTIO_ID_FS:
		if (device->option->tag)
			fill_fs(device);
		break;
	default:
		break;
	}
}

static int check(const struct virtio_device *device, struct error *err)
{
	bool has_config = vhost_frontend_has_config(device->frontend);

	if (device->option->device_id == VIRTIO_ID_FS && !has_config &&
	    !device->option->tag)
		return error_set(err, -EINVAL,
				 "back end has no tag: say tag=NAME");
	return 0;
}

int virtio_device_open(struct virtio_device *device, struct event_loop *loop,
		       const struct ram *ram, struct device_option *option,
		       const struct virtio_place *place,
		       const struct vhost_frontend_ops *ops, void *context,
		       struct error *err)
{
	const struct virtio_kind *kind = virtio_kind_find(option->device_id);
	struct vhost_frontend_options options = {
		.socket_path = option->socket_path,
		.reconnect_seconds = option->reconnect_seconds,
		.n_queues_fixed = kind->n_queues_fixed,
		.queue_unit = kind->queue_unit,
		.is_in_order = kind->is_in_order,
		.needs_config = option->device_id == VIRTIO_ID_BLOCK,
		.config_size = kind->config_size,
		.label = device->label,
	};
	int r;

	*device = (struct virtio_device){
		.option = option,
		.kind = kind,
		.identity = place->identity,
		.config_size = kind->config_size,
	};
	snprintf(device->label, sizeof(device->label), "%s%u", option->name,
		 place->number);
	r = count_queues(kind, option, place->n_cpus, &options.n_queues, err);
	if (r < 0)
		return r;
	options.fd = steal_fd(&option->fd);
	r = vhost_frontend_new(&device->frontend, loop, &options, &ram->memory,
			       ram->regions, ram->n_regions, ops, context, err);
	if (r == 0)
		r = check(device, err);
	if (r < 0)
		return r;
	device->n_queues = vhost_frontend_n_queues(device->frontend);
	device->features = vhost_frontend_features(device->frontend);
	if (option->device_id == VIRTIO_ID_NET)
		device->features = virtio_net_features(
			device->features,
			vhost_frontend_has_config(device->frontend));
	virtio_device_read_config(device);
	return 0;
}

void virtio_device_close(struct virtio_device *device)
{
	vhost_frontend_free(device->frontend);
	device->frontend = NULL;
}

void virtio_device_write_config(struct virtio_device *device, unsigned offset,
				const void *data, unsigned len)
{
	if (vhost_frontend_set_config(device->frontend, offset, data, len) == 0)
		virtio_device_read_config(device);
}
