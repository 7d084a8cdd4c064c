/* SPDX-License-Identifier: ISC */
/*
 * Where the bytes of a read or a write are: the plan of a request is its
 * extents, if all of them are known without waiting and the kernel can do
 * their I/O as they lie. Otherwise there is none, and a worker's business.
 */
#include "lib/image/queue_internal.h"

#include <string.h>

enum {
	MEMSET_MAX = 256 * 1024, /* zeroes made in the loop */
};

/* Can the kernel move these bytes as they lie? Only O_DIRECT cares. */
static bool is_aligned(const struct image_request *request,
		       const struct image_extent *extent)
{
	uint32_t mask = image_host_alignment(extent->layer) - 1;

	if (mask == 0)
		return true;
	if ((extent->host_offset | extent->len) & mask)
		return false;
	for (unsigned i = 0; i < request->n_iov; i++)
		if (((uintptr_t)request->iov[i].iov_base |
		     request->iov[i].iov_len) &
		    mask)
			return false;
	return true;
}

static bool is_direct(const struct image_request *request,
		      const struct image_extent *extent)
{
	if (extent->kind != IMAGE_EXTENT_DATA || !extent->has_host_offset ||
	    extent->host_fd < 0 || !is_aligned(request, extent))
		return false;
	return request->operation == IMAGE_OP_READ ||
	       (extent->depth == 0 && extent->is_writable_in_place);
}

/* Append an extent, to the last one where the two are one in the file. */
static bool plan_add(struct image_plan *plan, const struct image_extent *extent)
{
	struct image_extent *last =
		plan->n > 0 ? &plan->extents[plan->n - 1] : NULL;

	if (last && extent->kind == IMAGE_EXTENT_DATA &&
	    last->kind == IMAGE_EXTENT_DATA &&
	    last->host_fd == extent->host_fd &&
	    last->host_offset + last->len == extent->host_offset) {
		last->len += extent->len;
		return true;
	}
	if (plan->n == IMAGE_PLAN_EXTENTS_MAX)
		return false;
	plan->extents[plan->n++] = *extent;
	return true;
}

bool image_plan_make(struct image *image, const struct image_request *request,
		     struct image_plan *plan)
{
	uint64_t at = request->offset, end = at + request->len, n_zero = 0;
	unsigned flags = IMAGE_MAP_NOWAIT;

	plan->n = 0;
	if (request->operation == IMAGE_OP_READ)
		flags |= IMAGE_MAP_CHAIN;
	while (at < end) {
		struct image_extent extent;

		if (image_map(image, at, end - at, flags, &extent, NULL) < 0 ||
		    extent.len == 0 || extent.len > end - at)
			return false;
		if (!is_direct(request, &extent)) {
			if (request->operation != IMAGE_OP_READ ||
			    (extent.kind != IMAGE_EXTENT_ZERO &&
			     extent.kind != IMAGE_EXTENT_HOLE))
				return false;
			n_zero += extent.len;
			if (n_zero > MEMSET_MAX)
				return false;
		}
		if (!plan_add(plan, &extent))
			return false;
		at += extent.len;
	}
	return true;
}

void image_plan_zero(const struct image_request *request, uint64_t skip,
		     uint64_t len)
{
	for (unsigned i = 0; i < request->n_iov && len > 0; i++) {
		const struct iovec *iov = &request->iov[i];
		uint64_t piece;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		piece = iov->iov_len - skip;
		if (piece > len)
			piece = len;
		memset((uint8_t *)iov->iov_base + skip, 0, piece);
		skip = 0;
		len -= piece;
	}
}
