/* SPDX-License-Identifier: ISC */
/* One terminal's modes, kept for whoever ends the process. */
#include "vm-cpu/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/* A process has one controlling terminal, and exit handlers no argument. */
static int raw_fd = -1;
static struct termios saved;

bool terminal_is_ours(int fd)
{
	return isatty(fd) && tcgetpgrp(fd) == getpgrp();
}

static int apply(void)
{
	struct termios raw = saved;

	cfmakeraw(&raw);
	/* Our own messages are lines still. */
	raw.c_oflag = saved.c_oflag;
	return tcsetattr(raw_fd, TCSANOW, &raw) < 0 ? -errno : 0;
}

int terminal_set_raw(int fd)
{
	static bool is_registered;

	if (tcgetattr(fd, &saved) < 0)
		return -errno;
	if (!is_registered && atexit(terminal_restore) != 0)
		return -ENOMEM;
	is_registered = true;
	raw_fd = fd;
	return apply();
}

void terminal_continue(void)
{
	if (raw_fd >= 0)
		apply();
}

void terminal_restore(void)
{
	if (raw_fd < 0)
		return;
	/* Flushed: typed-ahead keys were for the guest, not for the shell. */
	tcsetattr(raw_fd, TCSAFLUSH, &saved);
	raw_fd = -1;
}
