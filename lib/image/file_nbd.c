/* SPDX-License-Identifier: ISC */
/*
 * The export of an NBD server as the file under an image, by libnbd. It is
 * like a block device: its size is what it is.
 *
 * A long transfer is cut into parts that are in flight together. What is
 * scattered goes through a buffer, as NBD has no vectors; what is not aligned
 * as the server wants it is read, changed and written back, alone.
 */
#include "lib/image/file_nbd.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file_internal.h"
#include "lib/image/image.h"
#include "lib/image/iov.h"

#include <stdio.h>
#include <string.h>

enum {
	PART_MAX = 512 << 10, /* bytes, where the server takes as many */
	BOUNCE_MAX = 4 << 20, /* of scattered memory at a time */
	ZERO_MAX = 128 << 20, /* bytes of a request without data */
	STATUS_MAX = 1 << 30,
	ALIGNMENT_MAX = 4 << 20,
};

struct nbd_file {
	struct file_state state; /* first */
	struct nbd_link link;
	uint64_t size;
	uint32_t alignment; /* of offset and length */
	uint32_t part_max;
	bool can_zero, can_trim, can_flush, has_context;
	char *context; /* of its block status */
	/* Held exclusively by a write that is not aligned; others share it. */
	pthread_rwlock_t edges;
	/* What is known of a file that is only read. */
	pthread_mutex_t status_lock;
	struct nbd_status status;
};

static struct nbd_file *nbd_of(const struct image_file *file)
{
	return container_of(file, struct nbd_file, state.file);
}

bool image_name_is_nbd(const char *path)
{
	static const char *const schemes[] = {
		"nbd://",	"nbds://",	"nbd+unix://",
		"nbds+unix://", "nbd+vsock://",
	};

	for (unsigned i = 0; i < array_size(schemes); i++)
		if (strncmp(path, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

static int nbd_file_size(const struct image_file *file, uint64_t *size)
{
	*size = nbd_of(file)->size;
	return 0;
}

static int transfer(struct nbd_file *n, enum nbd_operation operation,
		    uint64_t offset, uint8_t *buf, uint64_t len)
{
	const struct nbd_request request = {
		.operation = operation,
		.offset = offset,
		.len = len,
		.buf = buf,
		.part_max = n->part_max,
	};

	return nbd_link_do(&n->link, &request);
}

static int without_data(struct nbd_file *n, enum nbd_operation operation,
			uint64_t offset, uint64_t len, uint32_t flags)
{
	const struct nbd_request request = {
		.operation = operation,
		.offset = offset,
		.len = len,
		.flags = flags,
		.part_max = ZERO_MAX,
	};
	int rc;

	pthread_rwlock_rdlock(&n->edges);
	rc = nbd_link_do(&n->link, &request);
	pthread_rwlock_unlock(&n->edges);
	return rc;
}

static bool is_aligned(const struct nbd_file *n, uint64_t offset, uint64_t len)
{
	return (offset | len) % n->alignment == 0;
}

/* The blocks that the range touches, as far as the export goes. */
static void widen(const struct nbd_file *n, uint64_t offset, uint64_t len,
		  uint64_t *start, uint64_t *end)
{
	*start = offset - offset % n->alignment;
	*end = offset + len;
	if (*end % n->alignment != 0)
		*end += n->alignment - *end % n->alignment;
	if (*end > n->size)
		*end = n->size;
}

/* Within the export. */
static int read_part(struct nbd_file *n, uint64_t offset, uint8_t *buf,
		     uint64_t len)
{
	_cleanup_free_ uint8_t *whole = NULL;
	uint64_t start, end;
	int rc;

	if (is_aligned(n, offset, len))
		return transfer(n, NBD_READ, offset, buf, len);
	widen(n, offset, len, &start, &end);
	whole = malloc(end - start);
	if (whole == NULL)
		return -ENOMEM;
	rc = transfer(n, NBD_READ, start, whole, end - start);
	if (rc == 0)
		memcpy(buf, whole + (offset - start), len);
	return rc;
}

/* Nobody else may write between reading and writing back. */
static int write_edges(struct nbd_file *n, uint64_t offset, const uint8_t *buf,
		       uint64_t len)
{
	_cleanup_free_ uint8_t *whole = NULL;
	uint64_t start, end;
	int rc;

	widen(n, offset, len, &start, &end);
	whole = malloc(end - start);
	if (whole == NULL)
		return -ENOMEM;
	pthread_rwlock_wrlock(&n->edges);
	rc = transfer(n, NBD_READ, start, whole, end - start);
	if (rc == 0) {
		memcpy(whole + (offset - start), buf, len);
		rc = transfer(n, NBD_WRITE, start, whole, end - start);
	}
	pthread_rwlock_unlock(&n->edges);
	return rc;
}

static int write_part(struct nbd_file *n, uint64_t offset, uint8_t *buf,
		      uint64_t len)
{
	int rc;

	if (!is_aligned(n, offset, len))
		return write_edges(n, offset, buf, len);
	pthread_rwlock_rdlock(&n->edges);
	rc = transfer(n, NBD_WRITE, offset, buf, len);
	pthread_rwlock_unlock(&n->edges);
	return rc;
}

/* What is beyond the export's end is zeroes. */
static int read_buf(struct nbd_file *n, uint64_t offset, uint8_t *buf,
		    size_t len)
{
	uint64_t left = offset < n->size ? n->size - offset : 0;

	if (len > left) {
		memset(buf + left, 0, len - (size_t)left);
		len = (size_t)left;
	}
	return len > 0 ? read_part(n, offset, buf, len) : 0;
}

static uint8_t *bounce_new(uint64_t len)
{
	return malloc(len < BOUNCE_MAX ? len : BOUNCE_MAX);
}

static int nbd_file_readv(const struct image_file *file, uint64_t offset,
			  const struct iovec *iov, unsigned n_iov)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };
	uint64_t len = iov_total(iov, n_iov);
	struct nbd_file *n = nbd_of(file);
	_cleanup_free_ uint8_t *buf = NULL;

	if (n_iov == 1)
		return read_buf(n, offset, iov->iov_base, iov->iov_len);
	buf = len > 0 ? bounce_new(len) : NULL;
	if (len > 0 && buf == NULL)
		return -ENOMEM;
	while (len > 0) {
		size_t part = len < BOUNCE_MAX ? (size_t)len : BOUNCE_MAX;
		int rc = read_buf(n, offset, buf, part);

		if (rc < 0)
			return rc;
		iov_copy_in(&cursor, buf, part);
		offset += part;
		len -= part;
	}
	return 0;
}

static int nbd_file_writev(const struct image_file *file, uint64_t offset,
			   const struct iovec *iov, unsigned n_iov)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };
	uint64_t len = iov_total(iov, n_iov);
	struct nbd_file *n = nbd_of(file);
	_cleanup_free_ uint8_t *buf = NULL;

	if (len > n->size || offset > n->size - len)
		return -ENOSPC;
	if (len == 0)
		return 0;
	if (n_iov == 1)
		return write_part(n, offset, iov->iov_base, len);
	buf = bounce_new(len);
	if (buf == NULL)
		return -ENOMEM;
	while (len > 0) {
		size_t part = len < BOUNCE_MAX ? (size_t)len : BOUNCE_MAX;
		int rc;

		iov_copy_out(&cursor, buf, part);
		rc = write_part(n, offset, buf, part);
		if (rc < 0)
			return rc;
		offset += part;
		len -= part;
	}
	return 0;
}

