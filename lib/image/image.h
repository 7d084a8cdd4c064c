/* SPDX-License-Identifier: ISC */
/*
 * Disk images: one object for an image of any format and the backing chain
 * under it. Formats stand behind one table of operations (format.h); this is
 * what programs call.
 *
 * Every call is synchronous and thread-safe: many threads may read and write
 * one image at once; a format locks its metadata itself and does data I/O
 * outside of the lock. image_map(…, IMAGE_MAP_NOWAIT) answers from memory or
 * says -EAGAIN, so that an asynchronous server (queue.h) does the data I/O of
 * a mapped range itself and leaves everything else to a worker thread.
 *
 * Offsets and lengths are bytes of the guest's disk unless a name says host_
 * (a byte of the file). Nothing here prints or exits: 0 or -errno, with a
 * text in err that names the structure at fault. Reads beyond the end of a
 * shorter backing image are zeroes.
 */
#ifndef LIB_IMAGE_IMAGE_H
#define LIB_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* What may follow an error of a qcow image, as a line of its own. */
#define IMAGE_QCOW2_HINT "Try the 'qcow2' driver instead."

struct error;
struct image;
struct image_layer;
struct image_quorum;
struct secrets;

enum image_open_flags {
	IMAGE_READ_ONLY = 1 << 0,
	/* Take no locks (qemu-img -U): for reading what another writes. */
	IMAGE_FORCE_SHARE = 1 << 1,
	/* Do not open the backing file (qemu-img info, rebase -u). */
	IMAGE_NO_BACKING = 1 << 2,
	/* Open although the dirty or the corrupt bit is set (check). Without
	 * IMAGE_READ_ONLY: for image_repair() and nothing else. */
	IMAGE_CHECK = 1 << 3,
	/* O_DIRECT where the file system has it. */
	IMAGE_DIRECT = 1 << 4,
	/* Writes may stay in memory until image_close(), flush ignored
	 * (-t unsafe): only for images that are made anew. */
	IMAGE_UNSAFE = 1 << 5,
	/* No guest data will be read (info): a raw image needs no locks. */
	IMAGE_METADATA_ONLY = 1 << 6,
	/* What is discarded keeps its place in the file (qcow2's
	 * discard-no-unref): the file does not become fragmented. */
	IMAGE_DISCARD_NO_UNREF = 1 << 7,
	/* The path may be an NBD URI: where it is the user's own. Never true
	 * of the images under it. */
	IMAGE_NBD = 1 << 8,
	/* The same, of blkdebug:CONFIG:PATH. */
	IMAGE_BLKDEBUG = 1 << 9,
	/* Take no locks, also for writing: the user answers for it. */
	IMAGE_NO_LOCK = 1 << 10,
	/* Nobody else may write meanwhile, or change the size. Of a format with
	 * metadata nobody ever may; raw and LUKS are shared without these. */
	IMAGE_UNSHARED_WRITE = 1 << 11,
	IMAGE_UNSHARED_RESIZE = 1 << 12,
	IMAGE_UNSHARED = IMAGE_UNSHARED_WRITE | IMAGE_UNSHARED_RESIZE,
	/* It will be resized. Without it image_resize() asks for that lock
	 * itself, and is what fails where another forbids it. */
	IMAGE_RESIZE = 1 << 13,
	/* Open no file that the image names in another folder (info): what is
	 * in there cannot be read. */
	IMAGE_ALONE = 1 << 14,
	/* The user asks for Linux's own asynchronous I/O, which works without
	 * the page cache alone: a file of this host is -EINVAL without
	 * IMAGE_DIRECT. It makes no other difference. */
	IMAGE_NATIVE_AIO = 1 << 15,
	/* What was written may be found only after image_flush() or
	 * image_close(), if this process is killed before: metadata is written
	 * later, and more of it at a time (convert). */
	IMAGE_WRITE_BEHIND = 1 << 16,
	/* A write of nothing but zeroes is image_write_zeroes(), with the latter
	 * IMAGE_ZERO_MAY_UNMAP, where the format can tell them from data. Of this
	 * image alone. */
	IMAGE_DETECT_ZEROES = 1 << 17,
	IMAGE_UNMAP_ZEROES = 1 << 18,
};

/* QEMU's null-co and null-aio: no file, but a size; writes are forgotten. */
struct image_null {
	uint64_t size;
	bool reads_zeroes;   /* and says so: else all of it is data */
	uint64_t latency_ns; /* of each request */
};

