/* SPDX-License-Identifier: ISC */
/*
 * qcow2 from its first byte to its last: which clusters there will be is known
 * from the maps of the sources, so that all tables can go before the data.
 *
 *	| header | refcount table | refcount blocks | L1 | L2 ... | data ... |
 *
 * Every cluster of the file is in use once.
 */
#include "lib/base/cleanup.h"
#include "protocols/qcow2.h"
#include "vm-img/stream.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum {
	CLUSTER_BITS = 16,
	CLUSTER = 1 << CLUSTER_BITS,
	PER_TABLE = CLUSTER / 8, /* entries of 8 bytes */
	REFCOUNT_ORDER = 4,
	PER_BLOCK = CLUSTER / 2, /* refcounts of 2 bytes */
	PAGE = 4096,
};

#define ENTRY_COPIED (1ULL << 63)

struct layout {
	const struct stream *stream;
	uint64_t size, n_clusters; /* of the disk */
	const uint8_t *is_data;	   /* a bit for each of them */
	/* In clusters of the file: */
	uint64_t n_table, n_blocks, n_l1, n_l2, n_data;
	uint8_t *buf; /* one cluster */
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

/* Of one L2 table's clusters. */
static uint64_t count_data(const struct layout *l, uint64_t l2)
{
	uint64_t n = 0, end = (l2 + 1) * PER_TABLE;

	if (end > l->n_clusters)
		end = l->n_clusters;
	for (uint64_t i = l2 * PER_TABLE; i < end; i++)
		n += stream_has_data(l->is_data, i);
	return n;
}

static uint64_t n_before_data(const struct layout *l)
{
	return 1 + l->n_table + l->n_blocks + l->n_l1 + l->n_l2;
}

static int lay_out(struct layout *l, struct error *err)
{
	uint64_t n_tables = divide_up(l->n_clusters, PER_TABLE), before;

	if (n_tables * 8 > QCOW2_L1_LEN_MAX)
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'qcow2'");
	l->n_l1 = divide_up(n_tables, PER_TABLE);
	for (uint64_t i = 0; i < n_tables; i++) {
		uint64_t n = count_data(l, i);

		l->n_data += n;
		l->n_l2 += n > 0;
	}
	do {
		before = l->n_table + l->n_blocks;
		l->n_blocks =
			divide_up(n_before_data(l) + l->n_data, PER_BLOCK);
		l->n_table = divide_up(l->n_blocks, PER_TABLE);
	} while (l->n_table + l->n_blocks != before);
	return 0;
}

static int write_header(const struct layout *l, struct error *err)
{
	const struct qcow2_wire_header header = {
		.magic = htobe32(QCOW2_MAGIC),
		.version = htobe32(3),
		.cluster_bits = htobe32(CLUSTER_BITS),
		.size = htobe64(l->size),
		.l1_size =
			htobe32((uint32_t)divide_up(l->n_clusters, PER_TABLE)),
		.l1_offset =
			htobe64((1 + l->n_table + l->n_blocks) << CLUSTER_BITS),
		.refcount_table_offset = htobe64(CLUSTER),
		.refcount_table_clusters = htobe32((uint32_t)l->n_table),
		.refcount_order = htobe32(REFCOUNT_ORDER),
		.header_len = htobe32(sizeof(header)),
	};

	memset(l->buf, 0, CLUSTER);
	memcpy(l->buf, &header, sizeof(header));
	return stream_write(l->stream, l->buf, CLUSTER, err);
}

static void put_entry(const struct layout *l, uint64_t index, uint64_t value)
{
	value = htobe64(value);
	memcpy(l->buf + index * 8, &value, sizeof(value));
}

/* Blocks follow one another behind the table. */
static int write_refcount_table(const struct layout *l, struct error *err)
{
	int rc = 0;

	for (uint64_t t = 0; rc == 0 && t < l->n_table; t++) {
		memset(l->buf, 0, CLUSTER);
		for (uint64_t i = 0; i < PER_TABLE; i++)
			if (t * PER_TABLE + i < l->n_blocks)
				put_entry(l, i,
					  (1 + l->n_table + t * PER_TABLE + i)
						  << CLUSTER_BITS);
		rc = stream_write(l->stream, l->buf, CLUSTER, err);
	}
	return rc;
}

static int write_refcount_blocks(const struct layout *l, struct error *err)
{
	uint64_t n_all = n_before_data(l) + l->n_data;
	int rc = 0;

	for (uint64_t b = 0; rc == 0 && b < l->n_blocks; b++) {
		memset(l->buf, 0, CLUSTER);
		for (uint64_t i = 0; i < PER_BLOCK; i++)
			l->buf[i * 2 + 1] = b * PER_BLOCK + i < n_all;
		rc = stream_write(l->stream, l->buf, CLUSTER, err);
	}
	return rc;
}

static int write_l1(const struct layout *l, struct error *err)
{
	uint64_t next = n_before_data(l) - l->n_l2;
	int rc = 0;

	for (uint64_t t = 0; rc == 0 && t < l->n_l1; t++) {
		memset(l->buf, 0, CLUSTER);
		for (uint64_t i = 0; i < PER_TABLE; i++) {
			uint64_t l2 = t * PER_TABLE + i;

			if (l2 * PER_TABLE < l->n_clusters &&
			    count_data(l, l2) > 0)
				put_entry(l, i,
					  next++ << CLUSTER_BITS |
						  ENTRY_COPIED);
		}
		rc = stream_write(l->stream, l->buf, CLUSTER, err);
	}
	return rc;
}

static int write_l2(const struct layout *l, struct error *err)
{
	uint64_t next = n_before_data(l);
	int rc = 0;

	for (uint64_t first = 0; rc == 0 && first < l->n_clusters;
	     first += PER_TABLE) {
		if (count_data(l, first / PER_TABLE) == 0)
			continue;
		memset(l->buf, 0, CLUSTER);
		for (uint64_t i = 0; i < PER_TABLE; i++)
			if (first + i < l->n_clusters &&
			    stream_has_data(l->is_data, first + i))
				put_entry(l, i,
					  next++ << CLUSTER_BITS |
						  ENTRY_COPIED);
		rc = stream_write(l->stream, l->buf, CLUSTER, err);
	}
	return rc;
}

/* A piece is some clusters, without those that are not in the file. */
static int fill(const struct stream_pass *pass, uint64_t index,
		struct stream_piece *piece, struct error *err)
{
	const struct layout *l = pass->context;
	uint64_t end = (index + 1) * STREAM_UNITS;
	int rc = 0;

