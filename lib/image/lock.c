/* SPDX-License-Identifier: ISC */
/*
 * Both groups hold shared locks only, so that many may use a permission, and
 * many may refuse it. Whether somebody else is there is asked by F_OFD_GETLK
 * for an exclusive lock: locks of one's own description never conflict.
 */
#include "lib/image/lock.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <fcntl.h>
#include <stdbool.h>

enum {
	USED_BASE = 100,
	UNSHARED_BASE = 200,
	N_PERMISSIONS = 4,
};

static const char *const permission_names[N_PERMISSIONS] = {
	"consistent read",
	"write",
	"write unchanged",
	"resize",
};

static int set_byte(int fd, int byte, short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* 1: another open file description holds it. */
static int test_byte(int fd, int byte)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

static int take(int fd, int base, unsigned bits, struct error *err)
{
	for (int i = 0; i < N_PERMISSIONS; i++) {
		int rc;

		if (!(bits & 1U << i))
			continue;
		rc = set_byte(fd, base + i, F_RDLCK);
		if (rc < 0)
			return error_set_errno(
				err, rc, "Failed to lock byte %d", base + i);
	}
	return 0;
}

static int release(int fd, int base, unsigned bits)
{
	for (int i = 0; i < N_PERMISSIONS; i++) {
		int rc = bits & 1U << i ? set_byte(fd, base + i, F_UNLCK) : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int test(int fd, const char *path, int base, unsigned bits,
		struct error *err)
{
	const char *kind = base == USED_BASE ? "shared " : "";

	for (int i = 0; i < N_PERMISSIONS; i++) {
		int rc;

		if (!(bits & 1U << i))
			continue;
		rc = test_byte(fd, base + i);
		if (rc < 0)
			return error_set_errno(
				err, rc, "Failed to test byte %d", base + i);
		if (rc > 0)
			return error_set(
				err, -EAGAIN,
				"Failed to get %s\"%s\" lock: " IMAGE_LOCK_HINT
				"%s]?",
				kind, permission_names[i], path);
	}
	return 0;
}

/* Which of the bytes this description holds cannot be asked: the kernel tells
 * of other owners only. So a failure gives all of them back. */
int image_lock(int fd, const char *path, unsigned used, unsigned unshared,
	       struct error *err)
{
	int rc = take(fd, USED_BASE, used, err);

	if (rc == 0)
		rc = take(fd, UNSHARED_BASE, unshared, err);
	if (rc == 0)
		rc = test(fd, path, UNSHARED_BASE, used, err);
	if (rc == 0)
		rc = test(fd, path, USED_BASE, unshared, err);
	if (rc < 0) {
		release(fd, USED_BASE, ~0U);
		release(fd, UNSHARED_BASE, ~0U);
		return rc;
	}
	rc = release(fd, USED_BASE, ~used);
	if (rc == 0)
		rc = release(fd, UNSHARED_BASE, ~unshared);
	return rc;
}