/*
 * May a name found inside an image be opened? path is the resolved one.
 * NULL in the options: any is that is a plain path.
 */
typedef bool image_backing_policy(void *context, const char *path);

/* Is an image that was just opened, with those under it, what the caller takes it
 * for? Else -errno with a text, and it is not opened. */
typedef int image_accept(void *context, struct image *image, struct error *err);

/* What the caller says of the image under one, and of those under that. */
struct image_under {
	const char *path; /* the caller's own, so no policy is asked; NULL: the
			     name in the image */
	const char *format; /* NULL: as the image says */
	/* IMAGE_DIRECT, _FORCE_SHARE, _NATIVE_AIO, _NO_BACKING, _NO_LOCK; of a
	 * path, _NBD and _BLKDEBUG. */
	unsigned flags;
	const char *key_secret;
	const struct image_layer *layers;      /* as below */
	const struct image_under *data_file;   /* as below */
	const char *header_path, *nbd_context; /* as below */
	const char *vpc_size;		       /* as below */
	const struct image_null *null;
	const struct image_quorum *quorum;
	image_accept *accept; /* as below */
	void *accept_context;
	const struct image_under *under; /* NULL: as they say themselves */
};

/*
 * May a name with a protocol that was found inside an image ("nbd://…",
 * "json:…") be opened? Then *under is what it stands for, with a path; it
 * stays the caller's, until the image is open. format is what the image says
 * of it, NULL: nothing. -errno and a text: it may not, or is wrong.
 */
typedef int image_protocol_policy(void *context, const char *name,
				  const char *format,
				  const struct image_under **under,
				  struct error *err);

enum {
	IMAGE_QUORUM_MAX = 8,
};

/* QEMU's quorum: several files, each of which is to hold the same. */
struct image_quorum {
	/* path, layers, nbd_context, null, quorum; of the flags IMAGE_DIRECT,
	 * _NATIVE_AIO and _NO_LOCK. */
	struct image_under children[IMAGE_QUORUM_MAX];
	unsigned n;
	unsigned threshold; /* so many must agree: 1 to n */
	bool rewrites;	    /* those that differ from what was voted for */
	bool is_fifo; /* the first one that can be read is, without a vote */
	/* There are two, and they must not differ (image_open_options). */
	bool is_strict;
	/* Two, of which the second must always hold what the first does
	 * (blkverify); there is no vote. */
	bool is_verify;
};

struct image_open_options {
	const char *format; /* NULL: probe (then block 0 of raw is guarded) */
	unsigned flags;	    /* enum image_open_flags */
	image_backing_policy *may_open;
	image_protocol_policy *protocol; /* NULL: none is allowed */
	void *policy_context;		 /* of both */
	/* Bytes of metadata cache; 0: enough for what a server needs. */
	uint64_t cache_size;
	/* Of an encrypted image: secrets (secret.h), and the id of the one that
	 * is this image's. NULL: none. */
	const struct secrets *secrets;
	const char *key_secret;
	/* Over this image's own file, the uppermost one (layer.h); NULL: none.
	 */
	const struct image_layer *layers;
	/* Of a VHD image: which of the two sizes in it is the disk's, "chs" or
	 * "current_size". NULL: as who made it has it. */
	const char *vpc_size;
	/* The file with its data, instead of the one that it names, and what
	 * is over that: as one of image_quorum's children, and the caller's
	 * own, so no policy is asked. NULL: as the image says. */
	const struct image_under *data_file;
	/* Of a LUKS volume, the file with its header, which is then not in
	 * front of the data; no policy is asked. NULL: there it is. */
	const char *header_path;
	/* Of an NBD export, what image_map() is to tell of: its metadata
	 * context. NULL: its allocation. */
	const char *nbd_context;
	/* Instead of the file at path, which is for messages then; or NULL. */
	const struct image_null *null;
	const struct image_quorum *quorum;
	/* An image that was left dirty is repaired when it is opened for
	 * writing: a line for each thing that was wrong. One that is found to
	 * be corrupt while it is used is told of the same way, by any thread.
	 * NULL: silent, and that is the error's text. */
	void (*found)(void *context, const char *line);
	/* A line of two files that must hold the same, as those of blkverify,
	 * and do not: by any thread, before the request that has found it fails
	 * with -EIO. Who hears of it need not tell more of that failure. NULL:
	 * silent. */
	void (*differed)(void *context, const char *line);
	void *found_context;  /* of both */
	image_accept *accept; /* NULL: whatever it is */
	void *accept_context;
	const struct image_under *under; /* NULL: as the image says */
};

