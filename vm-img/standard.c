/* SPDX-License-Identifier: ISC */
#include "vm-img/standard.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"
#include "lib/image/image.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
	PIECE = 1024 * 1024,
	PAGE = 4096,
};

bool standard_is(const char *path)
{
	return strcmp(path, "-") == 0;
}

bool standard_is_pipe(void)
{
	struct stat st;

	return fstat(STDIN_FILENO, &st) == 0 && !S_ISREG(st.st_mode) &&
	       !S_ISBLK(st.st_mode);
}

int standard_read(void *buf, size_t len, size_t *got, struct error *err)
{
	*got = 0;
	while (*got < len) {
		ssize_t n = read(STDIN_FILENO, (char *)buf + *got, len - *got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, -errno,
					       "Could not read standard input");
		if (n == 0)
			break;
		*got += (size_t)n;
	}
	return 0;
}

static int write_page(int fd, const uint8_t *page, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, page, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		page += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_sparse(int fd, const uint8_t *buf, size_t len, off_t at)
{
	int rc = 0;

	for (size_t done = 0; rc == 0 && done < len; done += PAGE) {
		size_t n = len - done < PAGE ? len - done : PAGE;

		if (!is_zero(buf + done, n))
			rc = write_page(fd, buf + done, n, at + (off_t)done);
	}
	return rc;
}

static int spool(int fd, const char *folder, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	off_t at = 0;
	size_t got;
	int rc;

	if (buf == NULL)
		return -ENOMEM;
	do {
		rc = standard_read(buf, PIECE, &got, err);
		if (rc < 0)
			return rc;
		rc = write_sparse(fd, buf, got, at);
		at += (off_t)got;
	} while (rc == 0 && got == PIECE);
	if (rc == 0 && ftruncate(fd, at) < 0)
		rc = -errno;
	return rc < 0 ? error_set_errno(err, rc,
					"Could not keep standard input in '%s'",
					folder)
		      : 0;
}

static int open_spool(int *fd, struct error *err)
{
	const char *folder = getenv("TMPDIR");

	if (folder == NULL || *folder == '\0')
		folder = "/var/tmp";
	*fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*fd < 0)
		return error_set_errno(err, -errno,
				       "Could not keep standard input in '%s'",
				       folder);
	return spool(*fd, folder, err);
}

int standard_open(struct image **image, const char *format, unsigned flags,
		  struct error *err)
{
	const struct image_open_options options = { .format = format,
						    .flags = flags };
	_cleanup_fd_ int fd = -1;
	int rc = 0;

	if (standard_is_pipe())
		rc = open_spool(&fd, err);
	else
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	if (rc == 0 && fd < 0)
		rc = error_set_errno(err, -errno,
				     "Could not open standard input");
	if (rc < 0)
		return rc;
	return image_open_fd(image, steal_fd(&fd), "standard input", &options,
			     err);
}

int standard_prepare_output(struct error *err)
{
	if (isatty(STDOUT_FILENO))
		return error_set(err, -EINVAL,
				 "Standard output is a terminal, which is no "
				 "place for an image");
	return 0;
}
