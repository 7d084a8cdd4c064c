/* SPDX-License-Identifier: ISC */
/*
 * VHDX's log ([MS-VHDX] § 2.3): a ring of entries, each of which holds whole
 * sectors of 4 KiB and where they belong. It is empty while the header's log
 * GUID is null.
 *
 * Writing: an entry is stable before what it says is written in place. The
 * flush that makes it so finds the change before it in place already; so an
 * entry and the one before it are all that a crash needs, and tail is that
 * one.
 *
 * Replaying: of all sequences of valid entries in the ring, the one with the
 * highest number counts, from its last entry's tail on. Nothing is held in
 * memory but one sector; how much is read is bounded, whatever is there.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/crc32c.h"
#include "lib/image/file.h"
#include "lib/image/guid.h"
#include "lib/image/vhdx.h"

#include <endian.h>
#include <string.h>

enum {
	REPLAY_LEN_MAX = 64 << 20, /* of the log */
	ENTRY_SECTORS = 2,	   /* of those that are written here */
	ENTRY_LEN = ENTRY_SECTORS * VHDX_LOG_SECTOR,
};

/* What a replay needs of the ring. */
struct ring {
	const struct vhdx *vhdx;
	struct image_file *file;
	uint64_t file_size;
	uint64_t budget; /* bytes that may still be read */
};

struct entry {
	struct vhdx_wire_log_header header;
	uint64_t offset, len, n_descriptors, n_table_sectors;
};

struct sequence {
	uint64_t tail;	 /* the first entry to be replayed */
	uint64_t number; /* of the last */
	uint64_t n;
};

static int read_sector(struct ring *r, uint64_t offset, void *buf)
{
	const struct vhdx_range *log = &r->vhdx->log;

	if (r->budget < VHDX_LOG_SECTOR)
		return -ELOOP;
	r->budget -= VHDX_LOG_SECTOR;
	return image_file_read(r->file, log->offset + offset % log->len, buf,
			       VHDX_LOG_SECTOR);
}

static uint64_t table_sectors(uint64_t n_descriptors)
{
	return (sizeof(struct vhdx_wire_log_header) +
		n_descriptors * sizeof(struct vhdx_wire_log_descriptor) +
		VHDX_LOG_SECTOR - 1) /
	       VHDX_LOG_SECTOR;
}

/* 1: the header is one of this log's entries; 0: it is not. */
static bool take_header(const struct ring *r, const uint8_t *sector,
			uint64_t offset, struct entry *e)
{
	const struct vhdx_wire_log_header *h = &e->header;
	uint64_t log_len = r->vhdx->log.len;

	memcpy(&e->header, sector, sizeof(e->header));
	e->offset = offset;
	e->len = le32toh(h->len);
	e->n_descriptors = le32toh(h->n_descriptors);
	e->n_table_sectors = table_sectors(e->n_descriptors);
	return memcmp(h->signature, VHDX_LOG_SIGNATURE, 4) == 0 &&
	       memcmp(h->log_guid, r->vhdx->header.log_guid, 16) == 0 &&
	       h->sequence != 0 && e->len > 0 && e->len <= log_len &&
	       e->len % VHDX_LOG_SECTOR == 0 &&
	       le32toh(h->tail) % VHDX_LOG_SECTOR == 0 &&
	       le32toh(h->tail) < log_len &&
	       e->n_table_sectors <= e->len / VHDX_LOG_SECTOR;
}

static bool is_sector_of(const struct entry *e, const uint8_t *sector)
{
	struct vhdx_wire_log_data data;
	uint64_t sequence;

	memcpy(&data, sector, sizeof(data));
	sequence = (uint64_t)le32toh(data.sequence_high) << 32 |
		   le32toh(data.sequence_low);
	return memcmp(data.signature, VHDX_LOG_DATA_SIGNATURE, 4) == 0 &&
	       sequence == le64toh(e->header.sequence);
}

/* No sector behind an entry's first one begins like that: as many as say so may
 * be in a log, but no sector is read as a part of them all. */
static bool begins_entry(const uint8_t *sector)
{
	return memcmp(sector, VHDX_LOG_SIGNATURE, 4) == 0;
}

