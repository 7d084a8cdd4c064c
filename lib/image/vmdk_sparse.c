/* SPDX-License-Identifier: ISC */
/*
 * A sparse extent: a directory of tables, of which most extents have two
 * copies, and grains.
 *
 *	directory -> table: one number for each grain -> sector of the grain
 *
 * A new grain: data, then the redundant table's entry, then the other one.
 * Compressed grains are behind a marker that says how long they are, and are
 * written at the end of the file; one that is written again leaves its first
 * place to nobody.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/vmdk.h"

#include <endian.h>
#include <libdeflate.h>
#include <string.h>

enum {
	LEVEL = 6,
	/* Of a compressed grain, which is in memory as a whole. */
	COMPRESSED_GRAIN_MAX = 8 << 20,
};

static struct vmdk_extent *extent_of(struct blocks *blocks)
{
	return container_of(blocks, struct vmdk_extent, blocks);
}

static uint64_t table_len(const struct vmdk_extent *e)
{
	return (uint64_t)e->table_entries * sizeof(uint32_t);
}

/* A number of a table, which is in the file as a whole: or its grains are lost,
 * and not holes. */
static int read_entry(struct vmdk_extent *e, uint64_t host_offset,
		      uint64_t index, bool nowait, uint32_t *entry,
		      struct error *err)
{
	int rc = 0;

	if (!blocks_reaches(&e->blocks, host_offset + table_len(e)))
		return error_set(err, -EIO,
				 "Grain table at offset %llu is beyond the "
				 "file's end",
				 (unsigned long long)host_offset);
	rc = table_read(&e->blocks.table, host_offset + index * sizeof(*entry),
			entry, sizeof(*entry), nowait);
	*entry = le32toh(*entry);
	return rc < 0 ? error_set_errno(err, rc, "Could not read a grain table")
		      : 0;
}

/* The sector number at index of the table that the directory names. */
static int find_entry(struct vmdk_extent *e, uint64_t index, bool nowait,
		      uint32_t *entry, struct error *err)
{
	uint32_t sector;
	int rc = table_read(&e->blocks.table,
			    e->directory_offset +
				    index / e->table_entries * sizeof(sector),
			    &sector, sizeof(sector), nowait);

	*entry = 0;
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read a grain directory");
	return sector == 0
		       ? 0
		       : read_entry(e, (uint64_t)le32toh(sector) * VMDK_SECTOR,
				    index % e->table_entries, nowait, entry,
				    err);
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct vmdk_extent *e = extent_of(blocks);
	uint64_t index = offset / e->grain_len;
	uint32_t entry;
	int rc = find_entry(e, index, nowait, &entry, err);

	if (rc < 0 || entry == 0)
		return rc;
	if (entry == VMDK_ENTRY_ZERO && e->has_zero_grains) {
		run->kind = BLOCK_ZERO;
		return 0;
	}
	run->host_offset = (uint64_t)entry * VMDK_SECTOR;
	run->kind = e->is_compressed ? BLOCK_COMPRESSED : BLOCK_DATA;
	if (!e->is_compressed)
		run->host_offset += offset % e->grain_len;
	run->unit_start = index * e->grain_len;
	run->unit_len = e->grain_len;
	run->host_len =
		e->has_markers ? sizeof(struct vmdk_wire_grain_marker) : 1;
	return 0;
}

/* Entries from index on, of n, of the directory or a table, that are zero. */
static uint64_t count_zeroes(struct vmdk_extent *e, uint64_t host_offset,
			     uint64_t index, uint64_t n)
{
	return table_count_zeroes(&e->blocks.table,
				  host_offset + index * sizeof(uint32_t),
				  (n - index) * sizeof(uint32_t)) /
	       sizeof(uint32_t);
}

