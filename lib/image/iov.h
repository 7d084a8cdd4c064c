/* SPDX-License-Identifier: ISC */
/* Walking scattered memory: a cursor that gives out pieces of a request. */
#ifndef LIB_IMAGE_IOV_H
#define LIB_IMAGE_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	IOV_PARTS_MAX = 1024, /* IOV_MAX of Linux */
	/* Each image of a chain reads with its own on the stack. */
	IOV_READ_PARTS_MAX = 128,
	IOV_ZEROES_LEN = 64 * 1024,
};

/*
 * To be written. It begins with a page: a process that is killed while it
 * writes from memory that it never touched stops where a page of that memory
 * ends, which is between two sectors then.
 */
extern const uint8_t iov_zeroes[IOV_ZEROES_LEN];

struct iov_cursor {
	const struct iovec *iov;
	unsigned n_iov;
	size_t skip; /* bytes of iov[0] already taken */
};

size_t iov_total(const struct iovec *iov, unsigned n_iov);
/*
 * The next len bytes, or fewer if they are in more than max parts; the
 * cursor moves behind them. Returns the number of bytes.
 */
size_t iov_take(struct iov_cursor *cursor, size_t len, struct iovec *parts,
		unsigned max, unsigned *n_parts);
void iov_take_zero(struct iov_cursor *cursor, size_t len);
void iov_copy_in(struct iov_cursor *cursor, const void *buf, size_t len);
void iov_copy_out(struct iov_cursor *cursor, void *buf, size_t len);

#endif
