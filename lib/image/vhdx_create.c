/* SPDX-License-Identifier: ISC */
/* Making a VHDX image: regions one after another from 1 MiB on, and for a
 * fixed one its blocks behind them. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/crc32c.h"
#include "lib/image/format.h"
#include "lib/image/guid.h"
#include "lib/image/vhdx.h"

#include <endian.h>
#include <string.h>

const struct image_option_spec vhdx_create_specs[] = {
	{ "backing_file", "str", NULL, NULL },
	{ "backing_fmt", "str", NULL, NULL },
	{ "size", "size", "Virtual disk size; max of 64TB.", NULL },
	{ "log_size", "size", "Log size; min 1MB.", "1048576" },
	{ "block_size", "size",
	  "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on "
	  "image size.",
	  "0" },
	{ "subformat", "str",
	  "VHDX format type, can be either 'dynamic' or 'fixed'. Default is "
	  "'dynamic'.",
	  NULL },
	{ "block_state_zero", "bool (on/off)",
	  "Force use of payload blocks of type 'ZERO'. Non-standard, but "
	  "default.  Do not set to 'off' when using 'qemu-img convert' with "
	  "subformat=dynamic.",
	  NULL },
	{ NULL, NULL, NULL, NULL },
};

struct plan {
	uint64_t size, block_len, n_blocks, chunk_ratio;
	bool is_fixed, has_zero_state, has_parent;
	struct vhdx_wire_items items;
	uint8_t locator[VHDX_LOCATOR_LEN]; /* of the parent */
	uint32_t locator_len;
	struct vhdx_range log, bat, metadata;
	uint64_t end; /* the first block's place */
};

enum {
	FREE_LEN = 4 * VHDX_MIB, /* behind the regions, in QEMU's images */
};

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* QEMU's choice. */
static uint64_t standard_block_len(uint64_t size)
{
	if (size > UINT64_C(32) << 40)
		return 64 << 20;
	if (size > UINT64_C(100) << 30)
		return 32 << 20;
	return size > UINT64_C(1) << 30 ? 16 << 20 : 8 << 20;
}

/* What is no length is made one, as QEMU does it. */
static int take_lengths(struct plan *p, const struct image_create_options *o,
			struct error *err)
{
	int rc;

	p->log.len = VHDX_MIB;
	rc = image_option_number(o, "log_size", &p->log.len, err);
	if (rc == 0)
		rc = image_option_number(o, "block_size", &p->block_len, err);
	if (rc < 0)
		return rc;
	if (p->log.len == 0)
		return error_set(err, -EINVAL,
				 "Log size must be a multiple of 1 MB");
	if (p->log.len > UINT32_MAX - VHDX_MIB + 1)
		return error_set(err, -EINVAL,
				 "Log size must be smaller than 4 GB");
	p->log.len = round_up(p->log.len, VHDX_MIB);
	if (p->block_len == 0)
		p->block_len = standard_block_len(p->size);
	if (p->block_len > VHDX_BLOCK_MAX)
		p->block_len = VHDX_BLOCK_MAX;
	p->block_len = round_up(p->block_len, VHDX_MIB);
	if ((p->block_len & (p->block_len - 1)) != 0)
		return error_set(err, -EINVAL,
				 "Block size must be a power of two");
	return 0;
}

static int take_options(struct plan *p, const struct image_create_options *o,
			struct error *err)
{
	const char *subformat = image_option_find(o, "subformat");
	int rc = image_options_check(o, vhdx_create_specs, err);

	if (rc < 0)
		return rc;
	p->has_zero_state = true;
	rc = image_option_bool(o, "block_state_zero", &p->has_zero_state, err);
	if (rc < 0)
		return rc;
	p->is_fixed = subformat != NULL && strcmp(subformat, "fixed") == 0;
	if (subformat != NULL && !p->is_fixed &&
	    strcmp(subformat, "dynamic") != 0)
		return error_set(err, -EINVAL,
				 "Parameter 'subformat' does not accept value "
				 "'%s'",
				 subformat);
	p->size = round_up(o->size, IMAGE_SECTOR);
	if (p->size > VHDX_SIZE_MAX)
		return error_set(err, -EINVAL,
				 "Image size too large; max of 64TB");
	return take_lengths(p, o, err);
}

static void fill_items(struct plan *p)
{
	p->items = (struct vhdx_wire_items){
		.block_len = htole32((uint32_t)p->block_len),
		.parameters = htole32(p->is_fixed ? VHDX_LEAVE_ALLOCATED : 0),
		.size = htole64(p->size),
		.logical_sector = htole32(IMAGE_SECTOR),
		.physical_sector = htole32(IMAGE_SECTOR),
	};
	guid_generate(p->items.disk_guid);
}

