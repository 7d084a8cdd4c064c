/* SPDX-License-Identifier: ISC */
/*
 * Parallels' expandable images: a table of clusters behind the header. While
 * one is written to, its header says so. An image that was left so is opened
 * for writing only if its table is in order: each cluster in the file, and
 * none there twice. QEMU wants a check of the user's then; a server that was
 * killed should be able to go on.
 */
#include "protocols/parallels.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blocks.h"
#include "lib/image/companions.h"
#include "lib/image/format.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

enum {
	CLUSTER_DEFAULT = 1 << 20,
	/* Bits that a table's order is looked at with. */
	CLUSTERS_SEEN_MAX = 64 << 20,
	SECTORS_PER_TRACK = 32, /* of a geometry of no meaning */
};

struct parallels {
	struct blocks blocks;	    /* first */
	uint64_t cluster_len, unit; /* of an entry, in bytes */
	uint32_t n_entries;
	uint64_t data_offset;
	uint64_t end; /* of the last cluster, from begin_writing on */
	bool is_in_use;
	bool was_in_use; /* when it was opened, and has not been repaired */
};

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	(void)file_size;
	if (len < sizeof(struct parallels_wire_header))
		return 0;
	return memcmp(head, PARALLELS_MAGIC, PARALLELS_MAGIC_LEN) == 0 ||
			       memcmp(head, PARALLELS_MAGIC_EXT,
				      PARALLELS_MAGIC_LEN) == 0
		       ? 100
		       : 0;
}

static int read_entry(struct parallels *p, uint64_t index, bool nowait,
		      uint64_t *host_offset)
{
	uint32_t entry;
	int rc = table_read(&p->blocks.table,
			    sizeof(struct parallels_wire_header) +
				    index * sizeof(entry),
			    &entry, sizeof(entry), nowait);

	if (rc == 0)
		*host_offset = le32toh(entry) * p->unit;
	return rc;
}

static int find(struct blocks *blocks, uint64_t offset, bool nowait,
		struct block_run *run, struct error *err)
{
	struct parallels *p = container_of(blocks, struct parallels, blocks);
	uint64_t place = 0;
	int rc = read_entry(p, offset / p->cluster_len, nowait, &place);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the catalog");
	if (place == 0)
		return 0;
	if (place < p->data_offset)
		return error_set(err, -EIO,
				 "Cluster at offset %llu is over the catalog",
				 (unsigned long long)place);
	run->kind = BLOCK_DATA;
	run->host_offset = place + offset % p->cluster_len;
	return 0;
}

static uint64_t skip(struct blocks *blocks, uint64_t offset)
{
	struct parallels *p = container_of(blocks, struct parallels, blocks);
	uint64_t index = offset / p->cluster_len, len;

	len = (p->n_entries - index) * sizeof(uint32_t);
	len = table_count_zeroes(&blocks->table,
				 sizeof(struct parallels_wire_header) +
					 index * sizeof(uint32_t),
				 len);
	return blocks_skipped(len / sizeof(uint32_t), p->cluster_len, 0);
}

static int write_in_use(struct parallels *p, bool is_in_use, struct error *err)
{
	uint32_t value = htole32(is_in_use ? PARALLELS_IN_USE : 0);
	int rc =
		image_file_write(p->blocks.file,
				 offsetof(struct parallels_wire_header, in_use),
				 &value, sizeof(value));

	if (rc == 0)
		rc = image_file_flush(p->blocks.file);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not write the header");
	p->is_in_use = is_in_use;
	return 0;
}

static int look_for_end(void *context, const struct table_part *part)
{
	struct parallels *p = context;
	const uint32_t *entries = part->entries;

	for (uint64_t i = 0; i < part->n; i++) {
		uint64_t place = le32toh(entries[i]) * p->unit;

		if (place != 0 && place + p->cluster_len > p->end)
			p->end = place + p->cluster_len;
	}
	return 0;
}

