/* SPDX-License-Identifier: ISC */
/*
 * Where a sparse extent's new grains and tables go: to the end of the file,
 * and behind all that the tables refer to.
 *
 * That is not the same where a file was cut off. Nothing may be put in the place
 * of what was lost, or one block would be another's, too; nor behind it, or it
 * would be there again, as zeroes. An extent does not tell whether that has
 * happened to it, so all tables are read before the first block that is new; an
 * extent that has all its grains never needs it.
 */
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/vmdk.h"

#include <endian.h>
#include <errno.h>

struct search {
	struct vmdk_extent *extent;
	uint64_t end;	     /* of the tables */
	uint32_t last_grain; /* in the file: its sector */
};

static int look_for_grain(void *context, const struct table_part *part)
{
	struct search *s = context;
	const uint32_t *entries = part->entries;

	for (uint64_t i = 0; i < part->n; i++) {
		uint32_t sector = le32toh(entries[i]);

		if (sector > s->last_grain)
			s->last_grain = sector;
	}
	return 0;
}

static int look_for_table(void *context, const struct table_part *part)
{
	struct search *s = context;
	const uint32_t *entries = part->entries;
	uint32_t n_entries = s->extent->table_entries;
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < part->n; i++) {
		uint64_t at = (uint64_t)le32toh(entries[i]) * VMDK_SECTOR;
		uint64_t end = at + n_entries * sizeof(uint32_t);

		if (at == 0)
			continue;
		if (end > s->end)
			s->end = end;
		rc = table_walk(&s->extent->blocks.table, at, n_entries,
				sizeof(uint32_t), look_for_grain, s);
	}
	return rc;
}

static int search_directory(struct search *s, uint64_t host_offset)
{
	struct vmdk_extent *e = s->extent;
	uint64_t end = host_offset + e->n_directory * sizeof(uint32_t);

	if (end > s->end)
		s->end = end;
	return table_walk(&e->blocks.table, host_offset, e->n_directory,
			  sizeof(uint32_t), look_for_table, s);
}

/* Nothing can be read of a compressed grain whose marker is lost, whatever
 * is behind its first sector. */
static uint64_t grain_end(struct vmdk_extent *e, uint64_t at)
{
	struct error err = ERROR_INIT;
	uint64_t data = at;
	size_t len;

	if (!e->is_compressed)
		return at + e->grain_len;
	if (e->has_markers && vmdk_read_marker(e, &data, &len, &err) == 0)
		return data + len;
	return at + VMDK_SECTOR;
}

/* The redundant tables, too: an entry is in them first, and they are written
 * to in the same way. */
static int look_for_end(struct vmdk_extent *e, struct error *err)
{
	struct search s = { .extent = e };
	uint64_t end;
	int rc = search_directory(&s, e->directory_offset);

	if (rc == 0 && e->has_redundant)
		rc = search_directory(&s, e->redundant_offset);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read a grain table");
	end = grain_end(e, (uint64_t)s.last_grain * VMDK_SECTOR);
	if (end < s.end)
		end = s.end;
	if (!blocks_reaches(&e->blocks, end))
		return error_set(err, -EIO,
				 "VMDK tables lead beyond the file's end: "
				 "nothing new can be written");
	e->end = end;
	return 0;
}

/* The file does not get shorter while it is open: its own end is enough from
 * then on. */
int vmdk_append(struct vmdk_extent *e, uint64_t alignment, uint64_t len,
		struct block_place *place, struct error *err)
{
	int rc = e->end == 0 ? look_for_end(e, err) : 0;

	if (rc < 0)
		return rc;
	place->host_offset = e->end;
	return blocks_append(&e->blocks, alignment, len, place, err);
}
