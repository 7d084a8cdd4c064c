/* SPDX-License-Identifier: ISC */
/* CRC-32C (Castagnoli), as iSCSI (RFC 3720 §B.4) and VHDX have it. */
#ifndef LIB_IMAGE_CRC32C_H
#define LIB_IMAGE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc is 0 at first, then what the call before returned. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
