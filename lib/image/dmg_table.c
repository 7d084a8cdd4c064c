/* SPDX-License-Identifier: ISC */
/*
 * Where the chunks of a dmg are. The trailer, in the last kilobyte, leads to a
 * property list, in which tables stand in base64, or in older images to a
 * resource fork with the same tables as they are. What is no table there is
 * something else of Apple's, and passed over.
 */
#include "lib/image/dmg.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file.h"
#include "protocols/dmg.h"

#include <endian.h>
#include <string.h>

enum {
	TRAILER_SEARCH = 2 * sizeof(struct dmg_wire_trailer) - 1,
	TABLE_MIN =
		sizeof(struct dmg_wire_table) + sizeof(struct dmg_wire_chunk),
};

static const char *method_name(uint32_t type)
{
	if (type == DMG_ADC)
		return "ADC";
	return type == DMG_LZFSE ? "LZFSE" : "LZMA";
}

static int check_type(uint32_t type, struct error *err)
{
	if (type == DMG_ADC || type == DMG_LZFSE || type == DMG_LZMA)
		return error_set(err, -ENOTSUP,
				 "Compression %s of dmg is not supported",
				 method_name(type));
	return 0;
}

/* What QEMU knows; others say nothing of the disk. */
static bool is_known(uint32_t type)
{
	return type == DMG_ZERO || type == DMG_RAW || type == DMG_IGNORE ||
	       type == DMG_ZLIB || type == DMG_BZIP2;
}

static bool has_data(uint32_t type)
{
	return type != DMG_ZERO && type != DMG_IGNORE;
}

/* In QEMU's words. */
static int check_sizes(uint64_t n_sectors, uint64_t len, uint64_t i,
		       struct error *err)
{
	if (n_sectors > DMG_CHUNK_MAX / DMG_SECTOR)
		return error_set(err, -EINVAL,
				 "sector count %llu for chunk %llu is larger "
				 "than max (%u)",
				 (unsigned long long)n_sectors,
				 (unsigned long long)i,
				 DMG_CHUNK_MAX / DMG_SECTOR);
	if (len > DMG_CHUNK_MAX)
		return error_set(err, -EINVAL,
				 "length %llu for chunk %llu is larger than "
				 "max (%u)",
				 (unsigned long long)len, (unsigned long long)i,
				 DMG_CHUNK_MAX);
	return 0;
}

static int add_chunk(struct dmg_table *t, const struct dmg_wire_chunk *w,
		     uint64_t first_sector, struct error *err)
{
	uint64_t n = be64toh(w->n_sectors), sector, end, host_offset;
	uint32_t type = be32toh(w->type);
	int rc = check_type(type, err);

	if (rc < 0 || !is_known(type) || n == 0)
		return rc;
	if (has_data(type))
		rc = check_sizes(n, be64toh(w->len), t->n_chunks, err);
	if (rc < 0)
		return rc;
	if (__builtin_add_overflow(first_sector, be64toh(w->sector), &sector) ||
	    __builtin_add_overflow(sector, n, &end) ||
	    end > INT64_MAX / DMG_SECTOR ||
	    __builtin_add_overflow(t->data_fork_offset, be64toh(w->offset),
				   &host_offset) ||
	    host_offset > INT64_MAX - DMG_CHUNK_MAX)
		return error_set(err, -EINVAL, "Chunk %llu is out of range",
				 (unsigned long long)t->n_chunks);
	t->chunks[t->n_chunks++] = (struct dmg_chunk){
		.offset = sector * DMG_SECTOR,
		.len = n * DMG_SECTOR,
		.host_offset = host_offset,
		.host_len = be64toh(w->len),
		.type = type,
	};
	if (end * DMG_SECTOR > t->size)
		t->size = end * DMG_SECTOR;
	return 0;
}

/* One table, if it is one. */
static int add_table(struct dmg_table *t, const uint8_t *data, size_t len,
		     struct error *err)
{
	size_t n = 0, at = sizeof(struct dmg_wire_table);
	struct dmg_wire_table w;
	struct dmg_chunk *chunks;
	int rc = 0;

	if (len < TABLE_MIN)
		return 0;
	memcpy(&w, data, sizeof(w));
	if (be32toh(w.magic) != DMG_TABLE_MAGIC)
		return 0;
	n = (len - at) / sizeof(struct dmg_wire_chunk);
	chunks = realloc(t->chunks, (t->n_chunks + n) * sizeof(*chunks));
	if (chunks == NULL)
		return -ENOMEM;
	t->chunks = chunks;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct dmg_wire_chunk c;

		memcpy(&c, data + at, sizeof(c));
		at += sizeof(c);
		rc = add_chunk(t, &c, be64toh(w.first_sector), err);
	}
	return rc;
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 (RFC 4648 §4) in place, whatever stands between its digits. */
static size_t decode(char *text, const char *end)
{
	uint8_t *to = (uint8_t *)text;
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t n = 0;

	for (const char *c = text; c < end && *c != '='; c++) {
		int value = digit(*c);

		if (value < 0)
			continue;
		bits = (bits << 6 | (uint32_t)value) & 0xfff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			to[n++] = (uint8_t)(bits >> n_bits);
		}
	}
	return n;
}

int dmg_table_parse_xml(struct dmg_table *table, char *xml, struct error *err)
{
	static const char begin[] = "<data>", end[] = "</data>";
	int rc = 0;

	while (rc == 0) {
		char *data = strstr(xml, begin), *after;

		if (data == NULL)
			return 0;
		data += strlen(begin);
		after = strstr(data, end);
		if (after == NULL)
			return error_set(err, -EINVAL,
					 "Property list of dmg is cut off");
		xml = after + strlen(end);
		rc = add_table(table, (uint8_t *)data, decode(data, after),
			       err);
	}
	return rc;
}

