/* SPDX-License-Identifier: ISC */
/*
 * What the front end's sources share.
 *
 *	frontend.c		what its owner sees of it
 *	frontend_connection.c	connect, notice a loss, try again, give up
 *	frontend_message.c	messages out, answers in, deadlines
 *	frontend_handshake.c	who is the back end, and is it still the same
 *	frontend_queue.c	start and stop the rings
 *	frontend_request.c	what the back end asks of us
 *
 * A connection that fails is dropped by frontend_lose(), from wherever that
 * is noticed; until the next attempt there is nobody to talk to and
 * frontend_send() does nothing, so callers need not look each time.
 */
#ifndef LIB_VHOST_FRONTEND_INTERNAL_H
#define LIB_VHOST_FRONTEND_INTERNAL_H

#include "lib/base/error.h"
#include "lib/base/event.h"
#include "lib/vhost/frontend.h"
#include "lib/vhost/message.h"

#include <stdbool.h>
#include <stdint.h>

enum frontend_phase {
	FRONTEND_CLOSED,    /* nobody there; the timer tries again */
	FRONTEND_HANDSHAKE, /* asking who it is */
	FRONTEND_IDLE,	    /* the driver wants nothing of it */
	FRONTEND_STARTING,
	FRONTEND_RUNNING,
	FRONTEND_STOPPING,
	FRONTEND_FAILED, /* and nobody will come */
};

enum {
	FRONTEND_RETRY_MIN_MS = 10,
	FRONTEND_RETRY_MAX_MS = 1000,
	/* A connection that lasted as long was a good one: its loss is news,
	 * and the back-off begins anew. */
	FRONTEND_STABLE_MS = 1000,
	/* Answers awaited at once: more than the longest sequence has. */
	FRONTEND_AWAITED_MAX = VHOST_SENDER_MAX,
};

typedef void frontend_handler(struct vhost_frontend *frontend,
			      struct vhost_message *reply);

/* An answer that is awaited; they come in the order of the requests. */
struct frontend_awaited {
	uint32_t request;
	bool is_ack; /* a u64, 0 for success, for NEED_REPLY */
	frontend_handler *handle;
};

struct frontend_queue {
	int kick_fd, call_fd;
	struct vhost_frontend_queue driver; /* as the driver set it up */
};

struct vhost_frontend {
	struct event_loop *loop;
	struct event_loop first_loop; /* of the first handshake alone */
	struct vhost_frontend_options options; /* its strings are ours */
	const struct guest_memory *memory;
	struct vhost_frontend_region *regions;
	unsigned n_regions;
	const struct vhost_frontend_ops *ops;
	void *context;

	/* The connection, and what is said over it. */
	enum frontend_phase phase;
	int fd;
	struct event_source source;
	struct vhost_sender sender;
	struct vhost_receiver receiver;
	struct frontend_awaited awaited[FRONTEND_AWAITED_MAX];
	unsigned first_awaited, n_awaited;
	struct event_timer timer; /* connected: for the answer; else: retry */
	int channel;		  /* our end of the back end's own channel */
	struct event_source channel_source;
	struct vhost_receiver channel_receiver;
	struct vhost_sender channel_sender;
	bool has_slots; /* it was told the memory, region by region */
	bool has_rings; /* it was told the rings */

	/* Why the last connection was lost, and how to go on. */
	struct error reason;
	int code;
	uint64_t connected_at_ms, lost_at_ms;
	uint64_t retry_ms;
	bool is_reported, is_return_reported; /* the loss, in the log */

	/* What the back end is; what the guest was told is what stays. */
	bool is_known;
	uint64_t features, protocol_features; /* for vhost_frontend_*() */
	uint64_t offered;	   /* by this connection, all virtio bits */
	uint64_t offered_protocol; /* less what we do not speak */
	uint64_t n_offered_queues, n_slots;
	uint8_t config[VHOST_USER_CONFIG_MAX];
	/* What the driver wrote there: told to the next back end too. */
	bool is_written[VHOST_USER_CONFIG_MAX];
	bool is_reading_config, must_read_config;

	/* What the driver wants. */
	bool is_started;
	uint64_t driver_features;
	unsigned n_queues;
	struct frontend_queue *queues;
	void (*stopped)(void *context);

	/* Requests that a back end took and did not finish. */
	int inflight_fd;
	struct vhost_user_inflight inflight;
};

/* frontend_connection.c */

uint64_t frontend_now_ms(void);
/* Take this connection and begin with the handshake. */
void frontend_open(struct vhost_frontend *frontend, int fd);
void frontend_close(struct vhost_frontend *frontend);
/* Drop the connection; code and text say why. Nothing if there is none. */
void frontend_lose(struct vhost_frontend *frontend, int code,
		   const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The handshake is done: the first, or one more. */
void frontend_connected(struct vhost_frontend *frontend);
/* All rings are stopped, or there is nobody to stop them. */
void frontend_stopped(struct vhost_frontend *frontend);
/* Handler of the timer. */
void frontend_expired(struct event_timer *timer);

/* frontend_message.c */

/*
 * Send a request (made with vhost_message_init()). With handle its answer is
 * awaited and handed over in its turn; the connection is lost if it does not
 * come in time or is not one.
 */
void frontend_send(struct vhost_frontend *frontend,
		   struct vhost_message *message, frontend_handler *handle);
/*
 * The same for one without an answer of its own: where the back end can
 * (REPLY_ACK) it says that it was done; a refusal costs the connection.
 */
void frontend_send_acked(struct vhost_frontend *frontend,
			 struct vhost_message *message);
/* Shorter, for requests without a payload and with a u64. */
void frontend_ask(struct vhost_frontend *frontend, uint32_t request,
		  frontend_handler *handle);
void frontend_tell(struct vhost_frontend *frontend, uint32_t request,
		   uint64_t value);
/* Handler of the connection's source. */
void frontend_talk(struct event_source *source, uint32_t events);
/* Forget all that is under way. */
void frontend_drop_messages(struct vhost_frontend *frontend);

/* Negotiated with this connection? bit is a VHOST_USER_PROTOCOL_F_*. */
bool frontend_has(const struct vhost_frontend *frontend, unsigned bit);

/* frontend_handshake.c */

void frontend_handshake(struct vhost_frontend *frontend);
/* Read the config space again: the back end says that it changed. */
void frontend_read_config(struct vhost_frontend *frontend);
/* Tell what the driver wrote in [offset, offset + len). */
void frontend_write_config(struct vhost_frontend *frontend, uint32_t offset,
			   uint32_t len);

/* frontend_queue.c */

/* 0, or -EINVAL if the queue cannot be in this memory. */
int frontend_check_queue(const struct vhost_frontend *frontend,
			 const struct vhost_frontend_queue *queue);
void frontend_start_queues(struct vhost_frontend *frontend);
void frontend_stop_queues(struct vhost_frontend *frontend);
/* No ring runs: say so from the loop. */
void frontend_stop_nothing(struct vhost_frontend *frontend);
void frontend_forget_inflight(struct vhost_frontend *frontend);

/* frontend_request.c */

/* Make the back end's channel and hand it over. */
void frontend_open_channel(struct vhost_frontend *frontend);
void frontend_close_channel(struct vhost_frontend *frontend);

#endif
