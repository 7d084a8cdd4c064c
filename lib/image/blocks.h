/* SPDX-License-Identifier: ISC */
/*
 * What the formats of other hypervisors have in common: the disk is cut into
 * blocks of one size, a table says where each is in the file, and one that
 * was never written is nowhere. A format says how its table is read and
 * changed (struct blocks_ops); reading, writing, zeroes and maps are here.
 *
 * The order of a first write: space, data with what stood around it, a flush
 * if some of that came from elsewhere, and the table's entry last. A crash
 * leaves the block as it was, and at most some space that nobody uses.
 *
 * Thread-safe. The lock covers the table and every first write to a block;
 * data of blocks that are there is read and written outside of it.
 */
#ifndef LIB_IMAGE_BLOCKS_H
#define LIB_IMAGE_BLOCKS_H

#include "lib/image/table.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct blocks;
struct crypt;
struct error;
struct image;
struct image_check;
struct image_extent;
struct image_file;
struct image_turn;
struct iov_cursor;

enum block_kind {
	BLOCK_HOLE, /* see the backing image */
	BLOCK_ZERO,
	BLOCK_DATA,
	BLOCK_COMPRESSED,
};

/* What stands from some offset on. */
struct block_run {
	enum block_kind kind;
	uint64_t len;	      /* > 0; to the block's end at most */
	uint64_t host_offset; /* of its first byte; compressed: of the unit */
	/* Of what was compressed in one piece; host_len is no more than is
	 * known of it: */
	uint64_t unit_start, unit_len, host_len;
	unsigned method; /* the format's own */
};

/* Where a new block will be. */
struct block_place {
	uint64_t host_offset;
	bool is_zero; /* reads as zeroes already */
};

/* All but inflate and deflate are called with the lock held. */
struct blocks_ops {
	/* nowait: -EAGAIN rather than reading from the file. */
	int (*find)(struct blocks *blocks, uint64_t offset, bool nowait,
		    struct block_run *run, struct error *err);
	/* From offset on, where a block begins: bytes of the disk that find
	 * would call holes, as far as that is known at once. They may be more
	 * than are left of it. NULL: no more than find says. */
	uint64_t (*skip)(struct blocks *blocks, uint64_t offset);
	/* The place of a block as a whole, whatever parts of it are there, for
	 * checks. NULL: find says it. */
	int (*find_whole)(struct blocks *blocks, uint64_t offset,
			  struct block_run *run, struct error *err);
	/* run->unit_len bytes to buf. NULL: nothing is compressed. */
	int (*inflate)(struct blocks *blocks, const struct block_run *run,
		       uint8_t *buf, struct error *err);

	/* Before anything is written; and again after an entry could not be
	 * made, which may be there nevertheless. May be NULL. */
	int (*begin_writing)(struct blocks *blocks, struct error *err);
	/* On closing, after begin_writing and when all is flushed: mark the
	 * image clean. Without the lock. May be NULL. */
	int (*end_writing)(struct blocks *blocks, struct error *err);
	/* Before data of a run that is there is overwritten. NULL: nothing is
	 * to be done, and others than these functions may write to it. */
	int (*touch)(struct blocks *blocks, uint64_t offset,
		     const struct block_run *run, struct error *err);
	/* Room for block index. NULL: the format is for reading only. */
	int (*allocate)(struct blocks *blocks, uint64_t index,
			struct block_place *place, struct error *err);
	/* From now on, block index is at place. */
	int (*enter)(struct blocks *blocks, uint64_t index,
		     const struct block_place *place, struct error *err);
	/* Block index, which is nowhere, reads as zeroes from now on.
	 * NULL: the format has no such entry. */
	int (*enter_zero)(struct blocks *blocks, uint64_t index,
			  struct error *err);
	/* Block index, whose place cannot be right, is nowhere from now on;
	 * table_write_back() follows. NULL: that cannot be repaired. */
	int (*forget)(struct blocks *blocks, uint64_t index, struct error *err);
	/*
	 * Where blocks->part_len says that parts of a block are there or not,
	 * and find's runs are made of them. The place of block index as a
	 * whole, room for it made if there is none, of which no part is there
	 * then; and bytes [offset, offset + len), whole parts of one block, are
	 * there from now on: as they stand in the file.
	 */
	int (*locate)(struct blocks *blocks, uint64_t index,
		      struct block_place *place, struct error *err);
	int (*own)(struct blocks *blocks, uint64_t offset, uint64_t len,
		   struct error *err);
	/* A whole block as it is to stand in the file, in memory that the
	 * caller frees, and without the lock; and then its place. A length of
	 * 0: it has no such form. It goes where nothing was before, and
	 * unless is_new is on the disk before the table says so: of half a
	 * stream nothing can be read, whatever was safe in it. NULL: nothing
	 * is compressed. Without allocate and enter, all writes are these. */
	int (*deflate)(struct blocks *blocks, uint64_t index,
		       const uint8_t *data, uint8_t **packed, size_t *len,
		       struct error *err);
	int (*store)(struct blocks *blocks, uint64_t index,
		     const uint8_t *packed, size_t len, bool is_new,
		     struct error *err);
};

