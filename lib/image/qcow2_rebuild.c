/* SPDX-License-Identifier: ISC */
/*
 * New refcount blocks and a new table, from what walks count, in clusters that
 * nothing refers to. One walk finds the places, another writes the blocks:
 *
 * - A range of the file, as one block counts it, has a block if something in it
 *   is in use: the first free cluster of the range, or if there is none, of
 *   what comes behind. With a block in it, that is in use, too.
 * - The table comes where it first fits, whose ranges may want blocks then;
 *   they lie behind it:
 *
 *	| block | in use | ... |  table  | blocks | ...
 *	^ range                ^ place   ^ place + n_table
 *
 * The file grows only where there is no room in it: a device cannot. Nothing
 * refers to any of it until all is on the disk and one write to the header
 * switches over; the old structure, counted like the rest, is then leaked and
 * given back as such.
 *
 * Where no more is wrong than that a block lies beyond the end of the file, the
 * file is made longer instead.
 */
#include "lib/image/qcow2_check.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	N_RANGES_MAX = QCOW2_REFCOUNT_TABLE_LEN_MAX / sizeof(uint64_t),
};

static const uint64_t NO_PLACE = UINT64_MAX; /* a block is needed */

struct qcow2_rebuild {
	uint64_t *blocks;   /* of each range, the cluster of its block, or 0 */
	uint64_t n_ranges;  /* up to the last with a block */
	uint64_t n_waiting; /* blocks without a place */
	uint64_t next;	    /* the first of them is not before this range */
	uint64_t from;	    /* no place is before this cluster */
	/* The free clusters that were seen last, and of each length up to
	 * longest where so many were seen first. */
	uint64_t run, run_end;
	uint64_t *first_run, longest, longest_max;
	uint64_t place, n_table; /* of the table */
	uint64_t area_end;	 /* of that, and of the blocks behind it */
	uint64_t end;		 /* of all */
	uint8_t *block;
};

static void rebuild_deinit(struct qcow2_rebuild *r)
{
	free(r->blocks);
	free(r->first_run);
	free(r->block);
}

static int rebuild_init(struct qcow2_rebuild *r, const struct qcow2_checker *c)
{
	const struct qcow2 *q = c->q;
	/* What was lost may be in what is counted. */
	uint64_t from = c->has_lost ? c->n_used : 1;

	if (c->has_cut && from < c->n_file)
		from = c->n_file;
	*r = (struct qcow2_rebuild){
		.from = from,
		/* The largest table and a block for each range it is in. */
		.longest_max =
			2 * (QCOW2_REFCOUNT_TABLE_LEN_MAX >> q->cluster_bits) +
			2,
	};
	r->blocks = calloc(N_RANGES_MAX, sizeof(*r->blocks));
	r->first_run = calloc(r->longest_max + 1, sizeof(*r->first_run));
	r->block = malloc(q->cluster_len);
	return r->blocks == NULL || r->first_run == NULL || r->block == NULL
		       ? -ENOMEM
		       : 0;
}

static int too_large(struct error *err)
{
	return error_set(err, -EFBIG,
			 "Refcount table would be larger than 8 MiB");
}

/* Something in this range is in use. */
static int need_block(struct qcow2_rebuild *r, uint64_t range,
		      struct error *err)
{
	if (range >= N_RANGES_MAX)
		return too_large(err);
	if (r->blocks[range] != 0)
		return 0;
	r->blocks[range] = NO_PLACE;
	r->n_waiting++;
	if (r->n_ranges <= range)
		r->n_ranges = range + 1;
	return 0;
}

static void add_free(struct qcow2_rebuild *r, uint64_t first, uint64_t end)
{
	if (first != r->run_end)
		r->run = first;
	r->run_end = end;
	while (r->longest < end - r->run && r->longest < r->longest_max)
		r->first_run[++r->longest] = r->run;
}

/* For the block that has waited longest. */
static int place_block(struct qcow2_checker *c, uint64_t i, struct error *err)
{
	struct qcow2_rebuild *r = c->rebuild;
	int rc = need_block(r, i >> c->q->refcount_block_bits, err);

	if (rc < 0)
		return rc;
	while (r->blocks[r->next] != NO_PLACE)
		r->next++;
	r->blocks[r->next] = i;
	r->n_waiting--;
	if (r->end <= i)
		r->end = i + 1;
	return 0;
}

/* [first, end) is a range, or what the window has of it. */
static int place_in_range(struct qcow2_checker *c, uint64_t first, uint64_t end,
			  struct error *err)
{
	struct qcow2_rebuild *r = c->rebuild;
	bool is_empty = qcow2_counted_none(c, first, end);
	int rc = 0;

	if (is_empty && r->n_waiting == 0 && first >= r->from) {
		add_free(r, first, end);
		return 0;
	}
	if (!is_empty)
		rc = need_block(r, first >> c->q->refcount_block_bits, err);
	for (uint64_t i = first; rc == 0 && i < end; i++) {
		if (i < r->from || (!is_empty && qcow2_counted(c, i) > 0))
			continue;
		if (r->n_waiting > 0)
			rc = place_block(c, i, err);
		else
			add_free(r, i, i + 1);
	}
	return rc;
}

