/* SPDX-License-Identifier: ISC */
/*
 * A virtio-blk driver on our vhost-user front end: what tests load block back
 * ends with, without a guest. It negotiates all ring features that are offered
 * (packed rings where the front end is told never to reconnect), and every
 * other request is an indirect one. `depth` requests in flight, each in a slot
 * with its own buffer.
 *
 * One thread. Wherever it waits it runs the front end, reconnections too.
 */
#ifndef TESTS_SUPPORT_BLK_DRIVER_H
#define TESTS_SUPPORT_BLK_DRIVER_H

#include "lib/base/event.h"
#include "lib/virtio/memory.h"
#include "protocols/virtio_blk.h"
#include "tests/support/virtq_driver.h"

#include <stdbool.h>
#include <stdint.h>

struct error;

enum {
	BLK_DEPTH_MAX = 256,
	BLK_QUEUES_MAX = 256,
	BLK_DATA_MAX = 256 << 10, /* bytes of one request */
};

struct blk_request {
	/* Set by the submitter. */
	uint32_t type;
	uint64_t offset; /* bytes */
	uint32_t len;
	void (*done)(struct blk_request *request);
	void *context;
	/* Given by blk_driver_take(): len bytes to fill, or to find. */
	uint8_t *data;
	/* When it is done. */
	uint8_t status;
	/* The driver's own. */
	struct blk_driver *driver;
	bool is_taken;
};

struct blk_ring {
	struct virtq_driver virtq;
	struct event_source call;
	unsigned index;
	struct blk_driver *driver;
};

struct blk_driver {
	struct event_loop loop;
	struct vhost_frontend *frontend;
	struct guest_memory memory;
	struct driver_memory arena; /* the same, as virtq_driver wants it */
	struct virtio_blk_config config;
	uint64_t features; /* negotiated */
	unsigned depth, n_queues, n_in_flight;
	bool is_stopping; /* what is used meanwhile does not count */
	struct blk_request requests[BLK_DEPTH_MAX];
	struct blk_ring rings[BLK_QUEUES_MAX];
	const char *broken; /* what the back end did to a ring, or NULL */
	char failed[256];   /* the front end has given up, and why */
};

struct blk_options {
	const char *socket_path;
	int fd; /* where socket_path is NULL */
	int reconnect_seconds;
	unsigned depth;
	unsigned n_queues;
	uint64_t declined; /* features */
};

/* Connect, negotiate, start. */
int blk_driver_open(struct blk_driver *driver,
		    const struct blk_options *options, struct error *err);
void blk_driver_close(struct blk_driver *driver);

/* A free slot, waiting for one if there is none; NULL: no hope left. */
struct blk_request *blk_driver_take(struct blk_driver *driver);
void blk_driver_submit(struct blk_request *request);
/* Turn the loop once. False: no hope left, driver->failed or broken. */
bool blk_driver_step(struct blk_driver *driver, int timeout_ms);
/* Until nothing is in flight. */
bool blk_driver_drain(struct blk_driver *driver);
/* Reset the device and start it again, as a rebooting guest does. */
bool blk_driver_reset(struct blk_driver *driver);
const char *blk_driver_problem(const struct blk_driver *driver);

/* One request and its status; -1: no hope left. */
int blk_driver_do(struct blk_driver *driver, uint32_t type, uint64_t offset,
		  void *data, uint32_t len);

#endif
