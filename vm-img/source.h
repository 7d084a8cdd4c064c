/* SPDX-License-Identifier: ISC */
/*
 * What a name on the command line stands for: a path; "file:PATH";
 * "blkdebug:CONFIG:PATH"; an NBD export; with --image-opts
 * "driver=qcow2,file.filename=PATH"; or the same as "json:{…}".
 * Names inside images come here as source_parse_inside() alone.
 */
#ifndef VM_IMG_SOURCE_H
#define VM_IMG_SOURCE_H

#include "lib/image/image.h"
#include "lib/image/layer.h"
#include "vm-img/source_name.h"

#include <stdbool.h>

struct blkdebug;
struct error;
struct keys;

/* One of those over the file, with what is its own. */
struct source_layer {
	struct image_layer layer;
	struct blkdebug *blkdebug; /* ours, as is what follows */
	struct source *image;	   /* of a disk, without a path */
	struct image_log_writes log_how;
	struct image_copy_before_write copy_how;
	struct source *beside; /* the log, or the target of the copy */
	struct source_layer *under;
};

/* The files of a quorum; ours. */
struct source_quorum {
	struct image_quorum how;
	struct source *children[IMAGE_QUORUM_MAX];
};

enum {
	SOURCE_N_CACHE_SIZES = 4, /* of qcow2 */
};

struct source {
	/* Ours, NULL: not said. */
	char *path, *format, *key_secret, *header_path;
	char *encrypt_format;	   /* what the image is to be encrypted by */
	const char *secret_option; /* by which key_secret was given */
	char *nbd_context;
	char *vpc_size;
	struct source_layer *layers; /* the uppermost */
	struct image_null *null;
	struct source_quorum *quorum;
	struct source *data_file; /* NULL: not said; and what that is to be */
	struct image_under data_how;
	struct source_name name;
	char *node_name;
	bool has_name;
	bool has_no_driver;   /* and name does not say which it is */
	char *unknown;	      /* an option that the format ought to know */
	bool is_share_denied; /* "force-share=off" */
	char *qcow2_option;   /* the first of those that it alone has */
	const char *parallels_option; /* the same */
	uint64_t cache_sizes[SOURCE_N_CACHE_SIZES];
	bool has_cache_size[SOURCE_N_CACHE_SIZES], has_lazy_refcounts;
	bool needs_unmap;      /* which reading verbs do not have */
	unsigned flags;	       /* enum image_open_flags, to be added */
	bool is_backing_empty; /* "backing=", which QEMU warns of */
	bool is_inside;	       /* an image: not the user's own word */
	/* "backing.NAME=…": of the image under it, ours; how is what it says
	 * for the engine. */
	struct source *under;
	char *under_name; /* the first such name */
	struct image_under how;
};

/* format, if it is not NULL, is the user's -f. 0, or -errno with a text in
 * QEMU's words. */
int source_parse(struct source *source, const char *name, const char *format,
		 bool is_options, struct error *err);
/* The same of a name inside an image that is no path: -ENOTSUP unless it is
 * "json:{…}" and no more than one. source_plain.c */
int source_parse_inside(struct source *source, const char *name,
			const char *format, struct error *err);
/* What image_open() may take its path for: enum image_open_flags. */
unsigned source_path_flags(const struct source *source);
/* May an image be made by this name? "ftp:…" is not that of a file. -EINVAL
 * in QEMU's words. */
int source_check_new(const char *name, struct error *err);
/* image_create() of what name stands for. */
int source_create(const char *name, const struct image_create_options *options,
		  struct error *err);
/* blkdebug's own options, whose names begin with prefix.
 * source_blkdebug.c */
int source_take_blkdebug(struct keys *keys, const char *prefix,
			 struct blkdebug **d, struct error *err);
/* null-co and null-aio, and their options. source_null.c */
bool source_is_null(const char *driver);
int source_take_null(struct keys *keys, const char *prefix, const char *driver,
		     struct source *source, struct error *err);
/* Those of qcow2 alone, which change nothing here, and whether an image can have
 * what they say. source_qcow2.c */
int source_take_qcow2(struct keys *keys, const char *prefix,
		      struct source *source, struct error *err);
int source_check_qcow2(const struct source *source, struct image *image,
		       struct error *err);
/* What there is of an encrypted image's options with this driver; NULL: it is
 * not said. One of them that an image of this format cannot have, or NULL. And
 * is an image encrypted as was said? source_encryption.c */
int source_take_encryption(struct keys *keys, const char *prefix,
			   const char *driver, struct source *source);
const char *source_unknown_encryption(const struct source *source,
				      const char *format);
int source_check_encryption(const struct source *source, struct image *image,
			    struct error *err);
/* Parallels', which change nothing here. source_how.c */
int source_take_parallels(struct keys *keys, const char *prefix,
			  struct source *source, struct error *err);
/* -EINVAL, of detect-zeroes=unmap without discard=unmap. source_how.c */
int source_refuse_unmap(struct error *err);
/* An NBD export's options, whose names begin with prefix. plain, to be freed,
 * becomes its URI without what is between the server and us. source_nbd.c */
int source_take_nbd(struct keys *keys, const char *prefix,
		    struct source *source, char **plain, struct error *err);
/* A URI as QEMU shows it: with a port, and without a slash that no export's
 * name follows. plain is to be freed. */
int source_parse_nbd(const char *uri, char **plain, struct error *err);
/* "nbd:unix:PATH" or "nbd:HOST:PORT", as a URI. */
bool source_is_old_nbd(const char *name);
/* That, or a URI. */
bool source_is_nbd(const char *name);
int source_parse_old_nbd(const char *name, char **uri, struct error *err);
/* "blkverify:RAW:TEST", as driver=blkverify has two files, of which the second is
 * the disk of an image whose format is guessed. source_quorum.c */
bool source_is_blkverify(const char *name);
int source_parse_blkverify(struct source *source, const char *name,
			   struct error *err);
/* One more under those there are; NULL: out of memory. */
struct source_layer *source_push(struct source *source,
				 enum image_layer_kind kind);
/* These three for image_open_options, as long as source lives. */
const struct image_quorum *source_quorum(const struct source *source);
const struct image_layer *source_layers(const struct source *source);
const struct image_under *source_data_file(const struct source *source);
/* image_accept of a source: is what was opened what the options are for?
 * source_finish.c */
int source_accept(void *context, struct image *image, struct error *err);
/* Give it the name that it is told of by: -ENOMEM. */
int source_finish(struct source *source, struct image *image);
/* How often "backing=" is in it. NULL: never. */
unsigned source_count_empty_backings(const struct source *source);
/* As source lives. */
const struct image_under *source_under(struct source *source);
/* All of it, as of an image under another. */
const struct image_under *source_how(struct source *source);
void source_deinit(struct source *source);

#endif
