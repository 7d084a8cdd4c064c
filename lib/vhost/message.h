/* SPDX-License-Identifier: ISC */
/*
 * vhost-user messages: the table of requests that both ends share, a receiver
 * that takes what a non-blocking socket gives, and a sender that keeps what
 * the socket does not take. Neither knows the event loop; neither blocks.
 *
 * Specification: docs/interop/vhost-user.rst of QEMU.
 */
#ifndef LIB_VHOST_MESSAGE_H
#define LIB_VHOST_MESSAGE_H

#include "protocols/vhost_user.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VHOST_MESSAGE_FDS_MAX = VHOST_USER_MEM_TABLE_MAX,
};

/* Payloads, each as its request has it; u64 for acknowledgements. */
union vhost_payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_mem_table memory;
	struct vhost_user_mem_single region;
	struct vhost_user_log log;
	struct vhost_user_config config;
	struct vhost_user_inflight inflight;
	struct vhost_user_device_state device_state;
};

struct vhost_message {
	struct vhost_user_header header;
	union vhost_payload payload; /* header.size bytes of it are set */
	unsigned n_fds;
	int fds[VHOST_MESSAGE_FDS_MAX];
};

/* Who sends: requests of the two directions have numbers of their own. */
enum vhost_direction {
	VHOST_TO_BACKEND,  /* on the connection: front end's requests */
	VHOST_TO_FRONTEND, /* on the back end's channel: its requests */
};

/*
 * One request. Sizes bound the payload: [size_min, size_max]; requests whose
 * payload has a length of its own (memory table, config space) are checked
 * against that too, by vhost_message_check().
 */
struct vhost_request {
	const char *name;
	uint16_t size_min, size_max;
	uint8_t n_fds_max; /* more than that breaks the protocol */
	/* Always answered, with a payload in these bounds; else answered
	 * only if NEED_REPLY asks for it, with a u64 that is 0 for success. */
	bool has_reply;
	uint16_t reply_min, reply_max;
	uint8_t reply_n_fds_max;
	/* Protocol feature bit without which it is not to be sent, or -1. */
	int8_t feature;
};

/* NULL: no such request. */
const struct vhost_request *vhost_request_find(enum vhost_direction direction,
					       uint32_t request);
/* For messages; "request" where it is unknown. */
const char *vhost_request_name(enum vhost_direction direction,
			       uint32_t request);

enum {
	/* vhost_receive(), besides 0 for a whole message: */
	VHOST_RECEIVE_AGAIN = 1, /* it is not complete yet */
	VHOST_RECEIVE_END = 2,	 /* end of file between messages */
};

struct vhost_receiver {
	size_t n_received; /* of header and payload together */
	struct vhost_message message;
};

#define VHOST_RECEIVER_INIT \
	{ \
		.n_received = 0 \
	}

/*
 * Receive from the non-blocking socket fd. 0: receiver->message is whole and
 * checked, a request, or a reply if is_reply; its descriptors are the
 * receiver's, closed by the next call, unless taken out with
 * vhost_message_take_fd(). Negative: the connection is of no more use, and
 * *reason says why (-EPROTO: the peer broke the rules).
 */
int vhost_receive(struct vhost_receiver *receiver, int fd,
		  enum vhost_direction direction, bool is_reply,
		  const char **reason);
void vhost_receiver_deinit(struct vhost_receiver *receiver);

/* Descriptor i, now the caller's; -1 if there is none. */
int vhost_message_take_fd(struct vhost_message *message, unsigned i);
void vhost_message_close_fds(struct vhost_message *message);

/* The lengths inside of a received payload; 0 or -EPROTO. */
int vhost_message_check(const struct vhost_message *message,
			enum vhost_direction direction, bool is_reply,
			const char **reason);

struct vhost_sender {
	struct vhost_pending *first, *last;
	unsigned n_pending;
};

#define VHOST_SENDER_INIT \
	{ \
		.first = NULL \
	}

enum {
	/* Messages kept for a slow peer: eight for each of 256 queues, more
	 * than it takes to start or stop them all. */
	VHOST_SENDER_MAX = 2048,
};

/*
 * Send message (header.size bytes of payload, n_fds descriptors, which stay
 * the caller's), or keep what the socket does not take now: then wait for
 * EPOLLOUT and call vhost_sender_flush(). -ENOBUFS: the peer has not read for
 * so long that VHOST_SENDER_MAX messages wait; or sendmsg()'s error.
 */
int vhost_send(struct vhost_sender *sender, int fd,
	       const struct vhost_message *message);
/* 0, also if some is still kept; or -errno. */
int vhost_sender_flush(struct vhost_sender *sender, int fd);
bool vhost_sender_is_empty(const struct vhost_sender *sender);
void vhost_sender_deinit(struct vhost_sender *sender);

/* Fill in a header: a request, or the reply to one. Payload and descriptors
 * are left as they are but for n_fds, which becomes 0. */
void vhost_message_init(struct vhost_message *message, uint32_t request,
			uint32_t flags, uint32_t size);

#endif
