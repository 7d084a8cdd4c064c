/* SPDX-License-Identifier: ISC */
/*
 * QEMU's filter "blklogwrites": all that changes a file is kept in another one,
 * in its order, so that what a crash could have left can be made again
 * (protocols/log_writes.h).
 *
 * Entries are of whole sectors: what is written in part is looked up after it
 * was written. One lock is held from the writing of the file to that of the
 * log, as of two requests for one place the later one counts.
 */
#include "lib/image/layer.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/filter.h"
#include "lib/image/format.h"
#include "protocols/log_writes.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

enum {
	SECTOR_SIZE_MAX = 1 << 24,
	BUFFER_ALIGNMENT = 4096,
	COPY_LEN = 1 << 20, /* at least, of a sector's size */
};

struct log_file {
	struct filter_file filter; /* first */
	struct image_file *log;
	uint32_t sector_size;
	uint64_t update_interval;

	pthread_mutex_t lock;
	/* All below, and the log, is under the lock. */
	uint64_t next; /* where the next entry goes, bytes */
	uint64_t n_entries, n_recorded;
	char *copy;
	size_t copy_len;
};

static struct log_file *log_of(const struct image_file *file)
{
	return container_of(file, struct log_file, filter.state.file);
}

/* With the lock, as all that follows: the entries there are count from now on. */
static int record(struct log_file *l)
{
	const struct log_writes_super super = {
		.magic = htole64(LOG_WRITES_MAGIC),
		.version = htole64(LOG_WRITES_VERSION),
		.n_entries = htole64(l->n_entries),
		.sector_size = htole32(l->sector_size),
	};
	int rc;

	memset(l->copy, 0, l->sector_size);
	memcpy(l->copy, &super, sizeof(super));
	rc = image_file_write(l->log, 0, l->copy, l->sector_size);
	if (rc == 0)
		rc = image_file_flush(l->log);
	if (rc == 0)
		l->n_recorded = l->n_entries;
	return rc;
}

/* What the file has in [offset, offset + len), whole sectors. */
static int copy_data(struct log_file *l, uint64_t at, uint64_t offset,
		     uint64_t len)
{
	int rc = 0;

	while (rc == 0 && len > 0) {
		size_t n = len < l->copy_len ? (size_t)len : l->copy_len;

		rc = image_file_read(l->filter.under, offset, l->copy, n);
		if (rc == 0)
			rc = image_file_write(l->log, at, l->copy, n);
		at += n;
		offset += n;
		len -= n;
	}
	return rc;
}

/* An entry of what was just done to [offset, offset + len). is_zero: it reads
 * as zeroes now. */
static int append(struct log_file *l, uint64_t offset, uint64_t len,
		  enum log_writes_flags flags, bool is_zero)
{
	uint64_t sector = offset / l->sector_size;
	uint64_t n = (offset % l->sector_size + len + l->sector_size - 1) /
		     l->sector_size;
	uint64_t data_len = flags & LOG_WRITES_DISCARD ? 0 : n * l->sector_size;
	const struct log_writes_entry entry = {
		.sector = htole64(sector),
		.n_sectors = htole64(n),
		.flags = htole64(flags),
	};
	uint64_t at = l->next + l->sector_size, end;
	int rc;

	if (__builtin_add_overflow(at, data_len, &end) || end > INT64_MAX)
		return -EFBIG;
	memset(l->copy, 0, l->sector_size);
	memcpy(l->copy, &entry, sizeof(entry));
	rc = image_file_write(l->log, l->next, l->copy, l->sector_size);
	if (rc == 0 && is_zero && len == data_len)
		rc = image_file_zero(l->log, at, len, true);
	else if (rc == 0)
		rc = copy_data(l, at, sector * l->sector_size, data_len);
	if (rc < 0)
		return rc;
	l->next = end;
	l->n_entries++;
	if (flags & LOG_WRITES_FLUSH || l->n_entries % l->update_interval == 0)
		rc = record(l);
	return rc;
}

