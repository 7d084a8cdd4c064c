/* SPDX-License-Identifier: ISC */
#include "tests/support/blk_driver.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/vhost/frontend.h"
#include "protocols/virtio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	RING_SIZE = 1024, /* at least 3 * BLK_DEPTH_MAX */
	RING_SPACE = 64 << 10,
	/* One slot: header, status and table in a page, then the data. */
	SLOT_STATUS = 64,
	SLOT_TABLE = 128,
	SLOT_DATA = 4096,
	SLOT_SPACE = SLOT_DATA + BLK_DATA_MAX,
};

/* Above 0, so that a gpa is never mistaken for an offset. */
static const uint64_t base_gpa = 16 << 20;

static uint64_t slot_gpa(const struct blk_driver *driver, unsigned slot)
{
	return base_gpa + (uint64_t)driver->n_queues * RING_SPACE +
	       (uint64_t)slot * SLOT_SPACE;
}

static uint8_t *slot_host(const struct blk_driver *driver, unsigned slot)
{
	return driver_memory_at(&driver->arena, slot_gpa(driver, slot));
}

static bool has_feature(const struct blk_driver *driver, unsigned bit)
{
	return driver->features >> bit & 1;
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

static void finish(struct blk_driver *driver, struct blk_request *request)
{
	unsigned slot = (unsigned)(request - driver->requests);

	request->status = slot_host(driver, slot)[SLOT_STATUS];
	driver->n_in_flight--;
	request->is_taken = false;
	if (request->done)
		request->done(request);
}

/* The two things that a restarted back end gets wrong first. */
static bool is_good_id(const struct virtq_driver *virtq)
{
	const struct virtq_used *used = virtq->used;
	uint32_t id;

	if (virtq->is_packed ||
	    virtq->next_used == __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE))
		return true;
	id = used->ring[virtq->next_used & (virtq->size - 1)].id;
	return id < virtq->size && virtq->requests[id].token;
}

/* The number of requests that were used. */
static unsigned look(struct blk_ring *ring)
{
	struct blk_driver *driver = ring->driver;
	struct blk_request *request;
	unsigned n = 0;
	uint32_t len;

	do {
		if (!is_good_id(&ring->virtq)) {
			driver->broken = "used a request that is not there";
			return 0;
		}
		request = virtq_driver_get_used(&ring->virtq, &len);
		if (request)
			finish(driver, request);
		n += request != NULL;
	} while (request);
	return n;
}

static void called(struct event_source *source, uint32_t events)
{
	struct blk_ring *ring = container_of(source, struct blk_ring, call);
	eventfd_t value;

	(void)events;
	eventfd_read(source->fd, &value);
	if (ring->driver->is_stopping)
		return;
	/* With EVENT_IDX a call has to be asked for, and may come too late
	 * for what was used meanwhile. */
	do
		virtq_driver_enable_calls(&ring->virtq, true);
	while (look(ring) > 0);
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
	uint64_t gpa = slot_gpa(driver, slot);
	uint8_t *host = slot_host(driver, slot);
	const struct virtio_blk_header header = {
		.type = request->type,
		.sector = request->offset / VIRTIO_BLK_SECTOR,
	};
	struct driver_buffer buffers[3] = { { gpa, sizeof(header), false } };
	bool is_indirect = has_feature(driver, VIRTIO_F_INDIRECT_DESC) &&
			   slot / driver->n_queues % 2;
	unsigned n = 1;

	memcpy(host, &header, sizeof(header));
	host[SLOT_STATUS] = 0xff;
	if (request->len)
		buffers[n++] =
			(struct driver_buffer){ gpa + SLOT_DATA, request->len,
						is_read(request) };
	buffers[n++] = (struct driver_buffer){ gpa + SLOT_STATUS, 1, true };
	driver->n_in_flight++;
	if (virtq_driver_add(&ring->virtq, buffers, n,
			     is_indirect ? gpa + SLOT_TABLE : 0, request) < 0)
		driver->broken = "ring is full";
	if (virtq_driver_publish(&ring->virtq))
		eventfd_write(vhost_frontend_kick_fd(driver->frontend,
						     ring->index),
			      1);
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
				.data = slot_host(driver, i) + SLOT_DATA,
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
		struct virtq_driver *virtq = &driver->rings[i].virtq;
		int r;

		virtq_driver_deinit(virtq);
		r = virtq_driver_init(virtq, &driver->arena,
				      base_gpa + (uint64_t)i * RING_SPACE,
				      RING_SIZE,
				      has_feature(driver, VIRTIO_F_RING_PACKED),
				      has_feature(driver, VIRTIO_F_EVENT_IDX));
		if (r < 0)
			return r;
		virtq_driver_enable_calls(virtq, true);
		queues[i] = (struct vhost_frontend_queue){
			.is_ready = true,
			.size = RING_SIZE,
			.desc_gpa = virtq->desc_gpa,
			.driver_gpa = virtq->driver_gpa,
			.device_gpa = virtq->device_gpa,
		};
	}
	return vhost_frontend_start(driver->frontend, driver->features, queues,
				    driver->n_queues);
}

