/* SPDX-License-Identifier: ISC */
/*
 * What qemu-img calls the block status of a range: image_map()'s answer in
 * its words, through the whole chain, as compare, map and measure show it.
 */
#ifndef VM_IMG_STATUS_H
#define VM_IMG_STATUS_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct image;

struct status {
	uint64_t start, len;
	unsigned depth; /* 0: the image itself, 1: the one under it, … */
	/* Reads as zeroes; is stored somewhere; both: space is reserved for
	 * it that was not written yet. */
	bool is_zero, is_data;
	bool is_present; /* in the layer at depth, not just nowhere */
	bool is_compressed;
	bool is_by_blocks; /* QEMU would tell of one block of layer only */
	bool has_offset;
	uint64_t offset;       /* in layer's file */
	struct image *layer;   /* borrowed */
	const char *file_path; /* of an extent's own file; NULL: layer's */
	/* Data that is shown as something else. */
	bool has_marks;
	unsigned marks; /* enum image_marks */
};

/* Of the range that begins at start, at most len bytes of it; all of it lies
 * within the image. 0 or -errno. */
int status_get(struct image *image, uint64_t start, uint64_t len,
	       struct status *status, struct error *err);

#endif
