/* SPDX-License-Identifier: ISC */
/*
 * How qcow2 has compressed clusters and refcounts in the file: for the engine,
 * and for who writes an image from its first byte to its last without it.
 */
#ifndef LIB_IMAGE_QCOW2_PACK_H
#define LIB_IMAGE_QCOW2_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A cluster of n bytes to out, which has as much room: *len bytes, or 0 if it
 * does not shrink. *deflater is this thread's own, NULL at first; by one that
 * was used before the result is the same. -ENOMEM.
 */
int qcow2_pack(bool is_zstd, void **deflater, const void *in, size_t n,
	       void *out, size_t *len);
void qcow2_pack_free(void *deflater);
/* An L2 entry: len bytes at host_offset. 0: so far it cannot refer. */
uint64_t qcow2_packed_entry(unsigned cluster_bits, uint64_t host_offset,
			    size_t len);

/* Entry i of a refcount block; value fits into bits. */
void qcow2_refcount_store(void *block, unsigned bits, uint64_t i,
			  uint64_t value);

#endif