/* What a table does not have, or tables that are not there. */
static uint64_t skip(struct blocks *blocks, uint64_t offset)
{
	struct vmdk_extent *e = extent_of(blocks);
	uint64_t index = offset / e->grain_len, n = e->table_entries;
	uint64_t in_directory = index / n, in_table = index % n;
	uint64_t table;
	uint32_t sector;

	if (table_read(&blocks->table,
		       e->directory_offset + in_directory * sizeof(sector),
		       &sector, sizeof(sector), false) < 0)
		return 0;
	table = (uint64_t)le32toh(sector) * VMDK_SECTOR;
	if (table != 0)
		return !blocks_reaches(blocks, table + table_len(e))
			       ? 0
			       : blocks_skipped(count_zeroes(e, table, in_table,
							     n),
						e->grain_len, 0);
	return blocks_skipped(count_zeroes(e, e->directory_offset, in_directory,
					   e->n_directory),
			      n * e->grain_len, in_table * e->grain_len);
}

int vmdk_read_marker(const struct vmdk_extent *e, uint64_t *at, size_t *len,
		     struct error *err)
{
	struct vmdk_wire_grain_marker marker;
	int rc;

	*len = 2 * e->grain_len;
	if (!e->has_markers)
		return 0;
	rc = image_file_read(e->blocks.file, *at, &marker, sizeof(marker));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a grain");
	if (marker.len == 0 || le32toh(marker.len) > *len)
		return error_set(err, -EINVAL,
				 "Grain marker at offset %llu says %u bytes",
				 (unsigned long long)*at, le32toh(marker.len));
	*len = le32toh(marker.len);
	*at += sizeof(marker);
	return 0;
}

static int inflate(struct blocks *blocks, const struct block_run *run,
		   uint8_t *buf, struct error *err)
{
	struct vmdk_extent *e = extent_of(blocks);
	struct libdeflate_decompressor *d;
	_cleanup_free_ uint8_t *packed = NULL;
	uint64_t at = run->host_offset;
	uint64_t left = blocks->size - run->unit_start;
	size_t len, n_in, n_out = 0;
	enum libdeflate_result result;
	int rc = vmdk_read_marker(e, &at, &len, err);

	if (rc < 0)
		return rc;
	packed = malloc(len);
	d = libdeflate_alloc_decompressor();
	if (packed == NULL || d == NULL) {
		libdeflate_free_decompressor(d);
		return -ENOMEM;
	}
	rc = image_file_read(blocks->file, at, packed, len);
	result = rc < 0 ? LIBDEFLATE_SUCCESS
			: libdeflate_zlib_decompress_ex(d, packed, len, buf,
							run->unit_len, &n_in,
							&n_out);
	libdeflate_free_decompressor(d);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a grain");
	/* The last grain need not reach beyond the disk's end. */
	if (result != LIBDEFLATE_SUCCESS ||
	    (n_out < run->unit_len && n_out < left))
		return error_set(err, -EIO,
				 "Grain at offset %llu cannot be decompressed",
				 (unsigned long long)run->host_offset);
	memset(buf + n_out, 0, run->unit_len - n_out);
	return 0;
}

/* With what a marker near the file's end says: whether all of it is there. */
static int find_whole(struct blocks *blocks, uint64_t offset,
		      struct block_run *run, struct error *err)
{
	struct vmdk_extent *e = extent_of(blocks);
	uint64_t at;
	size_t len;
	int rc = find(blocks, offset, false, run, err);

	at = run->host_offset;
	if (rc < 0 || run->kind != BLOCK_COMPRESSED || !e->has_markers ||
	    blocks_reaches(blocks, at + 2 * e->grain_len) ||
	    !blocks_reaches(blocks, at + run->host_len))
		return rc;
	rc = vmdk_read_marker(e, &at, &len, err);
	run->host_len = at - run->host_offset + len;
	return rc;
}

static int deflate(struct blocks *blocks, uint64_t index, const uint8_t *data,
		   uint8_t **packed, size_t *len, struct error *err)
{
	struct vmdk_extent *e = extent_of(blocks);
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(LEVEL);
	struct vmdk_wire_grain_marker marker = {
		.sector = htole64(index * (e->grain_len / VMDK_SECTOR)),
	};
	size_t head = e->has_markers ? sizeof(marker) : 0, room, n;

	if (c == NULL)
		return -ENOMEM;
	room = head + libdeflate_zlib_compress_bound(c, e->grain_len);
	room = (room + VMDK_SECTOR - 1) & ~(size_t)(VMDK_SECTOR - 1);
	*packed = calloc(1, room);
	n = *packed == NULL
		    ? 0
		    : libdeflate_zlib_compress(c, data, e->grain_len,
					       *packed + head, room - head);
	libdeflate_free_compressor(c);
	if (*packed == NULL)
		return -ENOMEM;
	if (n == 0)
		return error_set(err, -EIO, "Could not compress a grain");
	marker.len = htole32((uint32_t)n);
	memcpy(*packed, &marker, head);
	*len = (head + n + VMDK_SECTOR - 1) & ~(size_t)(VMDK_SECTOR - 1);
	return 0;
}

