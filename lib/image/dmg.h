/* SPDX-License-Identifier: ISC */
/* Inside lib/image: what a dmg consists of. */
#ifndef LIB_IMAGE_DMG_H
#define LIB_IMAGE_DMG_H

#include <stdint.h>

struct error;
struct image_file;

enum {
	DMG_CHUNK_MAX = 64 << 20, /* bytes: QEMU's limit */
	DMG_TABLES_MAX = 16 << 20,
};

struct dmg_chunk {
	uint64_t offset, len; /* bytes of the disk; len > 0 */
	uint64_t host_offset, host_len;
	uint32_t type; /* enum dmg_chunk_type and DMG_ZLIB, DMG_BZIP2 */
};

struct dmg_table {
	struct dmg_chunk *chunks; /* by offset */
	uint64_t n_chunks;
	uint64_t size; /* of the disk */
	uint64_t data_fork_offset;
};

/* Trailer and tables, each checked. */
int dmg_table_read(struct dmg_table *table, const struct image_file *file,
		   struct error *err);
void dmg_table_deinit(struct dmg_table *table);
/* The tables in a property list of len bytes, which is changed, and ends with
 * one zero byte more. */
int dmg_table_parse_xml(struct dmg_table *table, char *xml, struct error *err);

#endif