/* To open an image at under->path as it is said of one under another: flags are
 * added, a format that is not said stays. */
void image_under_apply(const struct image_under *under,
		       struct image_open_options *options);

/* options may be NULL: probe, read and write. */
int image_open(struct image **image, const char *path,
	       const struct image_open_options *options, struct error *err);
/*
 * As image_open() with an open descriptor (taken over, also on failure);
 * path is for messages and for relative backing names.
 */
int image_open_fd(struct image **image, int fd, const char *path,
		  const struct image_open_options *options, struct error *err);
/*
 * Flush, close, free. The first error of a late write is returned; the object
 * is gone in any case. NULL is a no-op.
 */
int image_close(struct image *image, struct error *err);
/* As image_close() where the caller has failed already. */
void image_abandon(struct image *image);

const char *image_path(const struct image *image);
/* What the image is called when it is told of: what the caller said, or the
 * path. */
const char *image_name(const struct image *image);
int image_set_name(struct image *image, const char *name);
/* What QEMU's messages call it where there are several: as the caller says, or
 * as if QEMU had made the name up. */
const char *image_node_name(const struct image *image);
int image_set_node_name(struct image *image, const char *name);
const char *image_format_name(const struct image *image);
uint64_t image_size(const struct image *image);
bool image_is_read_only(const struct image *image);
/* Granularity of allocation in bytes (1 for raw), and the alignment that I/O
 * on the host file needs (1 without O_DIRECT). */
uint32_t image_cluster_size(const struct image *image);
uint32_t image_host_alignment(const struct image *image);
/* Is each transfer waited for, as the page cache is not asked for it or for
 * what an image under this one has? */
bool image_is_uncached(const struct image *image);
/* Do rules of blkdebug hear of its steps, or of those of an image under it?
 * What fails then depends on the order of requests: one thread is to work. */
bool image_is_heard(const struct image *image);
/*
 * Bytes to read or write at a time when there is much, a power of two: little
 * enough to stay in the processor's cache, and to have several in flight over
 * a network; more with O_DIRECT, and less where decompressing takes most of the
 * time anyway.
 */
uint32_t image_transfer_len(const struct image *image);
/* The image under this one (borrowed), or NULL. */
struct image *image_backing(struct image *image);
/* What blkdebug or throttle, if image is that, stand over as an image's disk;
 * else image itself. Borrowed: for what it is, and not for its data. */
struct image *image_unfiltered(struct image *image);

/* All of the range must lie within image_size(): else -EINVAL. */
int image_read(struct image *image, uint64_t offset, void *buf, size_t len,
	       struct error *err);
int image_write(struct image *image, uint64_t offset, const void *buf,
		size_t len, struct error *err);
int image_readv(struct image *image, uint64_t offset, const struct iovec *iov,
		unsigned n_iov, struct error *err);
int image_writev(struct image *image, uint64_t offset, const struct iovec *iov,
		 unsigned n_iov, struct error *err);

enum image_zero_flags {
	IMAGE_ZERO_MAY_UNMAP = 1 << 0, /* space may be given back */
	/* Written down even where nothing shows through from below: another
	 * backing image is to come. */
	IMAGE_ZERO_EXPLICIT = 1 << 1,
	/* The same where the format has a mark for it, but no data is written
	 * for that. */
	IMAGE_ZERO_MARK = 1 << 2,
};

/* The range reads as zeroes afterwards. */
int image_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
		       unsigned flags, struct error *err);
/*
 * A hint that the content is not needed. Afterwards the range reads as
 * zeroes or as before, never as something older.
 */
int image_discard(struct image *image, uint64_t offset, uint64_t len,
		  struct error *err);
/*
 * Threads that write at once may want what they write to lie in an order in the
 * file. Both are called without any lock, once at most.
 *
 * await: by who compresses, when all is done but to store it. Not 0: give up
 * with it, and nothing is stored.
 * pass: by who does not, as soon as it is decided where all of it goes, and
 * before that is waited for; not if it fails before.
 */
struct image_turn {
	int (*await)(void *context);
	void (*pass)(void *context);
	void *context;
};
/*
 * As image_write() by one whose turn it is, or with turn NULL that. It may return
 * without having passed it on: image_passes_turns() says whether the format does.
 */
