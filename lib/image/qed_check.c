/* SPDX-License-Identifier: ISC */
/* Checking a QED image's tables, and setting them right. */
#include "lib/image/qed.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct examination {
	struct qed *q;
	bool is_repair;
	struct image_check *check;
	struct error *err;
};

static int read_entry(struct qed *q, uint64_t table, uint64_t index,
		      uint64_t *entry, struct error *err)
{
	int rc = qed_read_table(q, table, index, false, entry);

	return rc < 0 ? error_set_errno(err, rc, "Could not read a table") : 0;
}

static int drop_entry(struct qed *q, uint64_t table, uint64_t index,
		      struct error *err)
{
	int rc = qed_write_table(q, table, index, 0);

	return rc < 0 ? error_set_errno(err, rc, "Could not repair tables") : 0;
}

/* Of a table that is there: those that are not were forgotten before. */
int qed_forget(struct blocks *blocks, uint64_t index, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);
	uint64_t table = 0, nowhere = 0, l2 = index % q->n_entries;
	int rc = read_entry(q, q->l1_offset, index / q->n_entries, &table, err);

	if (rc < 0)
		return rc;
	rc = table_write_later(&blocks->table, table + l2 * sizeof(nowhere),
			       &nowhere, sizeof(nowhere));
	return rc < 0 ? error_set_errno(err, rc, "Could not repair tables") : 0;
}

int qed_find_whole(struct blocks *blocks, uint64_t offset,
		   struct block_run *run, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);
	uint64_t table = 0;
	int rc =
		read_entry(q, q->l1_offset,
			   offset / q->cluster_len / q->n_entries, &table, err);

	/* The table counts as one, and not all that it had. */
	if (rc == 0 && table != 0 && !qed_is_in_file(q, table, q->table_len))
		return 0;
	return rc < 0 ? rc : blocks->ops->find(blocks, offset, false, run, err);
}

/* Through all tables, whose entries are looked at in turn. */
struct walk {
	struct qed *q;
	bool is_repair;
	uint64_t table;	 /* the one that is looked at */
	uint64_t n_left; /* that the file can have */
	int rc;		 /* < 0: what ended it */
	struct error *err;
};

/* An entry that leads nowhere goes, or the image is refused. */
static int drop(const struct walk *w, uint64_t index)
{
	if (w->is_repair)
		return drop_entry(w->q, w->table, index, w->err);
	return error_set(w->err, -EIO,
			 "QED tables lead beyond the file's end: it has to be "
			 "repaired before it can be written to");
}

static int look_at_clusters(void *context, const struct table_part *part)
{
	struct walk *w = context;
	const uint64_t *entries = part->entries;

	for (uint64_t i = 0; w->rc == 0 && i < part->n; i++) {
		uint64_t entry = le64toh(entries[i]);

		if (entry > QED_ENTRY_ZERO &&
		    !qed_is_in_file(w->q, entry, w->q->cluster_len))
			w->rc = drop(w, part->first + i);
	}
	return w->rc < 0;
}

static int look_through(const struct walk *from, uint64_t table,
			table_look *look)
{
	struct walk w = *from;
	int rc;

	w.table = table;
	rc = table_walk(&w.q->blocks.table, table, w.q->n_entries,
			sizeof(uint64_t), look, &w);
	return rc < 0 ? error_set_errno(w.err, rc, "Could not read a table")
		      : w.rc;
}

static int used_twice(struct error *err)
{
	return error_set(err, -EIO, "QED tables are in use twice");
}

/* Tables that the file has room for. */
static int count_left(const struct qed *q, uint64_t *n, struct error *err)
{
	uint64_t size;
	int rc = image_file_size(q->blocks.file, &size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	*n = size / q->table_len + 1;
	return 0;
}

static int look_at_tables(void *context, const struct table_part *part)
{
	struct walk *w = context;
	const uint64_t *entries = part->entries;

	for (uint64_t i = 0; w->rc == 0 && i < part->n; i++) {
		uint64_t table = le64toh(entries[i]);

		if (table == 0)
			continue;
		if (!qed_is_in_file(w->q, table, w->q->table_len))
			w->rc = drop(w, part->first + i);
		else if (w->n_left-- == 0)
			w->rc = used_twice(w->err);
		else
			w->rc = look_through(w, table, look_at_clusters);
	}
	return w->rc < 0;
}

/*
 * What lies behind the file's end was lost by a crash: the next new cluster
 * must not be found there by its old owner. The tables together are no longer
 * than the file, or some are there twice.
 */
int qed_look_through_tables(struct qed *q, bool is_repair, struct error *err)
{
	struct walk w = { .q = q, .is_repair = is_repair, .err = err };
	int rc = count_left(q, &w.n_left, err);

	return rc < 0 ? rc : look_through(&w, q->l1_offset, look_at_tables);
}

static __attribute__((format(printf, 4, 5))) int
found_bad(struct examination *e, uint64_t table, uint64_t index,
	  const char *format, ...)
{
	char line[256];
	va_list args;
	size_t n = (size_t)snprintf(line, sizeof(line), "%s ",
				    e->is_repair ? "Repairing" : "ERROR");

	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - n, format, args);
	va_end(args);
	if (e->check->found != NULL)
		e->check->found(e->check->context, line);
	if (!e->is_repair) {
		e->check->n_corruptions++;
		return 0;
	}
	e->check->n_corruptions_fixed++;
	return drop_entry(e->q, table, index, e->err);
}

