/* SPDX-License-Identifier: ISC */
/*
 * What a command takes, for bench/img:
 *
 *	usage COMMAND...
 *
 * prints wall seconds, processor seconds and resident KiB to descriptor 3,
 * and ends with the command's status. The kernel counts what a process was
 * before exec as its memory too; this is small.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	double start = now();
	struct rusage usage;
	int status;
	pid_t pid;

	if (argc < 2)
		return EXIT_FAILURE;
	pid = fork();
	if (pid == 0) {
		close(3);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0)
		return EXIT_FAILURE;
	dprintf(3, "%f %f %ld\n", now() - start,
		seconds(usage.ru_utime) + seconds(usage.ru_stime),
		usage.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}
