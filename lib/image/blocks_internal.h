/* SPDX-License-Identifier: ISC */
/* Shared by blocks.c and its neighbours. All with the lock held. */
#ifndef LIB_IMAGE_BLOCKS_INTERNAL_H
#define LIB_IMAGE_BLOCKS_INTERNAL_H

#include "lib/image/blocks.h"
#include "lib/image/iov.h"

/* The run at offset, within its block and len. An error if it is_whole, and
 * its block leads beyond the file's end. */
int blocks_find(struct blocks *blocks, uint64_t offset, uint64_t len,
		bool nowait, struct block_run *run, struct error *err);
/* The same, wherever it is. */
int blocks_find_anywhere(struct blocks *blocks, uint64_t offset, uint64_t len,
			 struct block_run *run, struct error *err);
/* As blocks_find(), with the runs behind it that continue it, within len. */
int blocks_find_long(struct blocks *blocks, uint64_t offset, uint64_t len,
		     bool nowait, struct block_run *run, struct error *err);
/* Bytes of holes from offset on, where a block begins, within the disk; 0: it
 * is not known without looking at each block. */
uint64_t blocks_skip(struct blocks *blocks, uint64_t offset);
/* Data of a run. Without the lock, or with it. */
int blocks_data_readv(struct blocks *blocks, uint64_t offset,
		      uint64_t host_offset, const struct iovec *iov,
		      unsigned n_iov);
int blocks_data_writev(struct blocks *blocks, uint64_t offset,
		       uint64_t host_offset, const struct iovec *iov,
		       unsigned n_iov);
/* The cursor's next len bytes to their place in the file. */
int blocks_write_file(struct blocks *blocks, uint64_t offset,
		      uint64_t host_offset, uint64_t len,
		      struct iov_cursor *cursor, struct error *err);
/* blocks_part.c: [offset, offset + len) is in a hole of one block. */
int blocks_write_parts(struct blocks *blocks, uint64_t offset, uint64_t len,
		       struct iov_cursor *cursor, struct error *err);
/* The same with zeroes, for whole parts. */
int blocks_zero_parts(struct blocks *blocks, uint64_t offset, uint64_t len,
		      unsigned flags, struct error *err);
/* blocks->unit becomes the run's. */
int blocks_inflate(struct blocks *blocks, const struct block_run *run,
		   struct error *err);

#endif
