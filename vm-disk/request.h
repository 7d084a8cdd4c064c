/* SPDX-License-Identifier: ISC */
/*
 * A block request as the guest wrote it, made into what is to be done
 * (virtio 1.2 §5.2.6). The driver may lay it out over descriptors as it likes
 * (§2.7.4): only the order of bytes counts. The header and the ranges are
 * copied out of guest memory before they are looked at.
 */
#ifndef VM_DISK_REQUEST_H
#define VM_DISK_REQUEST_H

#include "lib/virtio/virtq.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	BLK_RANGES_MAX = 16,	/* of one DISCARD or WRITE_ZEROES */
	BLK_DATA_MAX = 1 << 30, /* bytes of one read or write */
	BLK_RANGE_SECTORS_MAX = 1 << 22,
};

/* What the device is, as far as requests are checked against it. */
struct blk_limits {
	uint64_t n_sectors;
	bool is_read_only;
};

struct blk_range {
	uint64_t offset, len; /* bytes */
	bool may_unmap;
};

enum blk_action {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_DISCARD,
	BLK_WRITE_ZEROES,
	BLK_GET_ID,
	BLK_ANSWER, /* nothing is to be done: status says why */
};

struct blk_request {
	enum blk_action action;
	uint8_t status; /* with BLK_ANSWER */
	/* Reads and writes. */
	uint64_t offset, len; /* bytes */
	struct iovec *iov;    /* the element's, or own */
	unsigned n_iov;
	struct iovec *own;
	/* Discards and zeroes. */
	unsigned n_ranges;
	struct blk_range ranges[BLK_RANGES_MAX];
};

/*
 * Parse the element's request. -EPROTO: there is no byte to put a status
 * into. Everything else that is wrong has BLK_ANSWER and its status.
 */
int blk_request_parse(struct blk_request *request,
		      const struct virtq_element *element,
		      const struct blk_limits *limits);
void blk_request_deinit(struct blk_request *request);

/* The status is the last byte that the device writes. */
void blk_request_set_status(const struct virtq_element *element,
			    uint8_t status);

#endif
