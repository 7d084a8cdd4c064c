/* SPDX-License-Identifier: ISC */
/* See log_file.h. */
#include "vm-console/log_file.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum {
	LOG_MODE = 0600, /* passwords are typed at consoles */
};

/* O_NONBLOCK is for a path that is a pipe: a slow reader holds up nobody. */
static int open_log(const char *path)
{
	int fd = open(path,
		      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY |
			      O_NONBLOCK,
		      LOG_MODE);

	return fd < 0 ? -errno : fd;
}

int log_file_open(struct log_file *log, const char *path, struct error *err)
{
	int fd = open_log(path);

	if (fd < 0)
		return error_set_errno(err, fd, "%s", path);
	log->path = path;
	log->fd = fd;
	return 0;
}

void log_file_close(struct log_file *log)
{
	close_fd(&log->fd);
}

int log_file_reopen(struct log_file *log)
{
	int fd = open_log(log->path);

	if (fd < 0) {
		log_error("%s: %s", log->path, strerror(-fd));
		return fd;
	}
	close_fd(&log->fd);
	log->fd = fd;
	return 0;
}

void log_file_write(struct log_file *log, const void *data, size_t len)
{
	const uint8_t *from = data;

	while (len > 0) {
		ssize_t n = write(log->fd, from, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (!log->is_failing)
				log_error("%s: %s", log->path, strerror(errno));
			log->is_failing = true;
			log->n_missed += len;
			return;
		}
		from += n;
		len -= (size_t)n;
	}
	log->is_failing = false;
}
