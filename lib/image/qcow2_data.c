/* SPDX-License-Identifier: ISC */
/*
 * The guest's data in the file, uncompressed: the one place to know that it
 * is not stored as it is. All of these are called without the lock.
 */
#include "lib/image/qcow2.h"

int qcow2_data_readv(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		     const struct iovec *iov, unsigned n_iov)
{
	(void)offset;
	return image_file_readv(q->data_file, host_offset, iov, n_iov);
}

int qcow2_data_writev(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		      const struct iovec *iov, unsigned n_iov)
{
	(void)offset;
	return image_file_writev(q->data_file, host_offset, iov, n_iov);
}