struct blocks {
	const struct blocks_ops *ops;
	struct image *image;	 /* whose backing image is under the holes */
	struct image_file *file; /* borrowed */
	uint64_t disk_offset;	 /* of the first block in that image's disk */
	uint64_t size, block_len;
	/* A hole's parts are written one by one, of that many bytes each; 0:
	 * blocks are there as a whole. */
	uint32_t part_len;
	/* Blocks that were never written may be holes of the file. */
	bool has_file_holes;
	/* A block is in the file to its last byte, or some of it was lost:
	 * data that the table has beyond the file's end is an error. Of the
	 * last one some writers leave out what is behind the disk's end. */
	bool is_whole;
	/* Nothing in the file tells that it was not closed: its length is
	 * stable before there is an entry for what is new. */
	bool is_len_stable;
	/* Data is encrypted, by its place in the disk; crypt is owned here.
	 * NULL: there is no key, and none of it can be read. */
	bool is_encrypted;
	struct crypt *crypt;

	pthread_mutex_t lock;
	struct table table;
	bool is_writing; /* begin_writing is done */
	bool is_unsure;	 /* and has to be done again */
	bool is_damaged; /* found by blocks_check(): end_writing must not be */
	uint64_t known_len; /* the file has at least as many bytes */
	/* is_len_stable, from the first blocks_append() on: the end of what is
	 * in use, and the file's, which is ahead of it. */
	uint64_t used_len, stable_len;
	/* The last one that was inflated, or NULL; where it is in the disk, and
	 * in the file: when it is written again it is elsewhere. */
	uint8_t *unit;
	uint64_t unit_start, unit_host_offset;
};

/* The fields before lock are the caller's to set. */
void blocks_init(struct blocks *blocks);
void blocks_deinit(struct blocks *blocks);

/* offset counts from disk_offset. Ranges must lie within size. */
int blocks_read(struct blocks *blocks, uint64_t offset, uint64_t len,
		struct iov_cursor *cursor, struct error *err);
int blocks_write(struct blocks *blocks, uint64_t offset, uint64_t len,
		 struct iov_cursor *cursor, struct error *err);
/* A whole block, or less at the disk's end, the format's compressed way. */
int blocks_write_compressed(struct blocks *blocks, uint64_t offset,
			    const void *buf, size_t len,
			    const struct image_turn *turn, struct error *err);
int blocks_zero(struct blocks *blocks, uint64_t offset, uint64_t len,
		unsigned flags, struct error *err);
int blocks_discard(struct blocks *blocks, uint64_t offset, uint64_t len,
		   struct error *err);
