/* SPDX-License-Identifier: ISC */
/*
 * QEMU's filter "copy-before-write": before a cluster of the file is changed
 * for the first time, what was in it goes to the target, which so becomes a
 * copy, as of when it was opened, of all that was changed since.
 *
 * A cluster is copied under the lock, and written to without it: whoever finds
 * it copied may write to it.
 */
#include "lib/image/layer.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/zero.h"
#include "lib/image/filter.h"
#include "lib/image/format.h"

#include <pthread.h>
#include <stdlib.h>

enum {
	CLUSTER_LEN_MIN = 64 * 1024,
	BUFFER_ALIGNMENT = 4096,
};

struct copied_file {
	struct filter_file filter; /* first */
	struct image_file *target;
	uint64_t size; /* of the file, when it was opened */
	size_t cluster_len;
	bool may_lose_copy;

	pthread_mutex_t lock;
	/* All below, and what is in the target, is under the lock. */
	bool is_lost;
	uint8_t *is_copied; /* a bit for each cluster */
	uint8_t *cluster;
};

static struct copied_file *copied_of(const struct image_file *file)
{
	return container_of(file, struct copied_file, filter.state.file);
}

static int copy_cluster(const struct copied_file *c, uint64_t offset)
{
	uint64_t left = c->size - offset;
	size_t len = left < c->cluster_len ? (size_t)left : c->cluster_len;
	int rc = image_file_read(c->filter.under, offset, c->cluster, len);

	if (rc < 0)
		return rc;
	return is_zero(c->cluster, len)
		       ? image_file_zero(c->target, offset, len, false)
		       : image_file_write(c->target, offset, c->cluster, len);
}

/* Before [offset, offset + len) is changed. */
static int copy(struct copied_file *c, uint64_t offset, uint64_t len)
{
	uint64_t left = offset < c->size ? c->size - offset : 0;
	uint64_t end = offset + (len < left ? len : left);
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	for (uint64_t i = offset / c->cluster_len;
	     rc == 0 && !c->is_lost && i * c->cluster_len < end; i++) {
		uint8_t bit = (uint8_t)(1U << i % 8);

		if (c->is_copied[i / 8] & bit)
			continue;
		rc = copy_cluster(c, i * c->cluster_len);
		if (rc == 0)
			c->is_copied[i / 8] |= bit;
	}
	if (rc < 0 && c->may_lose_copy) {
		c->is_lost = true;
		rc = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static int copied_writev(const struct image_file *file, uint64_t offset,
			 const struct iovec *iov, unsigned n_iov)
{
	int rc = copy(copied_of(file), offset, iov_total(iov, n_iov));

	return rc < 0 ? rc : filter_writev(file, offset, iov, n_iov);
}

static int copied_zero(const struct image_file *file, uint64_t offset,
		       uint64_t len, bool keep_space)
{
	int rc = copy(copied_of(file), offset, len);

	return rc < 0 ? rc : filter_zero(file, offset, len, keep_space);
}

static int copied_punch(const struct image_file *file, uint64_t offset,
			uint64_t len)
{
	int rc = copy(copied_of(file), offset, len);

	return rc < 0 ? rc : filter_punch(file, offset, len);
}

/* What is cut off is changed, too. */
static int copied_truncate(const struct image_file *file, uint64_t size)
{
	struct copied_file *c = copied_of(file);
	int rc = size < c->size ? copy(c, size, c->size - size) : 0;

	return rc < 0 ? rc : filter_truncate(file, size);
}

/* What is new in the file is there only where what was old is. */
static int copied_flush(const struct image_file *file)
{
	struct copied_file *c = copied_of(file);
	int rc = image_file_flush(c->target);

	return rc < 0 && !c->may_lose_copy ? rc : filter_flush(file);
}

static int copied_close(struct image_file *file)
{
	struct copied_file *c = copied_of(file);
	int copy_rc = image_file_close(c->target);
	int rc = filter_close(&c->filter);

	if (rc == 0 && !c->may_lose_copy)
		rc = copy_rc;
	pthread_mutex_destroy(&c->lock);
	free(c->is_copied);
	free(c->cluster);
	free(c);
	return rc;
}

static const struct file_ops ops = {
	.driver = "copy-before-write",
	.size = filter_size,
	.usage = filter_usage,
	.readv = filter_readv,
	.writev = copied_writev,
	.zero = copied_zero,
	.punch = copied_punch,
	.flush = copied_flush,
	.extent = filter_extent,
	.truncate = copied_truncate,
	.allocate = filter_allocate,
	.identify = filter_identify,
	.lock = filter_lock,
	.disk = filter_disk,
	.map = filter_map,
	.close = copied_close,
};

/* The target's clusters are written whole. */
static int begin(struct copied_file *c, const struct image_file *file,
		 const struct image_file *target)
{
	const struct image *disk = layer_disk(target);
	int rc = image_file_size(file, &c->size);

	if (rc < 0)
		return rc;
	c->cluster_len = CLUSTER_LEN_MIN;
	if (disk != NULL && image_cluster_size(disk) > c->cluster_len)
		c->cluster_len = image_cluster_size(disk);
	c->is_copied = calloc(c->size / c->cluster_len / 8 + 1, 1);
	c->cluster = aligned_alloc(BUFFER_ALIGNMENT, c->cluster_len);
	return c->is_copied == NULL || c->cluster == NULL ? -ENOMEM : 0;
}

int copy_before_write_put_over(struct image_file **file, const char *path,
			       const struct image_copy_before_write *how,
			       const struct image_open_options *options,
			       unsigned flags, struct error *err)
{
	_cleanup_(image_file_cleanup) struct image_file *target = NULL;
	struct copied_file *c;
	int rc;

	/* As in QEMU, which wants to write in any case. */
	if (flags & IMAGE_FILE_READ_ONLY)
		return error_set(err, -EINVAL, "Block node is read-only");
	rc = layer_open_child(&target, &how->target, options, flags, err);
	if (rc < 0)
		return rc;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->may_lose_copy = how->may_lose_copy;
	rc = begin(c, *file, target);
	if (rc == 0)
		rc = filter_init(&c->filter, *file, path, &ops, flags);
	if (rc < 0) {
		free(c->is_copied);
		free(c->cluster);
		free(c);
		return rc;
	}
	c->target = steal_ptr(&target);
	pthread_mutex_init(&c->lock, NULL);
	*file = &c->filter.state.file;
	return 0;
}