int image_write_in_turn(struct image *image, uint64_t offset, const void *buf,
			size_t len, const struct image_turn *turn,
			struct error *err);
bool image_passes_turns(const struct image *image);
/*
 * As image_write() of one cluster (image_cluster_size() bytes at a multiple of
 * them, or less up to the end of the disk), stored compressed if that makes it
 * smaller and this kind of image can. Threads that call it at once compress at
 * once. turn may be NULL. -ENOTSUP: the format has no compression.
 */
int image_write_compressed(struct image *image, uint64_t offset,
			   const void *buf, size_t len,
			   const struct image_turn *turn, struct error *err);
/* Whatever is written to it is stored compressed, by clusters. */
bool image_is_packed(const struct image *image);
/* What was written before reaches stable storage, metadata in order. */
int image_flush(struct image *image, struct error *err);

struct image_resize_options {
	const char *preallocation; /* NULL or "off", "metadata", "falloc",
				      "full" */
	bool may_shrink;
};
int image_resize(struct image *image, uint64_t size,
		 const struct image_resize_options *options, struct error *err);

/*
 * Put the name of another backing file, and its format, into the image; NULL:
 * none. What was written before is stable first, and the new name is when it
 * returns. What is open under the image stays what it is until image_close().
 * -ENOSPC: there is no room for the name. -ENOTSUP: the format has no backing
 * files.
 */
int image_change_backing(struct image *image, const char *name,
			 const char *format, struct error *err);
/*
 * Give back all that is allocated, so that everything reads from the backing
 * image again, or as zeroes. That is to be the same as before: bitmaps do not
 * hear of it. A kill on the way leaves each cluster as it was or given back.
 * -ENOTSUP: the format cannot.
 */
int image_make_empty(struct image *image, struct error *err);

/*
 * Give back, in place, what the image's file does not need: leaks, zeroes, and
 * free space within it. What the disk reads stays the same, whenever it is
 * killed. -ENOTSUP: the format cannot.
 */
int image_compact(struct image *image, struct error *err);

/*
 * Options of an image that is there already, as after qemu-img amend's -o:
 * vm-img has checked their kinds, as for create. All are checked before the
 * first is changed; each change is done or not done, whenever it is killed.
 * -ENOTSUP: the format has none.
 */
/* Who wants to know how far something is that takes long; show may be NULL. */
struct image_progress {
	void (*show)(void *context, uint64_t done, uint64_t total);
	void *context;
};

struct image_amend_options {
	const struct image_option *options;
	unsigned n_options;
	bool is_forced; /* what may lock the user out */
	const struct secrets *secrets;
	struct image_progress progress;
};
int image_amend(struct image *image, const struct image_amend_options *options,
		struct error *err);
/* NULL: no such format, or nothing of it can be amended. */
const struct image_option_spec *image_amend_specs(const char *format);

enum image_map_flags {
	IMAGE_MAP_NOWAIT = 1 << 0, /* -EAGAIN rather than read metadata */
	IMAGE_MAP_CHAIN = 1 << 1,  /* look through to backing images */
};

enum image_extent_kind {
	IMAGE_EXTENT_HOLE,	 /* in no layer looked at */
	IMAGE_EXTENT_ZERO,	 /* reads as zeroes by metadata */
	IMAGE_EXTENT_DATA,	 /* at host_offset of layer's file */
	IMAGE_EXTENT_COMPRESSED, /* host_offset is where it begins */
};

/* QEMU shows a bitmap's bits as if they were an allocation's. */
enum image_marks {
	IMAGE_MARK_HOLE = 1 << 0,
	IMAGE_MARK_ZERO = 1 << 1,
};

struct image_extent {
	enum image_extent_kind kind;
	uint64_t offset, len; /* len > 0, clipped to what was asked */
	unsigned depth;	      /* 0: this image, 1: its backing image, … */
	bool has_host_offset;
	uint64_t host_offset;
	struct image *layer; /* whose file it is in */
	/* That file (borrowed); -1: none, or not for what is at offset. */
	int host_fd;
	/* host_fd is another one of the layer's files, which format.h's map
	 * has set. */
	bool has_own_fd;
	const char *host_path; /* with has_own_fd, where known; or NULL */
	/* DATA of which something else is to be shown (nbd_context). */
	bool has_marks;
	unsigned marks; /* enum image_marks */
	/* DATA that may be overwritten where it is, by pwrite() and without
	 * any change of metadata (refcount 1, not read-only). */
	bool is_writable_in_place;
};

