/* SPDX-License-Identifier: ISC */
/*
 * A vhost-user back end: one object for each connection. It answers the
 * front end, keeps memory and queues, and tells the device when a queue can
 * run. Everything happens in the event loop's thread; nothing here blocks on
 * the peer. A message that breaks the protocol costs the peer its connection.
 *
 * In-flight requests are tracked in the shared region (INFLIGHT_SHMFD) here,
 * for every device alike: a device pops, works and pushes, and after a
 * restart gets the unfinished requests again, oldest first, from the same
 * vhost_queue_pop().
 *
 * A device's hooks are called from the event loop only, never from inside of
 * a function that the device calls. Requests are to be given back without
 * waiting for further ones: while the front end changes its memory table
 * nothing is popped, and the change waits for what is out.
 *
 * Specification: docs/interop/vhost-user.rst of QEMU.
 */
#ifndef LIB_VHOST_BACKEND_H
#define LIB_VHOST_BACKEND_H

#include "lib/base/event.h"
#include "lib/virtio/virtq.h"

#include <stdbool.h>
#include <stdint.h>

struct vhost_backend;
struct vhost_queue;

enum {
	VHOST_QUEUES_MAX = 256,
	VHOST_GREETING_S = 5,
};

/* What a device is; const, one for each kind. Hooks may be NULL if said. */
struct vhost_device_ops {
	const char *name;	 /* for messages: "blk" */
	uint32_t device_id;	 /* virtio 1.2 §5: 2 for blk; 0 none */
	uint64_t features;	 /* device features; ring and transport
				   features are added by the library */
	unsigned config_size;	 /* bytes of config space, at most 256 */
	uint16_t max_queue_size; /* 0: 1024 */
	/*
	 * A back end that works on requests asynchronously and gives them
	 * back out of order needs this; a net device does not.
	 */
	bool has_inflight;

	/* Features for this connection, a subset or superset of .features
	 * (a read-only disk); NULL: as above. */
	uint64_t (*get_features)(void *context);
	/* The front end's choice, at SET_FEATURES. May be NULL. */
	void (*set_features)(void *context, uint64_t features);
	/* Config space; NULL: none (CONFIG is then not offered). */
	void (*get_config)(void *context, uint8_t *config);
	/* Driver's write, offset and len checked; -errno refuses. NULL:
	 * read-only. */
	int (*set_config)(void *context, uint32_t offset, const uint8_t *data,
			  uint32_t len);

	/*
	 * The queue can run from now on (SET_VRING_KICK, and enabled): look
	 * into it at once. May be NULL.
	 */
	void (*queue_started)(void *context, struct vhost_queue *queue);
	/* Work is there: pop until VIRTQ_EMPTY. Also called once at start,
	 * and when requests are taken up again after a restart. */
	void (*queue_kicked)(void *context, struct vhost_queue *queue);
	/*
	 * Stop taking requests (GET_VRING_BASE, disconnection, reset).
	 * Return true when none is in progress; else false, and say
	 * vhost_queue_drained() when the last is pushed. Until then the
	 * answer to the front end waits. With the connection gone requests
	 * are still finished and pushed (guest memory stays mapped until
	 * drained). NULL: nothing is ever in progress.
	 */
	bool (*queue_stop)(void *context, struct vhost_queue *queue);
	/* VHOST_USER_SEND_RARP: the guest moved here. May be NULL. */
	void (*send_rarp)(void *context, const uint8_t mac[6]);
	/*
	 * The connection is over, all queues are stopped and drained: the
	 * owner calls vhost_backend_free() (here or later). reason is NULL
	 * for a plain end of file, else what the peer did wrong.
	 */
	void (*disconnected)(void *context, const char *reason);
};

/*
 * Serve fd (taken over, also on failure). n_queues is the number offered
 * (GET_QUEUE_NUM), at most VHOST_QUEUES_MAX. label names the connection in
 * messages ("root.qcow2", "port 3") and is copied.
 */
int vhost_backend_new(struct vhost_backend **backend, struct event_loop *loop,
		      int fd, const struct vhost_device_ops *ops,
		      unsigned n_queues, const char *label, void *context);
/*
 * For a connection that keeps others waiting: it is dropped unless the front
 * end asks for the features within VHOST_GREETING_S seconds from now.
 */
int vhost_backend_expect_greeting(struct vhost_backend *backend);
/* At any time outside of its own hooks but disconnected(); requests that are
 * still out must have been pushed or dropped. */
void vhost_backend_free(struct vhost_backend *backend);

/*
 * End the connection from this side: queues stop and drain, then
 * disconnected() is called. For SIGTERM.
 */
void vhost_backend_close(struct vhost_backend *backend);

/* Negotiated features (SET_FEATURES), ring and transport ones included. */
uint64_t vhost_backend_features(const struct vhost_backend *backend);
struct guest_memory *vhost_backend_memory(struct vhost_backend *backend);
/* The config space changed: tell the guest (BACKEND_CONFIG_CHANGE_MSG). */
void vhost_backend_config_changed(struct vhost_backend *backend);

/* NULL where the queue is not running. */
struct vhost_queue *vhost_backend_queue(struct vhost_backend *backend,
					unsigned index);
unsigned vhost_queue_index(const struct vhost_queue *queue);
/* The device's own word for each queue. */
void vhost_queue_set_context(struct vhost_queue *queue, void *context);
void *vhost_queue_context(const struct vhost_queue *queue);
/* Started, but disabled by SET_VRING_ENABLE 0: a net device consumes and
 * drops (vhost-user, "Ring states"); others are not called meanwhile. */
bool vhost_queue_is_enabled(const struct vhost_queue *queue);

/* As virtq_pop() and friends, with in-flight tracking. A queue that breaks
 * is logged once here and reads as VIRTQ_EMPTY. */
int vhost_queue_pop(struct vhost_queue *queue, struct virtq_element **element);
void vhost_queue_unpop(struct vhost_queue *queue,
		       struct virtq_element **elements, unsigned n);
void vhost_queue_push(struct vhost_queue *queue, struct virtq_element *element,
		      uint32_t written);
/* Free a request without giving it back (nobody waits for it any more); one
 * that is tracked in flight stays so. */
void vhost_queue_drop(struct vhost_queue *queue, struct virtq_element *element);
/* Publish what was pushed and call the driver if it wants; once a batch. */
void vhost_queue_flush(struct vhost_queue *queue);
bool vhost_queue_enable_kicks(struct vhost_queue *queue, bool are_enabled);
bool vhost_queue_is_empty(struct vhost_queue *queue);
/* The device found a request that it cannot answer: one logged line, the
 * queue takes nothing more. */
void vhost_queue_break(struct vhost_queue *queue, const char *reason);
/* All requests of a queue whose stop returned false are pushed. */
void vhost_queue_drained(struct vhost_queue *queue);

#endif
