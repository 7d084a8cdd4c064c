/* SPDX-License-Identifier: ISC */
/*
 * The guest's data in the file, uncompressed: the one place to know that it
 * is not stored as it is. All of these are called without the lock.
 */
#include "lib/image/crypt.h"
#include "lib/image/qcow2.h"

#include <errno.h>

/* What sectors are numbered by. */
static uint64_t counted(const struct qcow2 *q, uint64_t offset,
			uint64_t host_offset)
{
	return q->header.crypt_method == QCOW2_CRYPT_LUKS ? host_offset
							  : offset;
}

int qcow2_data_readv(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		     const struct iovec *iov, unsigned n_iov)
{
	if (q->header.crypt_method == QCOW2_CRYPT_NONE)
		return image_file_readv(q->data_file, host_offset, iov, n_iov);
	if (q->crypt == NULL)
		return -EACCES;
	return crypt_readv(q->crypt, q->data_file,
			   counted(q, offset, host_offset), host_offset, iov,
			   n_iov);
}

int qcow2_data_writev(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		      const struct iovec *iov, unsigned n_iov)
{
	if (q->header.crypt_method == QCOW2_CRYPT_NONE)
		return image_file_writev(q->data_file, host_offset, iov, n_iov);
	if (q->crypt == NULL)
		return -EACCES;
	return crypt_writev(q->crypt, q->data_file,
			    counted(q, offset, host_offset), host_offset, iov,
			    n_iov);
}

int qcow2_data_zero(struct qcow2 *q, uint64_t offset, uint64_t host_offset,
		    uint64_t len)
{
	if (q->header.crypt_method == QCOW2_CRYPT_NONE)
		return image_file_zero(q->data_file, host_offset, len, true);
	if (q->crypt == NULL)
		return -EACCES;
	return crypt_write_zeroes(q->crypt, q->data_file,
				  counted(q, offset, host_offset), host_offset,
				  len);
}
