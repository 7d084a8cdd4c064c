/* SPDX-License-Identifier: ISC */
/*
 * The transfers themselves. With O_DIRECT a range that is not aligned is
 * widened to whole blocks in a buffer of our own:
 *
 *	   block 0     block 1     block 2
 *	|----######|###########|###--------|	# what was asked for
 *
 * A write reads the blocks at both edges first. The buffer takes CHUNK bytes
 * at a time.
 */
#include "lib/base/cleanup.h"
#include "lib/image/file_internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum {
	CHUNK = 256 * 1024,
};

bool image_file_is_aligned(const struct image_file *file, uint64_t host_offset,
			   const struct iovec *iov, unsigned n_iov)
{
	uint64_t bits = host_offset;

	if (!file->is_direct)
		return true;
	for (unsigned i = 0; i < n_iov; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return (bits & (file->alignment - 1)) == 0;
}

/* As io(), past the first skip bytes. */
static ssize_t transfer_once(int fd, image_file_io *io, const struct iovec *iov,
			     unsigned n_iov, size_t skip, uint64_t host_offset)
{
	const struct iovec rest = {
		.iov_base = (char *)iov->iov_base + skip,
		.iov_len = iov->iov_len - skip,
	};

	if (skip > 0)
		return io(fd, &rest, 1, (off_t)host_offset);
	return io(fd, iov, (int)(n_iov < IOV_MAX ? n_iov : IOV_MAX),
		  (off_t)host_offset);
}

static void zero_rest(const struct iovec *iov, unsigned n_iov, size_t skip)
{
	for (; n_iov > 0; iov++, n_iov--, skip = 0)
		memset((char *)iov->iov_base + skip, 0, iov->iov_len - skip);
}

int image_file_transfer(const struct image_file *file, image_file_io *io,
			uint64_t host_offset, const struct iovec *iov,
			unsigned n_iov)
{
	size_t skip = 0;

	while (n_iov > 0) {
		ssize_t n;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			n_iov--;
			continue;
		}
		/* A direct read stops in the middle of a block at the end. */
		n = host_offset & (file->alignment - 1)
			    ? 0
			    : transfer_once(file->fd, io, iov, n_iov, skip,
					    host_offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 && io != preadv)
			return -EIO;
		if (n == 0) {
			zero_rest(iov, n_iov, skip);
			return image_file_check_end(file, host_offset);
		}
		skip += (size_t)n;
		host_offset += (uint64_t)n;
	}
	return 0;
}

struct window {
	uint8_t *buf;
	uint64_t start, end; /* whole blocks */
	uint64_t from, to;   /* of them, what was asked for */
};

/* The blocks around as much of [from, to) as fits in a chunk. */
static void window_set(struct window *w, const struct image_file *file,
		       uint64_t from, uint64_t to)
{
	uint64_t mask = file->alignment - 1;

	w->start = from & ~mask;
	if (to > w->start + CHUNK)
		to = w->start + CHUNK;
	w->end = (to + mask) & ~mask;
	w->from = from;
	w->to = to;
}

static int window_io(const struct window *w, const struct image_file *file,
		     image_file_io *io, uint64_t start, uint64_t end)
{
	const struct iovec iov = { .iov_base = w->buf + (start - w->start),
				   .iov_len = end - start };

	return image_file_transfer(file, io, start, &iov, 1);
}

/* Between the window's part that was asked for and iov, from skip on. */
static void window_copy(const struct window *w, const struct iovec *iov,
			unsigned n_iov, uint64_t skip, bool is_read)
{
	uint8_t *at = w->buf + (w->from - w->start);
	uint64_t left = w->to - w->from;

	for (; n_iov > 0 && left > 0; iov++, n_iov--) {
		uint64_t n;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		n = iov->iov_len - skip < left ? iov->iov_len - skip : left;
		if (is_read)
			memcpy((uint8_t *)iov->iov_base + skip, at, n);
		else
			memcpy(at, (uint8_t *)iov->iov_base + skip, n);
		at += n;
		left -= n;
		skip = 0;
	}
}

int image_file_bounce_read(const struct image_file *file, uint64_t host_offset,
			   const struct iovec *iov, unsigned n_iov)
{
	uint64_t end = host_offset + iov_total(iov, n_iov);
	_cleanup_free_ void *buf = aligned_alloc(file->alignment, CHUNK);
	struct window w = { .buf = buf };

	if (buf == NULL)
		return -ENOMEM;
	for (uint64_t at = host_offset; at < end; at = w.to) {
		int rc;

		window_set(&w, file, at, end);
		rc = window_io(&w, file, preadv, w.start, w.end);
		if (rc < 0)
			return rc;
		window_copy(&w, iov, n_iov, at - host_offset, true);
	}
	return 0;
}

static int read_edges(const struct window *w, const struct image_file *file)
{
	int rc = 0;

	if (w->from > w->start)
		rc = window_io(w, file, preadv, w->start,
			       w->start + file->alignment);
	if (rc == 0 && w->to < w->end)
		rc = window_io(w, file, preadv, w->end - file->alignment,
			       w->end);
	return rc;
}

/* The last block may reach beyond what was asked for, and make the file
 * longer than that: cut it again. */
int image_file_bounce_write(const struct image_file *file, uint64_t host_offset,
			    const struct iovec *iov, unsigned n_iov)
{
	uint64_t end = host_offset + iov_total(iov, n_iov), size;
	_cleanup_free_ void *buf = aligned_alloc(file->alignment, CHUNK);
	struct window w = { .buf = buf };
	int rc;

	if (buf == NULL)
		return -ENOMEM;
	rc = image_file_size(file, &size);
	for (uint64_t at = host_offset; rc == 0 && at < end; at = w.to) {
		window_set(&w, file, at, end);
		rc = read_edges(&w, file);
		if (rc < 0)
			return rc;
		window_copy(&w, iov, n_iov, at - host_offset, false);
		rc = window_io(&w, file, pwritev, w.start, w.end);
	}
	if (rc < 0 || file->is_block_device || size >= w.end || w.end == end)
		return rc;
	return ftruncate(file->fd, (off_t)(size > end ? size : end)) < 0
		       ? -errno
		       : 0;
}
