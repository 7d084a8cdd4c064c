/* SPDX-License-Identifier: ISC */
/*
 * A vhost-user front end: the connection from a VMM to one back end, kept up
 * over restarts of that back end. The eventfds and the in-flight region
 * belong to this object and outlive connections; the whole handshake is the
 * unit of retry, with back-off, and the guest never sees an error of it.
 *
 * Runs in the event loop's thread. Requests that need an answer are sent
 * without blocking the loop on the peer: a peer that does not answer in
 * time loses its connection and is tried anew.
 *
 * Specification: docs/interop/vhost-user.rst of QEMU.
 */
#ifndef LIB_VHOST_FRONTEND_H
#define LIB_VHOST_FRONTEND_H

#include "lib/base/event.h"
#include "lib/virtio/memory.h"

#include <stdbool.h>
#include <stdint.h>

struct error;
struct vhost_frontend;

enum {
	FRONTEND_QUEUES_MAX = 256,
	FRONTEND_TIMEOUT_MS = 10000,
	FRONTEND_RECONNECT_FOREVER = -1,
	FRONTEND_RECONNECT_NEVER = 0,
};

struct vhost_frontend_options {
	const char *socket_path; /* connect here, or */
	int fd;			 /* this open connection (taken over) */
	/*
	 * How long to look for a back end again that went away. Only with
	 * _NEVER are packed rings offered: they do not say where their device
	 * stood.
	 */
	int reconnect_seconds; /* or FRONTEND_RECONNECT_* */
	unsigned n_queues;     /* wanted; the back end may offer fewer */
	/*
	 * Queues that the device has in any case: what a back end without
	 * MQ runs, and the least that one with it must offer. GET_QUEUE_NUM
	 * counts in units of queue_unit queues (2 for net: pairs).
	 */
	unsigned n_queues_fixed, queue_unit;
	/* Requests are finished in the order of the ring (net), so that its
	 * used index says all there is to say: no in-flight region. */
	bool is_in_order;
	bool needs_config;    /* refuse a back end without CONFIG */
	unsigned config_size; /* bytes to read of config space */
	unsigned timeout_ms;  /* for each answer; 0: FRONTEND_TIMEOUT_MS */
	const char *label;    /* for messages: "blk0" */
};

/* Memory regions for SET_MEM_TABLE / ADD_MEM_REG; fds stay the caller's. */
struct vhost_frontend_region {
	uint64_t gpa, size, user;
	int fd;
	uint64_t offset;
};

/* A queue as the driver set it up; addresses are guest physical. */
struct vhost_frontend_queue {
	bool is_ready;
	uint16_t size;
	uint64_t desc_gpa, driver_gpa, device_gpa;
	/* Split rings: the ring's own used index is the base on a start
	 * (virtio has no other state); read by the library. */
};

struct vhost_frontend_ops {
	/* The back end says its config space changed; it has been read. */
	void (*config_changed)(void *context);
	/*
	 * The connection was lost and the policy says no more. text has the
	 * reason. The object stays, and does nothing any more.
	 */
	void (*failed)(void *context, const char *text);
};

/*
 * Connect and do the handshake up to the point where a driver is needed,
 * waiting at most FRONTEND_TIMEOUT_MS (on a loop of its own): a VMM needs
 * features and config space before its guest runs. A connection that is
 * closed meanwhile is tried again; one that is refused, or that does not
 * speak the protocol, is not. -ETIMEDOUT, -ECONNREFUSED, -EPROTO, … with a
 * text. The regions are copied, their descriptors and the memory are the
 * caller's. Not to be freed within one of its own hooks.
 */
int vhost_frontend_new(struct vhost_frontend **frontend,
		       struct event_loop *loop,
		       const struct vhost_frontend_options *options,
		       const struct guest_memory *memory,
		       const struct vhost_frontend_region *regions,
		       unsigned n_regions, const struct vhost_frontend_ops *ops,
		       void *context, struct error *err);
void vhost_frontend_free(struct vhost_frontend *frontend);

/* Offered device and ring features, less what only vhost-user means. */
uint64_t vhost_frontend_features(const struct vhost_frontend *frontend);
uint64_t vhost_frontend_protocol_features(const struct vhost_frontend *f);
unsigned vhost_frontend_n_queues(const struct vhost_frontend *frontend);
bool vhost_frontend_has_config(const struct vhost_frontend *frontend);
/* Config space as last read; config_size bytes. */
const uint8_t *vhost_frontend_config(const struct vhost_frontend *frontend);
/* The driver's write, kept, and told to each back end that will come. -EINVAL:
 * not in config space. */
int vhost_frontend_set_config(struct vhost_frontend *frontend, uint32_t offset,
			      const void *data, uint32_t len);

/* Non-blocking eventfds of queue i, for the life of the object: kick is
 * written by the guest's side (KVM_IOEVENTFD), call by the back end
 * (KVM_IRQFD). */
int vhost_frontend_kick_fd(const struct vhost_frontend *frontend, unsigned i);
int vhost_frontend_call_fd(const struct vhost_frontend *frontend, unsigned i);

/*
 * The driver said DRIVER_OK with these features and queues: start them, and
 * again after each reconnection. -EINVAL: a ring is not whole in memory, or
 * its size is none; -ENOTCONN: there was failed(). Then nothing is started.
 * Features that were not offered here are not passed on: the VMM may have
 * ones of its own.
 */
int vhost_frontend_start(struct vhost_frontend *frontend, uint64_t features,
			 const struct vhost_frontend_queue *queues,
			 unsigned n_queues);
/*
 * The driver reset the device: GET_VRING_BASE for each queue, so that nothing
 * of it is in flight afterwards, and forget the in-flight region and what the
 * driver wrote to config space. done (may be NULL) is called in the loop when
 * the back end has answered or is gone. A start may come before that.
 */
void vhost_frontend_stop(struct vhost_frontend *frontend,
			 void (*done)(void *context));

bool vhost_frontend_is_connected(const struct vhost_frontend *frontend);

/*
 * Close down: shut the sending side and wait, at most timeout_ms, until the
 * peer closes too, so that a back end that ends with its connection has
 * flushed and closed its files. Used once, before _free().
 */
void vhost_frontend_finish(struct vhost_frontend *frontend,
			   unsigned timeout_ms);

#endif
