/* SPDX-License-Identifier: ISC */
/*
 * A log of what is written to some files, system call by system call, and of
 * when they are flushed; and the files as a kill or a power failure could have
 * left them at any moment of it. After a kill all is there that was written
 * before. After a power failure there is what a flush of that same file had
 * covered, and some of what came later, in any order, sectors of one write
 * apart.
 *
 * Who links it has to let the C library's names call these, from any thread.
 * Recording is begun and ended, and files are made, by one alone.
 */
#ifndef TESTS_SUPPORT_WRITE_LOG_H
#define TESTS_SUPPORT_WRITE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct iovec;

enum {
	LOG_FILE_LEN_MAX = 64 << 20,
	LOG_FILES_MAX = 2,
};

enum event_kind {
	EVENT_WRITE,
	EVENT_ZERO, /* keeps the file's size */
	EVENT_TRUNCATE,
	EVENT_FLUSH,
	EVENT_BEGUN, /* operations: offset is the number, file the thread's */
	EVENT_DONE,
	EVENT_FAILED,
};

struct event {
	enum event_kind kind;
	unsigned file; /* in the order of write_log_add_file() */
	uint64_t offset, len;
	uint8_t *data;	 /* EVENT_WRITE */
	bool is_durable; /* and the file's size is, too */
};

struct write_log {
	struct event *events;
	size_t n, n_max;
	unsigned n_files;
	bool is_on;
	bool is_full;	 /* one write in thirty fails: the disk is full */
	bool is_whole;	 /* no write is torn */
	uint64_t random; /* for is_full */
};

extern struct write_log write_log;

/* A file, of LOG_FILE_LEN_MAX bytes at data. */
struct log_file {
	uint8_t *data;
	uint64_t len, used; /* behind used all is zeroes */
};

/* One more file, as it is now: before write_log.is_on. */
void write_log_add_file(const char *path);
/* An event of the caller's own: of offset, whatever that means, and of one of
 * its threads. */
void write_log_add(enum event_kind kind, uint64_t offset, unsigned thread);
/* Of the events before number end, how many a flush had covered. */
size_t write_log_flushed(size_t end);
/* The files as they could have been at event number end; *sure: the events
 * before it are there for certain, in all of them. */
void write_log_replay(struct log_file *files, size_t end, bool is_power_failure,
		      uint64_t *random, size_t *sure);

ssize_t write_log_pwritev(int fd, const struct iovec *iov, int n_iov,
			  off_t offset, int flags);
int write_log_fallocate(int fd, int mode, off_t offset, off_t len);
int write_log_ftruncate(int fd, off_t len);
int write_log_fdatasync(int fd);

#endif
