/* SPDX-License-Identifier: ISC */
/*
 * Base64 (RFC 4648 §4) as QEMU takes it: ends of lines stand anywhere, digits
 * that do not fill a group are passed over, and padding closes its own group
 * only.
 */
#ifndef LIB_BASE_BASE64_H
#define LIB_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

struct error;

/* In place: len bytes of text become *len bytes, never more. -EINVAL, in
 * QEMU's words, which hold nothing of the text. */
int base64_decode(uint8_t *data, size_t *len, struct error *err);

#endif
