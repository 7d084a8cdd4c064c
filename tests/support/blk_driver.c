/* SPDX-License-Identifier: ISC */
#include "tests/support/blk_driver.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/vhost/frontend.h"
#include "protocols/virtio.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	USED_NO_NOTIFY = 1,
	DESCS_PER_SLOT = 3,
	RING_SIZE = 1024, /* at least 3 * BLK_DEPTH_MAX */
	/* One ring's areas in its 64 KiB of memory. */
	RING_SPACE = 64 << 10,
	RING_AVAIL = RING_SIZE * 16,
	RING_USED = RING_AVAIL + 4096,
	/* One slot: header and status in a page, then the data. */
	SLOT_STATUS = 64,
	SLOT_DATA = 4096,
	SLOT_SPACE = SLOT_DATA + BLK_DATA_MAX,
};

/* Above 0, so that a gpa is never mistaken for an offset. */
static const uint64_t base_gpa = 16 << 20;

struct desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

struct avail {
	uint16_t flags;
	_Atomic uint16_t index;
	uint16_t heads[RING_SIZE];
};

struct used {
	_Atomic uint16_t flags;
	_Atomic uint16_t index;
	struct {
		uint32_t head, len;
	} elements[RING_SIZE];
};

static uint64_t slot_offset(const struct blk_driver *driver, unsigned slot)
{
	return (uint64_t)driver->n_queues * RING_SPACE +
	       (uint64_t)slot * SLOT_SPACE;
}

static struct avail *avail_of(const struct blk_ring *ring)
{
	return (void *)(ring->base + RING_AVAIL);
}

static struct used *used_of(const struct blk_ring *ring)
{
	return (void *)(ring->base + RING_USED);
}

static void note_failed(void *context, const char *text)
{
	struct blk_driver *driver = context;

	snprintf(driver->failed, sizeof(driver->failed), "back end %s", text);
}

static void note_config(void *context)
{
	struct blk_driver *driver = context;

	memcpy(&driver->config, vhost_frontend_config(driver->frontend),
	       sizeof(driver->config));
}

static const struct vhost_frontend_ops frontend_ops = {
	.config_changed = note_config,
	.failed = note_failed,
};

static void finish(struct blk_driver *driver, struct blk_ring *ring,
		   uint32_t head)
{
	unsigned slot = head / DESCS_PER_SLOT;
	struct blk_request *request = &driver->requests[slot];

	/* The two things that a restarted back end gets wrong first. */
	if (head % DESCS_PER_SLOT || slot >= driver->depth) {
		driver->broken = "used a request that does not exist";
		return;
	}
	if (!request->is_submitted || slot % driver->n_queues != ring->index) {
		driver->broken = "used a request twice";
		return;
	}
	request->is_submitted = false;
	driver->n_in_flight--;
	request->status = driver->host[slot_offset(driver, slot) + SLOT_STATUS];
	request->is_taken = false;
	if (request->done)
		request->done(request);
}

static void look(struct blk_ring *ring)
{
	struct blk_driver *driver = ring->driver;
	struct used *used = used_of(ring);

	while (!driver->broken &&
	       ring->used_index != atomic_load(&used->index)) {
		uint32_t head =
			used->elements[ring->used_index % RING_SIZE].head;

		ring->used_index++;
		finish(driver, ring, head);
	}
}

static void called(struct event_source *source, uint32_t events)
{
	eventfd_t value;

	(void)events;
	eventfd_read(source->fd, &value);
	look(container_of(source, struct blk_ring, call));
}

static void put_desc(struct blk_ring *ring, unsigned i, uint64_t gpa,
		     uint32_t len, unsigned flags, bool is_last)
{
	struct desc *descs = (void *)ring->base;

	descs[i] = (struct desc){
		.gpa = gpa,
		.len = len,
		.flags = (uint16_t)(flags | (is_last ? 0 : DESC_NEXT)),
		.next = (uint16_t)(is_last ? 0 : i + 1),
	};
}

/* Does the back end write the data, and is there any? */
static bool is_read(const struct blk_request *request)
{
	return request->type == VIRTIO_BLK_T_IN ||
	       request->type == VIRTIO_BLK_T_GET_ID;
}