/* The entry at offset, if there is one and all of it is as it was written:
 * 1; else 0, or an error of the file. */
static int read_entry(struct ring *r, uint64_t offset, struct entry *e)
{
	uint8_t sector[VHDX_LOG_SECTOR];
	uint32_t crc = 0;
	int rc = read_sector(r, offset, sector);

	if (rc < 0 || !take_header(r, sector, offset, e))
		return rc;
	memset(sector + offsetof(struct vhdx_wire_log_header, checksum), 0, 4);
	for (uint64_t i = 0; i < e->len / VHDX_LOG_SECTOR; i++) {
		if (i > 0)
			rc = read_sector(r, offset + i * VHDX_LOG_SECTOR,
					 sector);
		if (rc < 0)
			return rc;
		if (i > 0 && begins_entry(sector))
			return 0;
		if (i >= e->n_table_sectors && !is_sector_of(e, sector))
			return 0;
		crc = crc32c(crc, sector, sizeof(sector));
	}
	return crc == le32toh(e->header.checksum);
}

/* The sequence that begins at offset; *end is where the next may. */
static int read_sequence(struct ring *r, uint64_t offset, struct sequence *s,
			 uint64_t *end)
{
	uint64_t log_len = r->vhdx->log.len, done = 0, tail = 0;
	struct entry e;
	bool has_tail = false;
	int rc;

	*s = (struct sequence){ .n = 0 };
	while (done < log_len) {
		rc = read_entry(r, (offset + done) % log_len, &e);
		if (rc < 0)
			return rc;
		if (rc == 0 || done + e.len > log_len ||
		    (s->n > 0 && le64toh(e.header.sequence) != s->number + 1))
			break;
		s->number = le64toh(e.header.sequence);
		s->n++;
		tail = le32toh(e.header.tail);
		done += e.len;
	}
	*end = done > 0 ? done : VHDX_LOG_SECTOR;
	/* The last one's tail must be in what was seen. */
	has_tail = s->n > 0 && (tail + log_len - offset) % log_len < done;
	if (!has_tail)
		s->n = 0;
	s->tail = tail;
	return 0;
}

static int find_sequence(struct ring *r, struct sequence *best)
{
	uint64_t at = 0;

	*best = (struct sequence){ .n = 0 };
	while (at < r->vhdx->log.len) {
		struct sequence s;
		uint64_t step;
		int rc = read_sequence(r, at, &s, &step);

		if (rc < 0)
			return rc;
		if (s.n > 0 && s.number > best->number)
			*best = s;
		at += step;
	}
	return 0;
}

static bool is_in_file(const struct ring *r, uint64_t offset, uint64_t len)
{
	return offset % VHDX_LOG_SECTOR == 0 && len % VHDX_LOG_SECTOR == 0 &&
	       offset <= r->file_size && len <= r->file_size - offset;
}

static int apply_zero(struct ring *r, const struct vhdx_wire_log_descriptor *d,
		      struct error *err)
{
	uint64_t offset = le64toh(d->file_offset), len = le64toh(d->zero_len);
	int rc;

	if (!is_in_file(r, offset, len))
		return error_set(err, -EINVAL,
				 "VHDX log entry reaches outside of the file");
	rc = image_file_zero(r->file, offset, len, false);
	return rc < 0 ? error_set_errno(err, rc, "Could not replay VHDX log")
		      : 0;
}

static int apply_data(struct ring *r, const struct vhdx_wire_log_descriptor *d,
		      uint64_t from, struct error *err)
{
	uint8_t sector[VHDX_LOG_SECTOR];
	uint64_t offset = le64toh(d->file_offset);
	int rc;

	if (!is_in_file(r, offset, sizeof(sector)))
		return error_set(err, -EINVAL,
				 "VHDX log entry reaches outside of the file");
	rc = read_sector(r, from, sector);
	if (rc == 0) {
		memcpy(sector, d->leading, sizeof(d->leading));
		memcpy(sector + sizeof(sector) - sizeof(d->trailing),
		       d->trailing, sizeof(d->trailing));
		rc = image_file_write(r->file, offset, sector, sizeof(sector));
	}
	return rc < 0 ? error_set_errno(err, rc, "Could not replay VHDX log")
		      : 0;
}

