/* SPDX-License-Identifier: ISC */
/* The engine of convert: source images, one after another, to a target. */
#ifndef VM_IMG_COPY_H
#define VM_IMG_COPY_H

#include "lib/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct image;
struct progress;

struct copy {
	struct image **sources;
	unsigned n_sources;
	struct image *target;
	/* There are no sources: it is standard input that is read, to its end,
	 * which decides the target's size. */
	bool is_fed;
	/* This many zero bytes together become a hole; 0: none do, and
	 * everything is written. */
	uint64_t min_sparse;
	/* What is not written in the target reads as zeroes. */
	bool is_target_zero;
	/* It was there before: zeroes are written down as such. */
	bool is_target_old;
	/* Under the target lies what lies under the source: leave holes of
	 * the source's first layer. So many bytes; UINT64_MAX: nobody knows. */
	bool has_backing;
	uint64_t backing_size;
	/* Write pieces as they come, not from first to last. */
	bool is_unordered;
	/* Each cluster on its own: compressing is what takes the time, and is
	 * done by all at once, before anybody's turn. */
	bool is_compressed;
	/* What cannot be read is zero, and is warned of unless is_quiet. */
	bool is_salvaged, is_quiet;
	uint64_t rate_limit; /* bytes per second; 0: none */
	unsigned n_workers;
	struct progress *progress; /* begun */
};

enum {
	COPY_WORKERS_MAX = 16,
};

/* 0 or -errno, and where: the message is qemu-img's. */
int copy_run(const struct copy *copy, struct error *err);

#endif