/*
 * The extent that begins at offset, within [offset, offset + len).
 * An extent stays valid until a write, discard, zero or resize that overlaps
 * it; the caller keeps those apart (queue.h does).
 */
int image_map(struct image *image, uint64_t offset, uint64_t len,
	      unsigned flags, struct image_extent *extent, struct error *err);

/*
 * Creation. Options are name=value pairs as after qemu-img's -o; a format
 * refuses what it does not know, by name. The file is made, or an existing
 * one is overwritten, only after all options are checked.
 */
struct image_option {
	const char *name, *value;
};
/* The files that a new image has beside its own, and that were not there
 * before. */
struct image_companions {
	char **paths;
	unsigned n;
	bool is_emptied; /* its own file: what was there before is lost */
};
#define IMAGE_COMPANIONS_INIT \
	{ \
		.paths = NULL \
	}
void image_companions_deinit(struct image_companions *companions);
/* Of an image that could not be finished: the file at path, or that a link there
 * leads to, but no device and no export; the companions, and their deinit. */
void image_remove_unfinished(const char *path,
			     struct image_companions *companions);
struct image_create_options {
	const char *format;
	uint64_t size; /* bytes of the disk; has_size false: the backing's */
	bool has_size;
	const char *backing_path, *backing_format; /* may be NULL */
	bool is_backing_unchecked;		   /* -u */
	/* As for image_open(): a VMDK disk writes down what its parent is at
	 * the moment, whatever backing_path is. */
	image_protocol_policy *protocol;
	void *policy_context;
	const struct image_option *options;
	unsigned n_options;
	/* Where an option that ends in "key-secret" finds it; may be NULL. */
	const struct secrets *secrets;
	/* To be told of them once the image is made; may be NULL. Of one that
	 * could not be made there are none. */
	struct image_companions *companions;
	/* To be told, in a line, what was asked for and could not be done, and
	 * is no reason to fail; may be NULL. */
	void (*warned)(const char *line);
};
int image_create(const char *path, const struct image_create_options *options,
		 struct error *err);
/* Is what image_create() is to make a disk, which has a size? A LUKS header
 * alone is none. */
bool image_create_needs_size(const struct image_create_options *options);

/*
 * Bytes in front of the data that LUKS would take with these options, whose
 * names begin with prefix ("encrypt." of qcow2). -EINVAL: they cannot be, or
 * there is no password.
 */
int image_luks_measure(const struct image_create_options *options,
		       const char *prefix, uint64_t *len, struct error *err);

/*
 * One row for each creation option of a format, in the order in which create
 * shows them. argument is the kind of the value, in qemu-img's words: "size",
 * "num", "bool (on/off)" or "str"; vm-img checks it and hands on sizes in
 * bytes and "on" or "off". standard is shown where nothing is given; NULL:
 * not shown. Without help an option is not listed: qemu-img does not have it.
 * "size", "backing_file" and "backing_fmt" are rows as well, but never arrive
 * as options: image_create_options has fields for them.
 */
struct image_option_spec {
	const char *name; /* NULL ends the table */
	const char *argument, *help, *standard;
};
/* NULL: no such format, or it cannot be created. */
const struct image_option_spec *image_create_specs(const char *format);
/* May image_write_compressed() succeed? */
bool image_format_compresses(const char *format);
/* The value of the option called name, as strtoull() reads numbers, and QEMU:
 * also 010 and 0x10; a negative one counts from 2^64 down, so that it is the
 * option that says what it may be. -EINVAL (not a number), -ERANGE (2^64 or
 * more). */
int image_number_parse(const char *name, const char *text, uint64_t *value,
		       struct error *err);
/* The same of a size, with or without a suffix: bytes, as strtod() would read
 * them: there may be white space and a plus sign before. */
int image_size_parse(const char *name, const char *text, uint64_t *bytes,
		     struct error *err);
/* What every format takes as well: options of the file that path, or "nbd:"
 * and the like, is to be made in; NULL: of any of this host. */
