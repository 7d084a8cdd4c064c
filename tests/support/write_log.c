/* SPDX-License-Identifier: ISC */
#include "tests/support/write_log.h"

#include "lib/base/log.h"
#include "tests/support/image_model.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct recorded {
	dev_t device;
	ino_t inode;
	/* The file before the first event. */
	uint8_t *base;
	uint64_t base_len;
} recorded[LOG_FILES_MAX];

struct write_log write_log;

/* Events stand in the order in which they happened. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct event *record(enum event_kind kind, uint64_t offset, uint64_t len)
{
	struct write_log *r = &write_log;

	if (r->n == r->n_max) {
		r->n_max = r->n_max * 2 + 1024;
		r->events = realloc(r->events, r->n_max * sizeof(*r->events));
		if (r->events == NULL)
			die(1, "out of memory");
	}
	r->events[r->n] = (struct event){
		.kind = kind,
		.offset = offset,
		.len = len,
	};
	return &r->events[r->n++];
}

void write_log_add(enum event_kind kind, uint64_t offset, unsigned thread)
{
	pthread_mutex_lock(&lock);
	record(kind, offset, 0)->file = thread;
	pthread_mutex_unlock(&lock);
}

/* Which one it is; -1: none. */
static int find_recorded(int fd)
{
	struct stat st;

	if (!write_log.is_on || fstat(fd, &st) < 0)
		return -1;
	for (unsigned i = 0; i < write_log.n_files; i++)
		if (st.st_ino == recorded[i].inode &&
		    st.st_dev == recorded[i].device)
			return (int)i;
	return -1;
}

static bool is_recorded(int fd)
{
	return find_recorded(fd) >= 0;
}

static void record_of(int fd, enum event_kind kind, uint64_t offset,
		      uint64_t len)
{
	int file = find_recorded(fd);

	if (file >= 0)
		record(kind, offset, len)->file = (unsigned)file;
}

static ssize_t do_pwritev(int fd, const struct iovec *iov, int n_iov,
			  off_t offset, int flags)
{
	uint64_t at = 0;
	struct event *e;
	ssize_t n;

	if (write_log.is_full && is_recorded(fd) &&
	    model_draw(&write_log.random, 30) == 0) {
		errno = ENOSPC;
		return -1;
	}
	n = syscall(SYS_pwritev2, fd, iov, (long)n_iov, offset, 0L, flags);
	if (n <= 0 || !is_recorded(fd))
		return n;
	e = record(EVENT_WRITE, (uint64_t)offset, (uint64_t)n);
	e->file = (unsigned)find_recorded(fd);
	e->is_durable = flags & RWF_DSYNC;
	e->data = malloc((size_t)n);
	if (e->data == NULL)
		die(1, "out of memory");
	for (int i = 0; i < n_iov && at < e->len; i++) {
		size_t part = iov[i].iov_len;

		if (part > e->len - at)
			part = e->len - at;
		memcpy(e->data + at, iov[i].iov_base, part);
		at += part;
	}
	return n;
}

ssize_t write_log_pwritev(int fd, const struct iovec *iov, int n_iov,
			  off_t offset, int flags)
{
	ssize_t n;

	pthread_mutex_lock(&lock);
	n = do_pwritev(fd, iov, n_iov, offset, flags);
	pthread_mutex_unlock(&lock);
	return n;
}

int write_log_fallocate(int fd, int mode, off_t offset, off_t len)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_fallocate, fd, mode, offset, len);
	if (rc == 0)
		record_of(fd, EVENT_ZERO, (uint64_t)offset, (uint64_t)len);
	pthread_mutex_unlock(&lock);
	return rc;
}

int write_log_ftruncate(int fd, off_t len)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_ftruncate, fd, len);
	if (rc == 0)
		record_of(fd, EVENT_TRUNCATE, (uint64_t)len, 0);
	pthread_mutex_unlock(&lock);
	return rc;
}

int write_log_fdatasync(int fd)
{
	pthread_mutex_lock(&lock);
	record_of(fd, EVENT_FLUSH, 0, 0);
	pthread_mutex_unlock(&lock);
	return 0;
}

