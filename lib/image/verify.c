/* SPDX-License-Identifier: ISC */
/*
 * QEMU's blkverify: two files that must hold the same, the one known to be
 * right and the one under test. Each request goes to both; where they do not
 * agree it fails, and the caller is told where they differ.
 */
#include "lib/image/quorum.h"

#include "lib/base/error.h"
#include "lib/image/file_internal.h"
#include "lib/image/iov.h"
#include "lib/image/layer.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
	RIGHT = 0,
	TESTED = 1,
	N_FILES = 2,
	CHUNK = 64 * 1024,
	BUFFER_ALIGNMENT = 4096,
};

struct verified_file {
	struct file_state state; /* first */
	struct image_file *files[N_FILES];
	void (*differed)(void *context, const char *line); /* or NULL */
	void *context;
	/* Shared: comparing; alone: changing, also so that two requests for one
	 * place are in one order in both. */
	pthread_rwlock_t comparing;
};

static struct verified_file *verified_of(const struct image_file *file)
{
	return container_of(file, struct verified_file, state.file);
}

static void tell(const struct verified_file *v, const char *doing,
		 uint64_t offset, uint64_t len, const char *what, uint64_t at)
{
	char line[160];

	snprintf(line, sizeof(line),
		 "blkverify: %s offset=%llu bytes=%llu %s %llu", doing,
		 (unsigned long long)offset, (unsigned long long)len, what,
		 (unsigned long long)at);
	if (v->differed != NULL)
		v->differed(v->context, line);
}

/* Of a request that both have had. */
static int settle(const struct verified_file *v, const char *doing,
		  uint64_t offset, uint64_t len, const int *rcs)
{
	int rc = rcs[RIGHT] < 0 ? rcs[RIGHT] : rcs[TESTED];

	if (rcs[RIGHT] != rcs[TESTED])
		tell(v, doing, offset, len, "fails in one file alone, errno",
		     (uint64_t)-rc);
	return rc;
}

/* How long the test is decides. */
static int verified_size(const struct image_file *file, uint64_t *size)
{
	return image_file_size(verified_of(file)->files[TESTED], size);
}

/* Both, into two halves of bufs. */
static int read_chunk(const struct verified_file *v, uint64_t offset,
		      char *bufs, size_t len)
{
	const char *tested = bufs + CHUNK;
	int rcs[N_FILES], rc;
	size_t at = 0;

	for (unsigned i = 0; i < N_FILES; i++)
		rcs[i] = image_file_read(v->files[i], offset,
					 bufs + (size_t)i * CHUNK, len);
	rc = settle(v, "read", offset, len, rcs);
	if (rc < 0 || memcmp(bufs, tested, len) == 0)
		return rc;
	while (bufs[at] == tested[at])
		at++;
	tell(v, "read", offset, len, "contents mismatch at offset",
	     offset + at);
	return -EIO;
}

static int verified_readv(const struct image_file *file, uint64_t offset,
			  const struct iovec *iov, unsigned n_iov)
{
	struct iov_cursor to = { .iov = iov, .n_iov = n_iov };
	_cleanup_free_ char *bufs =
		aligned_alloc(BUFFER_ALIGNMENT, (size_t)N_FILES * CHUNK);
	struct verified_file *v = verified_of(file);
	uint64_t left = iov_total(iov, n_iov);
	int rc = bufs == NULL ? -ENOMEM : 0;

	pthread_rwlock_rdlock(&v->comparing);
	while (rc == 0 && left > 0) {
		size_t len = left < CHUNK ? (size_t)left : CHUNK;

		rc = read_chunk(v, offset, bufs, len);
		if (rc == 0)
			iov_copy_in(&to, bufs, len);
		offset += len;
		left -= len;
	}
	pthread_rwlock_unlock(&v->comparing);
	return rc;
}

static int verified_writev(const struct image_file *file, uint64_t offset,
			   const struct iovec *iov, unsigned n_iov)
{
	struct verified_file *v = verified_of(file);
	int rcs[N_FILES];

	pthread_rwlock_wrlock(&v->comparing);
	for (unsigned i = 0; i < N_FILES; i++)
		rcs[i] = image_file_writev(v->files[i], offset, iov, n_iov);
	pthread_rwlock_unlock(&v->comparing);
	return settle(v, "write", offset, iov_total(iov, n_iov), rcs);
}

static int verified_zero(const struct image_file *file, uint64_t offset,
			 uint64_t len, bool keep_space)
{
	struct verified_file *v = verified_of(file);
	int rcs[N_FILES];

	pthread_rwlock_wrlock(&v->comparing);
	for (unsigned i = 0; i < N_FILES; i++)
		rcs[i] = image_file_zero(v->files[i], offset, len, keep_space);
	pthread_rwlock_unlock(&v->comparing);
	return settle(v, "write", offset, len, rcs);
}

/* What is discarded may be there or not, in each as it likes. */
static int verified_punch(const struct image_file *file, uint64_t offset,
			  uint64_t len)
{
	(void)file;
	(void)offset;
	(void)len;
	return -EOPNOTSUPP;
}

static int verified_flush(const struct image_file *file)
{
	const struct verified_file *v = verified_of(file);
	int rc = image_file_flush(v->files[RIGHT]);

	return rc < 0 ? rc : image_file_flush(v->files[TESTED]);
}

/* All of it is read, and so compared. */
static int verified_extent(const struct image_file *file, uint64_t offset,
			   uint64_t len, bool *is_data, uint64_t *extent_len)
{
	(void)file;
	(void)offset;
	*is_data = true;
	*extent_len = len;
	return 0;
}

static int verified_identify(const struct image_file *file, struct stat *st)
{
	return image_file_identify(verified_of(file)->files[TESTED], st);
}

static int verified_close(struct image_file *file)
{
	struct verified_file *v = verified_of(file);
	int result = 0;

	for (unsigned i = 0; i < N_FILES; i++) {
		int rc = image_file_close(v->files[i]);

		if (result == 0)
			result = rc;
	}
	pthread_rwlock_destroy(&v->comparing);
	free(v);
	return result;
}

static const struct file_ops ops = {
	.driver = "blkverify",
	.size = verified_size,
	.readv = verified_readv,
	.writev = verified_writev,
	.zero = verified_zero,
	.punch = verified_punch,
	.flush = verified_flush,
	.extent = verified_extent,
	.identify = verified_identify,
	.close = verified_close,
};

int verify_open(struct image_file **file, const struct image_quorum *how,
		const struct image_open_options *options, unsigned flags,
		struct error *err)
{
	_cleanup_(image_file_cleanup) struct image_file *made = NULL;
	struct verified_file *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return -ENOMEM;
	made = &v->state.file;
	pthread_rwlock_init(&v->comparing, NULL);
	v->state.ops = &ops;
	v->state.is_unsafe = flags & IMAGE_FILE_UNSAFE;
	v->state.file = (struct image_file){
		.fd = -1,
		.is_nowhere = true,
		.alignment = 1,
	};
	v->differed = options->differed;
	v->context = options->found_context;
	for (unsigned i = 0; i < N_FILES; i++) {
		struct image_file *child;
		int rc = layer_open_child(&child, &how->children[i], options,
					  flags, err);

		if (rc < 0)
			return rc;
		v->files[i] = child;
		layer_add_child(made, child);
	}
	*file = steal_ptr(&made);
	return 0;
}
