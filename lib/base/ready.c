/* SPDX-License-Identifier: ISC */
/* Readiness, in the two ways that supervisors know. */
#include "lib/base/ready.h"

#include "lib/base/cleanup.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* write(2) to a pipe has no MSG_NOSIGNAL: take back the signal it raised. */
static void write_newline(int fd)
{
	const struct timespec now = { .tv_sec = 0 };
	sigset_t pipe_signal, before, pending;

	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
	if (write(fd, "\n", 1) < 0 && errno == EPIPE &&
	    sigismember(&pending, SIGPIPE) == 0)
		sigtimedwait(&pipe_signal, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* sd_notify(3): a datagram to a path, or to an abstract name ("@..."). */
static void notify_service_manager(const char *path)
{
	static const char message[] = "READY=1";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	_cleanup_fd_ int fd = -1;

	if (len == 0 || len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, message, sizeof(message) - 1, MSG_NOSIGNAL,
		     (const void *)&address,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

void ready_notify(int ready_fd)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (ready_fd >= 0) {
		write_newline(ready_fd);
		close(ready_fd);
	}
	if (path != NULL)
		notify_service_manager(path);
}
