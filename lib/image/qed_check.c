/* SPDX-License-Identifier: ISC */
/* Checking a QED image's tables, and setting them right. */
#include "lib/image/qed.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <errno.h>

/* The table's entry if it cannot be, or the block's. */
int qed_forget(struct blocks *blocks, uint64_t index, struct error *err)
{
	struct qed *q = container_of(blocks, struct qed, blocks);
	uint64_t table = 0;
	int rc = qed_read_table(q, q->l1_offset, index / q->n_entries, false,
				&table);

	if (rc == 0 && !qed_is_place(q, table, q->table_len))
		rc = qed_write_table(q, q->l1_offset, index / q->n_entries, 0);
	else if (rc == 0)
		rc = qed_write_table(q, table, index % q->n_entries, 0);
	return rc < 0 ? error_set_errno(err, rc, "Could not repair tables") : 0;
}

/*
 * What lies behind the file's end was lost by a crash: the next new cluster
 * must not be found there by its old owner. The tables together are no longer
 * than the file, or some are there twice.
 */
int qed_repair_tables(struct qed *q, uint64_t file_size, struct error *err)
{
	uint64_t n_left = file_size / q->table_len + 1;
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < q->n_entries; i++) {
		uint64_t table = 0, entry = 0;

		rc = qed_read_table(q, q->l1_offset, i, false, &table);
		if (rc < 0 || table == 0)
			continue;
		if (!qed_is_place(q, table, q->table_len) ||
		    table + q->table_len > file_size) {
			rc = qed_write_table(q, q->l1_offset, i, 0);
			continue;
		}
		if (n_left-- == 0)
			return error_set(err, -EIO,
					 "QED tables are in use twice");
		for (uint64_t j = 0; rc == 0 && j < q->n_entries; j++) {
			rc = qed_read_table(q, table, j, false, &entry);
			if (rc == 0 && entry > QED_ENTRY_ZERO &&
			    (!qed_is_place(q, entry, q->cluster_len) ||
			     entry >= file_size))
				rc = qed_write_table(q, table, j, 0);
		}
	}
	return rc < 0 ? error_set_errno(err, rc, "Could not repair tables") : 0;
}

/* Clusters that hold tables. */
static int count_tables(struct qed *q, uint64_t *n, struct error *err)
{
	uint64_t len = q->table_len / q->cluster_len;
	int rc = 0;

	*n = q->header_len / q->cluster_len + len;
	for (uint64_t i = 0; rc == 0 && i < q->n_entries; i++) {
		uint64_t table = 0;

		rc = qed_read_table(q, q->l1_offset, i, false, &table);
		if (rc == 0 && table != 0 &&
		    qed_is_place(q, table, q->table_len))
			*n += len;
	}
	return rc < 0 ? error_set_errno(err, rc, "Could not read a table") : 0;
}

static int look(struct image *image, bool is_repair, struct image_check *check,
		struct error *err)
{
	struct qed *q = image->state;
	struct blocks_census census = { .table_len = q->n_entries };
	uint64_t n_used = 0, size = 0;
	int rc = blocks_check(&q->blocks, is_repair, check, &census, err);

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
	check->allocated_clusters = census.n_allocated;
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
