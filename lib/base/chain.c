/* SPDX-License-Identifier: ISC */
/*
 * Chain loading.
 *
 *	started process ──fork── child ──fork── server (its parent is gone)
 *	      │ waits for the server's byte       │ sets up
 *	      │<──────────────────────────────────┘ chain_release()
 *	      └ exec PROGRAM
 *
 * PROGRAM is not run before the server serves, so that what fails in set-up
 * ends the whole chain with one line instead of a machine without its disk.
 */
#include "lib/base/chain.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/size.h"
#include "lib/base/socket.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
	STATUS_NOT_EXECUTABLE = 126,
	STATUS_NOT_FOUND = 127,
};

static const char devices_variable[] = "VM_DEVICES";

/* Append "name:fd" to VM_DEVICES. */
static int add_device(const char *name, int fd)
{
	const char *before = getenv(devices_variable);
	_cleanup_free_ char *after = NULL;

	if (before == NULL)
		before = "";
	if (asprintf(&after, "%s%s%s:%d", before, before[0] != '\0' ? " " : "",
		     name, fd) < 0)
		return -ENOMEM;
	return setenv(devices_variable, after, 1) < 0 ? -errno : 0;
}

/* In the started process: wait for the server, then be PROGRAM. */
static _Noreturn void become(const char *name, char **program, int fd,
			     int server)
{
	char byte;
	ssize_t n;
	int code;

	do
		n = read(server, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(EXIT_FAILURE); /* the server has said why */
	if (fcntl(fd, F_SETFD, 0) < 0 || add_device(name, fd) < 0) {
		log_error("%s: %s", devices_variable, strerror(errno));
		_exit(EXIT_FAILURE);
	}
	execvp(program[0], program);
	code = errno;
	log_error("%s: %s", program[0], strerror(code));
	_exit(code == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
}

/* An outer server's device is closed here, or its server would wait for us
 * and not for PROGRAM alone. */
static void close_devices(void)
{
	char *devices = getenv(devices_variable), *word;

	if (devices == NULL)
		return;
	for (word = strtok(devices, " "); word != NULL;
	     word = strtok(NULL, " ")) {
		const char *colon = strrchr(word, ':');
		uint64_t fd;

		if (colon != NULL &&
		    number_parse(colon + 1, 3, INT32_MAX, &fd) == 0)
			close((int)fd);
	}
	unsetenv(devices_variable);
}

static int leave_streams(void)
{
	_cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	if (null <= STDERR_FILENO)
		steal_fd(&null);
	return 0;
}

/* 0 in the server, its id in the started process, or -errno there. */
static pid_t fork_orphan(void)
{
	pid_t child = fork(), server;
	int status;

	if (child < 0)
		return -errno;
	if (child == 0) {
		setsid();
		server = fork();
		if (server != 0)
			_exit(server < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
		return 0;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0 ? child : -EAGAIN;
}

int chain_fork(struct chain *chain, const char *name, char **program,
	       struct error *err)
{
	int device[2] = { -1, -1 }, wait[2] = { -1, -1 };
	pid_t pid;
	int ret;

	*chain = (struct chain)CHAIN_INIT;
	ret = socket_pair(device);
	if (ret == 0 &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wait) < 0)
		ret = -errno;
	if (ret < 0)
		goto out;
	pid = fork_orphan();
	if (pid > 0) {
		close_fd(&device[0]);
		close_fd(&wait[0]);
		become(name, program, device[1], wait[1]);
	}
	ret = (int)pid;
	if (ret < 0)
		goto out;
	close_devices();
	/* NOTIFY_SOCKET belongs to the process that systemd started. */
	unsetenv("NOTIFY_SOCKET");
	ret = leave_streams();
	if (ret == 0) {
		chain->fd = steal_fd(&device[0]);
		chain->starter = steal_fd(&wait[0]);
	}
out:
	for (int i = 0; i < 2; i++) {
		close_fd(&device[i]);
		close_fd(&wait[i]);
	}
	if (ret < 0)
		return error_set_errno(err, ret, "cannot start %s", program[0]);
	return 0;
}

void chain_release(struct chain *chain)
{
	if (chain->starter < 0)
		return;
	/* A starter that was killed meanwhile shows as end of file on fd. */
	(void)send(chain->starter, "\n", 1, MSG_NOSIGNAL);
	close_fd(&chain->starter);
}

void chain_deinit(struct chain *chain)
{
	close_fd(&chain->starter);
	close_fd(&chain->fd);
}
