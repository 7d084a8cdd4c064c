/* SPDX-License-Identifier: ISC */
/*
 * The front end's side of a connection, one message at a time as a test
 * wants it, against a back end that runs in an event loop of the same thread.
 */
#ifndef TESTS_SUPPORT_VHOST_PEER_H
#define TESTS_SUPPORT_VHOST_PEER_H

#include "lib/base/event.h"
#include "lib/vhost/message.h"
#include "tests/support/virtq_driver.h"

enum {
	PEER_GPA = 1 << 20,
	PEER_USER = 1 << 30, /* where the front end has it */
	PEER_MEMORY = 1 << 20,
	PEER_DATA = PEER_GPA + (1 << 19),
	PEER_RING = 1 << 16, /* from one queue's rings to the next */
	PEER_QUEUES = 4,
};

struct vhost_peer {
	struct event_loop *loop;
	int fd; /* the front end's end */
	int backend_fd;
	struct vhost_sender sender;
	struct vhost_receiver receiver;
	struct driver_memory memory;
	struct virtq_driver drivers[PEER_QUEUES];
	int kick_fds[PEER_QUEUES], call_fds[PEER_QUEUES];
	uint16_t queue_size;
	bool is_packed;
	uint32_t flags; /* of the next messages: NEED_REPLY */
};

/* Memory and rings; no connection yet. */
void vhost_peer_init(struct vhost_peer *peer, struct event_loop *loop,
		     uint16_t queue_size, bool is_packed);
void vhost_peer_deinit(struct vhost_peer *peer);
/* A new pair of sockets, the old one closed: backend_fd is the test's. */
void vhost_peer_connect(struct vhost_peer *peer);
void vhost_peer_close(struct vhost_peer *peer);

/* Let the loop run until it has nothing to do. */
void vhost_peer_settle(struct vhost_peer *peer);

/* Send; fd -1: none. */
void vhost_peer_send(struct vhost_peer *peer, uint32_t request,
		     const void *payload, uint32_t size, int fd);
void vhost_peer_send_u64(struct vhost_peer *peer, uint32_t request,
			 uint64_t value, int fd);
void vhost_peer_send_state(struct vhost_peer *peer, uint32_t request,
			   uint32_t index, uint32_t num);
/* The next answer, after the loop settled: 0, VHOST_RECEIVE_AGAIN, _END. */
int vhost_peer_receive(struct vhost_peer *peer, struct vhost_message **reply);
/* The u64 answered to a request without payload. */
uint64_t vhost_peer_ask(struct vhost_peer *peer, uint32_t request);

/* Single messages of a queue's set-up. */
void vhost_peer_set_mem_table(struct vhost_peer *peer);
void vhost_peer_set_addr(struct vhost_peer *peer, unsigned queue);
void vhost_peer_set_kick(struct vhost_peer *peer, unsigned queue);
void vhost_peer_set_call(struct vhost_peer *peer, unsigned queue);
/* All of it, in QEMU's order, with these features besides what is needed. */
void vhost_peer_handshake(struct vhost_peer *peer, uint64_t features,
			  uint64_t protocol_features);
void vhost_peer_start(struct vhost_peer *peer, unsigned queue, uint32_t base);

/* Add a request of one outgoing and one incoming buffer, and kick. */
void vhost_peer_request(struct vhost_peer *peer, unsigned queue, uint64_t tag);
/* A used request's tag, or 0; what it wrote is checked against the tag. */
uint64_t vhost_peer_get_used(struct vhost_peer *peer, unsigned queue);
/* How often was the eventfd written since the last look? */
uint64_t vhost_peer_count(int fd);

#endif
