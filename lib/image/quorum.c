/* SPDX-License-Identifier: ISC */
/*
 * QEMU's quorum: files that hold the same. What is written goes to all of
 * them; what is read is what most of them hold. Either has been done if at
 * least as many as the threshold says agree that it has.
 *
 * A vote is on files that nobody writes to meanwhile: else they would differ,
 * and one might be set back.
 */
#include "lib/image/quorum.h"

#include "lib/base/error.h"
#include "lib/image/file_internal.h"
#include "lib/image/format.h"
#include "lib/image/iov.h"
#include "lib/image/layer.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
	/* What is voted on at a time: one page that is wrong in one file and
	 * another one in another do no harm to each other. */
	CHUNK = 64 * 1024,
	BUFFER_ALIGNMENT = 4096,
};

struct quorum_file {
	struct file_state state; /* first */
	struct image_file *children[IMAGE_QUORUM_MAX];
	unsigned n, threshold;
	bool rewrites, is_fifo, is_strict;
	void (*differed)(void *context, const char *line); /* or NULL */
	void *context;
	pthread_rwlock_t voting; /* shared: voting; alone: changing */
};

static struct quorum_file *quorum_of(const struct image_file *file)
{
	return container_of(file, struct quorum_file, state.file);
}

/*
 * like[i] is the first voter that said what i did, or n if i has no vote. Of
 * two that as many say the later one wins, as in QEMU.
 */
static unsigned elect(const unsigned *like, unsigned n, unsigned *n_votes)
{
	unsigned votes[IMAGE_QUORUM_MAX] = { 0 };
	unsigned winner = 0;

	for (unsigned i = 0; i < n; i++)
		if (like[i] < n)
			votes[like[i]]++;
	for (unsigned i = 0; i < n; i++)
		if (votes[i] > 0 && votes[i] >= votes[winner])
			winner = i;
	*n_votes = votes[winner];
	return winner;
}

/* Of a request that all have had: 0 if enough could do it, and else what most
 * of the others say. */
static int settle(const struct quorum_file *q, const int *rcs)
{
	unsigned like[IMAGE_QUORUM_MAX], n_done = 0, n_votes;

	for (unsigned i = 0; i < q->n; i++) {
		n_done += rcs[i] == 0;
		like[i] = rcs[i] == 0 ? q->n : 0;
		while (like[i] < q->n && rcs[like[i]] != rcs[i])
			like[i]++;
	}
	return n_done >= q->threshold ? 0 : rcs[elect(like, q->n, &n_votes)];
}

/* They have one size, in whole sectors: the disk ends at one place. */
static int quorum_size(const struct image_file *file, uint64_t *size)
{
	const struct quorum_file *q = quorum_of(file);

	*size = 0;
	for (unsigned i = 0; i < q->n; i++) {
		uint64_t own;
		int rc = image_file_size(q->children[i], &own);

		if (rc < 0)
			return rc;
		if (i > 0 && (own + IMAGE_SECTOR - 1) / IMAGE_SECTOR !=
				     (*size + IMAGE_SECTOR - 1) / IMAGE_SECTOR)
			return -EIO;
		if (own > *size)
			*size = own;
	}
	return 0;
}

static bool may_rewrite(const struct quorum_file *q)
{
	return q->rewrites && !q->state.file.is_read_only;
}

/* As far as it can be: who cannot be set right is outvoted again. No file
 * grows. */
static void rewrite(const struct quorum_file *q, uint64_t offset,
		    const unsigned *like, unsigned winner, const void *right,
		    size_t len)
{
	uint64_t size;

	if (quorum_size(&q->state.file, &size) < 0 || offset >= size)
		return;
	if (len > size - offset)
		len = (size_t)(size - offset);
	for (unsigned i = 0; i < q->n; i++)
		if (like[i] < q->n && like[i] != winner)
			(void)image_file_write(q->children[i], offset, right,
					       len);
}

/* Of the two of a strict one, which buf has, where it is that they do not hold
 * the same. */
static void tell_difference(const struct quorum_file *q, uint64_t offset,
			    const char *buf, size_t len)
{
	uint64_t differs_at;
	char line[128];
	size_t at = 0;

	while (buf[at] == buf[CHUNK + at])
		at++;
	differs_at = offset + at;
	snprintf(line, sizeof(line),
		 "quorum: offset=%llu bytes=%zu contents mismatch at offset "
		 "%llu",
		 (unsigned long long)offset, len,
		 (unsigned long long)differs_at);
	if (q->differed != NULL)
		q->differed(q->context, line);
}