static int begin_writing(struct blocks *blocks, struct error *err)
{
	struct parallels *p = container_of(blocks, struct parallels, blocks);
	int rc;

	p->end = p->data_offset;
	rc = table_walk(&blocks->table, sizeof(struct parallels_wire_header),
			p->n_entries, sizeof(uint32_t), look_for_end, p);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read the catalog");
	/* What is new would bring back what was lost, as zeroes. */
	if (p->end > p->data_offset && !blocks_reaches(blocks, p->end) &&
	    !(blocks->image->flags & IMAGE_CHECK))
		return error_set(err, -EIO,
				 "The catalog leads beyond the file's end: it "
				 "has to be repaired before it can be written "
				 "to");
	return p->is_in_use ? 0 : write_in_use(p, true, err);
}

static int end_writing(struct blocks *blocks, struct error *err)
{
	return write_in_use(container_of(blocks, struct parallels, blocks),
			    false, err);
}

static int allocate(struct blocks *blocks, uint64_t index,
		    struct block_place *place, struct error *err)
{
	const struct parallels *p =
		container_of(blocks, struct parallels, blocks);
	uint64_t at = p->end, size, end;
	int rc = image_file_size(blocks->file, &size);

	(void)index;
	if (at % p->unit != 0)
		at += p->unit - at % p->unit;
	end = at + p->cluster_len;
	if (at / p->unit > UINT32_MAX || end > INT64_MAX)
		return error_set(err, -EFBIG, "Image file is too big");
	/* What a crash or QEMU's preallocation left there. */
	place->host_offset = at;
	place->is_zero =
		rc == 0 && size <= at && !blocks->file->is_block_device;
	if (rc == 0 && size < end)
		rc = image_file_truncate(blocks->file, end);
	return rc < 0 ? error_set_errno(err, rc, "Could not grow the file") : 0;
}

static int enter(struct blocks *blocks, uint64_t index,
		 const struct block_place *place, struct error *err)
{
	struct parallels *p = container_of(blocks, struct parallels, blocks);
	uint32_t entry = htole32((uint32_t)(place->host_offset / p->unit));
	int rc = table_write(&blocks->table,
			     sizeof(struct parallels_wire_header) +
				     index * sizeof(entry),
			     &entry, sizeof(entry));

	if (rc < 0)
		return error_set_errno(err, rc, "Could not write the catalog");
	p->end = place->host_offset + p->cluster_len;
	return 0;
}

static int forget(struct blocks *blocks, uint64_t index, struct error *err)
{
	const uint32_t nowhere = 0;
	int rc = table_write_later(&blocks->table,
				   sizeof(struct parallels_wire_header) +
					   index * sizeof(nowhere),
				   &nowhere, sizeof(nowhere));

	return rc < 0 ? error_set_errno(err, rc, "Could not write the catalog")
		      : 0;
}

static const struct blocks_ops ops = {
	.find = find,
	.skip = skip,
	.forget = forget,
	.begin_writing = begin_writing,
	.end_writing = end_writing,
	.allocate = allocate,
	.enter = enter,
};

