/* SPDX-License-Identifier: ISC */
/*
 * The export of an NBD server as the file under an image, by libnbd. It is
 * like a block device: its size is what it is. One connection, one request at
 * a time.
 *
 * A server that goes away fails every request from then on.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file_internal.h"
#include "lib/image/image.h"
#include "lib/image/library.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	CONNECT_MS = 30000,
	REQUEST_MAX = 4 << 20, /* bytes, where the server takes as many */
	ZERO_MAX = 128 << 20,  /* bytes of a request without data */
	STATUS_MAX = 1 << 30,
	ALLOCATION_HOLE = 1 << 0, /* NBD's "base:allocation" */
	ALLOCATION_ZERO = 1 << 1,
};

struct nbd_file {
	struct file_state state; /* first */
	struct nbd_handle *nbd;
	uint64_t size;
	uint32_t alignment; /* of offset and length */
	size_t request_max;
	bool can_zero, can_trim, can_flush, has_allocation;
	/* What is not aligned is read, changed and written back alone. */
	pthread_mutex_t edges;
};

static struct nbd_file *nbd_of(const struct image_file *file)
{
	return container_of(file, struct nbd_file, state.file);
}

/* libnbd's error of this thread. One without a number is a server's. */
static int last_error(void)
{
	int number = libnbd->nbd_get_errno();

	return number != 0 ? -number : -EIO;
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

static int read_aligned(struct nbd_file *n, uint64_t offset, uint8_t *buf,
			uint64_t len)
{
	while (len > 0) {
		size_t part =
			len < n->request_max ? (size_t)len : n->request_max;

		if (libnbd->nbd_pread(n->nbd, buf, part, offset, 0) < 0)
			return last_error();
		offset += part;
		buf += part;
		len -= part;
	}
	return 0;
}

static int write_aligned(struct nbd_file *n, uint64_t offset,
			 const uint8_t *buf, uint64_t len)
{
	while (len > 0) {
		size_t part =
			len < n->request_max ? (size_t)len : n->request_max;

		if (libnbd->nbd_pwrite(n->nbd, buf, part, offset, 0) < 0)
			return last_error();
		offset += part;
		buf += part;
		len -= part;
	}
	return 0;
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
		return read_aligned(n, offset, buf, len);
	widen(n, offset, len, &start, &end);
	whole = malloc(end - start);
	if (whole == NULL)
		return -ENOMEM;
	rc = read_aligned(n, start, whole, end - start);
	if (rc == 0)
		memcpy(buf, whole + (offset - start), len);
	return rc;
}

static int write_part(struct nbd_file *n, uint64_t offset, const uint8_t *buf,
		      uint64_t len)
{
	_cleanup_free_ uint8_t *whole = NULL;
	uint64_t start, end;
	int rc;

	if (is_aligned(n, offset, len))
		return write_aligned(n, offset, buf, len);
	widen(n, offset, len, &start, &end);
	whole = malloc(end - start);
	if (whole == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&n->edges);
	rc = read_aligned(n, start, whole, end - start);
	if (rc == 0) {
		memcpy(whole + (offset - start), buf, len);
		rc = write_aligned(n, start, whole, end - start);
	}
	pthread_mutex_unlock(&n->edges);
	return rc;
}

static int nbd_file_readv(const struct image_file *file, uint64_t offset,
			  const struct iovec *iov, unsigned n_iov)
{
	struct nbd_file *n = nbd_of(file);
	int rc = 0;

	for (; rc == 0 && n_iov > 0; iov++, n_iov--) {
		uint64_t left = offset < n->size ? n->size - offset : 0;
		size_t len = iov->iov_len < left ? iov->iov_len : (size_t)left;

		memset((uint8_t *)iov->iov_base + len, 0, iov->iov_len - len);
		if (len > 0)
			rc = read_part(n, offset, iov->iov_base, len);
		offset += iov->iov_len;
	}
	return rc;
}

static int nbd_file_writev(const struct image_file *file, uint64_t offset,
			   const struct iovec *iov, unsigned n_iov)
{
	struct nbd_file *n = nbd_of(file);
	int rc = 0;

	for (; rc == 0 && n_iov > 0; iov++, n_iov--) {
		if (iov->iov_len > n->size || offset > n->size - iov->iov_len)
			return -ENOSPC;
		if (iov->iov_len > 0)
			rc = write_part(n, offset, iov->iov_base, iov->iov_len);
		offset += iov->iov_len;
	}
	return rc;
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
	while (len > 0) {
		uint64_t part = len < ZERO_MAX ? len : ZERO_MAX;

		if (libnbd->nbd_zero(n->nbd, part, offset, flags) < 0)
			return last_error();
		offset += part;
		len -= part;
	}
	return 0;
}

static int nbd_file_punch(const struct image_file *file, uint64_t offset,
			  uint64_t len)
{
	struct nbd_file *n = nbd_of(file);

	if (!n->can_trim || !is_aligned(n, offset, len) || len > n->size ||
	    offset > n->size - len)
		return -EOPNOTSUPP;
	while (len > 0) {
		uint64_t part = len < ZERO_MAX ? len : ZERO_MAX;

		if (libnbd->nbd_trim(n->nbd, part, offset, 0) < 0)
			return last_error();
		offset += part;
		len -= part;
	}
	return 0;
}

static int nbd_file_flush(const struct image_file *file)
{
	struct nbd_file *n = nbd_of(file);

	if (!n->can_flush || libnbd->nbd_flush(n->nbd, 0) == 0)
		return 0;
	return last_error();
}

/* The first extents that are all of one kind. */
struct answer {
	bool has_kind, is_data, is_over;
	uint64_t len;
};

static int take_extents(void *context, const char *name, uint64_t offset,
			uint32_t *entries, size_t n_entries, int *error)
{
	struct answer *a = context;

	(void)offset;
	(void)error;
	if (strcmp(name, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
		return 0;
	for (size_t i = 0; i + 1 < n_entries && !a->is_over; i += 2) {
		bool is_data = !(entries[i + 1] & ALLOCATION_ZERO);

		if (a->has_kind && is_data != a->is_data) {
			a->is_over = true;
			break;
		}
		a->has_kind = true;
		a->is_data = is_data;
		a->len += entries[i];
	}
	return 0;
}

static int nbd_file_extent(const struct image_file *file, uint64_t offset,
			   uint64_t len, bool *is_data, uint64_t *extent_len)
{
	struct answer a = { .len = 0 };
	const nbd_extent_callback take = { .callback = take_extents,
					   .user_data = &a };
	struct nbd_file *n = nbd_of(file);
	uint64_t start, end;

	*is_data = offset < n->size;
	*extent_len = len;
	if (!*is_data || !n->has_allocation)
		return 0;
	widen(n, offset, len < STATUS_MAX ? len : STATUS_MAX, &start, &end);
	if (libnbd->nbd_block_status(n->nbd, end - start, start, take, 0) < 0)
		return last_error();
	if (!a.has_kind || a.len <= offset - start)
		return 0;
	*is_data = a.is_data;
	if (a.len - (offset - start) < len)
		*extent_len = a.len - (offset - start);
	return 0;
}

/* Closing waits for the server's end only as long as its last answer. */
static void nbd_file_close(struct image_file *file)
{
	struct nbd_file *n = nbd_of(file);

	if (n->nbd != NULL)
		libnbd->nbd_close(n->nbd);
	pthread_mutex_destroy(&n->edges);
	free(n);
}

static const struct file_ops ops = {
	.size = nbd_file_size,
	.readv = nbd_file_readv,
	.writev = nbd_file_writev,
	.zero = nbd_file_zero,
	.punch = nbd_file_punch,
	.flush = nbd_file_flush,
	.extent = nbd_file_extent,
	.close = nbd_file_close,
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int wait_ready(struct nbd_handle *nbd)
{
	int64_t end = now_ms() + CONNECT_MS;

	while (!libnbd->nbd_aio_is_ready(nbd)) {
		int64_t left = end - now_ms();

		if (libnbd->nbd_aio_is_dead(nbd) ||
		    libnbd->nbd_aio_is_closed(nbd))
			return last_error();
		if (left <= 0)
			return -ETIMEDOUT;
		if (libnbd->nbd_poll(nbd, (int)left) < 0)
			return last_error();
	}
	return 0;
}

static int start(struct nbd_handle *nbd, const char *uri)
{
	/* The user names the files of keys and certificates, too. */
	if (libnbd->nbd_set_uri_allow_local_file(nbd, true) < 0 ||
	    libnbd->nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) <
		    0 ||
	    libnbd->nbd_aio_connect_uri(nbd, uri) < 0)
		return last_error();
	return wait_ready(nbd);
}

static int look_at_export(struct nbd_file *n)
{
	int64_t size = libnbd->nbd_get_size(n->nbd);
	int64_t least = libnbd->nbd_get_block_size(n->nbd, LIBNBD_SIZE_MINIMUM);
	int64_t most = libnbd->nbd_get_block_size(n->nbd, LIBNBD_SIZE_MAXIMUM);

	if (size < 0 || least < 0 || most < 0)
		return last_error();
	n->size = (uint64_t)size;
	n->alignment = least > 0 && least <= REQUEST_MAX ? (uint32_t)least : 1;
	n->request_max =
		most > 0 && most < REQUEST_MAX ? (size_t)most : REQUEST_MAX;
	n->request_max -= n->request_max % n->alignment;
	if (n->request_max == 0)
		return -EPROTO;
	n->can_zero = libnbd->nbd_can_zero(n->nbd) > 0;
	n->can_trim = libnbd->nbd_can_trim(n->nbd) > 0;
	n->can_flush = libnbd->nbd_can_flush(n->nbd) > 0;
	n->has_allocation = libnbd->nbd_can_meta_context(
				    n->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	return 0;
}

int image_file_open_nbd(struct image_file **file, const char *uri,
			unsigned flags, struct error *err)
{
	struct nbd_file *n;
	int rc = library_load_nbd(err);

	if (rc < 0)
		return rc;
	n = calloc(1, sizeof(*n));
	if (n == NULL)
		return -ENOMEM;
	pthread_mutex_init(&n->edges, NULL);
	n->state.ops = &ops;
	n->state.is_unsafe = flags & IMAGE_FILE_UNSAFE;
	n->state.file = (struct image_file){
		.fd = -1,
		.is_read_only = flags & IMAGE_FILE_READ_ONLY,
		.is_block_device = true,
		.alignment = 1,
	};
	n->nbd = libnbd->nbd_create();
	if (n->nbd == NULL)
		rc = last_error();
	if (rc == 0)
		rc = start(n->nbd, uri);
	if (rc == 0)
		rc = look_at_export(n);
	if (rc < 0)
		error_set_errno(err, rc, "Failed to connect to '%s'", uri);
	else if (!(flags & IMAGE_FILE_READ_ONLY) &&
		 libnbd->nbd_is_read_only(n->nbd) != 0)
		rc = error_set(err, -EACCES,
			       "request on read-only export of '%s'", uri);
	if (rc < 0)
		nbd_file_close(&n->state.file);
	else
		*file = &n->state.file;
	return rc;
}
