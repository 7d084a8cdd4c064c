/* SPDX-License-Identifier: ISC */
/* Inside the qcow2 engine: what a check counts, shared by its two halves. */
#ifndef LIB_IMAGE_QCOW2_CHECK_H
#define LIB_IMAGE_QCOW2_CHECK_H

#include "lib/image/qcow2.h"

enum {
	QCOW2_CHECK_TOUCHED = 4096, /* windows told apart, modulo this */
};

struct qcow2_checker {
	struct qcow2 *q;
	struct image_check *result;
	uint64_t file_len;
	uint64_t n_host; /* clusters of the file */
	/*
	 * References to the host clusters [first, first + n), counted. A file
	 * too large for one window is walked again for each; what is found
	 * wrong on the way is told in the first walk only.
	 */
	uint64_t first, n;
	bool is_first;
	bool is_wide; /* counts are 32 bits wide, else 16 */
	void *counts;
	uint64_t count_max; /* the width of the image's refcounts allows */
	bool has_wrong_copied;
	/* Windows that the first walk found references into. */
	uint64_t per_window;
	uint64_t touched[QCOW2_CHECK_TOUCHED / 64];
	/* The refcount block looked at last. */
	uint64_t block_index;
	const uint8_t *block;
};

void qcow2_found(struct qcow2_checker *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Count all references there are into the window. -errno: no memory, or a
 * read error that leaves the count without meaning. */
int qcow2_count_references(struct qcow2_checker *c, struct error *err);
uint64_t qcow2_counted(const struct qcow2_checker *c, uint64_t host_index);
/* The refcount on disk; -EIO: it cannot be read. */
int qcow2_checked_refcount(struct qcow2_checker *c, uint64_t host_index,
			   uint64_t *value);

#endif
