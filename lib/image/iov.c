/* SPDX-License-Identifier: ISC */
/* Walking scattered memory. */
#include "lib/image/iov.h"

#include <string.h>

enum {
	PAGE_LEN = 4096,
};

const uint8_t iov_zeroes[IOV_ZEROES_LEN] __attribute__((aligned(PAGE_LEN)));

size_t iov_total(const struct iovec *iov, unsigned n_iov)
{
	size_t total = 0;

	for (unsigned i = 0; i < n_iov; i++)
		total += iov[i].iov_len;
	return total;
}

/* The next contiguous piece of at most len bytes; none at the end. */
static size_t take_piece(struct iov_cursor *c, size_t len, void **piece)
{
	size_t n;

	while (c->n_iov > 0 && c->skip == c->iov->iov_len) {
		c->iov++;
		c->n_iov--;
		c->skip = 0;
	}
	if (c->n_iov == 0)
		return 0;
	n = c->iov->iov_len - c->skip;
	if (n > len)
		n = len;
	*piece = (char *)c->iov->iov_base + c->skip;
	c->skip += n;
	return n;
}

size_t iov_take(struct iov_cursor *cursor, size_t len, struct iovec *parts,
		unsigned max, unsigned *n_parts)
{
	size_t taken = 0;
	unsigned n = 0;

	while (taken < len && n < max) {
		size_t piece =
			take_piece(cursor, len - taken, &parts[n].iov_base);

		if (piece == 0)
			break;
		parts[n++].iov_len = piece;
		taken += piece;
	}
	*n_parts = n;
	return taken;
}

void iov_take_zero(struct iov_cursor *cursor, size_t len)
{
	void *piece;
	size_t n;

	while (len > 0 && (n = take_piece(cursor, len, &piece)) > 0) {
		memset(piece, 0, n);
		len -= n;
	}
}

void iov_copy_in(struct iov_cursor *cursor, const void *buf, size_t len)
{
	const char *from = buf;
	void *piece;
	size_t n;

	while (len > 0 && (n = take_piece(cursor, len, &piece)) > 0) {
		memcpy(piece, from, n);
		from += n;
		len -= n;
	}
}

void iov_copy_out(struct iov_cursor *cursor, void *buf, size_t len)
{
	char *to = buf;
	void *piece;
	size_t n;

	while (len > 0 && (n = take_piece(cursor, len, &piece)) > 0) {
		memcpy(to, piece, n);
		to += n;
		len -= n;
	}
}
