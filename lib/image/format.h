/* SPDX-License-Identifier: ISC */
/*
 * Inside lib/image: the table of operations that a format fills, and the
 * object that image*.c and the formats share. Programs include image.h.
 */
#ifndef LIB_IMAGE_FORMAT_H
#define LIB_IMAGE_FORMAT_H

#include "lib/image/file.h"
#include "lib/image/image.h"
#include "lib/image/lock.h"

/* As image.h has them. */
struct image_bitmap_ops {
	/* Whether this image may have any, of a format that can. */
	bool (*are_possible)(const struct image *image);
	int (*add)(struct image *image, const char *name, uint64_t granularity,
		   bool is_enabled, struct error *err);
	int (*remove)(struct image *image, const char *name, struct error *err);
	int (*clear)(struct image *image, const char *name, struct error *err);
	int (*enable)(struct image *image, const char *name, bool is_enabled,
		      struct error *err);
	int (*merge)(struct image *image, const char *name,
		     struct image *source, const char *from, struct error *err);
	int (*get)(struct image *image, const char *name, uint64_t offset,
		   bool *is_set, uint64_t *len, struct error *err);
};

struct image_format {
	const char *name;
	/* QEMU's driver of it works in sectors, and not in bytes. */
	bool is_in_sectors;
	bool has_no_dirty_flag; /* in QEMU's JSON, as its driver says nothing */
	bool has_backing;	/* there may be an image under it */
	/* Of a disk it is no more than a way to it, so that what is in which
	 * of that one's layers is told as if it were not there. */
	bool is_filter;
	bool detects_zeroes; /* where it is asked to: has better than data */
	/* It keeps nothing in the file that others could get wrong, so that
	 * they may do there what they may do with the disk. */
	bool shares_file;
	/* How surely the first bytes (and the size) are this format: 0 no,
	 * 1 could be (raw), 100 the magic matches. */
	int (*probe)(const uint8_t *head, size_t len, uint64_t file_size);
	/* image->file is open; fill size, cluster_size and the backing names.
	 * If it fails close is called, as always. */
	int (*open)(struct image *image, struct error *err);
	/* Flush and free image->state; NULL state is fine. */
	int (*close)(struct image *image, struct error *err);
	int (*create)(const char *path, const struct image_create_options *o,
		      struct error *err);
	const struct image_option_spec *create_specs; /* NULL: no create */
	/* create is told of "preallocation", and resize: of other formats it
	 * is about the file when that is empty yet. */
	bool preallocates;

	/* Ranges are checked by image.c: within size, len > 0. */
	int (*readv)(struct image *image, uint64_t offset,
		     const struct iovec *iov, unsigned n_iov,
		     struct error *err);
	int (*writev)(struct image *image, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov,
		      struct error *err);
	/* The same, which passes the turn. NULL: it cannot. */
	int (*write_in_turn)(struct image *image, uint64_t offset,
			     const struct iovec *iov, unsigned n_iov,
			     const struct image_turn *turn, struct error *err);
	int (*write_zeroes)(struct image *image, uint64_t offset, uint64_t len,
			    unsigned flags, struct error *err);
	int (*discard)(struct image *image, uint64_t offset, uint64_t len,
		       struct error *err);
	/* One cluster, or less at the disk's end. NULL in this and the next two:
	 * -ENOTSUP. */
	int (*write_compressed)(struct image *image, uint64_t offset,
				const void *buf, size_t len,
				const struct image_turn *turn,
				struct error *err);
	int (*change_backing)(struct image *image, const char *name,
			      const char *format, struct error *err);
	/* Is image->backing, which was just opened, what it was made over?
	 * NULL: whatever has that name is. */
	int (*check_backing)(struct image *image, struct error *err);
	int (*make_empty)(struct image *image, struct error *err);
	int (*compact)(struct image *image, struct error *err);
	/* Both or neither. */
	int (*amend)(struct image *image,
		     const struct image_amend_options *options,
		     struct error *err);
	const struct image_option_spec *amend_specs;
	/* Internal snapshots. NULL: -ENOTSUP. Where only load is that, they
	 * are another image's. */
	int (*snapshot_create)(struct image *image,
			       const struct image_snapshot_info *what,
			       struct error *err);
	int (*snapshot_apply)(struct image *image, unsigned index,
			      struct error *err);
	int (*snapshot_delete)(struct image *image, unsigned index,
			       struct error *err);
	int (*snapshot_load)(struct image *image, unsigned index,
			     struct error *err);
	/* Bitmaps; NULL: -ENOTSUP. */
	const struct image_bitmap_ops *bitmaps;
	int (*flush)(struct image *image, struct error *err);
	/* This layer only: image.c walks the chain. */
	int (*map)(struct image *image, uint64_t offset, uint64_t len,
		   unsigned flags, struct image_extent *extent,
		   struct error *err);
	int (*resize)(struct image *image, uint64_t size,
		      const struct image_resize_options *options,
		      struct error *err);
	/* Is a new one no disk, so that its size need not be said? NULL: it
	 * is one. */
	bool (*is_sizeless)(const struct image_create_options *options);
	/* NULL: there is no more to say than of any image. */
	int (*get_info)(struct image *image, struct image_info *info,
			struct error *err);
	/* NULL: no. */
	bool (*has_holes)(struct image *image);
	/* The files that it has besides image->file, the last one first; NULL
	 * after those. The node's name and path are filled. NULL: none. */
	const struct image_file *(*other_file)(const struct image *image,
					       unsigned index,
					       struct image_node *node);
	/* NULL: -ENOTSUP. */
	int (*check)(struct image *image, struct image_check *check,
		     struct error *err);
	/* enum image_repair_flags. NULL: -ENOTSUP. */
	int (*repair)(struct image *image, unsigned what,
		      struct image_check *check, struct error *err);
};

