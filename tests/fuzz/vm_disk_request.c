/* SPDX-License-Identifier: ISC */
/*
 * Block requests of any content and any layout. The input: one byte of piece
 * length, one whose bits say whether the disk is read-only and how long the
 * device-writable part is, and the device-readable part.
 */
#include "vm-disk/request.h"

#include "protocols/virtio_blk.h"

#include <stdlib.h>
#include <string.h>

enum {
	IN_MAX = 4096 + 1,
	PIECES_MAX = VIRTQ_PIECES_MAX,
	N_SECTORS = 1 << 20,
};

static unsigned cut(struct iovec *pieces, uint8_t *buf, size_t len,
		    size_t piece_len, size_t *used)
{
	unsigned n = 0;

	*used = 0;
	while (*used < len && n < PIECES_MAX / 2) {
		size_t piece =
			len - *used < piece_len ? len - *used : piece_len;

		pieces[n++] = (struct iovec){ buf + *used, piece };
		*used += piece;
	}
	return n;
}

/* What the rest of vm-disk relies on. */
static void check(const struct blk_request *request,
		  const struct blk_limits *limits)
{
	uint64_t total = 0, end = limits->n_sectors << VIRTIO_BLK_SECTOR_SHIFT;

	switch (request->action) {
	case BLK_WRITE:
	case BLK_READ:
		for (unsigned i = 0; i < request->n_iov; i++)
			total += request->iov[i].iov_len;
		if (total != request->len || request->offset + total > end ||
		    (request->action == BLK_WRITE && limits->is_read_only))
			abort();
		/* As the disk would: every byte is there. */
		for (unsigned i = 0; i < request->n_iov; i++)
			memset(request->iov[i].iov_base, 0,
			       request->iov[i].iov_len);
		break;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES:
		if (request->n_ranges == 0 ||
		    request->n_ranges > BLK_RANGES_MAX || limits->is_read_only)
			abort();
		for (unsigned i = 0; i < request->n_ranges; i++)
			if (request->ranges[i].offset > end ||
			    request->ranges[i].len >
				    end - request->ranges[i].offset)
				abort();
		break;
	case BLK_ANSWER:
		if (request->status != VIRTIO_BLK_S_IOERR &&
		    request->status != VIRTIO_BLK_S_UNSUPP)
			abort();
		break;
	case BLK_FLUSH:
	case BLK_GET_ID:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct iovec pieces[PIECES_MAX];
	struct virtq_element element = { .out = pieces };
	struct blk_limits limits = { .n_sectors = N_SECTORS };
	struct blk_request request;
	uint8_t *out, *in;
	size_t piece_len, out_len, in_len;

	if (size < 2)
		return 0;
	piece_len = (size_t)data[0] + 1;
	limits.is_read_only = data[1] & 1;
	in_len = (size_t)(data[1] >> 1) * 32 + (data[1] >> 2 & 1);
	data += 2;
	size -= 2;
	/* Exactly as long as they are, so that ASan sees one byte more. */
	out = malloc(size ? size : 1);
	in = malloc(in_len ? in_len : 1);
	if (!out || !in)
		abort();
	memcpy(out, data, size);
	element.n_out =
		(uint16_t)cut(element.out, out, size, piece_len, &out_len);
	element.out_len = out_len;
	element.in = pieces + element.n_out;
	element.n_in =
		(uint16_t)cut(element.in, in, in_len, piece_len, &in_len);
	element.in_len = in_len;
	if (blk_request_parse(&request, &element, &limits) == 0) {
		check(&request, &limits);
		blk_request_set_status(&element, 0);
	}
	blk_request_deinit(&request);
	free(out);
	free(in);
	return 0;
}
