/* SPDX-License-Identifier: ISC */
/* What convert is asked for: filled by its options, done by its work. */
#ifndef VM_IMG_CONVERT_H
#define VM_IMG_CONVERT_H

#include "vm-img/format_options.h"

#include <stdbool.h>
#include <stdint.h>

struct convert {
	char **sources;
	unsigned n_sources;
	const char *target, *format, *target_format;
	const char *cache, *source_cache, *snapshot;
	const char *backing, *backing_format; /* -B and -F */
	bool is_forced, has_copy_offload, wants_compression, wants_progress;
	bool is_quiet, has_no_create, is_target_zero, is_unordered;
	bool has_sparse, has_options, is_salvaged, skips_broken;
	bool is_target_options, wants_bitmaps, has_target_format;
	uint64_t min_sparse, n_workers, rate_limit;
	struct format_options options;
};

/* The exit status. What failed leaves no output that was not there before. */
int convert_do(struct convert *request);

/* convert_check.c: in the order in which qemu-img finds fault; -B and -F are
 * options of the target from then on. -errno and a message. */
int convert_check_target(struct convert *request);
/* Of a target whose format cannot. */
int convert_refuse_compression(void);

/* convert_stream.c: what cannot be had on a pipe is refused, by name; and the
 * work, from all sources. -errno and a message. */
int convert_stream_check(struct convert *request);
int convert_stream(const struct convert *request, struct image **sources,
		   const struct image_create_options *create);
/* Raw from one pipe to the other. */
int convert_pass_on(const struct convert *request);

#endif