const struct image_option_spec *image_file_specs(const char *path);
/* "nbd://HOST/EXPORT" and the like: what IMAGE_NBD allows. */
bool image_name_is_nbd(const char *name);
/* "null-co://" and "null-aio://": no files, wherever the name comes from. */
bool image_name_is_null(const char *name);
/* PATH, of "file:PATH"; any other is as it is. Within name. */
const char *image_plain_path(const char *name);
/* Names of formats, NULL-terminated. */
const char *const *image_format_names(void);
/* The same, and what QEMU calls a kind of file; index counts up to the first
 * NULL. */
const char *image_driver_name(unsigned index);
/* One of these, or another that an image may name as its backing file's
 * format. */
bool image_driver_is_known(const char *name);

/* A name inside an image leads to a file of this host and nowhere else: -ENOTSUP
 * if this one does not. */
int image_backing_name_check(const char *name, struct error *err);
/* The path that a backing name means in an image at image_path: relative to
 * the image's own folder. To be freed; NULL: out of memory. */
char *image_backing_resolve(const char *image_path, const char *name);
/* The same of a qcow2 image's data file, a plain path: as QEMU, from the folder
 * that the program runs in; or, where there is no such file but is one in the
 * image's own, that one. */
char *image_data_file_resolve(const char *image_path, const char *name);

enum {
	IMAGE_KEY_SLOTS_MAX = 8,
};

/* format is "luks", or "aes", which has nothing more to tell. */
struct image_info_encryption {
	const char *format;
	const char *iv, *iv_hash /* may be NULL */, *hash, *mode, *uuid;
	char cipher[16];
	bool has_detached_header; /* in a file of its own */
	uint64_t payload_offset, master_iterations;
	unsigned n_slots;
	struct image_info_key_slot {
		bool is_active; /* else there is no more than an offset */
		uint64_t iterations, stripes, key_offset;
	} slots[IMAGE_KEY_SLOTS_MAX];
};

/*
 * What requests to an image, or to one of its files, are best like, in bytes
 * but for the numbers of vectors: as QEMU sees them, which scripts tune
 * devices by. 0: there is no such limit.
 */
struct image_limits {
	uint64_t request_alignment, write_zeroes_alignment, discard_alignment;
	uint64_t max_write_zeroes;
	uint64_t min_mem_alignment, opt_mem_alignment;
	uint64_t max_iov;
};

/* A file that an image stands in. */
struct image_node {
	char name[24]; /* "file", "data-file", "extents.3" */
	const char *path, *protocol;
	uint64_t size;	      /* in whole sectors */
	uint64_t actual_size; /* as below */
	uint32_t extent_size_hint;
	struct image_limits limits;
};

/* What `info` says of an image beyond the calls above. */
struct image_info {
	/* Bytes of disk used by the file; UINT64_MAX: nobody knows. */
	uint64_t actual_size;
	uint64_t cluster_size; /* 0: the format has none */
	bool is_dirty, is_corrupt, is_encrypted;
	/* is_dirty has no meaning, and is not shown. */
	bool has_no_dirty_flag;
	/* As stored in the image, NULL where there is none; owned by it. */
	const char *backing_name, *backing_format;
	/* Resolved against the image's own folder; NULL as above. */
	const char *backing_path;
	struct image_snapshot_info {
		const char *id, *name;
		uint64_t vm_state_size, disk_size;
		uint32_t date_sec, date_nsec;
		uint64_t vm_clock_nsec;
		uint64_t icount; /* UINT64_MAX: unknown */
	} * snapshots;
	unsigned n_snapshots;
	/* Format-specific rows, in qemu-img's order and spelling. */
	struct image_info_row {
		const char *name; /* "refcount bits" has JSON name below */
		const char *json_name;
		enum {
			IMAGE_INFO_TEXT,
			IMAGE_INFO_NUMBER,
			IMAGE_INFO_BOOL
		} kind;
		const char *text;
		uint64_t number;
	} rows[16];
	unsigned n_rows;
	/* How the data is encrypted, after a row "refcount bits" if there is
	 * one; owned by the image. NULL: it is not. */
	const struct image_info_encryption *encryption;
	/* Files that the disk is made of, after the rows, where a format has
	 * more than one (VMDK). */
	struct image_info_extent {
		const char *path, *format;
		uint64_t size, cluster_size; /* 0: none */
		bool is_compressed;
	} * extents;
	unsigned n_extents;
	/* Bitmaps of what changed, in the image's order. */
	struct image_bitmap_info {
		const char *name;
		uint64_t granularity; /* bytes that one bit stands for */
		bool is_in_use;	 /* by a writer that was killed: it is worth
				   nothing, and can only be removed */
		bool is_enabled; /* told of each write: "auto" */
	} * bitmaps;
	unsigned n_bitmaps;
	struct image_limits limits;
};
/* Filled from the image, which owns what it points to. */
int image_get_info(struct image *image, struct image_info *info,
		   struct error *err);
