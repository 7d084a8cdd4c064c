/* SPDX-License-Identifier: ISC */
/*
 * A stream-optimized VMDK disk ("Virtual Disk Format 5.0", §
 * "Stream-Optimized Compressed Sparse Extents"):
 *
 *	| header, descriptor | grain | grain | ... | table | grain ... | table |
 *	| directory | footer | end |
 *
 * A table comes when all of its grains are written; where there are none there
 * is none. The header says that the directory is at the end, where the
 * footer, which is the header again, says where.
 */
#include "lib/base/cleanup.h"
#include "lib/base/zero.h"
#include "lib/image/image.h"
#include "lib/image/vmdk_descriptor.h"
#include "protocols/vmdk.h"
#include "vm-img/stream.h"
#include "vm-img/stream_model.h"

#include <endian.h>
#include <libdeflate.h>
#include <stdio.h>
#include <string.h>

enum {
	GRAIN = VMDK_GRAIN_SECTORS * VMDK_SECTOR,
	/* Compressed, with its marker, in whole sectors. */
	PACKED = GRAIN + 2 * VMDK_SECTOR,
	/* What goes in, and what comes out. */
	PIECE = STREAM_UNITS * PACKED + GRAIN,
	LEVEL = 6,
};
_Static_assert(VMDK_TABLE_ENTRIES % STREAM_UNITS == 0, "a piece has one table");
/* aligned_alloc() wants whole pages. */
_Static_assert(PIECE % 4096 == 0, "pieces of pages");

struct disk {
	const struct stream *stream;
	const struct image_create_options *create;
	uint64_t size, n_grains, n_tables;
	const uint8_t *is_data;
	uint64_t sector; /* of the file, next */
	uint32_t table[VMDK_TABLE_ENTRIES];
	uint64_t table_index;
	bool is_table_used;
	uint32_t *directory; /* n_tables, in whole sectors */
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

/* Whole sectors. */
static int put(struct disk *d, const void *buf, size_t len, struct error *err)
{
	int rc = stream_write(d->stream, buf, len, err);

	d->sector += len / VMDK_SECTOR;
	if (d->sector > UINT32_MAX)
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'vmdk'");
	return rc;
}

static int put_marker(struct disk *d, enum vmdk_marker type, uint64_t n_sectors,
		      struct error *err)
{
	const struct vmdk_wire_marker marker = {
		.n_sectors = htole64(n_sectors),
		.type = htole32(type),
	};

	return put(d, &marker, sizeof(marker), err);
}

static int put_header(struct disk *d, uint64_t directory_offset,
		      struct error *err)
{
	const struct vmdk_wire_header header = {
		.magic = { 'K', 'D', 'M', 'V' },
		.version = htole32(VMDK_VERSION_MAX),
		.flags = htole32(VMDK_FLAG_NEWLINE | VMDK_FLAG_COMPRESSED |
				 VMDK_FLAG_MARKERS),
		.capacity = htole64(d->size / VMDK_SECTOR),
		.grain_sectors = htole64(VMDK_GRAIN_SECTORS),
		.descriptor_offset = htole64(1),
		.descriptor_sectors = htole64(VMDK_DESCRIPTOR_SECTORS),
		.table_entries = htole32(VMDK_TABLE_ENTRIES),
		.directory_offset = htole64(directory_offset),
		.overhead = htole64(VMDK_GRAIN_SECTORS),
		.newline = { '\n', ' ', '\r', '\n' },
		.compression = htole16(VMDK_DEFLATE),
	};

