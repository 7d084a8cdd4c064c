/* SPDX-License-Identifier: ISC */
/*
 * The nodes that options speak of, from the top down: "file.driver=throttle,
 * file.file.filename=PATH" are two under a format. They become the source's
 * path and the layers over it.
 */
#ifndef VM_IMG_SOURCE_NODE_H
#define VM_IMG_SOURCE_NODE_H

#include "vm-img/source.h"

#include <stdbool.h>

struct error;
struct keys;
struct source_name;

enum {
	SOURCE_NODES_MAX = 32,
	SOURCE_PREFIX_MAX = 64,
	SOURCE_N_HOW = 9,
};

struct source_reader {
	struct keys *keys;
	struct source *source;
	struct source_node {
		char prefix[SOURCE_PREFIX_MAX]; /* of its options */
		const char *driver;
		struct source *image; /* NULL: it is none, or raw in a disk */
		bool is_protocol;
	} nodes[SOURCE_NODES_MAX];
	unsigned n_nodes;
	bool is_under; /* another image, which may say where it is */
};

/* What a node can be besides a format: a file, or something over one. */
bool source_driver_is_file(const char *driver);

/* What one that is over another node, and no format, calls it: "file", or "image";
 * NULL: this is none. */
const char *source_child_of(const char *driver);

/* -EINVAL in QEMU's words, as below. */
int source_check_driver(const char *driver, struct error *err);
/* What is at path is for that driver of files, or of devices; NULL: both. What
 * is not there is found out when it is opened. */
int source_check_file(const char *path, const char *driver, struct error *err);
/* The node whose options begin with prefix, and all under it. driver NULL: a
 * file. name, which is empty, becomes what it is called. */
int source_read_node(struct source_reader *r, const char *prefix,
		     const char *driver, struct source_name *name,
		     struct error *err);
/* What is after "driver=quorum": its options and children. source_quorum.c */
int source_read_quorum(struct source_reader *r, const char *prefix,
		       struct source_name *name, struct error *err);
int source_read_blkverify(struct source_reader *r, const char *prefix,
			  struct source_name *name, struct error *err);
/* throttle and the like, which stand over one child, "file": their options and
 * that. source_filter.c */
bool source_is_filter(const char *driver);
int source_read_filter(struct source_reader *r, const char *prefix,
		       const char *driver, struct source_name *name,
		       struct error *err);
/* A size among a node's options; *size stays as it is where it is not there. */
int source_take_size(struct source_reader *r, const char *prefix,
		     const char *name, uint64_t *size, bool *has,
		     struct error *err);
/* A format at the top: its driver, which may be NULL, and what is under it. */
int source_read_top(struct source_reader *r, const char *driver,
		    struct source_name *name, struct error *err);
/* What is said of an image, which is where its format was found to be said:
 * source_format.c */
int source_take_format(struct source_reader *r, const char *prefix,
		       const char *driver, struct source *image,
		       struct source_name *name, struct error *err);
/* All that is said of one under another, "backing.", in a list of its own. *under
 * is the caller's, also if it fails. source.c */
int source_take_under(struct keys *keys, struct source **under,
		      struct error *err);
/* A node's child, which must be there. */
int source_read_child(struct source_reader *r, const char *prefix,
		      const char *child, struct source_name *name,
		      struct error *err);
/* The same of one that is not below the source, but beside it: *apart, which is
 * the caller's, has its path and its layers, and *how is of those. */
int source_read_apart(struct source_reader *r, const char *prefix,
		      const char *child, struct source **apart,
		      struct image_under *how, struct source_name *name,
		      struct error *err);
/* What is said of such a one, as long as it lives. */
struct image_under source_apart(const struct source *source);
/* "data-file.": a file, and what is over it. */
int source_read_data_file(struct source_reader *r, const char *prefix,
			  struct source *image, struct source_name *name,
			  struct error *err);
/* "header.", of LUKS: a plain file. */
int source_read_header(struct source_reader *r, const char *prefix,
		       struct source *image, struct source_name *name,
		       struct error *err);
/*
 * What says of a node whose options begin with prefix, or of a file, how work
 * is to be done: -EINVAL for a value that is none. source_how_names are the
 * former. What makes a difference, of a file, is added to flags, which are enum
 * image_open_flags. source_how.c
 */
extern const char *const source_how_names[SOURCE_N_HOW];
int source_take_how(struct keys *keys, const char *prefix, struct error *err);
int source_take_how_of_file(struct keys *keys, const char *prefix,
			    unsigned *flags, struct error *err);
/* What it says of zeroes' detection: enum image_open_flags. */
unsigned source_detects_zeroes(struct keys *keys);
/* Is zeroes' detection to discard, and nothing said of discarding? */
bool source_needs_unmap(struct keys *keys);
/* Options that nobody took: those of an image are refused when it is open, as
 * in QEMU. */
int source_refuse_left(struct source_reader *r, struct error *err);

#endif
