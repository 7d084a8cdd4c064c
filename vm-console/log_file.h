/* SPDX-License-Identifier: ISC */
/* --log: the guest's output, appended to a file. */
#ifndef VM_CONSOLE_LOG_FILE_H
#define VM_CONSOLE_LOG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

struct log_file {
	const char *path;
	int fd;
	bool is_failing;   /* said once for each time it begins to */
	uint64_t n_missed; /* bytes that did not get into it */
};

#define LOG_FILE_INIT \
	{ \
		.fd = -1 \
	}

int log_file_open(struct log_file *log, const char *path, struct error *err);
void log_file_close(struct log_file *log);
/* Open the path anew, as it was moved away; on failure the old one stays. */
int log_file_reopen(struct log_file *log);
/* A full disk costs the log what it cannot take, and nobody else. */
void log_file_write(struct log_file *log, const void *data, size_t len);

#endif