/* QEMU's checks, in its words. */
static int take_header(struct parallels *p, struct image *image,
		       const struct parallels_wire_header *w, struct error *err)
{
	bool is_ext =
		memcmp(w->magic, PARALLELS_MAGIC_EXT, PARALLELS_MAGIC_LEN) == 0;
	uint32_t sectors = le32toh(w->cluster_sectors);
	uint64_t n_sectors = le64toh(w->n_sectors), table_end;

	if (!is_ext &&
	    memcmp(w->magic, PARALLELS_MAGIC, PARALLELS_MAGIC_LEN) != 0)
		return error_set(err, -EINVAL, "Image not in Parallels format");
	if (le32toh(w->version) != PARALLELS_VERSION)
		return error_set(err, -EINVAL, "Image not in Parallels format");
	if (sectors == 0)
		return error_set(err, -EINVAL,
				 "Invalid image: Zero sectors per track");
	if (sectors > PARALLELS_CLUSTER_SECTORS_MAX)
		return error_set(err, -EFBIG, "Invalid image: Too big cluster");
	p->n_entries = le32toh(w->n_entries);
	if (p->n_entries > PARALLELS_ENTRIES_MAX)
		return error_set(err, -EFBIG, "Catalog too large");
	if (!is_ext)
		n_sectors &= UINT32_MAX;
	p->cluster_len = (uint64_t)sectors * IMAGE_SECTOR;
	p->unit = is_ext ? p->cluster_len : IMAGE_SECTOR;
	if (n_sectors > (uint64_t)p->n_entries * sectors ||
	    n_sectors > INT64_MAX / IMAGE_SECTOR)
		return error_set(err, -EINVAL,
				 "Catalog is too short for the disk");
	table_end = sizeof(*w) + (uint64_t)p->n_entries * sizeof(uint32_t);
	p->data_offset = (uint64_t)le32toh(w->data_offset) * IMAGE_SECTOR;
	if (p->data_offset < table_end)
		p->data_offset = (table_end + IMAGE_SECTOR - 1) &
				 ~(uint64_t)(IMAGE_SECTOR - 1);
	image->size = n_sectors * IMAGE_SECTOR;
	image->cluster_size = (uint32_t)p->cluster_len;
	p->is_in_use = le32toh(w->in_use) == PARALLELS_IN_USE;
	p->was_in_use = p->is_in_use;
	return 0;
}

struct order {
	const struct parallels *p;
	uint64_t size, n_clusters; /* of the file */
	uint8_t *seen;
};

/* 1: they are not. */
static int look_for_order(void *context, const struct table_part *part)
{
	struct order *o = context;
	const uint32_t *entries = part->entries;

	for (uint64_t i = 0; i < part->n; i++) {
		uint64_t place = le32toh(entries[i]) * o->p->unit;
		uint64_t at = place / o->p->cluster_len;

		if (place == 0)
			continue;
		if (place < o->p->data_offset || at >= o->n_clusters ||
		    place > o->size - o->p->cluster_len ||
		    o->seen[at / 8] & 1U << at % 8)
			return 1;
		o->seen[at / 8] |= (uint8_t)(1U << at % 8);
	}
	return 0;
}

/* Each cluster of the table within the file, and only once. */
static bool is_in_order(struct parallels *p, const struct image_file *file)
{
	_cleanup_free_ uint8_t *seen = NULL;
	struct order o = { .p = p };

	if (image_file_size(file, &o.size) < 0)
		return false;
	o.n_clusters = o.size / p->cluster_len + 1;
	if (o.n_clusters > CLUSTERS_SEEN_MAX)
		return false;
	o.seen = seen = calloc(o.n_clusters / 8 + 1, 1);
	return seen != NULL &&
	       table_walk(&p->blocks.table,
			  sizeof(struct parallels_wire_header), p->n_entries,
			  sizeof(uint32_t), look_for_order, &o) == 0;
}

static int check_in_use(struct parallels *p, const struct image *image,
			struct error *err)
{
	if (!p->is_in_use || image->file->is_read_only ||
	    image->flags & IMAGE_CHECK || is_in_order(p, image->file))
		return 0;
	return error_set(err, -EACCES,
			 "parallels: Image was not closed correctly; cannot be "
			 "opened read/write");
}

/* An image without its catalog is not an empty one. */
static int check_catalog(struct parallels *p, struct error *err)
{
	uint64_t end = sizeof(struct parallels_wire_header) +
		       (uint64_t)p->n_entries * sizeof(uint32_t);

	return blocks_reaches(&p->blocks, end)
		       ? 0
		       : error_set(err, -EINVAL,
				   "The catalog is beyond the file's end");
}

/* Nothing here needs what the extension holds, dirty bitmaps; but where there is
 * none the header is not what it seems. QEMU ignores it, too, where it writes. */
