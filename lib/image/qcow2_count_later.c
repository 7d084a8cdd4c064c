/* SPDX-License-Identifier: ISC */
/*
 * Of the references that a check counts, those of tables that were collected,
 * since entries without end would be looked at else: 65536 snapshots can share
 * one L1 table of 32 MiB, and all of its entries one L2 table.
 */
#include "lib/image/qcow2_check.h"

#include <errno.h>
#include <stdlib.h>

enum {
	SECTOR = 512, /* no entry is longer than that, or lies across one */
};

bool qcow2_count_now(struct qcow2_checker *c, uint64_t n_entries)
{
	bool is_now = n_entries <= c->entries_left;

	if (is_now)
		c->entries_left -= n_entries;
	return is_now;
}

struct reader {
	struct qcow2_checker *c;
	void *buf;
	size_t buf_len;
	int (*visit)(void *context, uint64_t offset, size_t len);
	void *context;
	/* As far as this the file has, or has not, data. */
	uint64_t extent_end;
	bool is_data;
};

static int read_data(struct reader *r, uint64_t offset, uint64_t len)
{
	int rc = 0;

	while (rc == 0 && len > 0) {
		size_t n = len < r->buf_len ? len : r->buf_len;

		rc = image_file_read(r->c->q->file, offset, r->buf, n);
		if (rc == 0)
			rc = r->visit(r->context, offset, n);
		offset += n;
		len -= n;
	}
	return rc;
}

/* Pieces may be many in one extent, and come in order. */
static int find_extent(struct reader *r, uint64_t offset)
{
	struct qcow2_checker *c = r->c;
	uint64_t len = 0;
	int rc;

	if (offset < r->extent_end)
		return 0;
	rc = image_file_extent(c->q->file, offset, c->file_len - offset,
			       &r->is_data, &len);
	r->extent_end = (offset + len + SECTOR - 1) & ~(uint64_t)(SECTOR - 1);
	return rc;
}

/* What lies beyond the end of the file, or in a hole, reads as zeroes: such
 * entries refer to nothing. */
static int read_piece(void *context, uint64_t offset, uint64_t len, uint64_t n)
{
	struct reader *r = context;
	uint64_t end = offset + len;

	r->c->weight = n;
	while (offset < end && offset < r->c->file_len) {
		int rc = find_extent(r, offset);
		uint64_t here = end;

		if (r->extent_end < end)
			here = r->extent_end;
		if (rc == 0 && r->is_data)
			rc = read_data(r, offset, here - offset);
		if (rc < 0)
			return rc;
		offset = here;
	}
	return 0;
}

int qcow2_count_spans(struct qcow2_checker *c, struct qcow2_spans *spans,
		      void *buf, size_t buf_len,
		      int (*visit)(void *context, uint64_t offset, size_t len),
		      void *context)
{
	struct reader r = {
		.c = c,
		.buf = buf,
		.buf_len = buf_len,
		.visit = visit,
		.context = context,
	};
	int rc = qcow2_spans_walk(spans, read_piece, &r);

	c->weight = 1;
	return rc;
}

int qcow2_count_clusters_later(struct qcow2_checker *c, uint64_t offset,
			       uint64_t len)
{
	uint64_t first = offset & ~(uint64_t)(c->q->cluster_len - 1);

	if (len == 0 || !qcow2_count_is_inside(c, offset, len))
		return 0;
	return qcow2_spans_add(&c->clusters, first,
			       qcow2_round_up(c->q, offset + len) - first, 1);
}

static int count_piece(void *context, uint64_t offset, uint64_t len, uint64_t n)
{
	struct qcow2_checker *c = context;

	c->weight = n;
	qcow2_count_inside(c, offset, len);
	return 0;
}

int qcow2_count_clusters(struct qcow2_checker *c)
{
	int rc = qcow2_spans_walk(&c->clusters, count_piece, c);

	c->weight = 1;
	return rc;
}

void qcow2_checker_deinit(struct qcow2_checker *c)
{
	qcow2_spans_deinit(&c->l1_tables);
	qcow2_spans_deinit(&c->l2_tables);
	qcow2_spans_deinit(&c->bitmap_tables);
	qcow2_spans_deinit(&c->clusters);
	free(c->counts);
	c->counts = NULL;
}
