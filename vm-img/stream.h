/* SPDX-License-Identifier: ISC */
/*
 * A new image on a pipe: written from the first byte to the last, and the
 * sources read once. What the maps of the sources call zero stays a hole.
 */
#ifndef VM_IMG_STREAM_H
#define VM_IMG_STREAM_H

#include "lib/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image;
struct image_create_options;
struct rate;

struct stream {
	struct image **sources; /* one after another */
	unsigned n_sources;
	unsigned n_workers;
	int fd;		   /* to write to; SIGPIPE is ignored */
	struct rate *rate; /* of writing; NULL: as fast as can be */
	bool is_salvaged, is_quiet;
};

/* What is to be made: options that the format has and a stream can have. */
struct stream_target {
	const struct image_create_options *create;
	bool is_compressed; /* qcow2; the others are or are not */
};

/* 0 or -errno. A raw image has no holes here. */
int stream_raw(const struct stream *stream, struct error *err);
/* Compressed, the sources are read twice: the tables come before the data. */
int stream_qcow2(const struct stream *stream,
		 const struct stream_target *target, struct error *err);
/* Stream-optimized, with the directory at the end. Zeroes are holes, whatever
 * the maps say. */
int stream_vmdk(const struct stream *stream, const struct stream_target *target,
		struct error *err);

/* For the formats: */
uint64_t stream_size(const struct stream *stream);
/* Zeroes beyond the end. */
int stream_read(const struct stream *stream, uint64_t start, uint8_t *buf,
		size_t len, struct error *err);
int stream_write(const struct stream *stream, const void *buf, size_t len,
		 struct error *err);
/* A bit for each unit of the disk that holds anything, and no part of a piece
 * missing at the end; to be freed. */
int stream_find_data(const struct stream *stream, uint64_t unit_len,
		     uint8_t **bits, struct error *err);
/*
 * The same of what the sources themselves hold, and not what is under them;
 * and, unless is_zero is NULL, units that are nothing but zeroes there, which
 * else count as data.
 */
int stream_find_own(const struct stream *stream, uint64_t unit_len,
		    uint8_t **is_data, uint8_t **is_zero, struct error *err);

static inline bool stream_has_data(const uint8_t *bits, uint64_t unit)
{
	return bits[unit / 8] & 1U << unit % 8;
}

enum {
	STREAM_UNITS = 16, /* of a piece, at most */
};

/* A worker's own, used for one piece after another. */
struct stream_piece {
	uint8_t *buf;
	size_t len; /* of what is to be written */
	/* For fill and emit alone: */
	size_t at[STREAM_UNITS], n[STREAM_UNITS];
	void *tool;
};

/*
 * n pieces, from the first to the last: fill is called by many threads at
 * once and in no order, emit in turn. Each returns 0 or -errno, which ends it
 * all. is_data, if it is not NULL, says which pieces there are, of n. free_tool,
 * if it is not NULL, is called where tool is not. n_workers of the stream's, if
 * it is not 0, are enough.
 */
struct stream_pass {
	const struct stream *stream;
	uint64_t n;
	const uint8_t *is_data;
	unsigned n_units; /* of is_data, for a piece */
	size_t buf_len;
	unsigned n_workers;
	int (*fill)(const struct stream_pass *pass, uint64_t index,
		    struct stream_piece *piece, struct error *err);
	int (*emit)(const struct stream_pass *pass, uint64_t index,
		    struct stream_piece *piece, struct error *err);
	void (*free_tool)(void *tool);
	void *context;
};
int stream_run(const struct stream_pass *pass, struct error *err);

#endif