/* The table of a grain in one of the directories, made if there is none. */
static int own_table(struct vmdk_extent *e, uint64_t directory, uint64_t index,
		     uint64_t *table, struct error *err)
{
	uint64_t at = directory + index / e->table_entries * sizeof(uint32_t);
	uint64_t len = (uint64_t)e->table_entries * sizeof(uint32_t);
	struct block_place place = { .host_offset = 0 };
	uint32_t sector;
	int rc = table_read(&e->blocks.table, at, &sector, sizeof(sector),
			    false);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not read a grain directory");
	*table = (uint64_t)le32toh(sector) * VMDK_SECTOR;
	if (sector != 0)
		return 0;
	len = (len + VMDK_SECTOR - 1) & ~(uint64_t)(VMDK_SECTOR - 1);
	rc = vmdk_append(e, VMDK_SECTOR, len, &place, err);
	if (rc < 0)
		return rc;
	if (place.host_offset / VMDK_SECTOR > UINT32_MAX)
		return error_set(err, -EFBIG, "VMDK extent is too big");
	sector = htole32((uint32_t)(place.host_offset / VMDK_SECTOR));
	rc = table_clear(&e->blocks.table, place.host_offset, len);
	if (rc == 0)
		rc = table_write(&e->blocks.table, at, &sector, sizeof(sector));
	*table = place.host_offset;
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write a grain directory")
		      : 0;
}

static int set_entry(struct vmdk_extent *e, uint64_t directory, uint64_t index,
		     uint32_t value, struct error *err)
{
	uint64_t table = 0;
	int rc = own_table(e, directory, index, &table, err);

	if (rc < 0)
		return rc;
	value = htole32(value);
	rc = table_write(&e->blocks.table,
			 table + index % e->table_entries * sizeof(value),
			 &value, sizeof(value));
	return rc < 0 ? error_set_errno(err, rc,
					"Could not write a grain table")
		      : 0;
}

static int set_entries(struct vmdk_extent *e, uint64_t index, uint64_t sector,
		       struct error *err)
{
	int rc = 0;

	if (sector > UINT32_MAX)
		return error_set(err, -EFBIG, "VMDK extent is too big");
	if (e->has_redundant)
		rc = set_entry(e, e->redundant_offset, index, (uint32_t)sector,
			       err);
	return rc < 0 ? rc
		      : set_entry(e, e->directory_offset, index,
				  (uint32_t)sector, err);
}

static int begin_writing(struct blocks *blocks, struct error *err)
{
	/* New grains would stand behind what must come last. */
	if (extent_of(blocks)->is_at_end)
		return error_set(err, -EROFS,
				 "VMDK extent with its directory at the end "
				 "is for reading only");
	return vmdk_begin_writing(blocks, err);
}

/* A grain that is there may not be overwritten by others than us either:
 * of the same length it hardly is. */
static int store(struct blocks *blocks, uint64_t index, const uint8_t *packed,
		 size_t len, bool is_new, struct error *err)
{
	struct vmdk_extent *e = extent_of(blocks);
	struct block_place place = { .host_offset = 0 };
	int rc = vmdk_append(e, VMDK_SECTOR, len, &place, err);

	if (rc < 0)
		return rc;
	rc = image_file_write(blocks->file, place.host_offset, packed, len);
	if (rc == 0 && !is_new)
		rc = image_file_flush(blocks->file);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write a grain");
	return set_entries(e, index, place.host_offset / VMDK_SECTOR, err);
}