static int nbd_file_zero(const struct image_file *file, uint64_t offset,
			 uint64_t len, bool keep_space)
{
	uint32_t flags = keep_space ? LIBNBD_CMD_FLAG_NO_HOLE : 0;
	struct nbd_file *n = nbd_of(file);

	if (len > n->size || offset > n->size - len)
		return -ENOSPC;
	if (!n->can_zero || !is_aligned(n, offset, len))
		return image_file_write_zeroes(file, offset, len);
	return without_data(n, NBD_ZERO, offset, len, flags);
}

static int nbd_file_punch(const struct image_file *file, uint64_t offset,
			  uint64_t len)
{
	struct nbd_file *n = nbd_of(file);

	if (!n->can_trim || !is_aligned(n, offset, len) || len > n->size ||
	    offset > n->size - len)
		return -EOPNOTSUPP;
	return without_data(n, NBD_TRIM, offset, len, 0);
}

static int nbd_file_flush(const struct image_file *file)
{
	const struct nbd_request request = { .operation = NBD_FLUSH };
	struct nbd_file *n = nbd_of(file);

	return n->can_flush ? nbd_link_do(&n->link, &request) : 0;
}

static int find_status(const struct image_file *file, uint64_t offset,
		       uint64_t len, unsigned *flags, uint64_t *run_len)
{
	struct nbd_file *n = nbd_of(file);
	struct nbd_status fresh;
	uint64_t start, end;
	int rc = 0;

	pthread_mutex_lock(&n->status_lock);
	if (file->is_read_only &&
	    nbd_status_find(&n->status, offset, len, flags, run_len)) {
		pthread_mutex_unlock(&n->status_lock);
		return 0;
	}
	pthread_mutex_unlock(&n->status_lock);
	widen(n, offset, len < STATUS_MAX ? len : STATUS_MAX, &start, &end);
	/* Of another context's flags one does not make up for the other. */
	rc = nbd_status_ask(&n->link, n->context, start, end - start,
			    file->has_marks ? 1 : n->alignment, &fresh);
	if (rc < 0)
		return rc;
	nbd_status_find(&fresh, offset, len, flags, run_len);
	pthread_mutex_lock(&n->status_lock);
	n->status = fresh;
	pthread_mutex_unlock(&n->status_lock);
	return 0;
}

