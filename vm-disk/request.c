/* SPDX-License-Identifier: ISC */
/* Parsing block requests. Everything here comes from a hostile guest. */
#include "vm-disk/request.h"

#include "lib/base/cleanup.h"
#include "protocols/virtio_blk.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void answer(struct blk_request *request, uint8_t status)
{
	request->action = BLK_ANSWER;
	request->status = status;
}

/* Sectors to bytes, if they lie on the disk. */
static bool locate(const struct blk_limits *limits, uint64_t sector,
		   uint64_t n_sectors, uint64_t *offset)
{
	uint64_t end;

	if (__builtin_add_overflow(sector, n_sectors, &end) ||
	    end > limits->n_sectors)
		return false;
	*offset = sector << VIRTIO_BLK_SECTOR_SHIFT;
	return true;
}

/*
 * Bytes [skip, skip + len) of pieces, borrowed where they begin and end with
 * pieces, as every driver has it; else cut out in an array of their own.
 */
static int cut(struct blk_request *request, struct iovec *iov, unsigned n_iov,
	       uint64_t skip, uint64_t len)
{
	uint64_t total = 0;
	unsigned n = 0;

	while (n_iov > 0 && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
		n_iov--;
	}
	while (n < n_iov && total < skip + len)
		total += iov[n++].iov_len;
	request->iov = iov;
	request->n_iov = n;
	if (skip == 0 && total == len)
		return 0;
	if (n == 0 || total < skip + len)
		return -EINVAL; /* the element's lengths are its pieces' */
	request->own = malloc(n * sizeof(*iov));
	if (!request->own)
		return -ENOMEM;
	memcpy(request->own, iov, n * sizeof(*iov));
	request->iov = request->own;
	request->own[n - 1].iov_len -= total - skip - len;
	request->own[0].iov_base = (uint8_t *)request->own[0].iov_base + skip;
	request->own[0].iov_len -= skip;
	return 0;
}

static void parse_data(struct blk_request *request,
		       const struct virtq_element *element,
		       const struct blk_limits *limits, uint64_t sector,
		       bool is_write)
{
	uint64_t skip = is_write ? sizeof(struct virtio_blk_header) : 0;
	uint64_t len = is_write ? element->out_len - skip : element->in_len - 1;
	struct iovec *iov = is_write ? element->out : element->in;
	unsigned n_iov = is_write ? element->n_out : element->n_in;

	/* §5.2.6.1: whole sectors. */
	if (len % VIRTIO_BLK_SECTOR != 0 || len > BLK_DATA_MAX ||
	    !locate(limits, sector, len >> VIRTIO_BLK_SECTOR_SHIFT,
		    &request->offset) ||
	    (is_write && limits->is_read_only) ||
	    cut(request, iov, n_iov, skip, len) < 0) {
		answer(request, VIRTIO_BLK_S_IOERR);
		return;
	}
	request->action = is_write ? BLK_WRITE : BLK_READ;
	request->len = len;
}

/* §5.2.6.2: unknown flags, and unmap with a discard, are unsupported. */
static uint8_t parse_range(struct blk_range *range,
			   const struct virtio_blk_range *from,
			   const struct blk_limits *limits, bool is_discard)
{
	uint32_t n_sectors = le32toh(from->num_sectors);
	uint32_t flags = le32toh(from->flags);

	if (flags & ~(uint32_t)VIRTIO_BLK_RANGE_UNMAP ||
	    (is_discard && flags != 0))
		return VIRTIO_BLK_S_UNSUPP;
	if (n_sectors > BLK_RANGE_SECTORS_MAX ||
	    !locate(limits, le64toh(from->sector), n_sectors, &range->offset))
		return VIRTIO_BLK_S_IOERR;
	range->len = (uint64_t)n_sectors << VIRTIO_BLK_SECTOR_SHIFT;
	range->may_unmap = flags & VIRTIO_BLK_RANGE_UNMAP;
	return VIRTIO_BLK_S_OK;
}

static void parse_ranges(struct blk_request *request,
			 const struct virtq_element *element,
			 const struct blk_limits *limits, bool is_discard)
{
	struct virtio_blk_range ranges[BLK_RANGES_MAX];
	size_t skip = sizeof(struct virtio_blk_header);
	uint64_t len = element->out_len - skip;

	if (limits->is_read_only || len == 0 || len % sizeof(ranges[0]) != 0 ||
	    len > sizeof(ranges)) {
		answer(request, VIRTIO_BLK_S_IOERR);
		return;
	}
	iov_read(element->out, element->n_out, skip, ranges, len);
	request->action = is_discard ? BLK_DISCARD : BLK_WRITE_ZEROES;
	request->n_ranges = (unsigned)(len / sizeof(ranges[0]));
	for (unsigned i = 0; i < request->n_ranges; i++) {
		uint8_t status = parse_range(&request->ranges[i], &ranges[i],
					     limits, is_discard);

		/* All are looked at before the first is acted on. */
		if (status != VIRTIO_BLK_S_OK) {
			answer(request, status);
			return;
		}
	}
}

int blk_request_parse(struct blk_request *request,
		      const struct virtq_element *element,
		      const struct blk_limits *limits)
{
	struct virtio_blk_header header;
	uint64_t sector;

	request->own = NULL;
	request->n_iov = request->n_ranges = 0;
	if (element->in_len == 0)
		return -EPROTO;
	if (iov_read(element->out, element->n_out, 0, &header, sizeof(header)) <
	    sizeof(header)) {
		answer(request, VIRTIO_BLK_S_IOERR);
		return 0;
	}
	sector = le64toh(header.sector);
	switch (le32toh(header.type)) {
	case VIRTIO_BLK_T_IN:
		parse_data(request, element, limits, sector, false);
		break;
	case VIRTIO_BLK_T_OUT:
		parse_data(request, element, limits, sector, true);
		break;
	case VIRTIO_BLK_T_DISCARD:
		parse_ranges(request, element, limits, true);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		parse_ranges(request, element, limits, false);
		break;
	case VIRTIO_BLK_T_FLUSH:
		request->action = BLK_FLUSH;
		break;
	case VIRTIO_BLK_T_GET_ID:
		request->action = BLK_GET_ID;
		break;
	default:
		answer(request, VIRTIO_BLK_S_UNSUPP);
	}
	return 0;
}

void blk_request_deinit(struct blk_request *request)
{
	free(request->own);
	request->own = NULL;
}

void blk_request_set_status(const struct virtq_element *element, uint8_t status)
{
	iov_write(element->in, element->n_in, element->in_len - 1, &status,
		  sizeof(status));
}