struct image {
	const struct image_format *format;
	struct image_file *file;
	char *path, *name, *node_name; /* NULL: not said, but for path */
	unsigned flags;
	struct image_locks disk_locks; /* asked for by who uses the disk */
	bool is_probed;		       /* format guessed: block 0 is guarded */
	uint64_t size;
	uint32_t cluster_size;
	bool is_packed;	     /* all writes are compressed ones */
	uint64_t cache_size; /* as the caller wants it; 0: as is usual */
	/* For other files that an image names: image_open_options. */
	image_backing_policy *may_open;
	void *policy_context;
	/* While it is being opened: the caller's, or NULL. */
	const struct secrets *secrets;
	const char *key_secret, *header_path, *vpc_size;
	const struct image_under *data_file;
	void (*found)(void *context, const char *line); /* or NULL */
	void *found_context;
	/* Names as stored, and the path they resolve to; or NULL. */
	char *backing_name, *backing_format, *backing_path;
	struct image *backing;
	unsigned depth; /* of this image in its chain, bounded */
	void *state;	/* the format's own */
};

/* All formats, NULL-terminated: a new one is a row in formats.c. */
extern const struct image_format *const image_formats[];
/* What is said where there are no internal snapshots. */
extern const char image_no_snapshots[];
/* By name; NULL: none such. */
const struct image_format *image_format_find(const char *name);
/*
 * The format whose magic is in the first bytes, raw at the least. Something
 * that is known not to be raw but has no reader yet is -ENOTSUP by name.
 */
int image_format_probe(const struct image_format **format, const uint8_t *head,
		       size_t len, uint64_t file_size, struct error *err);

enum {
	IMAGE_PROBE_LEN = 512, /* bytes that probing looks at */
	IMAGE_DEPTH_MAX = 256, /* images in a chain */
	IMAGE_SECTOR = 512,
};

/* For a format's write_compressed: 0 where nobody waits for a turn. */
static inline int image_turn_await(const struct image_turn *turn)
{
	return turn != NULL ? turn->await(turn->context) : 0;
}
/* For a format's readv: what lies under this image, zeroes where nothing
 * does. Any range. */
int image_backing_readv(struct image *image, uint64_t offset,
			const struct iovec *iov, unsigned n_iov,
			struct error *err);
/* "nbd://…", "json:…": not a file's name. */
bool image_name_has_protocol(const char *name);

/* The path of a file that has this name in an image at image_path: relative to
 * the image's own folder. To be freed; NULL: out of memory. */
char *image_path_beside(const char *image_path, const char *name);

/* -EINVAL: the name is relative to a folder, and the image is in none. */
int image_folder_check(const struct image *image, const char *name,
		       struct error *err);

/* enum image_file_flags for another file of the image's: an extent, or the
 * data file. */
unsigned image_other_file_flags(const struct image *image);

/* For a format's create: refuse, by name, options that neither specs nor a
 * file has. */
int image_options_check(const struct image_create_options *options,
			const struct image_option_spec *specs,
			struct error *err);
/* The value of an option; NULL: not given. */
const char *image_option_find(const struct image_create_options *options,
			      const char *name);
/* *value stays as it is where the option is not given. */
int image_option_bool(const struct image_create_options *options,
		      const char *name, bool *value, struct error *err);
int image_option_number(const struct image_create_options *options,
			const char *name, uint64_t *value, struct error *err);

extern const struct image_format image_format_raw;
extern const struct image_format image_format_qcow2;
extern const struct image_format image_format_vdi;
extern const struct image_format image_format_vpc;
extern const struct image_format image_format_vmdk;
extern const struct image_format image_format_vhdx;
extern const struct image_format image_format_parallels;
extern const struct image_format image_format_qed;
extern const struct image_format image_format_qcow1;
extern const struct image_format image_format_bochs;
extern const struct image_format image_format_cloop;
extern const struct image_format image_format_luks;
extern const struct image_format image_format_dmg;
extern const struct image_format image_format_null_co;
extern const struct image_format image_format_null_aio;
extern const struct image_format image_format_file;
extern const struct image_format image_format_host_device;
extern const struct image_format image_format_host_cdrom;
extern const struct image_format image_format_nbd;
extern const struct image_format image_format_blkdebug;
extern const struct image_format image_format_throttle;
extern const struct image_format image_format_compress;
extern const struct image_format image_format_preallocate;
extern const struct image_format image_format_blklogwrites;
extern const struct image_format image_format_copy_before_write;
extern const struct image_format image_format_quorum;
extern const struct image_format image_format_blkverify;

#endif