/* The file must be as long as it was known to be, and becomes as long as it
 * is to be. */
static int apply_size(struct ring *r, const struct entry *e, struct error *err)
{
	uint64_t last = le64toh(e->header.last_file_size);
	int rc;

	if (le64toh(e->header.flushed_file_size) > r->file_size)
		return error_set(err, -EINVAL,
				 "VHDX file has been truncated since its log "
				 "was written");
	if (last <= r->file_size)
		return 0;
	rc = image_file_truncate(r->file, last);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not grow the file");
	r->file_size = last;
	return 0;
}

static int apply_entry(struct ring *r, const struct entry *e, struct error *err)
{
	uint8_t sector[VHDX_LOG_SECTOR];
	uint64_t table = UINT64_MAX, data = e->n_table_sectors;
	int rc = apply_size(r, e, err);

	for (uint64_t i = 0; rc == 0 && i < e->n_descriptors; i++) {
		struct vhdx_wire_log_descriptor d;
		uint64_t at = sizeof(e->header) + i * sizeof(d);

		if (at / VHDX_LOG_SECTOR != table) {
			table = at / VHDX_LOG_SECTOR;
			rc = read_sector(r, e->offset + table * VHDX_LOG_SECTOR,
					 sector);
			if (rc < 0)
				break;
		}
		memcpy(&d, sector + at % VHDX_LOG_SECTOR, sizeof(d));
		if (d.sequence != e->header.sequence) {
			return error_set(err, -EINVAL,
					 "VHDX log descriptor is of another "
					 "entry");
		} else if (memcmp(d.signature, VHDX_LOG_ZERO_SIGNATURE, 4) ==
			   0) {
			rc = apply_zero(r, &d, err);
		} else if (memcmp(d.signature, VHDX_LOG_DESC_SIGNATURE, 4) ==
				   0 &&
			   data < e->len / VHDX_LOG_SECTOR) {
			rc = apply_data(
				r, &d, e->offset + data * VHDX_LOG_SECTOR, err);
			data++;
		} else {
			return error_set(err, -EINVAL,
					 "VHDX log descriptor is not valid");
		}
	}
	return rc;
}

static int apply_sequence(struct ring *r, const struct sequence *s,
			  struct error *err)
{
	uint64_t at = s->tail;

	for (;;) {
		struct entry e;
		int rc = read_entry(r, at, &e);

		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not read VHDX log");
		if (rc == 0)
			return error_set(err, -EINVAL, "VHDX log is not valid");
		rc = apply_entry(r, &e, err);
		if (rc < 0)
			return rc;
		if (le64toh(e.header.sequence) == s->number)
			break;
		at = (at + e.len) % r->vhdx->log.len;
	}
	return 0;
}

static int empty_log(struct vhdx *v, const struct image_file *file,
		     struct error *err)
{
	int rc = image_file_flush(file);

	if (rc == 0) {
		memset(v->header.log_guid, 0, sizeof(v->header.log_guid));
		rc = vhdx_write_headers(v, file);
	}
	return rc < 0 ? error_set_errno(err, rc, "Could not empty VHDX log")
		      : 0;
}

int vhdx_replay(struct vhdx *v, struct image_file *file, const char *path,
		struct error *err)
{
	struct ring r = { .vhdx = v, .file = file, .budget = 8 * v->log.len };
	struct sequence s = { .n = 0 };
	int rc;

	if (vhdx_is_null(v->header.log_guid))
		return 0;
	if (v->log.len > REPLAY_LEN_MAX)
		return error_set(err, -EFBIG,
				 "VHDX log to be replayed is longer than %d "
				 "bytes",
				 REPLAY_LEN_MAX);
	rc = image_file_size(file, &r.file_size);
	if (rc == 0)
		rc = find_sequence(&r, &s);
	if (rc == -ELOOP)
		return error_set(err, -EINVAL, "VHDX log is not valid");
	if (rc < 0)
		return error_set_errno(err, rc, "Could not read VHDX log");
	if (s.n == 0)
		return 0;
	if (file->is_read_only)
		return error_set(err, -EPERM,
				 "VHDX image file '%s' opened read-only, but "
				 "contains a log that needs to be replayed",
				 path);
	rc = apply_sequence(&r, &s, err);
	if (rc < 0)
		return rc;
	v->is_replayed = true;
	return empty_log(v, file, err);
}

