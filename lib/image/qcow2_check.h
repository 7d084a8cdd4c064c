/* SPDX-License-Identifier: ISC */
/* Inside the qcow2 engine: what a check counts, shared by its two halves. */
#ifndef LIB_IMAGE_QCOW2_CHECK_H
#define LIB_IMAGE_QCOW2_CHECK_H

#include "lib/image/qcow2.h"
#include "lib/image/qcow2_spans.h"

struct qcow2_rebuild;

enum {
	QCOW2_CHECK_TOUCHED = 4096, /* windows told apart, modulo this */
	QCOW2_CHECK_LINES_MAX = 1 << 16,
	QCOW2_CHECK_ENTRIES_NOW = 16 << 20,
};

struct qcow2_checker {
	struct qcow2 *q;
	struct image_check *result;
	uint64_t file_len;
	uint64_t n_host; /* clusters of the file that can be counted */
	uint64_t n_file; /* and that there are */
	/* That there were: a repair makes the file longer where refcount
	 * blocks lie beyond. grow_rc is why it could not. */
	uint64_t n_before;
	int grow_rc;
	/* Up to the last one that is counted by the image, for all that is
	 * known, or referred to; 0: not looked at. */
	uint64_t n_used;
	/*
	 * References to the host clusters [first, first + n), counted. A file
	 * too large for one window is walked again for each; what is found
	 * wrong on the way is told in the first walk only.
	 */
	uint64_t first, n;
	bool is_first;
	bool is_recount;     /* all of that was told and counted before */
	unsigned fix;	     /* enum image_repair_flags */
	unsigned fix_counts; /* the same, of refcounts: for the second walk */
	bool has_fixed;
	uint64_t shared_block; /* something else refers to it; 0: none */
	bool needs_rebuild;    /* refcounts are missing, or their blocks */
	uint64_t n_too_low, n_too_high; /* of the result, these are refcounts */
	/* Bytes of a count: 1, until one does not fit, which is rare. */
	unsigned width;
	void *counts;
	int result_of_widening; /* -ENOMEM: the counts have no meaning */
	uint64_t count_max;	/* the width of the image's refcounts allows */
	bool has_wrong_copied;
	bool has_lost; /* a snapshot's L1 table, or bitmaps, are not found */
	/* What begins in the file is said to end beyond it, and not counted:
	 * any of the clusters up to the file's end may be its own. */
	bool has_cut;
	/*
	 * Tables that many refer to are looked at many times, and told of as
	 * often, as by qemu-img, but not for ever: after so many entries they
	 * are collected, and each is looked at once. What is found there counts
	 * weight times.
	 */
	uint64_t entries_left, weight;
	struct qcow2_spans l1_tables, l2_tables, bitmap_tables, clusters;
	uint64_t n_lines;
	/* Windows that the first walk found references into. */
	uint64_t per_window;
	uint64_t touched[QCOW2_CHECK_TOUCHED / 64];
	/* The refcount block looked at last. */
	uint64_t block_index;
	const uint8_t *block;
	struct qcow2_rebuild *rebuild; /* qcow2_rebuild.c, meanwhile */
};

void qcow2_found(struct qcow2_checker *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Count all references there are into the window. -errno: no memory, or a
 * read error that leaves the count without meaning. */
int qcow2_count_references(struct qcow2_checker *c, struct error *err);
void qcow2_checker_deinit(struct qcow2_checker *c);
/* Of what one part of that walk finds: something is wrong, and so much of the
 * file is referred to. */
void qcow2_found_corrupt(struct qcow2_checker *c);
void qcow2_count_range(struct qcow2_checker *c, uint64_t offset, uint64_t len);
/* The two halves of that: if it is not, that is told. */
bool qcow2_count_is_inside(struct qcow2_checker *c, uint64_t offset,
			   uint64_t len);
void qcow2_count_inside(struct qcow2_checker *c, uint64_t offset, uint64_t len);
/* qcow2_count_later.c: is so much still to be looked at where it is referred
 * to? */
bool qcow2_count_now(struct qcow2_checker *c, uint64_t n_entries);
/* The clusters of a table are counted later: 0 or -ENOMEM. */
int qcow2_count_clusters_later(struct qcow2_checker *c, uint64_t offset,
			       uint64_t len);
/* In the order of the file, what of the spans has data, in pieces of at most
 * buf_len, read to buf; weight is set meanwhile. */
int qcow2_count_spans(struct qcow2_checker *c, struct qcow2_spans *spans,
		      void *buf, size_t buf_len,
		      int (*visit)(void *context, uint64_t offset, size_t len),
		      void *context);
int qcow2_count_clusters(struct qcow2_checker *c);
/* qcow2_count_tables.c: the same for a snapshot's L1 table of size entries, or
 * the disk's own. */
int qcow2_count_l1(struct qcow2_checker *c, uint64_t offset, uint64_t size,
		   bool is_active);
/* And what was collected meanwhile. */
int qcow2_count_collected(struct qcow2_checker *c, bool is_active);
uint64_t qcow2_counted(const struct qcow2_checker *c, uint64_t host_index);
/* Is nothing of [i, end), which is in the window, referred to? */
bool qcow2_counted_none(const struct qcow2_checker *c, uint64_t i,
			uint64_t end);
/* The refcount on disk; -EIO: it cannot be read. */
int qcow2_checked_refcount(struct qcow2_checker *c, uint64_t host_index,
			   uint64_t *value);

/* How long is the file now? Counts for as much of it as there may be. */
int qcow2_checker_look(struct qcow2_checker *c, struct error *err);
/* each() for one window of the file after the other, with its counts. */
int qcow2_check_windows(struct qcow2_checker *c,
			int (*each)(struct qcow2_checker *c, struct error *err),
			struct error *err);
/* qcow2_rebuild.c: the file reaches as far as the table says, or grow_rc tells
 * why not. */
void qcow2_checker_grow(struct qcow2_checker *c);
/* Forget the refcount block looked at last. */
void qcow2_checker_forget(struct qcow2_checker *c);

/* qcow2_check_snapshots.c: the snapshot table, before what it refers to is
 * counted. -EFBIG: only a repair can take away what is too much. */
int qcow2_check_snapshots(struct qcow2_checker *c, struct error *err);
/* After that: a table that was not as it must be is written anew. */
int qcow2_fix_snapshots(struct qcow2_checker *c, struct error *err);
/* qcow2_copied.c: the copied flags of the disk's own tables. */
int qcow2_check_copied(struct qcow2_checker *c, struct error *err);
/* qcow2_rebuild.c: new refcount blocks and a new table, with what is counted,
 * take over; the old ones are leaked. */
int qcow2_rebuild_refcounts(struct qcow2_checker *c, struct error *err);

#endif