/* Entries for what is behind the disk's end, which may grow. */
static int examine_behind(struct examination *e, uint64_t table,
			  uint64_t l1_index)
{
	struct qed *q = e->q;
	uint64_t n = (q->blocks.size + q->cluster_len - 1) / q->cluster_len;
	uint64_t first = l1_index * q->n_entries;
	int rc = 0;

	for (uint64_t i = first < n ? n - first : 0;
	     rc == 0 && i < q->n_entries; i++) {
		uint64_t entry = 0, block = first + i;

		rc = read_entry(q, table, i, &entry, e->err);
		if (rc == 0 && entry > QED_ENTRY_ZERO &&
		    !qed_is_in_file(q, entry, q->cluster_len))
			rc = found_bad(e, table, i,
				       "block %llu, behind the disk's end: "
				       "byte %llu is no place for it",
				       (unsigned long long)block,
				       (unsigned long long)entry);
	}
	return rc;
}

/* As many tables as the file can have; of the blocks in the disk blocks_check()
 * knows more. */
static int examine_tables(struct examination *e)
{
	struct qed *q = e->q;
	uint64_t n_left = 0;
	int rc = count_left(q, &n_left, e->err);

	if (rc == 0 && e->is_repair)
		rc = blocks_begin_writing(&q->blocks, e->err);
	for (uint64_t i = 0; rc == 0 && i < q->n_entries; i++) {
		uint64_t table = 0;

		rc = read_entry(q, q->l1_offset, i, &table, e->err);
		if (rc < 0 || table == 0)
			continue;
		if (qed_is_in_file(q, table, q->table_len))
			rc = n_left-- > 0 ? examine_behind(e, table, i)
					  : used_twice(e->err);
		else
			rc = found_bad(e, q->l1_offset, i,
				       "L2 table %llu: byte %llu %s",
				       (unsigned long long)i,
				       (unsigned long long)table,
				       qed_is_place(q, table, q->table_len)
					       ? "is beyond the file's end"
					       : "is not in a place for it");
	}
	return rc;
}

/* Clusters that hold tables. */
static int count_tables(struct qed *q, uint64_t *n, struct error *err)
{
	uint64_t len = q->table_len / q->cluster_len;
	int rc = 0;

	*n = q->header_len / q->cluster_len + len;
	for (uint64_t i = 0; rc == 0 && i < q->n_entries; i++) {
		uint64_t table = 0;

		rc = read_entry(q, q->l1_offset, i, &table, err);
		if (rc == 0 && table != 0 &&
		    qed_is_in_file(q, table, q->table_len))
			*n += len;
	}
	return rc;
}

static int look(struct image *image, bool is_repair, struct image_check *check,
		struct error *err)
{
	struct qed *q = image->state;
	struct blocks_census census = { .table_len = q->n_entries };
	struct examination e = { q, is_repair, check, err };
	uint64_t n_used = 0, size = 0;
	int rc;

	pthread_mutex_lock(&q->blocks.lock);
	rc = examine_tables(&e);
	pthread_mutex_unlock(&q->blocks.lock);
	if (rc == 0)
		rc = blocks_check(&q->blocks, is_repair, check, &census, err);
	if (rc == 0)
		rc = count_tables(q, &n_used, err);
	if (rc < 0)
		return rc;
	rc = image_file_size(image->file, &size);
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	n_used += census.n_allocated;
	if (size / q->cluster_len > n_used)
		check->n_leaks += size / q->cluster_len - n_used;
	check->total_clusters = census.n_blocks;
	check->allocated_clusters = census.n_allocated + census.n_lost;
	check->fragmented_clusters = census.n_fragmented;
	check->has_totals = true;
	return 0;
}

int qed_check(struct image *image, struct image_check *check, struct error *err)
{
	return look(image, false, check, err);
}

/* Leaks stay, as in QEMU: they cost room and nothing else. */
int qed_repair(struct image *image, unsigned what, struct image_check *check,
	       struct error *err)
{
	return look(image, what & IMAGE_REPAIR_ERRORS, check, err);
}