/* What the files hold, each at its place in buf; *right is in there. */
static int read_chunk(const struct quorum_file *q, uint64_t offset, char *buf,
		      size_t len, const char **right)
{
	unsigned like[IMAGE_QUORUM_MAX] = { 0 }, winner, n_votes;
	int rcs[IMAGE_QUORUM_MAX] = { 0 }, rc;

	for (unsigned i = 0; i < q->n; i++)
		rcs[i] = image_file_read(q->children[i], offset,
					 buf + (size_t)i * CHUNK, len);
	rc = settle(q, rcs);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < q->n; i++) {
		like[i] = rcs[i] < 0 ? q->n : 0;
		while (like[i] < i &&
		       (rcs[like[i]] < 0 ||
			memcmp(buf + (size_t)like[i] * CHUNK,
			       buf + (size_t)i * CHUNK, len) != 0))
			like[i]++;
	}
	winner = elect(like, q->n, &n_votes);
	if (n_votes < q->threshold && q->is_strict)
		tell_difference(q, offset, buf, len);
	if (n_votes < q->threshold)
		return -EIO;
	*right = buf + (size_t)winner * CHUNK;
	if (may_rewrite(q))
		rewrite(q, offset, like, winner, *right, len);
	return 0;
}

static int read_first(const struct quorum_file *q, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov)
{
	int rc = -EIO;

	for (unsigned i = 0; rc < 0 && i < q->n; i++)
		rc = image_file_readv(q->children[i], offset, iov, n_iov);
	return rc;
}

static int read_voted(struct quorum_file *q, uint64_t offset,
		      struct iov_cursor *to, uint64_t left)
{
	_cleanup_free_ char *buf =
		aligned_alloc(BUFFER_ALIGNMENT, (size_t)q->n * CHUNK);
	int rc = buf == NULL ? -ENOMEM : 0;

	while (rc == 0 && left > 0) {
		size_t len = left < CHUNK ? (size_t)left : CHUNK;
		const char *right;

		rc = read_chunk(q, offset, buf, len, &right);
		if (rc == 0)
			iov_copy_in(to, right, len);
		offset += len;
		left -= len;
	}
	return rc;
}

static int quorum_readv(const struct image_file *file, uint64_t offset,
			const struct iovec *iov, unsigned n_iov)
{
	struct iov_cursor to = { .iov = iov, .n_iov = n_iov };
	struct quorum_file *q = quorum_of(file);
	int rc;

	if (q->is_fifo)
		return read_first(q, offset, iov, n_iov);
	if (may_rewrite(q))
		pthread_rwlock_wrlock(&q->voting);
	else
		pthread_rwlock_rdlock(&q->voting);
	rc = read_voted(q, offset, &to, iov_total(iov, n_iov));
	pthread_rwlock_unlock(&q->voting);
	return rc;
}

static int quorum_writev(const struct image_file *file, uint64_t offset,
			 const struct iovec *iov, unsigned n_iov)
{
	struct quorum_file *q = quorum_of(file);
	int rcs[IMAGE_QUORUM_MAX] = { 0 };

	pthread_rwlock_wrlock(&q->voting);
	for (unsigned i = 0; i < q->n; i++)
		rcs[i] = image_file_writev(q->children[i], offset, iov, n_iov);
	pthread_rwlock_unlock(&q->voting);
	return settle(q, rcs);
}

static int quorum_zero(const struct image_file *file, uint64_t offset,
		       uint64_t len, bool keep_space)
{
	struct quorum_file *q = quorum_of(file);
	int rcs[IMAGE_QUORUM_MAX] = { 0 };

	pthread_rwlock_wrlock(&q->voting);
	for (unsigned i = 0; i < q->n; i++)
		rcs[i] = image_file_zero(q->children[i], offset, len,
					 keep_space);
	pthread_rwlock_unlock(&q->voting);
	return settle(q, rcs);
}

static int quorum_flush(const struct image_file *file)
{
	const struct quorum_file *q = quorum_of(file);
	int rcs[IMAGE_QUORUM_MAX] = { 0 };

	for (unsigned i = 0; i < q->n; i++)
		rcs[i] = image_file_flush(q->children[i]);
	return settle(q, rcs);
}

static int quorum_truncate(const struct image_file *file, uint64_t size)
{
	struct quorum_file *q = quorum_of(file);
	int rcs[IMAGE_QUORUM_MAX] = { 0 };

	pthread_rwlock_wrlock(&q->voting);
	for (unsigned i = 0; i < q->n; i++)
		rcs[i] = image_file_truncate(q->children[i], size);
	pthread_rwlock_unlock(&q->voting);
	return settle(q, rcs);
}