/* § 2.6.1.2: what is said of the disk is the same. */
static int take_parent(struct plan *p, const char *path,
		       const struct image_create_options *o, struct error *err)
{
	int rc;

	if (p->is_fixed)
		return error_set(err, -EINVAL,
				 "A fixed image has no backing file");
	rc = vhdx_name_parent(path, o->backing_path, o->backing_format,
			      p->locator, &p->locator_len, &p->items, err);
	if (rc < 0)
		return rc;
	if (le64toh(p->items.size) != p->size)
		return error_set(err, -EINVAL,
				 "A differencing image is as large as its "
				 "backing file, %llu bytes",
				 (unsigned long long)le64toh(p->items.size));
	p->items.block_len = htole32((uint32_t)p->block_len);
	p->items.parameters = htole32(VHDX_HAS_PARENT);
	p->has_parent = true;
	p->has_zero_state = false;
	return 0;
}

static void lay_out(struct plan *p)
{
	uint64_t n_entries;

	p->n_blocks = round_up(p->size, p->block_len) / p->block_len;
	p->chunk_ratio = (uint64_t)VHDX_CHUNK_SECTORS *
			 le32toh(p->items.logical_sector) / p->block_len;
	n_entries = p->n_blocks;
	if (p->has_parent)
		n_entries = round_up(n_entries, p->chunk_ratio) /
			    p->chunk_ratio * (p->chunk_ratio + 1);
	else if (n_entries > 0)
		n_entries += (n_entries - 1) / p->chunk_ratio;
	else /* QEMU counts like that in 32 bits, and wants the room. */
		n_entries = UINT32_MAX / p->chunk_ratio;
	p->log.offset = VHDX_MIB;
	p->bat.offset = p->log.offset + p->log.len;
	p->bat.len = round_up(n_entries * sizeof(uint64_t), VHDX_MIB);
	p->metadata.offset = p->bat.offset + p->bat.len;
	p->metadata.len = VHDX_MIB;
	p->end = p->metadata.offset + p->metadata.len + FREE_LEN;
}

static int write_identifier(const struct image_file *file)
{
	static const char creator[] = "Pipevisor";
	struct vhdx_wire_identifier w = { .signature = VHDX_SIGNATURE };

	for (unsigned i = 0; i < sizeof(creator); i++)
		w.creator[i] = htole16((uint16_t)creator[i]);
	return image_file_write(file, 0, &w, sizeof(w));
}

static int write_regions(const struct plan *p, const struct image_file *file)
{
	_cleanup_free_ uint8_t *table = calloc(1, VHDX_REGION_TABLE_LEN);
	struct vhdx_wire_region_header h = { .n_entries = htole32(2) };
	const struct vhdx_wire_region regions[] = {
		{ VHDX_GUID_BAT, htole64(p->bat.offset),
		  htole32((uint32_t)p->bat.len), htole32(1) },
		{ VHDX_GUID_METADATA, htole64(p->metadata.offset),
		  htole32((uint32_t)p->metadata.len), htole32(1) },
	};
	int rc;

	if (table == NULL)
		return -ENOMEM;
	memcpy(h.signature, VHDX_REGION_SIGNATURE, 4);
	memcpy(table, &h, sizeof(h));
	memcpy(table + sizeof(h), regions, sizeof(regions));
	h.checksum = htole32(crc32c(0, table, VHDX_REGION_TABLE_LEN));
	memcpy(table, &h, sizeof(h));
	rc = image_file_write(file, VHDX_REGION_1, table,
			      VHDX_REGION_TABLE_LEN);
	return rc < 0 ? rc
		      : image_file_write(file, VHDX_REGION_2, table,
					 VHDX_REGION_TABLE_LEN);
}

static struct vhdx_wire_metadata item(const uint8_t *guid, uint32_t offset,
				      uint32_t len, bool is_of_disk)
{
	struct vhdx_wire_metadata w = {
		.offset = htole32(VHDX_METADATA_TABLE_LEN + offset),
		.len = htole32(len),
		.flags = htole32(VHDX_METADATA_REQUIRED |
				 (is_of_disk ? VHDX_METADATA_VIRTUAL_DISK : 0)),
	};

	memcpy(w.guid, guid, sizeof(w.guid));
	return w;
}

