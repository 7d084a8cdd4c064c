/* SPDX-License-Identifier: ISC */
/*
 * One connection to an NBD server, on which many threads have requests in
 * flight. None of them waits for another's reply: whoever waits first drives
 * the socket for all, and hands that on when its own request is over.
 *
 * Nothing here has a time limit but connecting: a server that stalls stalls
 * its callers, which are never an event loop. One that goes away, or says
 * what the protocol does not have, ends every request with -EIO.
 */
#ifndef LIB_IMAGE_FILE_NBD_H
#define LIB_IMAGE_FILE_NBD_H

#include "lib/image/library.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct error;
struct nbd_flight;

struct nbd_link {
	struct nbd_handle *nbd;
	int wake_fd; /* tells the driver that there is something to send */
	pthread_mutex_t lock; /* of all calls of libnbd, and of what follows */
	bool is_driven;
	unsigned polled; /* LIBNBD_AIO_DIRECTION_…: what its driver waits for */
	struct nbd_flight *first, *last; /* that wait */
};

enum nbd_operation {
	NBD_READ,
	NBD_WRITE,
	NBD_ZERO,
	NBD_TRIM,
	NBD_FLUSH,
	NBD_STATUS,
};

struct nbd_request {
	enum nbd_operation operation;
	uint64_t offset, len;
	uint8_t *buf;	/* of reads and writes; the latter's is not changed */
	uint32_t flags; /* LIBNBD_CMD_FLAG_… */
	uint64_t part_max; /* bytes; what is longer is cut, and goes together */
	nbd_extent_callback extents; /* of NBD_STATUS; with the link's lock */
};

/* context is that of NBD_STATUS. A link that failed to open is closed too. */
int nbd_link_open(struct nbd_link *link, const char *uri, const char *context,
		  struct error *err);
/* Does not wait for the server. */
void nbd_link_close(struct nbd_link *link);
/* All of the request, or -errno: the first one of its parts'. Thread-safe. */
int nbd_link_do(struct nbd_link *link, const struct nbd_request *request);

enum {
	NBD_STATUS_RUNS_MAX = 256,
};

enum {
	/* Of "base:allocation", and as QEMU takes any other context's. */
	NBD_STATUS_HOLE = 1 << 0,
	NBD_STATUS_ZERO = 1 << 1,
};

/* What a server said of [offset, offset + len): runs that are alike, in order.
 */
struct nbd_status {
	const char *context; /* that is asked for */
	uint64_t offset, len;
	uint32_t unit; /* bytes of a block, in which runs are whole */
	unsigned n_runs;
	struct {
		uint64_t len;
		unsigned flags; /* NBD_STATUS_… */
	} runs[NBD_STATUS_RUNS_MAX];
};

/* May say less than was asked for, and nothing at all. offset is that of a
 * block of unit bytes. */
int nbd_status_ask(struct nbd_link *link, const char *context, uint64_t offset,
		   uint64_t len, uint32_t unit, struct nbd_status *status);
/* The rest of the run that offset is in, len at most; false: not known, and
 * nothing is changed. */
bool nbd_status_find(const struct nbd_status *status, uint64_t offset,
		     uint64_t len, unsigned *flags, uint64_t *run_len);

#endif
