/* SPDX-License-Identifier: ISC */
/*
 * One call of the image library, for tests to look at what it leaves.
 *
 *	image-do IMAGE backing [NAME [FORMAT]]
 *	image-do IMAGE empty
 *	image-do IMAGE compress RAW-FILE
 *	image-do IMAGE zero|discard|write OFFSET LEN
 *	image-do IMAGE discard-keep OFFSET LEN	(IMAGE_DISCARD_NO_UNREF)
 *	image-do IMAGE resize SIZE
 *	image-do IMAGE bitmap-add|-add-off NAME GRANULARITY
 *	image-do IMAGE bitmap-remove|-clear|-on|-off NAME
 *	image-do IMAGE bitmap-merge NAME SOURCE-IMAGE|= FROM
 *	image-do IMAGE bitmap-list NAME		(what is set, on stdout)
 *	image-do IMAGE snapshot-create NAME
 *	image-do IMAGE snapshot-apply|-delete INDEX
 *	image-do IMAGE amend-bits BITS
 *
 * The images under it are not opened, unless IMAGE_CHAIN is set.
 *
 * With IMAGE_FAIL=N or N:ENOSPC in the environment the N-th call that changes
 * or flushes a file fails, with EIO or ENOSPC; so does each after it with
 * IMAGE_FAIL=N: or N:ENOSPC:. Status 3: there were fewer.
 */
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	EXIT_NOT_FAILED = 3,
};

static struct error err = ERROR_INIT;

/* Which call fails. */
static struct {
	unsigned long at, n;
	int code;
	bool goes_on;
} fail;

static void fail_init(const char *text)
{
	char *end;

	if (text == NULL)
		return;
	fail.at = strtoul(text, &end, 10);
	fail.code = strncmp(end, ":ENOSPC", 7) == 0 ? ENOSPC : EIO;
	fail.goes_on = *end == ':' && end[strlen(end) - 1] == ':';
}

/* These stand before the C library's. */
static bool has_failed(void)
{
	fail.n++;
	if (fail.at == 0 ||
	    (fail.n != fail.at && !(fail.goes_on && fail.n > fail.at)))
		return false;
	errno = fail.code;
	return true;
}