/* Are so many clusters that are in use holes in the file, as of an image that
 * was preallocated, that looking for them pays? */
bool image_has_holes(struct image *image);
/* The files of the image, in QEMU's order, from index 0 on. -ENOENT: there
 * are no more. */
int image_get_node(const struct image *image, unsigned index,
		   struct image_node *node, struct error *err);

/*
 * Internal snapshots: images of the disk inside of the image's own file. Each
 * call is done or not done, whenever it is killed. -ENOTSUP: the format has
 * none. index counts in image_info.snapshots.
 *
 * create takes name, date, clock, vm_state_size and icount from what, and
 * makes the id. apply gives the disk the snapshot's content and size.
 */
bool image_has_snapshots(const struct image *image);
int image_snapshot_create(struct image *image,
			  const struct image_snapshot_info *what,
			  struct error *err);
int image_snapshot_apply(struct image *image, unsigned index,
			 struct error *err);
int image_snapshot_delete(struct image *image, unsigned index,
			  struct error *err);
/* The image, which is open for reading alone, reads as the snapshot did, and
 * has its size, until it is closed. No other thread may use it meanwhile. */
int image_snapshot_load(struct image *image, unsigned index, struct error *err);

/*
 * Bitmaps inside of an image's file, each with a bit for every granularity
 * bytes of the disk, set by writes while it is enabled. Each call is done on
 * the disk when it returns, or not done. -ENOTSUP: the format has none;
 * -ENOENT: none of that name; -EEXIST: there is one already.
 */

/* Not in other formats, and not in a qcow2 image of version 2. */
bool image_can_have_bitmaps(const struct image *image);
/* Empty. granularity 0: as is usual for the image. */
int image_bitmap_add(struct image *image, const char *name,
		     uint64_t granularity, bool is_enabled, struct error *err);
int image_bitmap_remove(struct image *image, const char *name,
			struct error *err);
int image_bitmap_clear(struct image *image, const char *name,
		       struct error *err);
int image_bitmap_enable(struct image *image, const char *name, bool is_enabled,
			struct error *err);
/* Each bit of source's bitmap from, of a disk as large, is set in image's
 * bitmap name as well. source may be image; granularities may differ. */
int image_bitmap_merge(struct image *image, const char *name,
		       struct image *source, const char *from,
		       struct error *err);
/*
 * The first run of bits that are alike from offset on, as bytes of the disk,
 * [offset, offset + *len). An offset at the disk's end is -EINVAL.
 */
int image_bitmap_get(struct image *image, const char *name, uint64_t offset,
		     bool *is_set, uint64_t *len, struct error *err);
/* Bytes that all bitmaps of image would take in a qcow2 file
 * with clusters of cluster_size, all of their bits stored. */
int image_bitmap_measure(struct image *image, uint64_t cluster_size,
			 uint64_t *len, struct error *err);

/* What a check found; counts as qemu-img check's. */
struct image_check {
	uint64_t n_corruptions, n_leaks, n_check_errors;
	uint64_t n_overflows; /* corruptions: more references than can be
				 counted, until refcounts are wider */
	uint64_t n_corruptions_fixed, n_leaks_fixed;
	uint64_t total_clusters, allocated_clusters, fragmented_clusters,
		compressed_clusters, image_end_offset;
	bool has_totals;
	/* One line of what was found, as it is found; NULL: silent. */
	void (*found)(void *context, const char *line);
	void *context;
};
/* -ENOTSUP: the format has no check. Reports only. */
int image_check(struct image *image, struct image_check *check,
		struct error *err);

enum image_repair_flags {
	IMAGE_REPAIR_LEAKS = 1 << 0, /* what is counted and not in use */
	IMAGE_REPAIR_ERRORS = 1 << 1,
};
/*
 * Check, and set right what can be; counts are of what is left and of what was
 * fixed. A kill leaves no more wrong than there was. -ENOTSUP: the format has
 * no repair.
 */
int image_repair(struct image *image, unsigned what, struct image_check *check,
		 struct error *err);

#endif
