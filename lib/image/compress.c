/* SPDX-License-Identifier: ISC */
/*
 * QEMU's filter "compress", over the disk of an image whose format can: what
 * is written is stored compressed, a cluster at a time. A cluster that is
 * written in part is read first.
 */
#include "lib/image/layer.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/filter.h"
#include "lib/image/format.h"
#include "lib/image/iov.h"

#include <string.h>

struct compress_file {
	struct filter_file filter; /* first */
	struct image *disk;
	/* Shared: whole clusters; alone: parts of some, and another size. */
	pthread_rwlock_t parts;
};

static struct compress_file *compress_of(const struct image_file *file)
{
	return container_of(file, struct compress_file, filter.state.file);
}

/* Up to the end of a cluster, or of the disk. */
static size_t left_of_cluster(const struct image *disk, uint64_t offset)
{
	uint32_t cluster_len = image_cluster_size(disk);
	uint64_t left = image_size(disk) - offset;
	uint32_t in_cluster = cluster_len - (uint32_t)(offset % cluster_len);

	return left < in_cluster ? (size_t)left : in_cluster;
}

static bool is_whole(const struct image *disk, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;
	uint32_t cluster_len = image_cluster_size(disk);

	return offset % cluster_len == 0 &&
	       (end % cluster_len == 0 || end == image_size(disk));
}

/* The next len bytes of from, into the cluster that they are in. */
static int write_piece(struct image *disk, uint64_t offset, size_t len,
		       struct iov_cursor *from, char *cluster)
{
	size_t skip = (size_t)(offset % image_cluster_size(disk));
	uint64_t begin = offset - skip;
	size_t whole_len = left_of_cluster(disk, begin);
	int rc = 0;

	if (len < whole_len)
		rc = image_read(disk, begin, cluster, whole_len, NULL);
	if (rc < 0)
		return rc;
	iov_copy_out(from, cluster + skip, len);
	return image_write_compressed(disk, begin, cluster, whole_len, NULL,
				      NULL);
}

static int write_all(struct image *disk, uint64_t offset,
		     const struct iovec *iov, unsigned n_iov)
{
	struct iov_cursor from = { .iov = iov, .n_iov = n_iov };
	_cleanup_free_ char *cluster = malloc(image_cluster_size(disk));
	uint64_t left = iov_total(iov, n_iov);
	int rc = cluster == NULL ? -ENOMEM : 0;

	while (rc == 0 && left > 0) {
		size_t len = left_of_cluster(disk, offset);

		if (len > left)
			len = (size_t)left;
		rc = write_piece(disk, offset, len, &from, cluster);
		offset += len;
		left -= len;
	}
	return rc;
}

static int compress_writev(const struct image_file *file, uint64_t offset,
			   const struct iovec *iov, unsigned n_iov)
{
	struct compress_file *c = compress_of(file);
	uint64_t len = iov_total(iov, n_iov), end;
	int rc = 0;

	if (__builtin_add_overflow(offset, len, &end) || end > INT64_MAX)
		return -EFBIG;
	pthread_rwlock_rdlock(&c->parts);
	if (end > image_size(c->disk) || !is_whole(c->disk, offset, len)) {
		pthread_rwlock_unlock(&c->parts);
		pthread_rwlock_wrlock(&c->parts);
	}
	if (end > image_size(c->disk))
		rc = filter_truncate(file, end);
	if (rc == 0)
		throttle_account_write(c->filter.under, len);
	if (rc == 0)
		rc = write_all(c->disk, offset, iov, n_iov);
	pthread_rwlock_unlock(&c->parts);
	return rc;
}

/* Between the reading of a cluster and its writing nothing else changes it. */
static int compress_zero(const struct image_file *file, uint64_t offset,
			 uint64_t len, bool keep_space)
{
	struct compress_file *c = compress_of(file);
	int rc;

	pthread_rwlock_wrlock(&c->parts);
	rc = filter_zero(file, offset, len, keep_space);
	pthread_rwlock_unlock(&c->parts);
	return rc;
}

static int compress_punch(const struct image_file *file, uint64_t offset,
			  uint64_t len)
{
	struct compress_file *c = compress_of(file);
	int rc;

	pthread_rwlock_wrlock(&c->parts);
	rc = filter_punch(file, offset, len);
	pthread_rwlock_unlock(&c->parts);
	return rc;
}

static int compress_truncate(const struct image_file *file, uint64_t size)
{
	struct compress_file *c = compress_of(file);
	int rc;

	pthread_rwlock_wrlock(&c->parts);
	rc = filter_truncate(file, size);
	pthread_rwlock_unlock(&c->parts);
	return rc;
}

static int compress_close(struct image_file *file)
{
	struct compress_file *c = compress_of(file);
	int rc = filter_close(&c->filter);

	pthread_rwlock_destroy(&c->parts);
	free(c);
	return rc;
}

static const struct file_ops ops = {
	.driver = "compress",
	.size = filter_size,
	.usage = filter_usage,
	.readv = filter_readv,
	.writev = compress_writev,
	.zero = compress_zero,
	.punch = compress_punch,
	.flush = filter_flush,
	.extent = filter_extent,
	.truncate = compress_truncate,
	.allocate = filter_allocate,
	.identify = filter_identify,
	.lock = filter_lock,
	.disk = filter_disk,
	.map = filter_map,
	.close = compress_close,
};

/* What has a driver of its own is no disk, or a way to one that knows of no
 * compression; but throttle does. */
static int check(const struct image_file *file, struct error *err)
{
	const struct file_ops *under;
	const struct image *disk = layer_disk(file);
	const char *driver = "file";

	while (throttle_is(file))
		file = filter_of(file)->under;
	under = file_state_of(file)->ops;
	if (under != NULL && under->driver == NULL && disk != NULL) {
		/* A flat VMDK disk has no clusters. */
		if (disk->format->write_compressed != NULL &&
		    image_cluster_size(disk) > 1)
			return 0;
		driver = disk->format->name;
	} else if (under != NULL && under->driver != NULL) {
		driver = under->driver;
	} else if (file->is_block_device) {
		driver = "host_device";
	}
	return error_set(err, -ENOTSUP,
			 "Compression is not supported for underlying "
			 "format: %s",
			 driver);
}

int compress_put_over(struct image_file **file, const char *path,
		      unsigned flags, struct error *err)
{
	struct compress_file *c;
	int rc = check(*file, err);

	if (rc < 0)
		return rc;
	c = calloc(1, sizeof(*c));
	if (c == NULL ||
	    filter_init(&c->filter, *file, path, &ops, flags) < 0) {
		free(c);
		return -ENOMEM;
	}
	pthread_rwlock_init(&c->parts, NULL);
	c->disk = layer_disk(*file);
	*file = &c->filter.state.file;
	return 0;
}