static int check_extension(const struct parallels_wire_header *w,
			   const struct image_file *file, struct error *err)
{
	uint64_t offset = le64toh(w->extension_offset), magic = 0;
	int rc;

	if (offset == 0 || !file->is_read_only)
		return 0;
	rc = offset > INT64_MAX / IMAGE_SECTOR
		     ? -EINVAL
		     : image_file_read(file, offset * IMAGE_SECTOR, &magic,
				       sizeof(magic));
	if (rc < 0)
		return error_set_errno(err, rc,
				       "Failed to read Format Extension "
				       "cluster");
	if (le64toh(magic) != PARALLELS_EXTENSION_MAGIC)
		return error_set(err, -EINVAL,
				 "Wrong parallels Format Extension magic: "
				 "0x%llx, expected: 0x%llx",
				 (unsigned long long)le64toh(magic),
				 (unsigned long long)PARALLELS_EXTENSION_MAGIC);
	return 0;
}

static int parallels_open(struct image *image, struct error *err)
{
	struct parallels *p = calloc(1, sizeof(*p));
	struct parallels_wire_header w;
	int rc;

	if (p == NULL)
		return -ENOMEM;
	rc = image_file_read(image->file, 0, &w, sizeof(w));
	if (rc < 0)
		error_set_errno(err, rc, "Could not read the header");
	else
		rc = take_header(p, image, &w, err);
	if (rc == 0)
		rc = check_extension(&w, image->file, err);
	if (rc < 0) {
		free(p);
		return rc;
	}
	blocks_image_attach(image, &p->blocks, &ops, p->cluster_len);
	p->blocks.is_whole = true;
	rc = check_catalog(p, err);
	return rc < 0 ? rc : check_in_use(p, image, err);
}

static const struct image_option_spec create_specs[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "cluster_size", "size", "Parallels image cluster size", "1048576" },
	{ NULL, NULL, NULL, NULL },
};

static int write_image(const struct image_file *file, uint64_t size,
		       uint64_t cluster_len)
{
	uint64_t n_entries = (size + cluster_len - 1) / cluster_len;
	uint64_t end = sizeof(struct parallels_wire_header) +
		       n_entries * sizeof(uint32_t);
	uint64_t n_sectors = size / IMAGE_SECTOR;
	struct parallels_wire_header w = {
		.version = htole32(PARALLELS_VERSION),
		.heads = htole32(PARALLELS_HEADS),
		.cylinders = htole32((uint32_t)(n_sectors / PARALLELS_HEADS /
						SECTORS_PER_TRACK)),
		.cluster_sectors =
			htole32((uint32_t)(cluster_len / IMAGE_SECTOR)),
		.n_entries = htole32((uint32_t)n_entries),
		.n_sectors = htole64(n_sectors),
	};
	int rc;

	end = (end + cluster_len - 1) / cluster_len * cluster_len;
	w.data_offset = htole32((uint32_t)(end / IMAGE_SECTOR));
	memcpy(w.magic, PARALLELS_MAGIC_EXT, PARALLELS_MAGIC_LEN);
	rc = image_file_zero(file, 0, end, false);
	if (rc == 0)
		rc = image_file_write(file, 0, &w, sizeof(w));
	return rc < 0 ? rc : image_file_flush(file);
}

static uint64_t round_up_to_sector(uint64_t len)
{
	return (len + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
}

static int parallels_create(const char *path,
			    const struct image_create_options *o,
			    struct error *err)
{
	uint64_t size = round_up_to_sector(o->size);
	uint64_t cluster_len = CLUSTER_DEFAULT;
	struct image_file *file;
	int rc = image_options_check(o, create_specs, err);

	if (rc == 0)
		rc = image_option_number(o, "cluster_size", &cluster_len, err);
	if (rc < 0)
		return rc;
	if (cluster_len >
	    (uint64_t)PARALLELS_CLUSTER_SECTORS_MAX * IMAGE_SECTOR)
		return error_set(err, -EINVAL, "Cluster size is too large");
	cluster_len = round_up_to_sector(cluster_len);
	if (cluster_len == 0 || size / cluster_len > PARALLELS_ENTRIES_MAX)
		return error_set(err, -E2BIG,
				 "Image size is too large for this cluster "
				 "size");
	rc = new_image_open(&file, path, 0, o, err);
	if (rc < 0)
		return rc;
	rc = write_image(file, size, cluster_len);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc,
					"Failed to create Parallels image")
		      : 0;
}

