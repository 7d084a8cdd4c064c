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
	uint32_t block_len, logical_sector;
	uint64_t size, chunk_ratio;
	bool is_fixed;

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

extern const struct image_option_spec vhdx_create_specs[];
int vhdx_create(const char *path, const struct image_create_options *options,
		struct error *err);

#endif
