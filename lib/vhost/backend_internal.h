/* SPDX-License-Identifier: ISC */
/*
 * Inside of a back end; for lib/vhost/backend*.c alone.
 *
 * Front ends differ in the order of their messages, so handlers record and
 * queue_update() acts: a queue runs as soon as all that it needs is known. A
 * message that has to wait for requests in progress stays in the receiver,
 * and nothing more is read, until backend_step() finds it can be handled:
 * its handler is then called again from its start.
 *
 * The device's hooks are called from the event loop alone, never from inside
 * of a call that the device makes; `wake` is how such a call gets there.
 */
#ifndef LIB_VHOST_BACKEND_INTERNAL_H
#define LIB_VHOST_BACKEND_INTERNAL_H

#include "lib/vhost/backend.h"
#include "lib/vhost/inflight.h"
#include "lib/vhost/message.h"
#include "protocols/virtio.h"

struct vhost_queue {
	struct vhost_backend *backend;
	unsigned index;
	void *context;

	/* As the front end told. */
	bool is_started; /* SET_VRING_KICK, with or without a descriptor */
	bool is_enabled;
	bool has_addr;
	uint32_t size, base;
	struct vhost_user_vring_addr addr;
	int kick_fd, call_fd, err_fd;

	/* While it runs. */
	struct event_source kick;
	bool is_polled; /* there is no kick descriptor */
	struct virtq *virtq;
	struct inflight_queue *inflight; /* NULL: not tracked */
	unsigned n_out;			 /* popped and not given back */
	bool is_announced;		 /* queue_started() was called */
	bool is_touched;		 /* some hook was called */
	bool is_stopping, is_drained;
	bool is_break_told;
};

enum backend_state {
	BACKEND_SERVING,
	BACKEND_CLOSING, /* queues stop and drain */
	BACKEND_CLOSED,	 /* disconnected() was called */
};

struct vhost_backend {
	struct event_loop *loop;
	struct event_source source;
	int fd;
	struct vhost_receiver receiver;
	struct vhost_sender sender;
	const struct vhost_device_ops *ops;
	void *context;
	char *label;
	enum backend_state state;
	bool is_waiting;    /* the message received cannot be handled yet */
	bool is_quiescing;  /* nothing is popped until nothing is out */
	const char *reason; /* what a handler found wrong */
	char closing_reason[160];
	int wake_fd;
	struct event_source wake;

	bool has_features;
	uint64_t features, protocol_features;
	uint64_t status;
	struct guest_memory memory;
	struct inflight inflight;

	/* Requests to the front end; answers are read and forgotten. */
	int channel_fd;
	struct event_source channel;
	struct vhost_receiver channel_receiver;
	struct vhost_sender channel_sender;

	struct event_timer greeting; /* a silent peer's time is up */
	struct event_timer poll;     /* for queues without a kick descriptor */
	unsigned n_polling;

	unsigned n_out; /* of all queues */
	unsigned n_queues;
	struct vhost_queue queues[];
};

/* A handler's result besides 0 and -errno: call me again later. */
enum {
	BACKEND_WAIT = 1,
};

/* Returns -EPROTO: the connection is to be closed. */
int backend_refuse(struct vhost_backend *backend, const char *reason);
bool backend_has_protocol(const struct vhost_backend *backend, unsigned bit);
uint64_t backend_offered(struct vhost_backend *backend);
uint64_t backend_offered_protocol(const struct vhost_backend *backend);
/* Come back to backend_step() from the loop. */
void backend_wake(struct vhost_backend *backend);
/* Reply to the message in hand with the payload that is in it. */
void backend_set_reply(struct vhost_message *message, uint32_t size);

/* True when nothing is out; else quiescing begins: return BACKEND_WAIT. */
bool backend_quiesce(struct vhost_backend *backend);
/* Close the connection if its memory got lost. */
void backend_check_damage(struct vhost_backend *backend);

/* Start the queue if it can run and does not. */
void queue_update(struct vhost_queue *queue);
/* The same for all, and look up the rings of running ones again. */
void backend_remap(struct vhost_backend *backend);
/* Stop; true when that is complete. */
bool queue_stop(struct vhost_queue *queue);
/* Let the device look into it, if it may. */
void queue_service(struct vhost_queue *queue);
/* Started, kicked through fd (taken over; -1: to be polled). */
int queue_set_kick(struct vhost_queue *queue, int fd);
void queue_call(struct vhost_queue *queue);
/* Log and tell the front end, once, that the queue is broken. */
void queue_tell_break(struct vhost_queue *queue, const char *reason);
void queue_deinit(struct vhost_queue *queue);

typedef int backend_handler(struct vhost_backend *backend,
			    struct vhost_message *message);

/* backend_device.c */
backend_handler backend_get_features, backend_set_features,
	backend_get_protocol_features, backend_set_protocol_features,
	backend_ignore, backend_get_queue_num, backend_get_config,
	backend_set_config, backend_set_status, backend_get_status,
	backend_reset_device, backend_send_rarp, backend_set_channel;
void backend_channel_close(struct vhost_backend *backend);
/* backend_memory.c */
backend_handler backend_set_mem_table, backend_get_max_mem_slots,
	backend_add_mem_reg, backend_rem_mem_reg, backend_set_log_base,
	backend_set_log_fd, backend_get_inflight_fd, backend_set_inflight_fd;
/* backend_ring.c */
backend_handler backend_set_vring_num, backend_set_vring_addr,
	backend_set_vring_base, backend_get_vring_base, backend_set_vring_kick,
	backend_set_vring_call, backend_set_vring_err, backend_set_vring_enable;

#endif