/* As an image_format's map, in this disk's offsets. */
int blocks_map(struct blocks *blocks, uint64_t offset, uint64_t len,
	       unsigned flags, struct image_extent *extent, struct error *err);

/* Counts of what was looked at; of several blocks, together. */
struct blocks_census {
	uint64_t n_blocks, n_allocated, n_fragmented;
	uint64_t n_lost; /* not among the allocated: beyond the file's end */
	/* What QEMU calls a fragment: after a hole there is none in some
	 * formats, in others at the beginning of a table of so many blocks
	 * (0: there, too). */
	bool is_of_neighbours;
	uint64_t table_len;
	uint64_t last; /* place in the file of the last one */
	uint64_t last_index;
	uint64_t end; /* of those in the file */
};
/*
 * Add to check what is wrong, and to census. is_repair: forget what cannot be
 * right; what has two blocks' data stays.
 */
int blocks_check(struct blocks *blocks, bool is_repair,
		 struct image_check *check, struct blocks_census *census,
		 struct error *err);

/* For a format's skip: n entries stand for so many bytes each, of which some
 * of the first one's are behind. */
static inline uint64_t blocks_skipped(uint64_t n, uint64_t len, uint64_t behind)
{
	if (n == 0)
		return 0;
	return (__builtin_mul_overflow(n, len, &n) ? UINT64_MAX : n) - behind;
}

/* With the lock, before the first write; what is written otherwise may need
 * it, too. -EROFS: the format is for reading only. */
int blocks_begin_writing(struct blocks *blocks, struct error *err);
/* With the lock: does the file reach to end? Others may have made it longer
 * since it was opened. */
bool blocks_reaches(struct blocks *blocks, uint64_t end);
/* -EIO if not all that stands there is in the file. */
int blocks_check_end(struct blocks *blocks, uint64_t host_offset, uint64_t len,
		     struct error *err);
/* To be called with the lock when the file was made shorter. */
void blocks_forget_len(struct blocks *blocks);
/*
 * Room at the end of the file, from *host_offset on, which becomes a multiple
 * of alignment: the file is made longer by len.
 */
int blocks_append(struct blocks *blocks, uint64_t alignment, uint64_t len,
		  struct block_place *place, struct error *err);
/* Where what is new can be at the earliest: the end of the file, less what was
 * made longer than needed. */
int blocks_used_len(struct blocks *blocks, uint64_t *len);
/* Make the file as long as that at least, which it is not yet. */
int blocks_grow(struct blocks *blocks, uint64_t end);
/* On closing: what the file is longer than it has to be goes. */
int blocks_end_append(struct blocks *blocks, struct error *err);

/*
 * For a format whose state begins with its only struct blocks. Attaching makes
 * that state, which calloc() gave, the image's; image->size is set before, and
 * has_file_holes may be afterwards. The others are rows of the format's table.
 */
void blocks_image_attach(struct image *image, struct blocks *blocks,
			 const struct blocks_ops *ops, uint64_t block_len);
int blocks_image_close(struct image *image, struct error *err);
int blocks_image_readv(struct image *image, uint64_t offset,
		       const struct iovec *iov, unsigned n_iov,
		       struct error *err);
int blocks_image_writev(struct image *image, uint64_t offset,
			const struct iovec *iov, unsigned n_iov,
			struct error *err);
int blocks_image_write_zeroes(struct image *image, uint64_t offset,
			      uint64_t len, unsigned flags, struct error *err);
int blocks_image_discard(struct image *image, uint64_t offset, uint64_t len,
			 struct error *err);
int blocks_image_write_compressed(struct image *image, uint64_t offset,
				  const void *buf, size_t len,
				  const struct image_turn *turn,
				  struct error *err);
int blocks_image_flush(struct image *image, struct error *err);
int blocks_image_check(struct image *image, struct image_check *check,
		       struct error *err);
int blocks_image_map(struct image *image, uint64_t offset, uint64_t len,
		     unsigned flags, struct image_extent *extent,
		     struct error *err);

#endif