static int nbd_file_extent(const struct image_file *file, uint64_t offset,
			   uint64_t len, bool *is_data, uint64_t *extent_len)
{
	const struct nbd_file *n = nbd_of(file);
	unsigned flags = 0;
	int rc;

	*is_data = offset < n->size;
	*extent_len = len;
	/* Another context tells nothing of zeroes. */
	if (!*is_data || !n->has_context || file->has_marks)
		return 0;
	rc = find_status(file, offset, len, &flags, extent_len);
	*is_data = !(flags & NBD_STATUS_ZERO);
	return rc;
}

static int nbd_file_marks(const struct image_file *file, uint64_t offset,
			  uint64_t len, unsigned *marks, uint64_t *run_len)
{
	*marks = 0;
	*run_len = len;
	return offset < nbd_of(file)->size
		       ? find_status(file, offset, len, marks, run_len)
		       : 0;
}

static int nbd_file_close(struct image_file *file)
{
	struct nbd_file *n = nbd_of(file);

	nbd_link_close(&n->link);
	pthread_mutex_destroy(&n->status_lock);
	pthread_rwlock_destroy(&n->edges);
	free(n->context);
	free(n);
	return 0;
}

static const struct file_ops ops = {
	.driver = "nbd",
	.size = nbd_file_size,
	.readv = nbd_file_readv,
	.writev = nbd_file_writev,
	.zero = nbd_file_zero,
	.punch = nbd_file_punch,
	.flush = nbd_file_flush,
	.extent = nbd_file_extent,
	.marks = nbd_file_marks,
	.close = nbd_file_close,
};

static int look_at_export(struct nbd_file *n, const char *uri,
			  struct error *err)
{
	struct nbd_handle *nbd = n->link.nbd;
	int64_t size = libnbd->nbd_get_size(nbd);
	int64_t least = libnbd->nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM);
	int64_t most = libnbd->nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM);

	if (size < 0 || least < 0 || most < 0)
		return error_set(err, -EPROTO, "Export of '%s' has no size",
				 uri);
	n->size = (uint64_t)size;
	n->alignment =
		least > 0 && least <= ALIGNMENT_MAX ? (uint32_t)least : 1;
	n->part_max = most > 0 && most < PART_MAX ? (uint32_t)most : PART_MAX;
	if (n->part_max < n->alignment)
		n->part_max = n->alignment;
	n->part_max -= n->part_max % n->alignment;
	n->can_zero = libnbd->nbd_can_zero(nbd) > 0;
	n->can_trim = libnbd->nbd_can_trim(nbd) > 0;
	n->can_flush = libnbd->nbd_can_flush(nbd) > 0;
	n->has_context = libnbd->nbd_can_meta_context(nbd, n->context) > 0;
	if (n->state.file.has_marks && !n->has_context)
		return error_set(err, -EINVAL,
				 "Could not open image: Invalid argument");
	return 0;
}

int image_file_open_nbd(struct image_file **file, const char *uri,
			const char *context, unsigned flags, struct error *err)
{
	struct nbd_file *n;
	int rc = library_load_nbd(err);

	if (rc < 0)
		return rc;
	n = calloc(1, sizeof(*n));
	if (n == NULL)
		return -ENOMEM;
	pthread_rwlock_init(&n->edges, NULL);
	pthread_mutex_init(&n->status_lock, NULL);
	n->state.ops = &ops;
	n->state.is_unsafe = flags & IMAGE_FILE_UNSAFE;
	n->state.file = (struct image_file){
		.fd = -1,
		.is_read_only = flags & IMAGE_FILE_READ_ONLY,
		.is_block_device = true,
		.alignment = 1,
		.has_marks =
			context != NULL &&
			strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0,
	};
	n->context = strdup(context != NULL ? context
					    : LIBNBD_CONTEXT_BASE_ALLOCATION);
	rc = nbd_link_open(&n->link, uri, n->context, err);
	if (rc == 0)
		rc = look_at_export(n, uri, err);
	if (rc == 0 && !(flags & IMAGE_FILE_READ_ONLY) &&
	    libnbd->nbd_is_read_only(n->link.nbd) != 0)
		rc = error_set(err, -EACCES,
			       "request on read-only export of '%s'", uri);
	if (rc < 0)
		nbd_file_close(&n->state.file);
	else
		*file = &n->state.file;
	return rc;
}
