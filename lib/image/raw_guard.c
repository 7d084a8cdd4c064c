/* SPDX-License-Identifier: ISC */
#include "lib/image/raw_guard.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <string.h>
#include <sys/uio.h>

/*
 * Would block 0 be another format with the len bytes at offset replaced by
 * data (NULL: zeroes)? With the lock held.
 */
static int check_block_0(struct image *image, uint64_t offset,
			 const uint8_t *data, size_t len, struct error *err)
{
	uint8_t block[IMAGE_PROBE_LEN];
	const struct image_format *format = NULL;
	int rc = image_file_read(image->file, 0, block, sizeof(block));

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read block 0");
	if (data != NULL)
		memcpy(block + offset, data, len);
	else
		memset(block + offset, 0, len);
	rc = image_format_probe(&format, block, sizeof(block), image->size,
				NULL);
	if (rc < 0 || format != &image_format_raw)
		return error_set(err, -EPERM,
				 "Write to block 0 would change the format "
				 "that was guessed: Operation not permitted");
	return 0;
}

int raw_guard_begin_zero(struct image *image, pthread_mutex_t *lock,
			 uint64_t offset, uint64_t len, struct error *err)
{
	size_t n;
	int rc;

	if (!raw_guard_wants(image, offset))
		return 0;
	n = (size_t)(IMAGE_PROBE_LEN - offset);
	pthread_mutex_lock(lock);
	rc = check_block_0(image, offset, NULL, len < n ? (size_t)len : n, err);
	if (rc < 0)
		pthread_mutex_unlock(lock);
	return rc;
}

void raw_guard_end_zero(const struct image *image, pthread_mutex_t *lock,
			uint64_t offset)
{
	if (raw_guard_wants(image, offset))
		pthread_mutex_unlock(lock);
}

/*
 * What is written to block 0 is copied first: a guest may change its memory
 * between the check and the write.
 */
static int write_guarded(struct image *image, pthread_mutex_t *lock,
			 uint64_t offset, const struct iovec *iov,
			 unsigned n_iov, struct error *err)
{
	size_t len = 0, room = (size_t)(IMAGE_PROBE_LEN - offset);
	uint8_t copy[IMAGE_PROBE_LEN];
	int rc;

	for (unsigned i = 0; i < n_iov && len < room; i++) {
		size_t n = iov[i].iov_len;

		if (n > room - len)
			n = room - len;
		memcpy(copy + len, iov[i].iov_base, n);
		len += n;
	}
	pthread_mutex_lock(lock);
	rc = check_block_0(image, offset, copy, len, err);
	if (rc == 0)
		rc = image_file_write(image->file, offset, copy, len);
	pthread_mutex_unlock(lock);
	return rc;
}

/* The pieces without their first skip bytes; *n_iov becomes their number. */
static struct iovec *skip_iov(const struct iovec *iov, unsigned *n_iov,
			      size_t skip)
{
	struct iovec *rest;
	unsigned n = *n_iov;

	while (n > 0 && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
		n--;
	}
	rest = calloc(n + 1, sizeof(*rest));
	if (rest == NULL)
		return NULL;
	memcpy(rest, iov, n * sizeof(*rest));
	if (n > 0) {
		rest[0].iov_base = (uint8_t *)rest[0].iov_base + skip;
		rest[0].iov_len -= skip;
	}
	*n_iov = n;
	return rest;
}

int raw_guard_writev(struct image *image, pthread_mutex_t *lock,
		     uint64_t offset, const struct iovec *iov, unsigned n_iov,
		     struct error *err)
{
	_cleanup_free_ struct iovec *rest = NULL;
	unsigned n_rest = n_iov;
	int rc;

	if (!raw_guard_wants(image, offset))
		return image_file_writev(image->file, offset, iov, n_iov);
	rest = skip_iov(iov, &n_rest, (size_t)(IMAGE_PROBE_LEN - offset));
	if (rest == NULL)
		return -ENOMEM;
	rc = write_guarded(image, lock, offset, iov, n_iov, err);
	if (rc < 0 || n_rest == 0)
		return rc;
	return image_file_writev(image->file, IMAGE_PROBE_LEN, rest, n_rest);
}