static int each_range(struct qcow2_checker *c,
		      int (*visit)(struct qcow2_checker *c, uint64_t first,
				   uint64_t end, struct error *err),
		      struct error *err)
{
	unsigned bits = c->q->refcount_block_bits;
	uint64_t end = c->first + c->n, next;
	int rc = 0;

	for (uint64_t i = c->first; rc == 0 && i < end; i = next) {
		next = ((i >> bits) + 1) << bits;
		if (next > end)
			next = end;
		rc = visit(c, i, next, err);
	}
	return rc;
}

static int place_in_window(struct qcow2_checker *c, struct error *err)
{
	return each_range(c, place_in_range, err);
}

/* Where would n_table clusters and the blocks behind them end? */
static uint64_t end_of_area(const struct qcow2_checker *c, uint64_t place,
			    uint64_t n_table)
{
	const struct qcow2_rebuild *r = c->rebuild;
	uint64_t n = n_table, before, first, last;

	do {
		before = n;
		first = place >> c->q->refcount_block_bits;
		last = (place + n - 1) >> c->q->refcount_block_bits;
		n = n_table;
		for (uint64_t i = first; i <= last; i++)
			n += i >= N_RANGES_MAX || r->blocks[i] == 0;
	} while (n != before);
	return place + n;
}

/* Behind the last cluster in use there is no end of free ones. */
static uint64_t find_area(const struct qcow2_checker *c, uint64_t n_table,
			  uint64_t *end)
{
	const struct qcow2_rebuild *r = c->rebuild;
	uint64_t n = n_table, place;

	do {
		place = n <= r->longest ? r->first_run[n] : r->run;
		*end = end_of_area(c, place, n_table);
		if (n > r->longest)
			break;
		n++;
	} while (*end - place >= n);
	return place;
}

static int place_table(struct qcow2_checker *c, struct error *err)
{
	struct qcow2_rebuild *r = c->rebuild;
	unsigned bits = c->q->refcount_block_bits;
	uint64_t per_cluster = c->q->cluster_len / sizeof(uint64_t);
	uint64_t n_ranges = r->n_ranges, next;
	int rc = 0;

	do {
		r->n_table = (n_ranges + per_cluster - 1) / per_cluster;
		if (n_ranges > N_RANGES_MAX)
			return too_large(err);
		r->place = find_area(c, r->n_table, &r->area_end);
		if (n_ranges <= (r->area_end - 1) >> bits)
			n_ranges = ((r->area_end - 1) >> bits) + 1;
	} while (r->n_table * per_cluster < n_ranges);
	next = r->place + r->n_table;
	if (r->end < r->area_end)
		r->end = r->area_end;
	r->next = r->place >> bits;
	for (uint64_t i = r->place; rc == 0 && i < r->area_end; i++)
		rc = need_block(r, i >> bits, err);
	while (rc == 0 && r->n_waiting > 0)
		rc = place_block(c, next++, err);
	return rc;
}

static int find_places(struct qcow2_checker *c, struct error *err)
{
	struct qcow2_rebuild *r = c->rebuild;
	int rc = qcow2_check_windows(c, place_in_window, err);
	uint64_t i = c->n_host > r->from ? c->n_host : r->from;

	while (rc == 0 && r->n_waiting > 0)
		rc = place_block(c, i++, err);
	if (rc < 0)
		return rc;
	if (r->run_end != i)
		r->run = i;
	return place_table(c, err);
}

static bool is_in_area(const struct qcow2_rebuild *r, uint64_t i)
{
	return i >= r->place && i < r->area_end;
}

/* Blocks that are not in the area come in the order of their ranges, and each
 * is in its own or behind it. */
static void count_places(const struct qcow2_checker *c, uint64_t first,
			 uint64_t next)
{
	struct qcow2_rebuild *r = c->rebuild;
	unsigned bits = c->q->refcount_bits;

	for (; r->next < r->n_ranges; r->next++) {
		uint64_t i = r->blocks[r->next];

		if (i == 0 || is_in_area(r, i))
			continue;
		if (i >= next)
			break;
		qcow2_refcount_store(r->block, bits, i - first, 1);
	}
	for (uint64_t i = first > r->place ? first : r->place;
	     i < r->area_end && i < next; i++)
		qcow2_refcount_store(r->block, bits, i - first, 1);
}

static int write_range(struct qcow2_checker *c, uint64_t first, uint64_t end,
		       struct error *err)
{
	struct qcow2 *q = c->q;
	const struct qcow2_rebuild *r = c->rebuild;
	uint64_t range = first >> q->refcount_block_bits;
	int rc;

	if (range >= r->n_ranges || r->blocks[range] == 0)
		return 0;
	memset(r->block, 0, q->cluster_len);
	for (uint64_t i = first; i < end; i++)
		qcow2_refcount_store(r->block, q->refcount_bits, i - first,
				     qcow2_counted(c, i));
	count_places(c, first, (range + 1) << q->refcount_block_bits);
	rc = qcow2_cache_write(&q->refcount_cache,
			       r->blocks[range] << q->cluster_bits, r->block,
			       q->cluster_len);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write refcount block")
		      : 0;
}