void blk_driver_submit(struct blk_request *request)
{
	struct blk_driver *driver = request->driver;
	unsigned slot = (unsigned)(request - driver->requests);
	struct blk_ring *ring = &driver->rings[slot % driver->n_queues];
	struct avail *avail = avail_of(ring);
	uint64_t offset = slot_offset(driver, slot);
	uint64_t gpa = base_gpa + offset;
	struct virtio_blk_header *header = (void *)(driver->host + offset);
	unsigned i = slot * DESCS_PER_SLOT, head = i;
	int kick = vhost_frontend_kick_fd(driver->frontend, ring->index);

	header->type = request->type;
	header->reserved = 0;
	header->sector = request->offset / VIRTIO_BLK_SECTOR;
	driver->host[offset + SLOT_STATUS] = 0xff;
	put_desc(ring, i++, gpa, sizeof(*header), 0, false);
	if (request->len)
		put_desc(ring, i++, gpa + SLOT_DATA, request->len,
			 is_read(request) ? DESC_WRITE : 0, false);
	put_desc(ring, i, gpa + SLOT_STATUS, 1, DESC_WRITE, true);
	request->is_submitted = true;
	driver->n_in_flight++;
	avail->heads[ring->avail_index % RING_SIZE] = (uint16_t)head;
	atomic_store(&avail->index, ++ring->avail_index);
	if (!(atomic_load(&used_of(ring)->flags) & USED_NO_NOTIFY))
		eventfd_write(kick, 1);
}

const char *blk_driver_problem(const struct blk_driver *driver)
{
	return driver->broken ? driver->broken : driver->failed;
}

bool blk_driver_step(struct blk_driver *driver, int timeout_ms)
{
	event_loop_step(&driver->loop, timeout_ms);
	return !driver->broken && !driver->failed[0];
}

struct blk_request *blk_driver_take(struct blk_driver *driver)
{
	do {
		for (unsigned i = 0; i < driver->depth; i++) {
			struct blk_request *request = &driver->requests[i];

			if (request->is_taken)
				continue;
			*request = (struct blk_request){
				.driver = driver,
				.is_taken = true,
				.data = driver->host + slot_offset(driver, i) +
					SLOT_DATA,
			};
			return request;
		}
	} while (blk_driver_step(driver, -1));
	return NULL;
}

bool blk_driver_drain(struct blk_driver *driver)
{
	bool is_good = !driver->broken && !driver->failed[0];

	while (is_good && driver->n_in_flight > 0)
		is_good = blk_driver_step(driver, -1);
	return is_good;
}

static void note_status(struct blk_request *request)
{
	*(int *)request->context = request->status;
}

int blk_driver_do(struct blk_driver *driver, uint32_t type, uint64_t offset,
		  void *data, uint32_t len)
{
	struct blk_request *request = blk_driver_take(driver);
	int status = -1;
	uint8_t *buf;

	if (!request)
		return -1;
	buf = request->data;
	request->type = type;
	request->offset = offset;
	request->len = len;
	request->done = note_status;
	request->context = &status;
	if (len && !is_read(request))
		memcpy(buf, data, len);
	blk_driver_submit(request);
	while (status < 0 && blk_driver_step(driver, -1))
		continue;
	if (status >= 0 && len && is_read(request))
		memcpy(data, buf, len);
	return status;
}

static int start(struct blk_driver *driver)
{
	struct vhost_frontend_queue queues[BLK_QUEUES_MAX] = { 0 };

	for (unsigned i = 0; i < driver->n_queues; i++) {
		struct blk_ring *ring = &driver->rings[i];

		memset(ring->base, 0, RING_SPACE);
		ring->avail_index = 0;
		ring->used_index = 0;
		queues[i] = (struct vhost_frontend_queue){
			.is_ready = true,
			.size = RING_SIZE,
			.desc_gpa = ring->gpa,
			.driver_gpa = ring->gpa + RING_AVAIL,
			.device_gpa = ring->gpa + RING_USED,
		};
	}
	return vhost_frontend_start(driver->frontend, driver->features, queues,
				    driver->n_queues);
}

static void note_stopped(void *context)
{
	((struct blk_driver *)context)->n_in_flight = 0;
}

