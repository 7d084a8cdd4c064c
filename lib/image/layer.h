/* SPDX-License-Identifier: ISC */
/*
 * What the user puts between a format and the file that it is in: files over
 * a file, each of which changes what is under it. The lowest stands over the
 * file at the path.
 */
#ifndef LIB_IMAGE_LAYER_H
#define LIB_IMAGE_LAYER_H

#include "lib/image/image.h"

#include <stdbool.h>
#include <stdint.h>

struct blkdebug;
struct error;
struct image_file;
struct throttle;

enum image_layer_kind {
	IMAGE_LAYER_BLKDEBUG, /* errors where a test wants them */
	IMAGE_LAYER_WINDOW,   /* a part, as of a partition */
	IMAGE_LAYER_THROTTLE, /* not too fast */
	IMAGE_LAYER_DISK,     /* what an image holds, rather than its file */
	IMAGE_LAYER_COMPRESS, /* what is written to such a disk, compressed */
	IMAGE_LAYER_PREALLOCATE, /* space ahead of what is written */
	IMAGE_LAYER_LOG_WRITES,	 /* all that is written, in another file too */
	IMAGE_LAYER_COPY_BEFORE_WRITE, /* what was there before, likewise */
};

struct image_window {
	uint64_t offset, size; /* of the part, in bytes */
	bool has_size;	       /* else up to the end, wherever that is */
};

/* Where the file grows it gets so many bytes more than it needs, and then up to
 * a multiple of alignment. */
struct image_preallocate {
	uint64_t size, alignment;
};

/* A log as Linux's dm-log-writes writes it. */
struct image_log_writes {
	struct image_under file; /* as layer_open_child() has it */
	bool appends;		 /* to what is there */
	uint64_t sector_size;	 /* 0: as it is there, or 512 */
	uint64_t
		update_interval; /* entries from one count of them to another */
};

/* Where what is changed goes before it is; it should be as large. */
struct image_copy_before_write {
	struct image_under target; /* as layer_open_child() has it */
	bool may_lose_copy;	   /* where that fails: else the change does */
};

/* One that is not meant has NULLs and zeroes. */
struct image_layer {
	enum image_layer_kind kind;
	const struct blkdebug *blkdebug;
	struct image_window window;
	struct throttle *throttle; /* shared: it counts */
	struct image_preallocate preallocate;
	const struct image_log_writes *log;
	const struct image_copy_before_write *copy;
	/* Of the disk's image, what has to do with its format. */
	const struct image_under *image;
	const struct image_layer *under; /* NULL: the file */
};

/* The file at path, or what there is instead, and all layers of options over
 * it; flags are enum image_file_flags. */
int layer_open(struct image_file **file, const char *path,
	       const struct image_open_options *options, unsigned flags,
	       struct error *err);

/* Another file that stands beside such a one, with locks of its own; how has no
 * more than a path and what is in its place or over it, and the flags that one
 * of image_quorum's children can have. */
int layer_open_child(struct image_file **child, const struct image_under *how,
		     const struct image_open_options *options, unsigned flags,
		     struct error *err);
/* A file over several children, this one among them, does what all of them can
 * bear. */
void layer_add_child(struct image_file *file, const struct image_file *child);

/* The image whose disk it is, or a part of it; NULL: it is another file.
 * Borrowed. */
struct image *layer_disk(const struct image_file *file);
/* image_is_heard(), of a file. */
bool layer_is_heard(const struct image_file *file);
/* image_map() of that image, from an offset in the file on. */
int layer_map(const struct image_file *file, uint64_t host_offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err);

/* window.c, throttle.c, and so on. If they fail *file stays as it is; but disk
 * takes it in any case. */
int window_put_over(struct image_file **file, const char *path,
		    const struct image_window *window, unsigned flags,
		    struct error *err);
int throttle_put_over(struct image_file **file, const char *path,
		      struct throttle *throttle, unsigned flags);
bool throttle_is(const struct image_file *file);
/* Wait until all throttles that are right over each other, if file is one, let
 * len bytes be written, which are then written without them. */
void throttle_account_write(const struct image_file *file, uint64_t len);
int compress_put_over(struct image_file **file, const char *path,
		      unsigned flags, struct error *err);
int preallocate_put_over(struct image_file **file, const char *path,
			 const struct image_preallocate *how, unsigned flags,
			 struct error *err);
int log_writes_put_over(struct image_file **file, const char *path,
			const struct image_log_writes *how,
			const struct image_open_options *options,
			unsigned flags, struct error *err);
/* -EINVAL of a file that is open for reading alone. */
int copy_before_write_put_over(struct image_file **file, const char *path,
			       const struct image_copy_before_write *how,
			       const struct image_open_options *options,
			       unsigned flags, struct error *err);
int disk_put_over(struct image_file **file, const char *path,
		  const struct image_layer *layer,
		  const struct image_open_options *options, struct error *err);

#endif
