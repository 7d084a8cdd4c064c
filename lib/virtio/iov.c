/* SPDX-License-Identifier: ISC */
/* Between flat buffers and scattered pieces. */
#include "lib/virtio/virtq.h"

#include <string.h>

enum iov_copy {
	IOV_READ,
	IOV_WRITE
};

static size_t copy(const struct iovec *iov, unsigned n_iov, size_t offset,
		   uint8_t *buf, size_t len, enum iov_copy direction)
{
	size_t done = 0;

	for (unsigned i = 0; i < n_iov && done < len; i++) {
		uint8_t *piece = iov[i].iov_base;
		size_t here = iov[i].iov_len;

		if (offset >= here) {
			offset -= here;
			continue;
		}
		piece += offset;
		here -= offset;
		offset = 0;
		if (here > len - done)
			here = len - done;
		if (direction == IOV_READ)
			memcpy(buf + done, piece, here);
		else
			memcpy(piece, buf + done, here);
		done += here;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned n_iov, size_t offset,
		void *buf, size_t len)
{
	return copy(iov, n_iov, offset, buf, len, IOV_READ);
}

size_t iov_write(const struct iovec *iov, unsigned n_iov, size_t offset,
		 const void *buf, size_t len)
{
	/* The cast is undone by the direction. */
	return copy(iov, n_iov, offset, (uint8_t *)buf, len, IOV_WRITE);
}