static int allocate(struct blocks *blocks, uint64_t index,
		    struct block_place *place, struct error *err)
{
	uint64_t len = blocks->block_len;

	(void)index;
	return vmdk_append(extent_of(blocks), len, len, place, err);
}

static int enter(struct blocks *blocks, uint64_t index,
		 const struct block_place *place, struct error *err)
{
	return set_entries(extent_of(blocks), index,
			   place->host_offset / VMDK_SECTOR, err);
}

static int enter_zero(struct blocks *blocks, uint64_t index, struct error *err)
{
	return set_entries(extent_of(blocks), index, VMDK_ENTRY_ZERO, err);
}

static const struct blocks_ops plain_ops = {
	.find = find,
	.skip = skip,
	.begin_writing = begin_writing,
	.allocate = allocate,
	.enter = enter,
};

static const struct blocks_ops zero_ops = {
	.find = find,
	.skip = skip,
	.begin_writing = begin_writing,
	.allocate = allocate,
	.enter = enter,
	.enter_zero = enter_zero,
};

static const struct blocks_ops compressed_ops = {
	.find = find,
	.skip = skip,
	.find_whole = find_whole,
	.inflate = inflate,
	.begin_writing = begin_writing,
	.deflate = deflate,
	.store = store,
};

/* The last sectors of an extent that was written as a stream. */
static int read_footer(const struct image_file *file, uint64_t file_size,
		       struct vmdk_wire_header *w, struct error *err)
{
	struct vmdk_wire_footer footer;
	int rc;

	if (file_size < sizeof(footer))
		return error_set(err, -EINVAL, "Invalid footer");
	rc = image_file_read(file, file_size - sizeof(footer), &footer,
			     sizeof(footer));
	if (rc < 0)
		return error_set_errno(err, rc, "Failed to read footer");
	if (memcmp(footer.header.magic, VMDK_MAGIC, VMDK_MAGIC_LEN) != 0 ||
	    footer.marker.len != 0 ||
	    le32toh(footer.marker.type) != VMDK_MARKER_FOOTER ||
	    footer.end.n_sectors != 0 || footer.end.len != 0 ||
	    le32toh(footer.end.type) != VMDK_MARKER_END)
		return error_set(err, -EINVAL, "Invalid footer");
	*w = footer.header;
	return 0;
}

static int check_hosted(struct vmdk_extent *e, const struct vmdk_wire_header *w,
			bool is_read_only, uint64_t file_size,
			struct error *err)
{
	uint32_t version = le32toh(w->version);

	if (version > VMDK_VERSION_MAX)
		return error_set(err, -ENOTSUP, "Unsupported VMDK version %u",
				 version);
	if (version == 3 && !is_read_only && !e->is_compressed)
		return error_set(err, -EINVAL,
				 "VMDK version 3 must be read only");
	if (le32toh(w->table_entries) > VMDK_TABLE_ENTRIES)
		return error_set(err, -EINVAL, "L2 table size too big");
	if (le64toh(w->overhead) > file_size / VMDK_SECTOR)
		return error_set(err, -EINVAL,
				 "File truncated, expecting at least %llu "
				 "bytes",
				 (unsigned long long)le64toh(w->overhead) *
					 VMDK_SECTOR);
	return 0;
}

/* Tables and grains, in sectors, into e; each number checked. */
static int take_layout(struct vmdk_extent *e, uint64_t capacity,
		       uint64_t grain_sectors, uint64_t directory,
		       uint64_t redundant, struct error *err)
{
	const uint64_t max = INT64_MAX / VMDK_SECTOR / 2;
	uint64_t per_table = grain_sectors * e->table_entries;

	if (grain_sectors > VMDK_GRAIN_SECTORS_MAX)
		return error_set(err, -EFBIG,
				 "Invalid granularity, image may be corrupt");
	if (per_table == 0)
		return error_set(err, -EINVAL,
				 "VMDK extent has grains or tables of no size");
	if (capacity / per_table >= VMDK_DIRECTORY_MAX)
		return error_set(err, -EFBIG, "L1 size too big");
	if (capacity > max || directory > max || redundant > max)
		return error_set(err, -EFBIG,
				 "VMDK extent is larger than any file");
	e->grain_len = grain_sectors * VMDK_SECTOR;
	if (e->is_compressed && e->grain_len > COMPRESSED_GRAIN_MAX)
		return error_set(err, -EFBIG,
				 "VMDK extent has compressed grains of more "
				 "than %d bytes",
				 COMPRESSED_GRAIN_MAX);
	e->directory_offset = directory * VMDK_SECTOR;
	e->redundant_offset = redundant * VMDK_SECTOR;
	e->blocks.size = capacity * VMDK_SECTOR;
	e->blocks.block_len = e->grain_len;
	e->n_directory = (capacity + per_table - 1) / per_table;
	return 0;
}