bool blk_driver_reset(struct blk_driver *driver)
{
	/* Counts the reset itself, until it is done. */
	driver->n_in_flight = 1;
	vhost_frontend_stop(driver->frontend, note_stopped);
	if (!blk_driver_drain(driver))
		return false;
	memset(driver->requests, 0, sizeof(driver->requests));
	return start(driver) == 0;
}

static int open_memory(struct blk_driver *driver,
		       struct vhost_frontend_region *region)
{
	uint64_t size = slot_offset(driver, driver->depth);

	driver->memory_fd = memfd_create("driver", MFD_CLOEXEC);
	if (driver->memory_fd < 0 ||
	    ftruncate(driver->memory_fd, (off_t)size) < 0)
		return -errno;
	*region = (struct vhost_frontend_region){
		.gpa = base_gpa,
		.size = size,
		.user = UINT64_C(0x5000000000),
		.fd = driver->memory_fd,
	};
	return guest_memory_add(&driver->memory, base_gpa, size, region->user,
				driver->memory_fd, 0);
}

static int listen_calls(struct blk_driver *driver)
{
	int r = 0;

	for (unsigned i = 0; i < driver->n_queues && r == 0; i++) {
		struct blk_ring *ring = &driver->rings[i];

		ring->index = i;
		ring->driver = driver;
		ring->gpa = base_gpa + (uint64_t)i * RING_SPACE;
		ring->base = driver->host + (uint64_t)i * RING_SPACE;
		r = event_source_add(&driver->loop, &ring->call,
				     vhost_frontend_call_fd(driver->frontend,
							    i),
				     EPOLLIN, called);
	}
	return r;
}

static int connect_backend(struct blk_driver *driver,
			   const struct blk_options *options,
			   const struct vhost_frontend_region *region,
			   struct error *err)
{
	const struct vhost_frontend_options frontend_options = {
		.socket_path = options->socket_path,
		.fd = options->fd,
		.reconnect_seconds = options->reconnect_seconds,
		.n_queues = driver->n_queues,
		.n_queues_fixed = 1,
		.queue_unit = 1,
		.needs_config = true,
		.config_size = sizeof(struct virtio_blk_config),
		.label = "blk",
	};

	return vhost_frontend_new(&driver->frontend, &driver->loop,
				  &frontend_options, &driver->memory, region, 1,
				  &frontend_ops, driver, err);
}

int blk_driver_open(struct blk_driver *driver,
		    const struct blk_options *options, struct error *err)
{
	const uint64_t wanted =
		BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_BLK_F_RO) |
		BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |
		BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_MQ) |
		BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	struct vhost_frontend_region region;
	int r;

	*driver = (struct blk_driver){
		.loop = EVENT_LOOP_INIT,
		.memory_fd = -1,
		.depth = options->depth ? options->depth : 1,
		.n_queues = options->n_queues ? options->n_queues : 1,
	};
	guest_memory_init(&driver->memory);
	r = event_loop_init(&driver->loop);
	if (r == 0)
		r = open_memory(driver, &region);
	if (r < 0)
		return error_set_errno(err, r, "driver's memory");
	driver->host =
		guest_memory_at(&driver->memory, base_gpa, region.size, 1);
	r = connect_backend(driver, options, &region, err);
	if (r < 0)
		return r;
	driver->n_queues = vhost_frontend_n_queues(driver->frontend);
	driver->features = vhost_frontend_features(driver->frontend) & wanted &
			   ~options->features;
	note_config(driver);
	r = listen_calls(driver);
	if (r == 0)
		r = start(driver);
	return r < 0 ? error_set_errno(err, r, "starting the queues") : 0;
}

void blk_driver_close(struct blk_driver *driver)
{
	for (unsigned i = 0; i < driver->n_queues; i++)
		event_source_remove(&driver->rings[i].call);
	if (driver->frontend)
		vhost_frontend_finish(driver->frontend, 5000);
	vhost_frontend_free(driver->frontend);
	driver->frontend = NULL;
	guest_memory_deinit(&driver->memory);
	close_fd(&driver->memory_fd);
	event_loop_deinit(&driver->loop);
}
