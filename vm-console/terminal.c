/* SPDX-License-Identifier: ISC */
/* See terminal.h. One terminal, as there is one standard input. */
#include "vm-console/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static int raw_fd = -1;
static bool is_registered;

void terminal_restore(void)
{
	if (raw_fd < 0)
		return;
	(void)tcsetattr(raw_fd, TCSADRAIN, &saved);
	raw_fd = -1;
}

int terminal_set_raw(int fd)
{
	struct termios raw;

	if (tcgetattr(fd, &saved) < 0)
		return -errno;
	if (!is_registered && atexit(terminal_restore) != 0)
		return -ENOMEM;
	is_registered = true;
	raw = saved;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0)
		return -errno;
	raw_fd = fd;
	return 0;
}

int terminal_open_private(int fd, int access_mode)
{
	char path[32];
	struct stat st;
	int own = -1;

	if (fstat(fd, &st) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))
		own = open(path,
			   access_mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	/* A file never blocks, a socket is told so at each call; what cannot
	 * be opened again (no /proc, another user's terminal) may block. */
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return own < 0 ? -errno : own;
}