static int write_metadata(const struct plan *p, const struct image_file *file)
{
	static const uint8_t parameters[16] = VHDX_GUID_PARAMETERS;
	static const uint8_t size[16] = VHDX_GUID_SIZE;
	static const uint8_t disk[16] = VHDX_GUID_DISK;
	static const uint8_t logical[16] = VHDX_GUID_LOGICAL_SECTOR;
	static const uint8_t physical[16] = VHDX_GUID_PHYSICAL_SECTOR;
	static const uint8_t parent[16] = VHDX_GUID_PARENT;
	struct {
		struct vhdx_wire_metadata_header header;
		struct vhdx_wire_metadata entries[6];
	} table = {
		.header.n_entries = htole16(p->has_parent ? 6 : 5),
		.entries = { item(parameters, 0, 8, false),
			     item(size, 8, 8, true), item(disk, 16, 16, true),
			     item(logical, 32, 4, true),
			     item(physical, 36, 4, true) },
	};
	uint64_t at = p->metadata.offset + VHDX_METADATA_TABLE_LEN;
	int rc;

	if (p->has_parent)
		table.entries[5] =
			item(parent, VHDX_LOCATOR_LEN, p->locator_len, false);
	memcpy(table.header.signature, VHDX_METADATA_SIGNATURE, 8);
	rc = image_file_write(file, p->metadata.offset, &table, sizeof(table));
	if (rc == 0)
		rc = image_file_write(file, at, &p->items, sizeof(p->items));
	if (rc == 0 && p->has_parent)
		rc = image_file_write(file, at + VHDX_LOCATOR_LEN, p->locator,
				      sizeof(p->locator));
	return rc;
}

/* Of blocks that are not there, the table's zeroes say so already. */
static int write_bat(const struct plan *p, const struct image_file *file)
{
	uint64_t entries[1024], done = 0, place = p->end;
	unsigned n = 0;

	if (!p->is_fixed && !p->has_zero_state)
		return 0;
	for (uint64_t i = 0; i < p->n_blocks; i++) {
		entries[n++] =
			htole64(p->is_fixed ? place | VHDX_BLOCK_FULLY_PRESENT
					    : VHDX_BLOCK_ZERO);
		place += p->block_len;
		/* One for the bitmap that there is not. */
		if (i % p->chunk_ratio == p->chunk_ratio - 1)
			entries[n++] = 0;
		if (n >= array_size(entries) - 1 || i == p->n_blocks - 1) {
			int rc = image_file_write(
				file, p->bat.offset + done * sizeof(uint64_t),
				entries, n * sizeof(uint64_t));

			if (rc < 0)
				return rc;
			done += n;
			n = 0;
		}
	}
	return 0;
}

static int write_headers(const struct plan *p, const struct image_file *file)
{
	struct vhdx v = { .slot = 1 };

	memcpy(v.header.signature, VHDX_HEADER_SIGNATURE, 4);
	v.header.version = htole16(VHDX_VERSION);
	v.header.log_version = htole16(VHDX_LOG_VERSION);
	v.header.log_len = htole32((uint32_t)p->log.len);
	v.header.log_offset = htole64(p->log.offset);
	guid_generate(v.header.file_guid);
	guid_generate(v.header.data_guid);
	return vhdx_write_headers(&v, file);
}

/* The signature comes last: half an image is none. */
static int write_all(const struct plan *p, const struct image_file *file)
{
	uint64_t end = p->end;
	int rc;

	if (p->is_fixed)
		end += p->n_blocks * p->block_len;
	rc = image_file_truncate(file, end);
	if (rc == 0)
		rc = write_bat(p, file);
	if (rc == 0)
		rc = write_metadata(p, file);
	if (rc == 0)
		rc = write_regions(p, file);
	if (rc == 0)
		rc = write_headers(p, file);
	if (rc == 0)
		rc = write_identifier(file);
	return rc < 0 ? rc : image_file_flush(file);
}

int vhdx_create(const char *path, const struct image_create_options *o,
		struct error *err)
{
	struct plan plan = { .size = 0 };
	struct image_file *file;
	int rc = take_options(&plan, o, err);

	if (rc < 0)
		return rc;
	fill_items(&plan);
	if (o->backing_path != NULL)
		rc = take_parent(&plan, path, o, err);
	if (rc < 0)
		return rc;
	lay_out(&plan);
	rc = new_image_open(&file, path, 0, o, err);
	if (rc < 0)
		return rc;
	rc = write_all(&plan, file);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write VHDX image")
		      : 0;
}
