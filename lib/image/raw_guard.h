/* SPDX-License-Identifier: ISC */
/*
 * A raw image whose format was guessed is dangerous: a guest that writes
 * another format's magic into block 0 would have the next start take the
 * image for that format, with any backing file the guest likes. So writes to
 * block 0 that would change the guess are refused, as QEMU does, with -EPERM.
 *
 * The lock is the image's own: check and write are one under it.
 */
#ifndef LIB_IMAGE_RAW_GUARD_H
#define LIB_IMAGE_RAW_GUARD_H

#include "lib/image/format.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

static inline bool raw_guard_wants(const struct image *image, uint64_t offset)
{
	return image->is_probed && !(image->flags & IMAGE_READ_ONLY) &&
	       offset < IMAGE_PROBE_LEN;
}

int raw_guard_writev(struct image *image, pthread_mutex_t *lock,
		     uint64_t offset, const struct iovec *iov, unsigned n_iov,
		     struct error *err);
/* Before zeroes are written or a range is discarded. If that may be done the
 * lock may be held, until raw_guard_end_zero(). */
int raw_guard_begin_zero(struct image *image, pthread_mutex_t *lock,
			 uint64_t offset, uint64_t len, struct error *err);
void raw_guard_end_zero(const struct image *image, pthread_mutex_t *lock,
			uint64_t offset);

#endif
