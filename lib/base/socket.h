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
	SOCKET_ACTIVATION_MAX = 16,
	SOCKET_NAME_MAX = 32,
};

/*
 * Listen on path with the file mode given, non-blocking. The socket of a
 * server that is gone is replaced; one that somebody listens on, or a file
 * that is no socket, is left alone: -EADDRINUSE. Of several programs that do
 * this at a time on one path, one succeeds. Returns the descriptor.
 */
int socket_listen(const char *path, mode_t mode, struct error *err);

/*
 * The file of a listening socket, so that it is removed at the end only
 * while it is still that one. Remember it right after socket_listen().
 */
struct socket_file {
	char *path; /* NULL: nothing to remove */
	dev_t dev;
	ino_t ino;
};
int socket_file_init(struct socket_file *file, const char *path);
/* Remove the file if it is ours, and forget it. Idempotent. */
void socket_file_deinit(struct socket_file *file);

/* Connect, non-blocking all the time. -ECONNREFUSED: nobody listens. */
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
 * Descriptors handed over by the starter (sd_listen_fds(3)), from descriptor
 * 3 on, with the names that LISTEN_FDNAMES gives them.
 */
struct socket_activation {
	unsigned n;
	int fds[SOCKET_ACTIVATION_MAX]; /* -1 once taken */
	char names[SOCKET_ACTIVATION_MAX][SOCKET_NAME_MAX];
};

/*
 * Take them over, close-on-exec and non-blocking, and remove the variables
 * from the environment. None when there are none or they are not for this
 * process. -EINVAL when the variables are not what they should be, -EBADF
 * when a descriptor is not open.
 */
int socket_activation_init(struct socket_activation *activation);
/* The descriptor of that name (NULL: the first not yet taken), now the
 * caller's; -1 if there is none. */
int socket_activation_take(struct socket_activation *activation,
			   const char *name);
/* Close what nobody took. Idempotent. */
void socket_activation_deinit(struct socket_activation *activation);

#endif
