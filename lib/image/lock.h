/* SPDX-License-Identifier: ISC */
/*
 * QEMU's advisory locks on image files, so that neither program opens what
 * the other writes. A user of an image holds shared locks of the open file
 * description (fcntl(2), "Open file description locks") on two groups of
 * bytes of the file, one byte for each permission:
 *
 *	100 + bit	"I use this permission"
 *	200 + bit	"I do not let others use this permission"
 *
 * It takes its own bytes first and then tests whether somebody else holds the
 * opposite one. Two that come at once may both fail; both never succeed.
 */
#ifndef LIB_IMAGE_LOCK_H
#define LIB_IMAGE_LOCK_H

struct error;

/* The bit numbers are QEMU's (BLK_PERM_*), and part of the protocol. */
enum image_permission {
	IMAGE_PERM_CONSISTENT_READ = 1 << 0,
	IMAGE_PERM_WRITE = 1 << 1,
	IMAGE_PERM_WRITE_UNCHANGED = 1 << 2,
	IMAGE_PERM_RESIZE = 1 << 3,
};

enum {
	/* What QEMU takes for the file of a format with metadata. */
	IMAGE_LOCK_READER = IMAGE_PERM_CONSISTENT_READ,
	IMAGE_LOCK_WRITER = IMAGE_PERM_CONSISTENT_READ | IMAGE_PERM_WRITE |
			    IMAGE_PERM_RESIZE,
	IMAGE_LOCK_UNSHARED = IMAGE_PERM_WRITE | IMAGE_PERM_RESIZE,
};

/* Both are enum image_permission. */
struct image_locks {
	unsigned used, unshared;
};

/* The second half of the error's text, from here on: qemu-img prints it on a
 * line of its own. */
#define IMAGE_LOCK_HINT "Is another process using the image ["

/*
 * Replace the locks that fd's open file description holds by these. Returns
 * 0, or holds none: -EAGAIN with QEMU's text where another one holds the
 * opposite, another -errno where the file system has no locks.
 */
int image_lock(int fd, const char *path, unsigned used, unsigned unshared,
	       struct error *err);

#endif
