/* SPDX-License-Identifier: ISC */
/* The Internet checksum (RFC 1071), in the byte order of the network. */
#ifndef VM_NET_CHECKSUM_H
#define VM_NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Add bytes to a sum, which is 0 at first. All but the last piece are of
 * even length. */
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t len);
/* The sum in 16 bits; its complement is the checksum. */
uint16_t checksum_fold(uint64_t sum);

#endif
