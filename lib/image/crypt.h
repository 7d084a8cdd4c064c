/* SPDX-License-Identifier: ISC */
/*
 * Data that stands encrypted in a file, in sectors: read and written as if it
 * did not, from any byte to any other.
 *
 * Thread-safe. A write that ends within a sector rewrites the whole of it,
 * and keeps other writes through the same struct crypt away meanwhile.
 */
#ifndef LIB_IMAGE_CRYPT_H
#define LIB_IMAGE_CRYPT_H

#include "lib/image/cipher.h"

#include <stdint.h>
#include <sys/uio.h>

struct crypt;
struct error;
struct image_file;
struct secrets;

/* Takes the cipher over, also on failure. NULL: out of memory. */
struct crypt *crypt_new(struct cipher *cipher);
void crypt_free(struct crypt *crypt);
/* The old encryption of qcow and qcow2. The secret is id's, or name is the
 * option that is missing. */
int crypt_new_legacy(struct crypt **crypt, const struct secrets *secrets,
		     const char *id, const char *name, struct error *err);

/*
 * Bytes at host_offset of the file. Sectors are numbered by offset instead,
 * which is as far from a sector's begin. 0 or -errno.
 */
int crypt_readv(struct crypt *crypt, const struct image_file *file,
		uint64_t offset, uint64_t host_offset, const struct iovec *iov,
		unsigned n_iov);
int crypt_writev(struct crypt *crypt, const struct image_file *file,
		 uint64_t offset, uint64_t host_offset, const struct iovec *iov,
		 unsigned n_iov);
/* Zeroes, encrypted. */
int crypt_write_zeroes(struct crypt *crypt, const struct image_file *file,
		       uint64_t offset, uint64_t host_offset, uint64_t len);

#endif
