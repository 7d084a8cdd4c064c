/* SPDX-License-Identifier: ISC */
/*
 * Ownership in the declaration: a local that carries one of these attributes
 * is released on every way out of its scope; steal_*() hands it on.
 */
#ifndef LIB_BASE_CLEANUP_H
#define LIB_BASE_CLEANUP_H

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_fd_ _cleanup_(cleanup_fd)

/* Take the descriptor out of *fd, which becomes -1. */
static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Take the pointer out of *pp, which becomes NULL. */
#define steal_ptr(pp) \
	__extension__({ \
		__typeof__(*(pp)) taken_ = *(pp); \
		*(pp) = NULL; \
		taken_; \
	})

/* Close *fd if it is open, and forget it. Idempotent. */
static inline void close_fd(int *fd)
{
	cleanup_fd(fd);
	*fd = -1;
}

#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define array_size(a) (sizeof(a) / sizeof((a)[0]))

#endif