static void fill_entry(const struct vhdx *v, uint64_t file_offset,
		       uint64_t file_size, const uint8_t *sector,
		       uint8_t *entry)
{
	struct vhdx_wire_log_header h = {
		.len = htole32(ENTRY_LEN),
		.tail = htole32((uint32_t)v->log_previous),
		.sequence = htole64(v->log_sequence),
		.n_descriptors = htole32(1),
		.flushed_file_size = htole64(v->flushed_size),
		.last_file_size = htole64(file_size),
	};
	struct vhdx_wire_log_descriptor d = {
		.file_offset = htole64(file_offset),
		.sequence = htole64(v->log_sequence),
	};
	struct vhdx_wire_log_data data = {
		.sequence_high = htole32((uint32_t)(v->log_sequence >> 32)),
		.sequence_low = htole32((uint32_t)v->log_sequence),
	};

	memcpy(h.signature, VHDX_LOG_SIGNATURE, 4);
	memcpy(h.log_guid, v->header.log_guid, sizeof(h.log_guid));
	memcpy(d.signature, VHDX_LOG_DESC_SIGNATURE, 4);
	memcpy(d.leading, sector, sizeof(d.leading));
	memcpy(d.trailing, sector + VHDX_LOG_SECTOR - sizeof(d.trailing),
	       sizeof(d.trailing));
	memcpy(data.signature, VHDX_LOG_DATA_SIGNATURE, 4);
	memcpy(data.data, sector + sizeof(d.leading), sizeof(data.data));
	memset(entry, 0, ENTRY_LEN);
	memcpy(entry, &h, sizeof(h));
	memcpy(entry + sizeof(h), &d, sizeof(d));
	memcpy(entry + VHDX_LOG_SECTOR, &data, sizeof(data));
	h.checksum = htole32(crc32c(0, entry, ENTRY_LEN));
	memcpy(entry, &h, sizeof(h));
}

/* The first entry is there before the header says that there are any. */
static int write_entry(struct vhdx *v, uint64_t file_offset,
		       const uint8_t *sector)
{
	const struct image_file *file = v->blocks.file;
	uint8_t entry[ENTRY_LEN];
	uint64_t file_size;
	int rc = image_file_size(file, &file_size);

	if (rc < 0)
		return rc;
	if (!v->is_logging) {
		guid_generate(v->header.log_guid);
		v->log_head = v->log_previous = 0;
		v->log_sequence = 1;
	}
	fill_entry(v, file_offset, file_size, sector, entry);
	rc = image_file_write(file, v->log.offset + v->log_head, entry,
			      sizeof(entry));
	if (rc == 0)
		rc = image_file_flush(file);
	if (rc == 0 && !v->is_logging)
		rc = vhdx_write_headers(v, file);
	if (rc < 0)
		return rc;
	v->is_logging = true;
	v->flushed_size = file_size;
	v->log_previous = v->log_head;
	v->log_head = (v->log_head + ENTRY_LEN) % v->log.len;
	v->log_sequence++;
	return 0;
}

int vhdx_log_sector(struct vhdx *v, uint64_t file_offset, const uint8_t *sector,
		    struct error *err)
{
	int rc = write_entry(v, file_offset, sector);

	/* Without its first entry the log is as empty as it was. */
	if (rc < 0 && !v->is_logging)
		memset(v->header.log_guid, 0, sizeof(v->header.log_guid));
	return rc < 0 ? error_set_errno(err, rc, "Could not write VHDX log")
		      : 0;
}

int vhdx_log_close(struct vhdx *v, struct error *err)
{
	int rc;

	if (!v->is_logging)
		return 0;
	rc = empty_log(v, v->blocks.file, err);
	v->is_logging = rc < 0;
	return rc;
}
