/* SPDX-License-Identifier: ISC */
/* VMDK's inside: what its sources share. */
#ifndef LIB_IMAGE_VMDK_H
#define LIB_IMAGE_VMDK_H

#include "lib/image/blocks.h"
#include "lib/image/image.h"
#include "lib/image/vmdk_descriptor.h"
#include "protocols/vmdk.h"

#include <pthread.h>

struct vmdk_extent {
	struct blocks blocks;
	/* NULL: the image's own; of another type than ZERO that is not
	 * embedded: not opened. */
	struct image_file *own_file;
	bool is_borrowed; /* that, from an extent before it */
	char *path;
	enum vmdk_extent_type type;
	bool is_embedded; /* header, descriptor and grains in one file */

	uint64_t flat_offset; /* FLAT, in bytes */

	/* SPARSE; offsets in bytes. */
	bool is_compressed, has_markers, has_zero_grains;
	bool has_redundant, is_at_end; /* directories */
	uint64_t directory_offset, redundant_offset;
	uint64_t n_directory;
	uint32_t table_entries;
	uint64_t grain_len;
	uint64_t end; /* of what the tables refer to; 0: not known yet */
};

struct vmdk {
	struct vmdk_extent **extents;
	unsigned n_extents;
	struct vmdk_descriptor descriptor;
	struct image_file *descriptor_file; /* borrowed */
	uint64_t descriptor_offset;
	struct image_info_extent *infos; /* n_extents of them */

	pthread_mutex_t lock; /* within the extents' locks */
	bool is_cid_changed;
	bool is_parent_checked;
};

/* vmdk_open.c: fills image->state. */
int vmdk_open(struct image *image, struct error *err);
/* What image_file_close() returns of an extent's file. */
int vmdk_free(struct vmdk *v);

/* Its header says what it is: type, blocks.size and the tables are filled.
 * file may be for reading only. */
int vmdk_sparse_open(struct vmdk_extent *extent, struct image *image,
		     struct image_file *file, struct error *err);
/* The header of a hosted sparse extent, from the file's beginning. */
int vmdk_sparse_read_header(const struct image_file *file,
			    struct vmdk_wire_header *header, struct error *err);

/* Where the compressed grain at *at has its stream, and the most that it can be
 * long. */
int vmdk_read_marker(const struct vmdk_extent *extent, uint64_t *at,
		     size_t *len, struct error *err);
/* Room for a grain or a table of a sparse extent, as blocks_append(). With the
 * lock. */
int vmdk_append(struct vmdk_extent *extent, uint64_t alignment, uint64_t len,
		struct block_place *place, struct error *err);

/* An extent's begin_writing: the disk is about to change, and its identity
 * with it. */
int vmdk_begin_writing(struct blocks *blocks, struct error *err);

extern const struct image_option_spec vmdk_create_specs[];
int vmdk_create(const char *path, const struct image_create_options *options,
		struct error *err);

#endif
