/* SPDX-License-Identifier: ISC */
/*
 * Piece by piece through a buffer: what is in the caller's memory may be a
 * guest's, who need not see how its data is stored.
 *
 *	sectors:  |         |         |         |         |
 *	request:       [=======================]
 *	piece:    [ head ][===================][  tail    ]
 *
 * To write it, head and tail are read first.
 */
#include "lib/image/crypt.h"

#include "lib/base/cleanup.h"
#include "lib/image/file.h"
#include "lib/image/iov.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum {
	PIECE_MAX = 256 << 10,
	ALIGNMENT = 4096, /* of memory, for O_DIRECT */
	SECTOR_MASK = CIPHER_SECTOR - 1,
};

struct crypt {
	struct cipher *cipher;
	/* A sector that is written in part: exclusively; whole ones: shared. */
	pthread_rwlock_t edges;
};

/* A part of the request with the sectors that it touches. */
struct piece {
	uint64_t sector, host_offset; /* of the first sector */
	size_t skip, len;	      /* the request's bytes in it */
	size_t whole_len;	      /* of all sectors */
};

struct crypt *crypt_new(struct cipher *cipher)
{
	struct crypt *crypt = calloc(1, sizeof(*crypt));

	if (crypt == NULL) {
		cipher_free(cipher);
		return NULL;
	}
	crypt->cipher = cipher;
	pthread_rwlock_init(&crypt->edges, NULL);
	return crypt;
}

void crypt_free(struct crypt *crypt)
{
	if (crypt == NULL)
		return;
	cipher_free(crypt->cipher);
	pthread_rwlock_destroy(&crypt->edges);
	free(crypt);
}

static size_t buffer_len(uint64_t len)
{
	uint64_t whole = len + CIPHER_SECTOR + CIPHER_SECTOR + ALIGNMENT - 1;

	return whole < PIECE_MAX ? (size_t)whole & ~(size_t)(ALIGNMENT - 1)
				 : PIECE_MAX;
}

static void next_piece(struct piece *p, uint64_t offset, uint64_t host_offset,
		       uint64_t len, size_t room)
{
	p->skip = offset & SECTOR_MASK;
	p->sector = offset / CIPHER_SECTOR;
	p->host_offset = host_offset - p->skip;
	p->len = len < room - p->skip ? (size_t)len : room - p->skip;
	p->whole_len = (p->skip + p->len + SECTOR_MASK) & ~(size_t)SECTOR_MASK;
}

int crypt_readv(struct crypt *crypt, const struct image_file *file,
		uint64_t offset, uint64_t host_offset, const struct iovec *iov,
		unsigned n_iov)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };
	uint64_t len = iov_total(iov, n_iov);
	size_t room = buffer_len(len);
	_cleanup_free_ uint8_t *buf = aligned_alloc(ALIGNMENT, room);
	int rc = buf != NULL ? 0 : -ENOMEM;

	while (rc == 0 && len > 0) {
		struct piece p;

		next_piece(&p, offset, host_offset, len, room);
		rc = image_file_read(file, p.host_offset, buf, p.whole_len);
		if (rc == 0)
			rc = cipher_decrypt(crypt->cipher, p.sector, buf,
					    p.whole_len);
		if (rc < 0)
			break;
		iov_copy_in(&cursor, buf + p.skip, p.len);
		offset += p.len;
		host_offset += p.len;
		len -= p.len;
	}
	return rc;
}

static int read_sector(struct crypt *crypt, const struct image_file *file,
		       const struct piece *p, size_t at, uint8_t *buf)
{
	int rc = image_file_read(file, p->host_offset + at, buf + at,
				 CIPHER_SECTOR);

	return rc < 0 ? rc
		      : cipher_decrypt(crypt->cipher,
				       p->sector + at / CIPHER_SECTOR, buf + at,
				       CIPHER_SECTOR);
}

/* What stands around the request in its first and its last sector. */
static int read_edges(struct crypt *crypt, const struct image_file *file,
		      const struct piece *p, uint8_t *buf)
{
	size_t end = p->skip + p->len, last = p->whole_len - CIPHER_SECTOR;
	int rc = 0;

	if (p->skip > 0)
		rc = read_sector(crypt, file, p, 0, buf);
	if (rc == 0 && end < p->whole_len && (last > 0 || p->skip == 0))
		rc = read_sector(crypt, file, p, last, buf);
	return rc;
}

/* cursor NULL: zeroes. With edges held. */
static int write_pieces(struct crypt *crypt, const struct image_file *file,
			uint64_t offset, uint64_t host_offset, uint64_t len,
			struct iov_cursor *cursor)
{
	size_t room = buffer_len(len);
	_cleanup_free_ uint8_t *buf = aligned_alloc(ALIGNMENT, room);
	int rc = buf != NULL ? 0 : -ENOMEM;

	while (rc == 0 && len > 0) {
		struct piece p;

		next_piece(&p, offset, host_offset, len, room);
		rc = read_edges(crypt, file, &p, buf);
		if (rc < 0)
			break;
		if (cursor != NULL)
			iov_copy_out(cursor, buf + p.skip, p.len);
		else
			memset(buf + p.skip, 0, p.len);
		rc = cipher_encrypt(crypt->cipher, p.sector, buf, p.whole_len);
		if (rc == 0)
			rc = image_file_write(file, p.host_offset, buf,
					      p.whole_len);
		offset += p.len;
		host_offset += p.len;
		len -= p.len;
	}
	return rc;
}

static int write_range(struct crypt *crypt, const struct image_file *file,
		       uint64_t offset, uint64_t host_offset, uint64_t len,
		       struct iov_cursor *cursor)
{
	int rc;

	assert(((offset ^ host_offset) & SECTOR_MASK) == 0);
	if (((offset | len) & SECTOR_MASK) == 0)
		pthread_rwlock_rdlock(&crypt->edges);
	else
		pthread_rwlock_wrlock(&crypt->edges);
	rc = write_pieces(crypt, file, offset, host_offset, len, cursor);
	pthread_rwlock_unlock(&crypt->edges);
	return rc;
}

int crypt_writev(struct crypt *crypt, const struct image_file *file,
		 uint64_t offset, uint64_t host_offset, const struct iovec *iov,
		 unsigned n_iov)
{
	struct iov_cursor cursor = { .iov = iov, .n_iov = n_iov };

	return write_range(crypt, file, offset, host_offset,
			   iov_total(iov, n_iov), &cursor);
}

int crypt_write_zeroes(struct crypt *crypt, const struct image_file *file,
		       uint64_t offset, uint64_t host_offset, uint64_t len)
{
	return write_range(crypt, file, offset, host_offset, len, NULL);
}