static void tell(const struct image_check *check, bool is_fixed,
		 const char *text, uint64_t n)
{
	char line[128];

	snprintf(line, sizeof(line), "%s %s", is_fixed ? "Repairing" : "ERROR",
		 text);
	if (n > 0)
		snprintf(line + strlen(line), sizeof(line) - strlen(line),
			 " %llu", (unsigned long long)n);
	if (check->found != NULL)
		check->found(check->context, line);
}

static int look_at_end(struct parallels *p, uint64_t end, bool is_repair,
		       struct image_check *check, struct error *err)
{
	uint64_t size = 0, n;
	int rc = image_file_size(p->blocks.file, &size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (size <= end)
		return 0;
	tell(check, is_repair, "space leaked at the end of the image",
	     size - end);
	n = (size - end + p->cluster_len - 1) / p->cluster_len;
	if (!is_repair) {
		check->n_leaks += n;
		return 0;
	}
	check->n_leaks_fixed += n;
	/* Nothing points there, on the disk either. */
	rc = image_file_flush(p->blocks.file);
	if (rc == 0)
		rc = image_file_truncate(p->blocks.file, end);
	return rc < 0 ? error_set_errno(err, rc, "Could not shorten the file")
		      : 0;
}

/* Entries behind the disk's end, too: what they lead to is not free. */
static int check_clusters(struct parallels *p, bool is_repair,
			  struct image_check *check,
			  struct blocks_census *census, struct error *err)
{
	uint64_t disk_len = p->blocks.size;
	uint64_t len = p->n_entries * p->cluster_len;
	int rc;

	if (len - disk_len >= p->cluster_len)
		p->blocks.size = len;
	rc = blocks_check(&p->blocks, is_repair, check, census, err);
	p->blocks.size = disk_len;
	return rc;
}

static int look(struct image *image, unsigned repair, struct image_check *check,
		struct error *err)
{
	struct blocks_census census = { .is_of_neighbours = true };
	bool is_repair = repair & IMAGE_REPAIR_ERRORS;
	struct parallels *p = image->state;
	int rc;

	if (p->was_in_use) {
		tell(check, is_repair, "image was not closed correctly", 0);
		check->n_corruptions += !is_repair;
		check->n_corruptions_fixed += is_repair;
	}
	census.end = p->data_offset;
	rc = check_clusters(p, is_repair, check, &census, err);
	if (rc < 0)
		return rc;
	if (is_repair && !p->blocks.is_damaged)
		p->was_in_use = false;
	check->total_clusters = census.n_blocks;
	check->allocated_clusters = census.n_allocated;
	check->fragmented_clusters = census.n_fragmented;
	check->image_end_offset = census.end;
	check->has_totals = true;
	return look_at_end(p, census.end, repair & IMAGE_REPAIR_LEAKS, check,
			   err);
}

static int parallels_check(struct image *image, struct image_check *check,
			   struct error *err)
{
	return look(image, 0, check, err);
}

static int parallels_repair(struct image *image, unsigned what,
			    struct image_check *check, struct error *err)
{
	return look(image, what, check, err);
}

const struct image_format image_format_parallels = {
	.name = "parallels",
	.has_no_dirty_flag = true,
	.has_backing = true,
	.is_in_sectors = true,
	.probe = probe,
	.open = parallels_open,
	.close = blocks_image_close,
	.create = parallels_create,
	.create_specs = create_specs,
	.readv = blocks_image_readv,
	.writev = blocks_image_writev,
	.write_zeroes = blocks_image_write_zeroes,
	.discard = blocks_image_discard,
	.flush = blocks_image_flush,
	.map = blocks_image_map,
	.check = parallels_check,
	.repair = parallels_repair,
};