static int write_window(struct qcow2_checker *c, struct error *err)
{
	return each_range(c, write_range, err);
}

/* Also those that only count the new structure. */
static int write_blocks(struct qcow2_checker *c, struct error *err)
{
	unsigned bits = c->q->refcount_block_bits;
	uint64_t i = ((c->n_host - 1) >> bits) + 1;
	int rc;

	c->rebuild->next = 0;
	rc = qcow2_check_windows(c, write_window, err);
	for (; rc == 0 && i < c->rebuild->n_ranges; i++)
		rc = write_range(c, i << bits, i << bits, err);
	return rc;
}

static int write_table(struct qcow2 *q, const struct qcow2_rebuild *r,
		       struct error *err)
{
	uint64_t offset = r->place << q->cluster_bits;
	int rc;

	for (uint64_t i = 0; i < r->n_ranges; i++)
		r->blocks[i] = htobe64(r->blocks[i] << q->cluster_bits);
	image_file_tell(q->file, IMAGE_EVENT_REFTABLE_UPDATE);
	rc = image_file_write(q->file, offset, r->blocks,
			      r->n_table << q->cluster_bits);
	for (uint64_t i = 0; i < r->n_ranges; i++)
		r->blocks[i] = be64toh(r->blocks[i]);
	if (rc == 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write refcount table")
		      : 0;
}

/* The width of the counts may be another one than the header says. */
static int switch_over(struct qcow2 *q, const struct qcow2_rebuild *r,
		       struct error *err)
{
	uint64_t offset = r->place << q->cluster_bits;
	uint32_t order = (uint32_t)__builtin_ctz(q->refcount_bits);
	int rc;

	if (order == q->header.refcount_order)
		rc = qcow2_set_refcount_table(q, offset, (uint32_t)r->n_table);
	else
		rc = qcow2_set_refcounts(q, offset, (uint32_t)r->n_table,
					 order);
	if (rc == 0)
		rc = qcow2_barrier(q);
	return rc < 0 ? error_set_errno(err, rc, "Could not write header") : 0;
}

/* The new table is in the image: here, too. */
static void use(struct qcow2_checker *c, struct qcow2_rebuild *r)
{
	struct qcow2 *q = c->q;
	uint64_t *table = realloc(r->blocks, r->n_table << q->cluster_bits);

	if (table == NULL)
		table = r->blocks;
	r->blocks = NULL;
	free(q->refcount_table);
	q->refcount_table = table;
	q->refcount_table_size =
		(uint32_t)(r->n_table << (q->cluster_bits - 3));
	q->free_hint = 0;
	if (r->end >= c->n_file && !q->file->is_block_device)
		q->fresh_from = r->end;
	q->pack_next = 0;
}

int qcow2_rebuild_refcounts(struct qcow2_checker *c, struct error *err)
{
	struct qcow2 *q = c->q;
	_cleanup_(rebuild_deinit) struct qcow2_rebuild r;
	int rc = rebuild_init(&r, c);

	if (rc < 0)
		return rc;
	c->rebuild = &r;
	c->is_recount = true;
	rc = find_places(c, err);
	if (rc == 0)
		rc = write_blocks(c, err);
	if (rc == 0)
		rc = write_table(q, &r, err);
	if (rc == 0)
		rc = switch_over(q, &r, err);
	c->rebuild = NULL;
	if (rc < 0)
		return rc;
	use(c, &r);
	return qcow2_filters_refill(q);
}

/* What ext4 takes. Other file systems, in memory too, take what no counts could
 * be written for. */
#define GROWN_LEN_MAX (16ULL << 40)

static uint64_t max_block_end(const struct qcow2 *q)
{
	uint64_t max = 0;

	for (uint64_t i = 0; i < q->refcount_table_size; i++) {
		uint64_t entry = q->refcount_table[i];

		if (!(entry & ~QCOW2_REFCOUNT_TABLE_OFFSET_MASK) &&
		    !(entry & (q->cluster_len - 1)) && entry > max)
			max = entry;
	}
	return max > (uint64_t)INT64_MAX - q->cluster_len
		       ? UINT64_MAX
		       : max + q->cluster_len;
}

void qcow2_checker_grow(struct qcow2_checker *c)
{
	const struct qcow2 *q = c->q;
	uint64_t end = max_block_end(q);
	uint64_t n_max = (uint64_t)q->refcount_table_size
			 << q->refcount_block_bits;

	c->grow_rc = 0;
	if (q->refcount_table_size == 0 || end >> q->cluster_bits <= c->n_file)
		return;
	if (end == UINT64_MAX || (end >> q->cluster_bits) > n_max)
		c->grow_rc = -EINVAL;
	else if (end > GROWN_LEN_MAX)
		c->grow_rc = -EFBIG;
	else
		c->grow_rc = image_file_truncate(q->file, end);
}