int vmdk_sparse_read_header(const struct image_file *file,
			    struct vmdk_wire_header *header, struct error *err)
{
	int rc = image_file_read(file, 0, header, sizeof(*header));

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VMDK header");
	return 0;
}

static int open_hosted(struct vmdk_extent *e, struct vmdk_wire_header *w,
		       const struct image_file *file, struct error *err)
{
	uint64_t file_size;
	int rc = image_file_size(file, &file_size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (le64toh(w->directory_offset) == VMDK_DIRECTORY_AT_END) {
		e->is_at_end = true;
		rc = read_footer(file, file_size, w, err);
		if (rc < 0)
			return rc;
	}
	e->is_compressed = le16toh(w->compression) == VMDK_DEFLATE;
	e->has_markers = le32toh(w->flags) & VMDK_FLAG_MARKERS;
	e->has_zero_grains = le32toh(w->flags) & VMDK_FLAG_ZERO_GRAIN;
	e->has_redundant = le32toh(w->flags) & VMDK_FLAG_REDUNDANT;
	rc = check_hosted(e, w, file->is_read_only, file_size, err);
	if (rc < 0)
		return rc;
	e->table_entries = le32toh(w->table_entries);
	return take_layout(e, le64toh(w->capacity), le64toh(w->grain_sectors),
			   le64toh(w->directory_offset),
			   e->has_redundant ? le64toh(w->redundant_offset) : 0,
			   err);
}

static int open_cowd(struct vmdk_extent *e, const struct vmdk_wire_cowd *w,
		     struct error *err)
{
	e->table_entries = VMDK_COWD_TABLE_ENTRIES;
	return take_layout(e, le32toh(w->capacity), le32toh(w->grain_sectors),
			   le32toh(w->directory_offset), 0, err);
}

/* Of an extent whose directory was lost nobody knows what it has. */
static int check_directory(const struct vmdk_extent *e,
			   const struct image_file *file, struct error *err)
{
	uint64_t end = e->directory_offset + e->n_directory * sizeof(uint32_t);
	uint64_t size = 0;
	int rc = image_file_size(file, &size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	return end <= size ? 0
			   : error_set(err, -EINVAL,
				       "VMDK grain directory is beyond the "
				       "file's end");
}

int vmdk_sparse_open(struct vmdk_extent *e, struct image *image,
		     struct image_file *file, struct error *err)
{
	union {
		struct vmdk_wire_header hosted;
		struct vmdk_wire_cowd cowd;
	} w;
	int rc = vmdk_sparse_read_header(file, &w.hosted, err);

	if (rc < 0)
		return rc;
	if (memcmp(w.hosted.magic, VMDK_MAGIC, VMDK_MAGIC_LEN) == 0)
		rc = open_hosted(e, &w.hosted, file, err);
	else if (memcmp(w.hosted.magic, VMDK_COWD_MAGIC, VMDK_MAGIC_LEN) == 0)
		rc = open_cowd(e, &w.cowd, err);
	else
		rc = error_set(err, -EINVAL, "Image not in VMDK format");
	if (rc == 0)
		rc = check_directory(e, file, err);
	if (rc < 0)
		return rc;
	e->blocks.image = image;
	e->blocks.file = file;
	e->blocks.is_whole = e->blocks.is_len_stable = true;
	if (e->is_compressed)
		e->blocks.ops = &compressed_ops;
	else
		e->blocks.ops = e->has_zero_grains ? &zero_ops : &plain_ops;
	return 0;
}
