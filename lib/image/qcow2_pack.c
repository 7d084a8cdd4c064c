/* SPDX-License-Identifier: ISC */
#include "lib/image/qcow2_pack.h"

#include "protocols/qcow2.h"

#include <errno.h>
#include <libdeflate.h>
#include <zstd.h>

enum {
	DEFLATE_LEVEL = 6,
	ZSTD_LEVEL = 3,
};

int qcow2_pack(bool is_zstd, void **deflater, const void *in, size_t n,
	       void *out, size_t *len)
{
	if (is_zstd) {
		*len = ZSTD_compress(out, n - 1, in, n, ZSTD_LEVEL);
		if (ZSTD_isError(*len))
			*len = 0;
		return 0;
	}
	if (*deflater == NULL)
		*deflater = libdeflate_alloc_compressor(DEFLATE_LEVEL);
	if (*deflater == NULL)
		return -ENOMEM;
	*len = libdeflate_deflate_compress(*deflater, in, n, out, n - 1);
	return 0;
}

void qcow2_pack_free(void *deflater)
{
	libdeflate_free_compressor(deflater);
}

/* "Compressed Clusters Descriptor": sectors beyond the first. */
uint64_t qcow2_packed_entry(unsigned cluster_bits, uint64_t host_offset,
			    size_t len)
{
	unsigned x = 62 - (cluster_bits - 8);
	uint64_t last = (host_offset + len - 1) / QCOW2_SECTOR_LEN;

	if ((host_offset + len) >> x != 0)
		return 0;
	return QCOW2_COMPRESSED | (last - host_offset / QCOW2_SECTOR_LEN) << x |
	       host_offset;
}
