/* SPDX-License-Identifier: ISC */
/*
 * A vhost-user back end that answers as a table says and misbehaves on
 * demand: which request of which connection, and how. It runs in a thread of
 * its own, blocking; what it was told is kept for the test to look at.
 */
#ifndef TESTS_SUPPORT_SCRIPTED_BACKEND_H
#define TESTS_SUPPORT_SCRIPTED_BACKEND_H

#include "lib/vhost/message.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum scripted_fault {
	SCRIPTED_NONE,
	SCRIPTED_CLOSE,		 /* instead of taking the request */
	SCRIPTED_CLOSE_IN_REPLY, /* after half of an answer's header */
	SCRIPTED_SILENT,	 /* take it and say nothing any more */
	SCRIPTED_GARBAGE,	 /* answer with bytes of no meaning */
	SCRIPTED_OTHER_REQUEST,	 /* answer a request that was not made */
	SCRIPTED_NO_REPLY_FLAG,
	SCRIPTED_TOO_SHORT, /* one byte less than is due */
	SCRIPTED_HUGE,	    /* a length of 4 GiB - 1 */
	SCRIPTED_NEGATIVE,  /* acknowledge with 1, or an empty answer */
	SCRIPTED_EXTRA_FD,  /* a descriptor where none belongs */
	SCRIPTED_TWICE,	    /* the answer, and the answer again */
	SCRIPTED_FAULTS_END,
};

enum {
	SCRIPTED_TOLD_MAX = 4096,
};

struct scripted_told {
	int connection;
	uint32_t request;
	union vhost_payload payload;
	unsigned n_fds;
	uint64_t inode; /* of the first descriptor */
};

struct scripted_backend {
	/* Set before scripted_backend_start(). */
	uint64_t features, protocol_features, n_queues, n_slots;
	uint8_t config[VHOST_USER_CONFIG_MAX];
	uint32_t config_size;
	uint64_t inflight_size; /* 0: none */
	int fault_connection;	/* the fault is this one's alone; -1: all */
	uint32_t fault_request;
	enum scripted_fault fault;
	bool forgets;  /* keeps nothing of what it was told */
	char path[64]; /* where it listens */

	/* What it was told; under the lock. */
	pthread_mutex_t lock;
	struct scripted_told told[SCRIPTED_TOLD_MAX];
	unsigned n_told;
	int n_connections;
	bool is_faulty_done;

	pthread_t thread;
	int listener, connection, channel, stop_fds[2];
};

void scripted_backend_init(struct scripted_backend *backend);
void scripted_backend_start(struct scripted_backend *backend);
/* Close the connection, as kill -9 would. */
void scripted_backend_kill(struct scripted_backend *backend);
/* Stop listening, so that connecting is refused; and listen again. */
void scripted_backend_refuse(struct scripted_backend *backend,
			     bool is_refusing);
/* Send bytes on the back end's own channel. */
void scripted_backend_send_channel(struct scripted_backend *backend,
				   const void *bytes, size_t len);
/* The number of times that request was made on connection n (-1: any); *last
 * (may be NULL) becomes the last of them. */
unsigned scripted_backend_told(struct scripted_backend *backend, int connection,
			       uint32_t request, struct scripted_told *last);
void scripted_backend_stop(struct scripted_backend *backend);

#endif