static int quorum_allocate(const struct image_file *file, uint64_t offset,
			   uint64_t len)
{
	struct quorum_file *q = quorum_of(file);
	int rcs[IMAGE_QUORUM_MAX] = { 0 };

	pthread_rwlock_wrlock(&q->voting);
	for (unsigned i = 0; i < q->n; i++)
		rcs[i] = image_file_allocate(q->children[i], offset, len);
	pthread_rwlock_unlock(&q->voting);
	return settle(q, rcs);
}

/* A discard may leave what was there or not, each file as it likes; zeroes are
 * the same in all. But nothing grows for it. */
static int quorum_punch(const struct image_file *file, uint64_t offset,
			uint64_t len)
{
	uint64_t size;
	int rc = quorum_size(file, &size);

	if (rc < 0 || offset >= size)
		return rc;
	return quorum_zero(file, offset,
			   len < size - offset ? len : size - offset, false);
}

static int quorum_usage(const struct image_file *file, uint64_t *usage)
{
	const struct quorum_file *q = quorum_of(file);

	*usage = 0;
	for (unsigned i = 0; i < q->n; i++) {
		uint64_t own;
		int rc = image_file_usage(q->children[i], &own);

		if (rc < 0)
			return rc;
		*usage += own;
	}
	return 0;
}

/* Zeroes where all say so. Who fails is asked when it is read. */
static int quorum_extent(const struct image_file *file, uint64_t offset,
			 uint64_t len, bool *is_data, uint64_t *extent_len)
{
	const struct quorum_file *q = quorum_of(file);
	uint64_t data_len = 0, zero_len = len;

	for (unsigned i = 0; i < q->n; i++) {
		uint64_t own_len = len;
		bool is_own_data = true;

		if (image_file_extent(q->children[i], offset, len, &is_own_data,
				      &own_len) < 0)
			is_own_data = true;
		if (is_own_data && own_len > data_len)
			data_len = own_len;
		else if (!is_own_data && own_len < zero_len)
			zero_len = own_len;
	}
	*is_data = data_len > 0;
	*extent_len = *is_data ? data_len : zero_len;
	return 0;
}

static int quorum_close(struct image_file *file)
{
	struct quorum_file *q = quorum_of(file);
	int result = 0;

	for (unsigned i = 0; i < q->n; i++) {
		int rc = image_file_close(q->children[i]);

		if (result == 0)
			result = rc;
	}
	pthread_rwlock_destroy(&q->voting);
	free(q);
	return result;
}

static const struct file_ops ops = {
	.driver = "quorum",
	.size = quorum_size,
	.usage = quorum_usage,
	.readv = quorum_readv,
	.writev = quorum_writev,
	.zero = quorum_zero,
	.punch = quorum_punch,
	.flush = quorum_flush,
	.extent = quorum_extent,
	.truncate = quorum_truncate,
	.allocate = quorum_allocate,
	.close = quorum_close,
};

bool quorum_is(const struct image_file *file)
{
	return file_state_of(file)->ops == &ops;
}

int quorum_open(struct image_file **file, const struct image_quorum *how,
		const struct image_open_options *options, unsigned flags,
		struct error *err)
{
	_cleanup_(image_file_cleanup) struct image_file *made = NULL;
	struct quorum_file *q = calloc(1, sizeof(*q));
	uint64_t size;
	int rc;

	if (q == NULL)
		return -ENOMEM;
	made = &q->state.file;
	pthread_rwlock_init(&q->voting, NULL);
	q->state.ops = &ops;
	q->state.is_unsafe = flags & IMAGE_FILE_UNSAFE;
	q->state.file = (struct image_file){
		.fd = -1,
		.is_nowhere = true,
		.alignment = 1,
	};
	q->threshold = how->threshold;
	q->rewrites = how->rewrites;
	q->is_fifo = how->is_fifo;
	q->is_strict = how->is_strict;
	q->differed = options->differed;
	q->context = options->found_context;
	for (unsigned i = 0; i < how->n; i++) {
		struct image_file *child;

		rc = layer_open_child(&child, &how->children[i], options, flags,
				      err);
		if (rc < 0)
			return rc;
		q->children[q->n++] = child;
		layer_add_child(made, child);
	}
	rc = image_file_size(made, &size);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not refresh total sector count");
	if (q->rewrites && !q->is_fifo && made->is_read_only)
		return error_set(err, -EINVAL, "Block node is read-only");
	*file = steal_ptr(&made);
	return 0;
}