void write_log_add_file(const char *path)
{
	struct recorded *r = &recorded[write_log.n_files++];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(1, "%s: %s", path, strerror(errno));
	r->base_len = (uint64_t)st.st_size;
	r->base = malloc(r->base_len + 1);
	if (r->base == NULL || read(fd, r->base, r->base_len) != st.st_size)
		die(1, "%s: cannot be read", path);
	close(fd);
	r->device = st.st_dev;
	r->inode = st.st_ino;
}

static void put(struct log_file *f, uint64_t offset, const uint8_t *data,
		uint64_t len)
{
	if (offset + len > LOG_FILE_LEN_MAX)
		die(1, "file grows beyond what is expected");
	if (f->used < offset + len)
		f->used = offset + len;
	if (data != NULL)
		memcpy(f->data + offset, data, len);
	else
		memset(f->data + offset, 0, len);
}

/* With random sectors left out, if is_torn. */
static void apply_data(struct log_file *f, const struct event *e, bool is_torn,
		       uint64_t *random)
{
	uint64_t at = 0;

	while (at < e->len) {
		uint64_t n = MODEL_SECTOR - (e->offset + at) % MODEL_SECTOR;

		if (n > e->len - at)
			n = e->len - at;
		if (!is_torn || model_draw(random, 2) == 0) {
			put(f, e->offset + at,
			    e->data != NULL ? e->data + at : NULL, n);
			if (e->kind == EVENT_WRITE &&
			    f->len < e->offset + at + n)
				f->len = e->offset + at + n;
		}
		at += n;
	}
}

static void apply(struct log_file *f, const struct event *e, bool is_torn,
		  uint64_t *random)
{
	switch (e->kind) {
	case EVENT_WRITE:
		apply_data(f, e, is_torn, random);
		break;
	case EVENT_ZERO:
		if (e->offset < f->len)
			apply_data(f, e, is_torn, random);
		break;
	case EVENT_TRUNCATE:
		if (e->offset < f->len)
			put(f, e->offset, NULL, f->len - e->offset);
		f->len = e->offset;
		break;
	case EVENT_FLUSH:
	case EVENT_BEGUN:
	case EVENT_DONE:
	case EVENT_FAILED:
		break;
	}
}

/* The file is as long as before the last durable write before end. */
static size_t last_durable(size_t end, unsigned file)
{
	while (end > 0 && !(write_log.events[end - 1].is_durable &&
			    write_log.events[end - 1].file == file))
		end--;
	return end;
}

static size_t last_flush(size_t end, unsigned file)
{
	while (end > 0 && !(write_log.events[end - 1].kind == EVENT_FLUSH &&
			    write_log.events[end - 1].file == file))
		end--;
	return end;
}

static void make_file(struct log_file *f, unsigned file, size_t end,
		      size_t sure, uint64_t *random)
{
	const struct recorded *r = &recorded[file];
	size_t durable = last_durable(end, file);

	memset(f->data, 0, f->used);
	put(f, 0, r->base, r->base_len);
	f->len = r->base_len;
	for (size_t i = 0; i < end; i++) {
		const struct event *e = &write_log.events[i];
		uint64_t luck;

		if (e->file != file)
			continue;
		luck = i < sure ? 0 : model_draw(random, 3);
		if (e->is_durable || (e->kind == EVENT_TRUNCATE && i < durable))
			luck = 0;
		if (luck < 2)
			apply(f, e, luck == 1 && !write_log.is_whole, random);
	}
}

size_t write_log_flushed(size_t end)
{
	size_t sure = end;

	for (unsigned i = 0; i < write_log.n_files; i++)
		if (last_flush(end, i) < sure)
			sure = last_flush(end, i);
	return sure;
}

/* The files as they could have been at event number `end`; *sure: the events
 * before it are there for certain. */
void write_log_replay(struct log_file *f, size_t end, bool is_power_failure,
		      uint64_t *random, size_t *sure)
{
	*sure = end;
	for (unsigned i = 0; i < write_log.n_files; i++) {
		size_t flushed = is_power_failure ? last_flush(end, i) : end;

		if (flushed < *sure)
			*sure = flushed;
		make_file(&f[i], i, end, flushed, random);
	}
}