static int log_writev(const struct image_file *file, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov)
{
	struct log_file *l = log_of(file);
	int rc;

	pthread_mutex_lock(&l->lock);
	rc = filter_writev(file, offset, iov, n_iov);
	if (rc == 0)
		rc = append(l, offset, iov_total(iov, n_iov), 0, false);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

static int log_zero(const struct image_file *file, uint64_t offset,
		    uint64_t len, bool keep_space)
{
	struct log_file *l = log_of(file);
	int rc;

	pthread_mutex_lock(&l->lock);
	rc = filter_zero(file, offset, len, keep_space);
	if (rc == 0)
		rc = append(l, offset, len, 0, true);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

/* What is given back is whole sectors. */
static int log_punch(const struct image_file *file, uint64_t offset,
		     uint64_t len)
{
	struct log_file *l = log_of(file);
	uint64_t skip = -offset % l->sector_size;
	int rc;

	if (len < skip || len - skip < l->sector_size)
		return 0;
	offset += skip;
	len = (len - skip) / l->sector_size * l->sector_size;
	pthread_mutex_lock(&l->lock);
	rc = filter_punch(file, offset, len);
	if (rc == 0)
		rc = append(l, offset, len, LOG_WRITES_DISCARD, false);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

static int log_flush(const struct image_file *file)
{
	struct log_file *l = log_of(file);
	int rc;

	pthread_mutex_lock(&l->lock);
	rc = filter_flush(file);
	if (rc == 0)
		rc = append(l, 0, 0, LOG_WRITES_FLUSH, false);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

static int log_close(struct image_file *file)
{
	struct log_file *l = log_of(file);
	int log_rc, rc;

	if (l->n_recorded < l->n_entries)
		(void)record(l);
	log_rc = image_file_close(l->log);
	rc = filter_close(&l->filter);
	pthread_mutex_destroy(&l->lock);
	free(l->copy);
	free(l);
	return rc < 0 ? rc : log_rc;
}

static const struct file_ops ops = {
	.driver = "blklogwrites",
	.size = filter_size,
	.usage = filter_usage,
	.readv = filter_readv,
	.writev = log_writev,
	.zero = log_zero,
	.punch = log_punch,
	.flush = log_flush,
	.extent = filter_extent,
	.truncate = filter_truncate,
	.allocate = filter_allocate,
	.identify = filter_identify,
	.lock = filter_lock,
	.disk = filter_disk,
	.map = filter_map,
	.close = log_close,
};

static bool is_sector_size(uint64_t size)
{
	return size >= sizeof(struct log_writes_entry) &&
	       size < SECTOR_SIZE_MAX && (size & (size - 1)) == 0;
}

/* Behind the last one of n. */
static int find_end(struct log_file *l, uint64_t size, uint64_t n,
		    struct error *err)
{
	struct log_writes_entry entry;

	l->next = l->sector_size;
	for (; l->n_entries < n; l->n_entries++) {
		uint64_t at = l->next, n_sectors, room;
		int rc = at <= size && sizeof(entry) <= size - at
				 ? image_file_read(l->log, at, &entry,
						   sizeof(entry))
				 : -EIO;

		if (rc < 0)
			return error_set_errno(
				err, rc, "Failed to read log entry %llu",
				(unsigned long long)l->n_entries);
		if (le64toh(entry.flags) & ~(uint64_t)LOG_WRITES_ALL)
			return error_set(
				err, -EINVAL,
				"Invalid flags 0x%llx in log entry %llu",
				(unsigned long long)le64toh(entry.flags),
				(unsigned long long)l->n_entries);
		l->next += l->sector_size;
		if (le64toh(entry.flags) & LOG_WRITES_DISCARD)
			continue;
		n_sectors = le64toh(entry.n_sectors);
		room = l->next < size ? size - l->next : 0;
		if (n_sectors > room / l->sector_size)
			return error_set(err, -EINVAL,
					 "Log entry %llu is past the end of "
					 "the log",
					 (unsigned long long)l->n_entries);
		l->next += n_sectors * l->sector_size;
	}
	l->n_recorded = l->n_entries;
	return 0;
}

static int resume(struct log_file *l, struct error *err)
{
	struct log_writes_super super = { .magic = 0 };
	uint64_t size;
	int rc = image_file_size(l->log, &size);

	if (rc == 0 && size == 0)
		return 0;
	if (rc == 0)
		rc = image_file_read(l->log, 0, &super, sizeof(super));
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read log superblock");
	if (le64toh(super.magic) != LOG_WRITES_MAGIC)
		return error_set(err, -EINVAL, "Invalid log superblock magic");
	if (le64toh(super.version) != LOG_WRITES_VERSION)
		return error_set(err, -EINVAL, "Unsupported log version %llu",
				 (unsigned long long)le64toh(super.version));
	l->sector_size = le32toh(super.sector_size);
	if (!is_sector_size(l->sector_size))
		return error_set(err, -EINVAL, "Invalid log sector size %u",
				 l->sector_size);
	return find_end(l, size, le64toh(super.n_entries), err);
}

static int begin(struct log_file *l, const struct image_log_writes *how,
		 struct error *err)
{
	int rc = 0;

	if (how->appends && how->sector_size > 0)
		return error_set(err, -EINVAL,
				 "log-append and log-sector-size are mutually "
				 "exclusive");
	l->sector_size = IMAGE_SECTOR;
	if (how->sector_size > 0 && !is_sector_size(how->sector_size))
		return error_set(err, -EINVAL, "Invalid log sector size %llu",
				 (unsigned long long)how->sector_size);
	if (how->sector_size > 0)
		l->sector_size = (uint32_t)how->sector_size;
	l->next = l->sector_size;
	if (how->appends)
		rc = resume(l, err);
	if (rc == 0 && how->update_interval == 0)
		rc = error_set(err, -EINVAL,
			       "Invalid log superblock update interval 0");
	l->update_interval = how->update_interval;
	if (rc < 0)
		return rc;
	l->copy_len = l->sector_size < COPY_LEN ? COPY_LEN : l->sector_size;
	l->copy = aligned_alloc(BUFFER_ALIGNMENT, l->copy_len);
	return l->copy == NULL ? -ENOMEM : 0;
}

/* The file is the filter's own only when nothing can fail any more. */
int log_writes_put_over(struct image_file **file, const char *path,
			const struct image_log_writes *how,
			const struct image_open_options *options,
			unsigned flags, struct error *err)
{
	_cleanup_(image_file_cleanup) struct image_file *log = NULL;
	struct log_file *l;
	int rc = layer_open_child(&log, &how->file, options, flags, err);

	if (rc < 0)
		return rc;
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->log = log;
	rc = begin(l, how, err);
	if (rc == 0)
		rc = filter_init(&l->filter, *file, path, &ops, flags);
	if (rc < 0) {
		free(l->copy);
		free(l);
		return rc;
	}
	steal_ptr(&log);
	pthread_mutex_init(&l->lock, NULL);
	*file = &l->filter.state.file;
	return 0;
}