static void note_stopped(void *context)
{
	((struct blk_driver *)context)->is_stopping = false;
}

bool blk_driver_reset(struct blk_driver *driver)
{
	bool is_good = true;

	driver->is_stopping = true;
	vhost_frontend_stop(driver->frontend, note_stopped);
	while (is_good && driver->is_stopping)
		is_good = blk_driver_step(driver, -1);
	if (!is_good)
		return false;
	driver->n_in_flight = 0;
	memset(driver->requests, 0, sizeof(driver->requests));
	return start(driver) == 0;
}

static int open_memory(struct blk_driver *driver,
		       struct vhost_frontend_region *region)
{
	uint64_t size = slot_gpa(driver, driver->depth) - base_gpa;
	int r = driver_memory_init(&driver->arena, base_gpa, size);

	if (r < 0)
		return r;
	*region = (struct vhost_frontend_region){
		.gpa = base_gpa,
		.size = size,
		.user = UINT64_C(0x5000000000),
		.fd = driver->arena.fd,
	};
	return guest_memory_add(&driver->memory, base_gpa, size, region->user,
				region->fd, 0);
}

static int listen_calls(struct blk_driver *driver)
{
	int r = 0;

	for (unsigned i = 0; i < driver->n_queues && r == 0; i++) {
		struct blk_ring *ring = &driver->rings[i];

		ring->index = i;
		ring->driver = driver;
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
		BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) |
		BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_VERSION_1) |
		BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
		BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_SEG_MAX) |
		BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD) |
		BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	struct vhost_frontend_region region;
	int r;

	*driver = (struct blk_driver){
		.loop = EVENT_LOOP_INIT,
		.arena = { .fd = -1 },
		.depth = options->depth ? options->depth : 1,
		.n_queues = options->n_queues ? options->n_queues : 1,
	};
	guest_memory_init(&driver->memory);
	r = event_loop_init(&driver->loop);
	if (r == 0)
		r = open_memory(driver, &region);
	if (r < 0)
		return error_set_errno(err, r, "driver's memory");
	r = connect_backend(driver, options, &region, err);
	if (r < 0)
		return r;
	driver->n_queues = vhost_frontend_n_queues(driver->frontend);
	driver->features = vhost_frontend_features(driver->frontend) & wanted &
			   ~options->declined;
	note_config(driver);
	r = listen_calls(driver);
	if (r == 0)
		r = start(driver);
	return r < 0 ? error_set_errno(err, r, "starting the queues") : 0;
}

void blk_driver_close(struct blk_driver *driver)
{
	for (unsigned i = 0; i < driver->n_queues; i++) {
		event_source_remove(&driver->rings[i].call);
		virtq_driver_deinit(&driver->rings[i].virtq);
	}
	if (driver->frontend)
		vhost_frontend_finish(driver->frontend, 5000);
	vhost_frontend_free(driver->frontend);
	driver->frontend = NULL;
	guest_memory_deinit(&driver->memory);
	if (driver->arena.fd >= 0)
		driver_memory_deinit(&driver->arena);
	driver->arena.fd = -1;
	event_loop_deinit(&driver->loop);
}
