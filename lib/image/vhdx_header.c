/* SPDX-License-Identifier: ISC */
/*
 * VHDX's two headers, of which the one with the higher sequence number
 * counts, the table of regions, and the metadata that a disk needs.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/crc32c.h"
#include "lib/image/file.h"
#include "lib/image/vhdx.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

static const uint64_t header_places[] = { VHDX_HEADER_1, VHDX_HEADER_2 };

bool vhdx_is_null(const uint8_t *guid)
{
	static const uint8_t null[16];

	return memcmp(guid, null, sizeof(null)) == 0;
}

/* data has its checksum behind a signature of four bytes. */
static bool is_checksum_right(const uint8_t *data, size_t len)
{
	static const uint8_t zero[4];
	uint32_t wanted, crc;

	memcpy(&wanted, data + 4, sizeof(wanted));
	crc = crc32c(0, data, 4);
	crc = crc32c(crc, zero, sizeof(zero));
	crc = crc32c(crc, data + 8, len - 8);
	return crc == le32toh(wanted);
}

static bool is_valid(const struct vhdx_wire_header *h)
{
	return memcmp(h->signature, VHDX_HEADER_SIGNATURE, 4) == 0 &&
	       le16toh(h->version) == VHDX_VERSION &&
	       is_checksum_right((const uint8_t *)h, sizeof(*h));
}

int vhdx_read_headers(struct vhdx *v, struct image_file *file,
		      struct error *err)
{
	char signature[8];
	bool is_found = false;
	int rc = image_file_read(file, 0, signature, sizeof(signature));

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the header");
	if (memcmp(signature, VHDX_SIGNATURE, sizeof(signature)) != 0)
		return error_set(err, -EINVAL, "Image not in VHDX format");
	for (unsigned i = 0; i < array_size(header_places); i++) {
		struct vhdx_wire_header h;

		rc = image_file_read(file, header_places[i], &h, sizeof(h));
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read the header");
		if (!is_valid(&h) ||
		    (is_found &&
		     le64toh(h.sequence) <= le64toh(v->header.sequence)))
			continue;
		v->header = h;
		v->slot = i;
		is_found = true;
	}
	if (!is_found)
		return error_set(err, -EINVAL, "No valid VHDX header found");
	v->log.offset = le64toh(v->header.log_offset);
	v->log.len = le32toh(v->header.log_len);
	if (le16toh(v->header.log_version) != VHDX_LOG_VERSION)
		return error_set(err, -EINVAL, "Unknown version of VHDX log");
	if (v->log.offset < VHDX_MIB || v->log.offset % VHDX_MIB != 0 ||
	    v->log.len == 0 || v->log.len % VHDX_MIB != 0 ||
	    v->log.offset > INT64_MAX - v->log.len)
		return error_set(err, -EINVAL,
				 "VHDX log is not in a place for it");
	return 0;
}

