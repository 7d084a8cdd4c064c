/* SPDX-License-Identifier: ISC */
/* VHDX's inside: what its sources share. */
#ifndef LIB_IMAGE_VHDX_H
#define LIB_IMAGE_VHDX_H

#include "lib/image/blocks.h"
#include "lib/image/image.h"
#include "protocols/vhdx.h"

struct vhdx_range {
	uint64_t offset, len;
};

struct vhdx {
	struct blocks blocks; /* first */
	struct vhdx_wire_header header;
	unsigned slot; /* of the two, where header stands */
	struct vhdx_range bat, metadata, log;
	struct vhdx_wire_items items;
	uint32_t block_len, logical_sector;
	uint64_t size, chunk_ratio, n_entries;
	bool is_fixed;
	/* A differencing image: its parent locator, and what that says. */
	bool has_parent;
	struct vhdx_range locator;
	uint8_t parent_guids[2][16]; /* its data GUID is one of them */

	/* The log, from the first entry that this opening writes on. */
	bool is_logging;
	uint64_t log_head, log_previous; /* offsets in it */
	uint64_t log_sequence, flushed_size;
	bool is_replayed;
};

/* vhdx_header.c: headers, regions and metadata, each checked. */
int vhdx_read_headers(struct vhdx *v, struct image_file *file,
		      struct error *err);
/* Headers are read: where things are, and how large. */
int vhdx_read_layout(struct vhdx *v, struct image_file *file,
		     struct error *err);
/* Write v->header twice, the current one last, with a new sequence number. */
int vhdx_write_headers(struct vhdx *v, const struct image_file *file);
bool vhdx_is_null(const uint8_t *guid);

/* vhdx_log.c */
/* If there is something in the log, it is written where it belongs; on a
 * file for reading only that is an error. */
int vhdx_replay(struct vhdx *v, struct image_file *file, const char *path,
		struct error *err);
/* Log that the 4 KiB at file_offset are going to be sector; when it returns
 * the log is stable. */
int vhdx_log_sector(struct vhdx *v, uint64_t file_offset, const uint8_t *sector,
		    struct error *err);
/* Everything is in its place, and stable: the log is empty. */
int vhdx_log_close(struct vhdx *v, struct error *err);

/* vhdx.c */
uint64_t vhdx_entry_place(const struct vhdx *v, uint64_t index);
/* A block over the tables would have the guest write them. */
bool vhdx_is_place(const struct vhdx *v, uint64_t offset, uint64_t len);
/* Room at the file's end, not within a region. */
int vhdx_append(struct vhdx *v, uint64_t len, struct block_place *place,
		struct error *err);
/* len bytes of metadata, which are in one sector of 4 KiB: through the log. */
int vhdx_change(struct vhdx *v, uint64_t offset, const void *data, size_t len,
		struct error *err);

/* vhdx_sectors.c: which sectors are not the parent's. run is its block's,
 * which is partially present, from offset on. */
int vhdx_find_sectors(struct vhdx *v, uint64_t offset, bool nowait,
		      struct block_run *run, struct error *err);
int vhdx_locate(struct blocks *blocks, uint64_t index,
		struct block_place *place, struct error *err);
int vhdx_own(struct blocks *blocks, uint64_t offset, uint64_t len,
	     struct error *err);
int vhdx_make_empty(struct image *image, struct error *err);

/* vhdx_parent.c */
enum {
	VHDX_LOCATOR_LEN = 4096, /* of those that are written here */
};
/* The image's names, and v->parent_guids. */
int vhdx_read_parent(struct vhdx *v, struct image *image, struct error *err);
int vhdx_check_backing(struct image *image, struct error *err);
int vhdx_change_backing(struct image *image, const char *name,
			const char *format, struct error *err);
/* The same, with the lock: the parent that it has may have changed. */
int vhdx_write_parent(struct vhdx *v, const char *path, const char *name,
		      const char *format, struct error *err);
/*
 * A parent locator for the image that name means in one at path, len bytes of
 * it; and that image's items.
 */
int vhdx_name_parent(const char *path, const char *name, const char *format,
		     uint8_t locator[VHDX_LOCATOR_LEN], uint32_t *len,
		     struct vhdx_wire_items *items, struct error *err);

extern const struct image_option_spec vhdx_create_specs[];
int vhdx_create(const char *path, const struct image_create_options *options,
		struct error *err);

#endif
