/* SPDX-License-Identifier: ISC */
/*
 * Unix stream sockets and descriptor passing. All descriptors made here are
 * close-on-exec; those named non-blocking are.
 */
#ifndef LIB_BASE_SOCKET_H
#define LIB_BASE_SOCKET_H

#include <sys/types.h>
#include <sys/uio.h>

struct error;

enum {
	SOCKET_FDS_MAX = 253, /* SCM_MAX_FD of Linux */
};

/*
 * Listen on path with the file mode given, non-blocking. The socket of a
 * server that is gone is replaced; one that somebody listens on, or a file
 * that is no socket, is left alone: -EADDRINUSE. Returns the descriptor.
 */
int socket_listen(const char *path, mode_t mode, struct error *err);

/* Connect, non-blocking from then on. -ECONNREFUSED: nobody listens. */
int socket_connect(const char *path, struct error *err);

/* Accept, non-blocking. -EAGAIN when there is none. */
int socket_accept(int listener);

/* A connected pair, both ends non-blocking. */
int socket_pair(int fds[2]);

/*
 * Send bytes, with n_fds descriptors on the first of them (not closed here);
 * never raises SIGPIPE. Returns the bytes taken, or -errno (-EAGAIN).
 */
ssize_t socket_send(int fd, const struct iovec *iov, unsigned n_iov,
		    const int *fds, unsigned n_fds);

/*
 * Receive into iov, and at most *n_fds descriptors into fds, which the
 * caller then owns; *n_fds becomes their number. More than that many, or a
 * truncated control message, closes them all: -EMSGSIZE. Returns the bytes
 * received, 0 at end of file, or -errno.
 */
ssize_t socket_recv(int fd, const struct iovec *iov, unsigned n_iov, int *fds,
		    unsigned *n_fds);

/*
 * Descriptors handed over by the starter (sd_listen_fds(3)): the number of
 * them, from descriptor 3 on, made close-on-exec; the variables are removed
 * from the environment. 0 when there are none or they are not for this
 * process; -EINVAL when they are not numbers.
 */
int socket_activation(void);

#endif
