/* SPDX-License-Identifier: ISC */
/*
 * Unix stream sockets.
 *
 * A path is taken under a lock on its folder (flock(2), held for the few
 * system calls that it takes), because between bind(2) and listen(2) a
 * living server looks like a dead one, and because finding a socket dead and
 * removing it are two steps.
 */
#include "lib/base/socket.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

enum {
	BACKLOG = 64,
	LOCK_TRIES = 200,
	LOCK_PAUSE_MS = 10,
	ACTIVATION_FIRST_FD = 3, /* SD_LISTEN_FDS_START */
};

static int make_address(const char *path, struct sockaddr_un *address,
			struct error *err)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (path[0] == '\0')
		return error_set(err, -EINVAL, "empty socket path");
	if (strlen(path) >= sizeof(address->sun_path))
		return error_set_errno(err, -ENAMETOOLONG, "%s", path);
	memcpy(address->sun_path, path, strlen(path));
	return 0;
}

static int make_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* The folder of path, locked; closing it unlocks. */
static int lock_folder(const char *path)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_fd_ int fd = -1;

	if (copy == NULL)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Anybody who can read the folder can hold it: do not wait long. */
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK || i == LOCK_TRIES)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return steal_fd(&fd);
}

/* Is a socket there that nobody listens on? */
static bool is_dead(const struct sockaddr_un *address)
{
	_cleanup_fd_ int fd = make_socket();
	struct stat st;

	if (fd < 0 || lstat(address->sun_path, &st) < 0 ||
	    !S_ISSOCK(st.st_mode))
		return false;
	return connect(fd, (const void *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

int socket_listen(const char *path, mode_t mode, struct error *err)
{
	_cleanup_fd_ int fd = -1, lock = -1;
	struct sockaddr_un address;
	int ret = make_address(path, &address, err);

	if (ret < 0)
		return ret;
	lock = lock_folder(path);
	if (lock < 0)
		return error_set_errno(err, lock, "%s: cannot lock its folder",
				       path);
	fd = make_socket();
	if (fd < 0)
		return error_set_errno(err, fd, "%s: socket", path);
	if (is_dead(&address) && unlink(path) < 0)
		return error_set_errno(err, -errno, "%s: cannot be replaced",
				       path);
	/* bind() gives the file the socket's mode: it is never wider. */
	if (fchmod(fd, mode) < 0 ||
	    bind(fd, (const void *)&address, sizeof(address)) < 0)
		return error_set_errno(err, -errno, "%s", path);
	if (listen(fd, BACKLOG) < 0) {
		ret = error_set_errno(err, -errno, "%s: listen", path);
		unlink(path);
		return ret;
	}
	return steal_fd(&fd);
}

int socket_file_init(struct socket_file *file, const char *path)
{
	struct stat st;

	*file = (struct socket_file){ .path = NULL };
	if (lstat(path, &st) < 0)
		return -errno;
	file->path = strdup(path);
	if (file->path == NULL)
		return -ENOMEM;
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	return 0;
}

void socket_file_deinit(struct socket_file *file)
{
	_cleanup_free_ char *path = steal_ptr(&file->path);
	_cleanup_fd_ int lock = -1;
	struct stat st;

	if (path == NULL)
		return;
	/* Not locked, it is removed all the same: it is most likely ours. */
	lock = lock_folder(path);
	(void)lock;
	if (lstat(path, &st) == 0 && st.st_dev == file->dev &&
	    st.st_ino == file->ino)
		unlink(path);
}

int socket_connect(const char *path, struct error *err)
{
	_cleanup_fd_ int fd = -1;
	struct sockaddr_un address;
	int ret = make_address(path, &address, err);

	if (ret < 0)
		return ret;
	fd = make_socket();
	if (fd < 0)
		return error_set_errno(err, fd, "%s: socket", path);
	/* Unix sockets connect at once, or not (-EAGAIN: backlog full). */
	if (connect(fd, (const void *)&address, sizeof(address)) < 0)
		return error_set_errno(err, -errno, "%s", path);
	return steal_fd(&fd);
}

int socket_accept(int listener)
{
	int fd;

	do
		fd = accept4(listener, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? -errno : fd;
}

int socket_pair(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       fds) < 0)
		return -errno;
	return 0;
}

union control_buffer {
	struct cmsghdr header; /* for its alignment */
	char bytes[CMSG_SPACE(sizeof(int) * SOCKET_FDS_MAX)];
};

ssize_t socket_send(int fd, const struct iovec *iov, unsigned n_iov,
		    const int *fds, unsigned n_fds)
{
	union control_buffer control;
	struct msghdr message = {
		.msg_iov = (struct iovec *)iov,
		.msg_iovlen = n_iov,
	};
	ssize_t n;

	assert(n_fds <= SOCKET_FDS_MAX);
	if (n_fds > 0) {
		struct cmsghdr *header = &control.header;

		memset(&control, 0, CMSG_SPACE(sizeof(int) * n_fds));
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
	}
	do
		n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

/* All descriptors of the message; the buffer holds as many as Linux sends. */
static unsigned collect_fds(struct msghdr *message, int *fds)
{
	struct cmsghdr *header;
	unsigned n = 0;

	for (header = CMSG_FIRSTHDR(message); header != NULL;
	     header = CMSG_NXTHDR(message, header)) {
		size_t len = header->cmsg_len - CMSG_LEN(0);

		if (header->cmsg_level != SOL_SOCKET ||
		    header->cmsg_type != SCM_RIGHTS)
			continue;
		assert(n + len / sizeof(int) <= SOCKET_FDS_MAX);
		memcpy(&fds[n], CMSG_DATA(header), len);
		n += (unsigned)(len / sizeof(int));
	}
	return n;
}

ssize_t socket_recv(int fd, const struct iovec *iov, unsigned n_iov, int *fds,
		    unsigned *n_fds)
{
	union control_buffer control;
	struct msghdr message = {
		.msg_iov = (struct iovec *)iov,
		.msg_iovlen = n_iov,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int all[SOCKET_FDS_MAX];
	unsigned n_max = n_fds != NULL ? *n_fds : 0, n_all;
	ssize_t n;

	if (n_fds != NULL)
		*n_fds = 0;
	do
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	n_all = collect_fds(&message, all);
	if (n_all > n_max || (message.msg_flags & MSG_CTRUNC) != 0) {
		close_all(all, n_all);
		return -EMSGSIZE;
	}
	if (n_all > 0) {
		memcpy(fds, all, sizeof(int) * n_all);
		*n_fds = n_all;
	}
	return n;
}

/* A descriptor from outside, as all of ours are. */
static int adopt(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/* The next name of a colon-separated list, moved past it. */
static int take_name(const char **list, char name[SOCKET_NAME_MAX])
{
	size_t len = strcspn(*list, ":");

	if (len >= SOCKET_NAME_MAX)
		return -EINVAL;
	memcpy(name, *list, len);
	name[len] = '\0';
	*list += len + ((*list)[len] == ':');
	return 0;
}

static int parse_activation(struct socket_activation *activation,
			    const char *pid, const char *count,
			    const char *names)
{
	uint64_t number, n;
	int ret;

	if (pid == NULL || count == NULL)
		return 0;
	if (number_parse(pid, 1, INT32_MAX, &number) < 0)
		return -EINVAL;
	if (number != (uint64_t)getpid())
		return 0;
	if (number_parse(count, 0, SOCKET_ACTIVATION_MAX, &n) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		if (names != NULL &&
		    take_name(&names, activation->names[i]) < 0)
			return -EINVAL;
		ret = adopt(ACTIVATION_FIRST_FD + (int)i);
		if (ret < 0)
			return ret;
		activation->fds[i] = ACTIVATION_FIRST_FD + (int)i;
		activation->n++;
	}
	return 0;
}

int socket_activation_init(struct socket_activation *activation)
{
	int ret;

	*activation = (struct socket_activation){ .n = 0 };
	ret = parse_activation(activation, getenv("LISTEN_PID"),
			       getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES"));
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return ret;
}

int socket_activation_take(struct socket_activation *activation,
			   const char *name)
{
	for (unsigned i = 0; i < activation->n; i++) {
		if (activation->fds[i] >= 0 &&
		    (name == NULL || strcmp(activation->names[i], name) == 0))
			return steal_fd(&activation->fds[i]);
	}
	return -1;
}

void socket_activation_deinit(struct socket_activation *activation)
{
	for (unsigned i = 0; i < activation->n; i++)
		close_fd(&activation->fds[i]);
	activation->n = 0;
}
