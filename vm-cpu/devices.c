/* SPDX-License-Identifier: ISC */
/* The devices of the machine, all at once (devices.h). */
#include "vm-cpu/devices.h"

#include "lib/base/control.h"
#include "lib/base/error.h"
#include "lib/base/event.h"
#include "vm-cpu/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many devices before this one have its name: its number. */
static unsigned count_same(const struct device_options *options, unsigned end)
{
	unsigned n = 0;

	for (unsigned i = 0; i < end; i++)
		n += strcmp(options->devices[i].name,
			    options->devices[end].name) == 0;
	return n;
}

/*
 * FNV-1a of where all back ends are, and of which of them this is: the same
 * each time that the same machine starts, so that its network keeps its name
 * and its lease, and another for a second machine at the same switch, as that
 * has a disk of its own.
 */
static uint64_t make_identity(const struct device_options *options,
			      unsigned index)
{
	const uint64_t prime = UINT64_C(0x100000001b3);
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (unsigned i = 0; i < options->n_devices; i++) {
		const char *text = options->devices[i].socket_path;

		for (; text && *text; text++)
			hash = (hash ^ (uint8_t)*text) * prime;
		hash = (hash ^ 0xff) * prime;
	}
	return (hash ^ index) * prime;
}

static int add(struct devices *devices, struct device_options *options,
	       unsigned i, unsigned n_cpus, struct error *err)
{
	struct device_option *option = &options->devices[i];
	struct virtio_pci *virtio = calloc(1, sizeof(*virtio));
	const struct virtio_place place = {
		.number = count_same(options, i),
		.n_cpus = n_cpus,
		.identity = make_identity(options, i),
	};

	if (!virtio)
		return error_set_errno(err, -ENOMEM, "%s", option->name);
	devices->list[devices->n_devices++] = virtio;
	if (!option->has_reconnect)
		option->reconnect_seconds = options->reconnect_seconds;
	return virtio_pci_open(virtio, &devices->host, devices->loop, option,
			       &place, err);
}

int devices_init(struct devices *devices, struct vm *vm,
		 struct event_loop *loop, struct device_options *options,
		 unsigned n_cpus, struct error *err)
{
	int r;

	devices->loop = loop;
	r = pci_host_init(&devices->host, vm);
	if (r < 0)
		return error_set_errno(err, r, "PCI");
	for (unsigned i = 0; i < options->n_devices && r == 0; i++)
		r = add(devices, options, i, n_cpus, err);
	return r;
}

static bool are_resetting(const struct devices *devices)
{
	for (unsigned i = 0; i < devices->n_devices; i++) {
		if (virtio_pci_is_resetting(devices->list[i]))
			return true;
	}
	return false;
}

/* The front ends' time-outs bound this. */
static void stop_all(struct devices *devices)
{
	for (unsigned i = 0; i < devices->n_devices; i++)
		virtio_pci_reset(devices->list[i]);
	while (are_resetting(devices)) {
		if (event_loop_step(devices->loop, -1) < 0)
			return;
	}
}

void devices_halt(struct devices *devices)
{
	stop_all(devices);
	for (unsigned i = 0; i < devices->n_devices; i++)
		msix_reset(&devices->list[i]->msix);
	pci_host_halt(&devices->host);
}

void devices_reset(struct devices *devices)
{
	pci_host_reset(&devices->host);
}

void devices_list(const struct devices *devices,
		  struct control_request *request)
{
	for (unsigned i = 0; i < devices->n_devices; i++) {
		const struct virtio_pci *virtio = devices->list[i];
		const struct virtio_device *device = &virtio->device;
		const char *path = device->option->socket_path;

		control_reply(request, "00:%02x.0 %s id %u %s %s queues %u %s",
			      virtio->pci.slot, device->label,
			      device->option->device_id,
			      vhost_frontend_is_connected(device->frontend)
				      ? "connected"
				      : "lost",
			      virtio->is_started ? "running" : "idle",
			      device->n_queues, path ? path : "fd");
	}
}

void devices_deinit(struct devices *devices)
{
	if (devices->loop)
		stop_all(devices);
	while (devices->n_devices > 0) {
		struct virtio_pci *virtio = devices->list[--devices->n_devices];

		virtio_pci_close(virtio);
		free(virtio);
	}
	pci_host_deinit(&devices->host);
	devices->loop = NULL;
}