/* The other slot first: one valid header is there all the while. */
int vhdx_write_headers(struct vhdx *v, const struct image_file *file)
{
	for (unsigned i = 0; i < array_size(header_places); i++) {
		struct vhdx_wire_header *h = &v->header;
		int rc;

		v->slot = !v->slot;
		h->sequence = htole64(le64toh(h->sequence) + 1);
		h->checksum = 0;
		h->checksum = htole32(crc32c(0, h, sizeof(*h)));
		rc = image_file_write(file, header_places[v->slot], h,
				      sizeof(*h));
		if (rc == 0)
			rc = image_file_flush(file);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool do_overlap(const struct vhdx_range *a, const struct vhdx_range *b)
{
	return a->offset < b->offset + b->len && b->offset < a->offset + a->len;
}

static int take_region(struct vhdx *v, const struct vhdx_wire_region *w,
		       struct error *err)
{
	static const uint8_t bat[16] = VHDX_GUID_BAT;
	static const uint8_t metadata[16] = VHDX_GUID_METADATA;
	struct vhdx_range range = { le64toh(w->offset), le32toh(w->len) };
	struct vhdx_range *to = NULL;

	if (memcmp(w->guid, bat, sizeof(bat)) == 0)
		to = &v->bat;
	else if (memcmp(w->guid, metadata, sizeof(metadata)) == 0)
		to = &v->metadata;
	else if (le32toh(w->is_required) & 1)
		return error_set(err, -ENOTSUP,
				 "VHDX region that must be understood is not "
				 "known");
	if (to == NULL)
		return 0;
	if (to->len != 0)
		return error_set(err, -EINVAL, "VHDX region is there twice");
	if (range.offset < VHDX_MIB || range.offset % VHDX_MIB != 0 ||
	    range.len == 0 || range.len % VHDX_MIB != 0 ||
	    range.offset > INT64_MAX - range.len)
		return error_set(err, -EINVAL,
				 "VHDX region is not in a place for it");
	*to = range;
	return 0;
}

/* Either table will do. */
static int load_regions(struct image_file *file, uint8_t *table,
			struct error *err)
{
	static const uint64_t places[] = { VHDX_REGION_1, VHDX_REGION_2 };
	const struct vhdx_wire_region_header *h = (const void *)table;

	for (unsigned i = 0; i < array_size(places); i++) {
		int rc = image_file_read(file, places[i], table,
					 VHDX_REGION_TABLE_LEN);

		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read VHDX regions");
		if (memcmp(h->signature, VHDX_REGION_SIGNATURE, 4) == 0 &&
		    is_checksum_right(table, VHDX_REGION_TABLE_LEN) &&
		    le32toh(h->n_entries) <= VHDX_ENTRIES_MAX)
			return 0;
	}
	return error_set(err, -EINVAL, "No valid VHDX region table found");
}

static int read_regions(struct vhdx *v, struct image_file *file,
			struct error *err)
{
	_cleanup_free_ uint8_t *table = malloc(VHDX_REGION_TABLE_LEN);
	struct vhdx_wire_region_header h;
	int rc;

	if (table == NULL)
		return -ENOMEM;
	rc = load_regions(file, table, err);
	if (rc < 0)
		return rc;
	memcpy(&h, table, sizeof(h));
	for (uint32_t i = 0; i < le32toh(h.n_entries); i++) {
		struct vhdx_wire_region w;

		memcpy(&w, table + sizeof(h) + i * sizeof(w), sizeof(w));
		rc = take_region(v, &w, err);
		if (rc < 0)
			return rc;
	}
	if (v->bat.len == 0 || v->metadata.len == 0)
		return error_set(err, -EINVAL, "VHDX region is missing");
	if (do_overlap(&v->bat, &v->metadata) || do_overlap(&v->bat, &v->log) ||
	    do_overlap(&v->metadata, &v->log))
		return error_set(err, -EINVAL, "VHDX regions overlap");
	return 0;
}

enum {
	ITEM_PARAMETERS,
	ITEM_SIZE,
	ITEM_DISK,
	ITEM_LOGICAL_SECTOR,
	ITEM_PHYSICAL_SECTOR,
	ITEM_PARENT,
	N_ITEMS,
};

static const struct item {
	uint8_t guid[16];
	uint32_t offset, len; /* in struct vhdx_wire_items */
} items[] = {
	[ITEM_PARAMETERS] = { VHDX_GUID_PARAMETERS, 0, 8 },
	[ITEM_SIZE] = { VHDX_GUID_SIZE, 8, 8 },
	[ITEM_DISK] = { VHDX_GUID_DISK, 16, 16 },
	[ITEM_LOGICAL_SECTOR] = { VHDX_GUID_LOGICAL_SECTOR, 32, 4 },
	[ITEM_PHYSICAL_SECTOR] = { VHDX_GUID_PHYSICAL_SECTOR, 36, 4 },
	[ITEM_PARENT] = { VHDX_GUID_PARENT, 0, 0 },
};

/* One item's value to its place in items. */
static int read_item(struct vhdx *v, struct image_file *file,
		     const struct vhdx_wire_metadata *w, uint8_t *to,
		     unsigned *seen, struct error *err)
{
	const struct item *item;
	unsigned i = 0;
	int rc;

	while (i < N_ITEMS &&
	       memcmp(items[i].guid, w->guid, sizeof(w->guid)) != 0)
		i++;
	if (i == N_ITEMS && le32toh(w->flags) & VHDX_METADATA_REQUIRED)
		return error_set(err, -ENOTSUP,
				 "VHDX metadata that must be understood are "
				 "not known");
	if (i == ITEM_PARENT)
		v->locator = (struct vhdx_range){ le32toh(w->offset),
						  le32toh(w->len) };
	if (i == N_ITEMS || i == ITEM_PARENT)
		return 0;
	item = &items[i];
	if (*seen & 1U << i)
		return error_set(err, -EINVAL,
				 "VHDX metadata item is there twice");
	if (le32toh(w->len) != item->len ||
	    (uint64_t)le32toh(w->offset) + item->len > v->metadata.len)
		return error_set(err, -EINVAL,
				 "VHDX metadata item is outside of its region");
	*seen |= 1U << i;
	rc = image_file_read(file, v->metadata.offset + le32toh(w->offset),
			     to + item->offset, item->len);
	return rc < 0 ? error_set_errno(err, rc, "Could not read VHDX metadata")
		      : 0;
}

static int read_items(struct vhdx *v, struct image_file *file,
		      struct vhdx_wire_items *values, struct error *err)
{
	_cleanup_free_ uint8_t *table = malloc(VHDX_METADATA_TABLE_LEN);
	struct vhdx_wire_metadata_header h;
	unsigned seen = 0;
	int rc;

	if (table == NULL)
		return -ENOMEM;
	rc = image_file_read(file, v->metadata.offset, table,
			     VHDX_METADATA_TABLE_LEN);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX metadata");
	memcpy(&h, table, sizeof(h));
	if (memcmp(h.signature, VHDX_METADATA_SIGNATURE, 8) != 0 ||
	    le16toh(h.n_entries) > VHDX_ENTRIES_MAX)
		return error_set(err, -EINVAL, "VHDX metadata are not valid");
	for (unsigned i = 0; i < le16toh(h.n_entries); i++) {
		struct vhdx_wire_metadata w;

		memcpy(&w, table + sizeof(h) + i * sizeof(w), sizeof(w));
		rc = read_item(v, file, &w, (uint8_t *)values, &seen, err);
		if (rc < 0)
			return rc;
	}
	if (seen != (1U << ITEM_PARENT) - 1)
		return error_set(err, -ENOTSUP, "VHDX metadata are missing");
	return 0;
}

/* § 2.6.2. */
static int check_items(const struct vhdx_wire_items *w, struct error *err)
{
	uint32_t len = le32toh(w->block_len);
	uint32_t sector = le32toh(w->logical_sector);

	if (len < VHDX_BLOCK_MIN || len > VHDX_BLOCK_MAX ||
	    (len & (len - 1)) != 0)
		return error_set(err, -EINVAL, "Invalid VHDX block size %u",
				 len);
	if (sector != 512 && sector != 4096)
		return error_set(err, -ENOTSUP,
				 "Unsupported VHDX sector size %u", sector);
	if (le64toh(w->size) > VHDX_SIZE_MAX || le64toh(w->size) % sector != 0)
		return error_set(err, -EINVAL, "Invalid VHDX disk size %llu",
				 (unsigned long long)le64toh(w->size));
	return 0;
}

/* § 2.5: where there are bitmaps, each chunk has one. */
static uint64_t count_entries(const struct vhdx *v)
{
	uint64_t n = v->size / v->block_len + (v->size % v->block_len != 0);

	if (v->has_parent)
		return (n + v->chunk_ratio - 1) / v->chunk_ratio *
		       (v->chunk_ratio + 1);
	return n > 0 ? n + (n - 1) / v->chunk_ratio : 0;
}

int vhdx_read_layout(struct vhdx *v, struct image_file *file, struct error *err)
{
	struct vhdx_wire_items *w = &v->items;
	int rc = read_regions(v, file, err);

	if (rc == 0)
		rc = read_items(v, file, w, err);
	if (rc == 0)
		rc = check_items(w, err);
	if (rc < 0)
		return rc;
	v->size = le64toh(w->size);
	v->block_len = le32toh(w->block_len);
	assert(v->block_len > 0);
	v->logical_sector = le32toh(w->logical_sector);
	v->has_parent = le32toh(w->parameters) & VHDX_HAS_PARENT;
	v->is_fixed =
		le32toh(w->parameters) & VHDX_LEAVE_ALLOCATED && !v->has_parent;
	v->chunk_ratio =
		(uint64_t)VHDX_CHUNK_SECTORS * v->logical_sector / v->block_len;
	v->n_entries = count_entries(v);
	if (v->n_entries > v->bat.len / sizeof(uint64_t))
		return error_set(err, -EINVAL,
				 "VHDX block table is too short for the disk");
	return 0;
}