	return put(d, &header, sizeof(header), err);
}

static const char *find_option(const struct disk *d, const char *name)
{
	for (unsigned i = 0; i < d->create->n_options; i++)
		if (strcmp(d->create->options[i].name, name) == 0)
			return d->create->options[i].value;
	return NULL;
}

static const char *find_hw_version(const struct disk *d)
{
	const char *version = find_option(d, "hwversion");
	const char *is_6 = find_option(d, "compat6");

	if (version != NULL && strcmp(version, "undefined") != 0)
		return version;
	return is_6 != NULL && strcmp(is_6, "on") == 0 ? "6" : "4";
}

/* Where the disk's own name would be stands what a pipe has: none. */
static int put_descriptor(struct disk *d, struct error *err)
{
	char area[(VMDK_GRAIN_SECTORS - 1) * VMDK_SECTOR] = { 0 };
	_cleanup_free_ char *lines = NULL;
	const struct vmdk_text text = {
		.parent_cid = VMDK_NO_CID,
		.create_type = "streamOptimized",
		.size = d->size,
		.adapter = "ide",
		.hw_version = find_hw_version(d),
		.tools_version = VMDK_TOOLS_VERSION,
	};
	struct vmdk_text with_lines = text;
	const char *adapter = find_option(d, "adapter_type");
	const char *tools = find_option(d, "toolsversion");
	FILE *file;

	if (adapter != NULL)
		with_lines.adapter = adapter;
	if (tools != NULL)
		with_lines.tools_version = tools;

	if (asprintf(&lines, "RW %llu SPARSE \"disk.vmdk\"\n",
		     (unsigned long long)d->size / VMDK_SECTOR) < 0)
		return -ENOMEM;
	with_lines.lines = lines;
	file = fmemopen(area, (size_t)VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR,
			"w");
	if (file == NULL)
		return -errno;
	vmdk_descriptor_print(file, &with_lines);
	if (fclose(file) != 0)
		return -errno;
	return put(d, area, sizeof(area), err);
}

/* One grain, behind its marker, at out; its length in whole sectors. */
static int pack(struct libdeflate_compressor *deflater, uint64_t grain,
		const uint8_t *in, uint8_t *out, size_t *len, struct error *err)
{
	struct vmdk_wire_grain_marker marker = {
		.sector = htole64(grain * VMDK_GRAIN_SECTORS),
	};
	size_t n = libdeflate_zlib_compress(deflater, in, GRAIN,
					    out + sizeof(marker),
					    PACKED - sizeof(marker));
	size_t used = sizeof(marker) + n;

	if (n == 0)
		return error_set(err, -EIO, "A grain cannot be compressed");
	marker.len = htole32((uint32_t)n);
	memcpy(out, &marker, sizeof(marker));
	*len = divide_up(used, VMDK_SECTOR) * VMDK_SECTOR;
	memset(out + used, 0, *len - used);
	return 0;
}

static int fill(const struct stream_pass *pass, uint64_t index,
		struct stream_piece *piece, struct error *err)
{
	const struct disk *d = pass->context;
	uint8_t *in = piece->buf, *out = in + GRAIN;

	if (piece->tool == NULL)
		piece->tool = libdeflate_alloc_compressor(LEVEL);
	if (piece->tool == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < STREAM_UNITS; i++) {
		uint64_t grain = index * STREAM_UNITS + i;
		size_t len = 0;
		int rc;

		piece->at[i] = SIZE_MAX;
		if (grain >= d->n_grains || !stream_has_data(d->is_data, grain))
			continue;
		rc = stream_read(d->stream, grain * GRAIN, in, GRAIN, err);
		if (rc == 0 && is_zero(in, GRAIN))
			continue;
		if (rc == 0)
			rc = pack(piece->tool, grain, in, out + piece->len,
				  &len, err);
		if (rc < 0)
			return rc;
		piece->at[i] = piece->len;
		piece->len += len;
	}
	return 0;
}

static int put_table(struct disk *d, struct error *err)
{
	int rc;

	if (!d->is_table_used)
		return 0;
	rc = put_marker(d, VMDK_MARKER_TABLE, sizeof(d->table) / VMDK_SECTOR,
			err);
	d->directory[d->table_index] = htole32((uint32_t)d->sector);
	if (rc == 0)
		rc = put(d, d->table, sizeof(d->table), err);
	memset(d->table, 0, sizeof(d->table));
	d->is_table_used = false;
	return rc;
}

static int emit(const struct stream_pass *pass, uint64_t index,
		struct stream_piece *piece, struct error *err)
{
	struct disk *d = pass->context;
	uint64_t first = index * STREAM_UNITS;
	int rc = 0;

