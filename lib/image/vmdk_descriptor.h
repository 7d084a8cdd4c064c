/* SPDX-License-Identifier: ISC */
/*
 * The text that describes a VMDK disk ("Virtual Disk Format 5.0", § "The
 * Descriptor File"): identities, the parent's name, and the extents.
 */
#ifndef LIB_IMAGE_VMDK_DESCRIPTOR_H
#define LIB_IMAGE_VMDK_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct error;

enum {
	VMDK_EXTENTS_MAX = 4096,
};

enum vmdk_extent_type {
	VMDK_EXTENT_FLAT,
	VMDK_EXTENT_SPARSE,
	VMDK_EXTENT_ZERO,
	VMDK_EXTENT_VMFS,
	VMDK_EXTENT_VMFS_SPARSE,
};

struct vmdk_line {
	enum vmdk_extent_type type;
	uint64_t n_sectors, offset; /* the latter in the file, in sectors */
	char *name;		    /* NULL: the type has no file */
};

struct vmdk_descriptor {
	uint32_t cid, parent_cid;
	/* The place of cid's digits in the text; 0 digits: none. */
	size_t cid_at, cid_digits;
	char *create_type, *parent_name; /* NULL: not said */
	struct vmdk_line *lines;
	unsigned n_lines;
};

/* The text ends at len or at its first NUL byte. Of one that is embedded in
 * its disk the extents are passed over: it may be a stream's, whose only
 * extent is called otherwise and is not to be written. */
int vmdk_descriptor_parse(struct vmdk_descriptor *d, const char *text,
			  size_t len, bool is_embedded, struct error *err);
void vmdk_descriptor_deinit(struct vmdk_descriptor *d);

/* What a new one says; NULL: no parent. */
struct vmdk_text {
	uint32_t parent_cid;
	const char *create_type, *parent_name;
	const char *lines; /* one for each extent */
	uint64_t size;	   /* of the disk, bytes */
	const char *adapter, *hw_version, *tools_version;
};

#define VMDK_TOOLS_VERSION "2147483647"

/* As QEMU writes it, to the letter, with an identity of its own. */
void vmdk_descriptor_print(FILE *file, const struct vmdk_text *text);

/* Can these bytes, the beginning of a file, be one? */
bool vmdk_descriptor_probe(const char *text, size_t len);
/* As descriptors and info name a type. */
const char *vmdk_extent_type_name(enum vmdk_extent_type type);

#endif
