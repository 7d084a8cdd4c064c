/* SPDX-License-Identifier: ISC */
/*
 * For LD_PRELOAD: close(2) of a file that was open for writing, and whose name
 * ends with $CLOSE_FAILS, says that there was no room, as a network's file
 * system may when what it kept back does not fit.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	PATH_LEN_MAX = 4096,
};

static bool must_fail(int fd)
{
	const char *end = getenv("CLOSE_FAILS");
	char link[64], path[PATH_LEN_MAX];
	int flags = fcntl(fd, F_GETFL);
	ssize_t n;

	if (end == NULL || flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < (ssize_t)strlen(end))
		return false;
	path[n] = '\0';
	return strcmp(path + n - strlen(end), end) == 0;
}

int close(int fd)
{
	bool fails = must_fail(fd);
	long rc = syscall(SYS_close, fd);

	if (rc == 0 && fails) {
		errno = EDQUOT;
		rc = -1;
	}
	return (int)rc;
}