	if (d->table_index != first / VMDK_TABLE_ENTRIES)
		rc = put_table(d, err);
	d->table_index = first / VMDK_TABLE_ENTRIES;
	first %= VMDK_TABLE_ENTRIES;
	for (unsigned i = 0; i < STREAM_UNITS; i++)
		if (piece->at[i] != SIZE_MAX) {
			d->table[first + i] =
				htole32((uint32_t)(d->sector +
						   piece->at[i] / VMDK_SECTOR));
			d->is_table_used = true;
		}
	return rc == 0 ? put(d, piece->buf + GRAIN, piece->len, err) : rc;
}

static void free_deflater(void *deflater)
{
	libdeflate_free_compressor(deflater);
}

static int put_grains(struct disk *d, struct error *err)
{
	const struct stream_pass pass = {
		.stream = d->stream,
		.n = divide_up(d->n_grains, STREAM_UNITS),
		.is_data = d->is_data,
		.n_units = STREAM_UNITS,
		.buf_len = PIECE,
		.fill = fill,
		.emit = emit,
		.free_tool = free_deflater,
		.context = d,
	};

	return stream_run(&pass, err);
}

static int put_end(struct disk *d, struct error *err)
{
	uint64_t n_sectors =
		divide_up(d->n_tables * sizeof(uint32_t), VMDK_SECTOR);
	uint64_t directory;
	int rc = put_table(d, err);

	if (rc == 0)
		rc = put_marker(d, VMDK_MARKER_DIRECTORY, n_sectors, err);
	directory = d->sector;
	if (rc == 0)
		rc = put(d, d->directory, n_sectors * VMDK_SECTOR, err);
	if (rc == 0)
		rc = put_marker(d, VMDK_MARKER_FOOTER, 1, err);
	if (rc == 0)
		rc = put_header(d, directory, err);
	return rc == 0 ? put_marker(d, VMDK_MARKER_END, 0, err) : rc;
}

static int put_all(struct disk *d, struct error *err)
{
	int rc = put_header(d, VMDK_DIRECTORY_AT_END, err);

	if (rc == 0)
		rc = put_descriptor(d, err);
	if (rc == 0)
		rc = put_grains(d, err);
	return rc == 0 ? put_end(d, err) : rc;
}

int stream_vmdk(const struct stream *stream, const struct stream_target *target,
		struct error *err)
{
	struct disk d = {
		.stream = stream,
		.create = target->create,
		.size = divide_up(stream_size(stream), VMDK_SECTOR) *
			VMDK_SECTOR,
	};
	_cleanup_free_ uint8_t *is_data = NULL;
	_cleanup_free_ uint32_t *directory = NULL;
	struct stream_model model;
	int rc = stream_model_make(&model, target, err);

	stream_model_deinit(&model);
	if (rc < 0)
		return rc;
	d.n_grains = divide_up(d.size, GRAIN);
	d.n_tables = divide_up(d.n_grains, VMDK_TABLE_ENTRIES);
	if (d.n_tables > VMDK_DIRECTORY_MAX)
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'vmdk'");
	d.directory = directory = calloc(
		d.n_tables * sizeof(uint32_t) / VMDK_SECTOR + 1, VMDK_SECTOR);
	if (directory == NULL)
		return -ENOMEM;
	rc = stream_find_data(stream, GRAIN, &is_data, err);
	d.is_data = is_data;
	return rc == 0 ? put_all(&d, err) : rc;
}
