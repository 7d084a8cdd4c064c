/* SPDX-License-Identifier: ISC */
/* QED's inside: what its sources share. */
#ifndef LIB_IMAGE_QED_H
#define LIB_IMAGE_QED_H

#include "lib/image/blocks.h"
#include "lib/image/image.h"
#include "protocols/qed.h"

struct qed {
	struct blocks blocks; /* first */
	struct qed_wire_header header;
	uint32_t cluster_len;
	uint64_t table_len, header_len;
	uint64_t n_entries; /* of any table */
	uint64_t l1_offset;
};

/* An offset of something of so many bytes: aligned, behind the header. */
bool qed_is_place(const struct qed *q, uint64_t offset, uint64_t len);
/* And the file has all of it. With the lock. */
bool qed_is_in_file(struct qed *q, uint64_t offset, uint64_t len);
/* An entry of the table at that offset of the file. 0 or -errno. */
int qed_read_table(struct qed *q, uint64_t table, uint64_t index, bool nowait,
		   uint64_t *entry);
int qed_write_table(struct qed *q, uint64_t table, uint64_t index,
		    uint64_t entry);

/* Fill the image's names from the header, and a row of struct image_format. */
int qed_read_backing_name(struct qed *q, struct image *image,
			  struct error *err);
int qed_change_backing(struct image *image, const char *name,
		       const char *format, struct error *err);

/* Forget what cannot be in the file, or refuse an image that has such. */
int qed_look_through_tables(struct qed *q, bool is_repair, struct error *err);
/* Two rows of struct blocks_ops, and two of struct image_format. */
int qed_find_whole(struct blocks *blocks, uint64_t offset,
		   struct block_run *run, struct error *err);
int qed_forget(struct blocks *blocks, uint64_t index, struct error *err);
int qed_check(struct image *image, struct image_check *check,
	      struct error *err);
int qed_repair(struct image *image, unsigned what, struct image_check *check,
	       struct error *err);

extern const struct image_option_spec qed_create_specs[];
int qed_create(const char *path, const struct image_create_options *options,
	       struct error *err);

#endif