ssize_t pwritev(int fd, const struct iovec *iov, int n_iov, off_t offset)
{
	return has_failed()
		       ? -1
		       : syscall(SYS_pwritev, fd, iov, (long)n_iov, offset, 0L);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n_iov, off_t offset,
		 int flags)
{
	return has_failed() ? -1
			    : syscall(SYS_pwritev2, fd, iov, (long)n_iov,
				      offset, 0L, flags);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return has_failed()
		       ? -1
		       : (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int ftruncate(int fd, off_t len)
{
	return has_failed() ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int fdatasync(int fd)
{
	return has_failed() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static int compress(struct image *image, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t len = image_cluster_size(image);
	char *buf = malloc(len);
	uint64_t at = 0;
	int rc = 0;

	if (fd < 0 || buf == NULL)
		die(1, "%s: %s", path, strerror(errno));
	while (rc == 0 && at < image_size(image)) {
		ssize_t n = read(fd, buf, len);

		if (n <= 0)
			die(1, "%s: too short", path);
		rc = image_write_compressed(image, at, buf, (size_t)n, NULL,
					    &err);
		at += (size_t)n;
	}
	free(buf);
	close(fd);
	return rc;
}

static int change(struct image *image, const char *verb, uint64_t offset,
		  uint64_t len)
{
	char *buf;
	int rc;

	if (strcmp(verb, "zero") == 0)
		return image_write_zeroes(image, offset, len, 0, &err);
	if (strncmp(verb, "discard", 7) == 0)
		return image_discard(image, offset, len, &err);
	buf = malloc(len);
	if (buf == NULL)
		die(1, "out of memory");
	memset(buf, 7, len);
	rc = image_write(image, offset, buf, len, &err);
	free(buf);
	return rc;
}

static int merge(struct image *image, char **argv)
{
	const struct image_open_options how = { .flags = IMAGE_READ_ONLY };
	struct image *source = image;
	int rc = 0;

	if (strcmp(argv[1], "=") != 0)
		rc = image_open(&source, argv[1], &how, &err);
	if (rc == 0)
		rc = image_bitmap_merge(image, argv[0], source, argv[2], &err);
	if (source != image)
		image_close(source, NULL);
	return rc;
}

static int list(struct image *image, const char *name)
{
	uint64_t len;
	bool is_set;
	int rc = 0;

	for (uint64_t at = 0; at < image_size(image); at += len) {
		rc = image_bitmap_get(image, name, at, &is_set, &len, &err);
		if (rc < 0)
			break;
		printf("%10llu %10llu %5u\n", (unsigned long long)at,
		       (unsigned long long)len, is_set);
	}
	return rc;
}

static int bitmap(struct image *image, const char *verb, int argc, char **argv)
{
	if (strncmp(verb, "add", 3) == 0 && argc > 1)
		return image_bitmap_add(image, argv[0],
					strtoull(argv[1], NULL, 0),
					verb[3] == '\0', &err);
	if (strcmp(verb, "merge") == 0 && argc > 2)
		return merge(image, argv);
	if (strcmp(verb, "remove") == 0)
		return image_bitmap_remove(image, argv[0], &err);
	if (strcmp(verb, "clear") == 0)
		return image_bitmap_clear(image, argv[0], &err);
	if (strcmp(verb, "list") == 0)
		return list(image, argv[0]);
	return image_bitmap_enable(image, argv[0], strcmp(verb, "on") == 0,
				   &err);
}

static int snapshot(struct image *image, const char *verb, const char *what)
{
	const struct image_snapshot_info info = { .name = what };

	if (strcmp(verb, "create") == 0)
		return image_snapshot_create(image, &info, &err);
	if (strcmp(verb, "apply") == 0)
		return image_snapshot_apply(image, (unsigned)atoi(what), &err);
	return image_snapshot_delete(image, (unsigned)atoi(what), &err);
}

static int amend_bits(struct image *image, const char *bits)
{
	const struct image_option option = { "refcount_bits", bits };
	const struct image_amend_options how = { .options = &option,
						 .n_options = 1 };

	return image_amend(image, &how, &err);
}

static int resize(struct image *image, const char *size)
{
	const struct image_resize_options how = { .may_shrink = true };

	return image_resize(image, strtoull(size, NULL, 0), &how, &err);
}

static int act(struct image *image, int argc, char **argv)
{
	const char *verb = argv[0], *what = argc > 1 ? argv[1] : NULL;

	if (strcmp(verb, "backing") == 0)
		return image_change_backing(image, what,
					    argc > 2 ? argv[2] : NULL, &err);
	if (strcmp(verb, "empty") == 0)
		return image_make_empty(image, &err);
	if (what == NULL)
		die(EXIT_USAGE, "no such verb: %s", verb);
	if (strcmp(verb, "compress") == 0)
		return compress(image, what);
	if (strcmp(verb, "resize") == 0)
		return resize(image, what);
	if (strcmp(verb, "amend-bits") == 0)
		return amend_bits(image, what);
	if (strncmp(verb, "snapshot-", 9) == 0)
		return snapshot(image, verb + 9, what);
	if (strncmp(verb, "bitmap-", 7) == 0)
		return bitmap(image, verb + 7, argc - 1, argv + 1);
	if (argc < 3)
		die(EXIT_USAGE, "no such verb: %s", verb);
	return change(image, verb, strtoull(what, NULL, 0),
		      strtoull(argv[2], NULL, 0));
}

int main(int argc, char **argv)
{
	struct image_open_options how = { .flags = IMAGE_NO_BACKING };
	struct image *image;
	int rc, close_rc;

	log_init("image-do");
	if (argc < 3)
		die(EXIT_USAGE, "usage: image-do IMAGE VERB ...");
	fail_init(getenv("IMAGE_FAIL"));
	if (getenv("IMAGE_CHAIN") != NULL)
		how.flags = 0;
	if (strcmp(argv[2], "discard-keep") == 0)
		how.flags |= IMAGE_DISCARD_NO_UNREF;
	rc = image_open(&image, argv[1], &how, &err);
	if (rc < 0)
		die(1, "%s: %s", argv[1], error_text(&err, rc));
	rc = act(image, argc - 2, argv + 2);
	close_rc = image_close(image, rc < 0 ? NULL : &err);
	if (rc == 0)
		rc = close_rc;
	if (fail.n < fail.at)
		return EXIT_NOT_FAILED;
	if (rc < 0)
		die(1, "%s: %s", argv[1], error_text(&err, rc));
	return 0;
}