static int read_xml(struct dmg_table *t, const struct image_file *file,
		    uint64_t offset, uint64_t len, struct error *err)
{
	_cleanup_free_ char *xml = NULL;
	int rc;

	if (len > DMG_TABLES_MAX)
		return error_set(err, -EFBIG,
				 "Property list of dmg is too large");
	xml = malloc(len + 1);
	if (xml == NULL)
		return -ENOMEM;
	xml[len] = '\0';
	rc = image_file_read(file, offset, xml, len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read tables");
	return dmg_table_parse_xml(t, xml, err);
}

static uint32_t number_at(const uint8_t *bytes)
{
	uint32_t number;

	memcpy(&number, bytes, sizeof(number));
	return be32toh(number);
}

/* Offset of the data, a list of lengths and tables, is its first field. */
static int parse_resources(struct dmg_table *t, const uint8_t *fork,
			   uint64_t len, struct error *err)
{
	uint64_t at = len >= 16 ? number_at(fork) : 0, end;
	int rc = 0;

	if (at < 16 || at > len)
		return error_set(err, -EINVAL,
				 "Resource fork of dmg is corrupt");
	end = at + number_at(fork + 8);
	if (end > len)
		return error_set(err, -EINVAL,
				 "Resource fork of dmg is corrupt");
	while (rc == 0 && at + 4 <= end) {
		uint64_t n = number_at(fork + at);

		at += 4;
		if (n == 0 || n > end - at)
			return error_set(err, -EINVAL,
					 "Resource fork of dmg is corrupt");
		rc = add_table(t, fork + at, n, err);
		at += n;
	}
	return rc;
}

static int read_resources(struct dmg_table *t, const struct image_file *file,
			  uint64_t offset, uint64_t len, struct error *err)
{
	_cleanup_free_ uint8_t *fork = NULL;
	int rc;

	if (len > DMG_TABLES_MAX)
		return error_set(err, -EFBIG,
				 "Resource fork of dmg is too large");
	fork = malloc(len);
	if (fork == NULL)
		return -ENOMEM;
	rc = image_file_read(file, offset, fork, len);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read tables");
	return parse_resources(t, fork, len, err);
}

static int find_trailer(const struct image_file *file,
			struct dmg_wire_trailer *w, uint64_t *offset,
			struct error *err)
{
	uint8_t end[TRAILER_SEARCH + sizeof(*w)] = { 0 };
	uint64_t size, start;
	int rc = image_file_size(file, &size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (size == 0)
		return error_set(err, -EINVAL,
				 "dmg file must be at least 512 bytes long");
	start = size > TRAILER_SEARCH ? size - TRAILER_SEARCH : 0;
	rc = image_file_read(file, start, end, (size_t)(size - start));
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the trailer");
	for (size_t i = 0; size >= sizeof(*w) && i + 4 <= size - start; i++)
		if (number_at(end + i) == DMG_TRAILER_MAGIC) {
			memcpy(w, end + i, sizeof(*w));
			*offset = start + i;
			return 0;
		}
	return error_set(err, -EINVAL,
			 "Could not locate UDIF trailer in dmg file");
}

static bool is_before(uint64_t offset, uint64_t len, uint64_t end)
{
	return offset <= end && len <= end - offset;
}

static int compare_chunks(const void *a, const void *b)
{
	const struct dmg_chunk *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* All of a chunk is unpacked for any part of it: of one that is hidden behind
 * others there would be no end of it. */
static int check_overlaps(const struct dmg_table *t, struct error *err)
{
	for (uint64_t i = 1; i < t->n_chunks; i++) {
		const struct dmg_chunk *c = &t->chunks[i - 1];
		uint64_t next = t->chunks[i].offset;

		if (c->type != DMG_RAW && has_data(c->type) &&
		    c->offset < next && next - c->offset < c->len)
			return error_set(err, -EINVAL,
					 "Chunk at offset %llu overlaps the "
					 "next one",
					 (unsigned long long)c->offset);
	}
	return 0;
}

int dmg_table_read(struct dmg_table *table, const struct image_file *file,
		   struct error *err)
{
	uint64_t trailer_offset = 0, offset, len;
	struct dmg_wire_trailer w = { 0 };
	int rc = find_trailer(file, &w, &trailer_offset, err);

	*table = (struct dmg_table){ .chunks = NULL };
	if (rc < 0)
		return rc;
	table->data_fork_offset = be64toh(w.data_fork_offset);
	if (table->data_fork_offset > trailer_offset)
		return error_set(err, -EINVAL, "Data fork of dmg is corrupt");
	offset = be64toh(w.resource_fork_offset);
	len = be64toh(w.resource_fork_len);
	if (!is_before(offset, len, trailer_offset) ||
	    !is_before(be64toh(w.xml_offset), be64toh(w.xml_len),
		       trailer_offset))
		return error_set(err, -EINVAL,
				 "Tables of dmg are past their trailer");
	if (len != 0)
		rc = read_resources(table, file, offset, len, err);
	else if (w.xml_len != 0)
		rc = read_xml(table, file, be64toh(w.xml_offset),
			      be64toh(w.xml_len), err);
	else
		rc = error_set(err, -EINVAL, "There are no tables in dmg");
	if (rc == 0 && table->n_chunks > 0)
		qsort(table->chunks, table->n_chunks, sizeof(*table->chunks),
		      compare_chunks);
	if (rc == 0)
		rc = check_overlaps(table, err);
	if (rc < 0)
		dmg_table_deinit(table);
	return rc;
}

void dmg_table_deinit(struct dmg_table *table)
{
	free(table->chunks);
	table->chunks = NULL;
	table->n_chunks = 0;
}