	if (end > l->n_clusters)
		end = l->n_clusters;
	for (uint64_t i = index * STREAM_UNITS; rc == 0 && i < end; i++) {
		if (!stream_has_data(l->is_data, i))
			continue;
		rc = stream_read(pass->stream, i << CLUSTER_BITS,
				 piece->buf + piece->len, CLUSTER, err);
		piece->len += CLUSTER;
	}
	return rc;
}

static int emit(const struct stream_pass *pass, uint64_t index,
		struct stream_piece *piece, struct error *err)
{
	(void)index;
	return stream_write(pass->stream, piece->buf, piece->len, err);
}

static int write_data(struct layout *l, struct error *err)
{
	const struct stream_pass pass = {
		.stream = l->stream,
		.n = divide_up(l->n_clusters, STREAM_UNITS),
		.is_data = l->is_data,
		.buf_len = (size_t)STREAM_UNITS * CLUSTER,
		.fill = fill,
		.emit = emit,
		.context = l,
	};

	return stream_run(&pass, err);
}

static int write_all(struct layout *l, struct error *err)
{
	int rc = lay_out(l, err);

	if (rc == 0)
		rc = write_header(l, err);
	if (rc == 0)
		rc = write_refcount_table(l, err);
	if (rc == 0)
		rc = write_refcount_blocks(l, err);
	if (rc == 0)
		rc = write_l1(l, err);
	if (rc == 0)
		rc = write_l2(l, err);
	return rc == 0 ? write_data(l, err) : rc;
}

int stream_qcow2(const struct stream *stream, struct error *err)
{
	struct layout l = { .stream = stream, .size = stream_size(stream) };
	_cleanup_free_ uint8_t *is_data = NULL, *buf = NULL;
	int rc;

	l.n_clusters = divide_up(l.size, CLUSTER);
	l.buf = buf = aligned_alloc(PAGE, CLUSTER);
	if (buf == NULL)
		return -ENOMEM;
	rc = stream_find_data(stream, CLUSTER, &is_data, err);
	l.is_data = is_data;
	return rc == 0 ? write_all(&l, err) : rc;
}
