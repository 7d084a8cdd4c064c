/* SPDX-License-Identifier: ISC */
/*
 * A secret that was encrypted with another one, as QEMU has it: AES-256 in
 * CBC, the end filled up as PKCS #7 does (RFC 5652 §6.3). Nothing tells a
 * wrong key but the padding that comes out of it.
 */
#ifndef LIB_IMAGE_SECRET_CIPHER_H
#define LIB_IMAGE_SECRET_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct secret;

/*
 * In place; *len bytes, which are base64 if is_base64, become *len bytes,
 * never more. iv is base64, and may be NULL: it was not given. -EINVAL, in
 * QEMU's words; data is then the caller's to wipe all the same.
 */
int secret_decrypt(const struct secret *key, const char *iv, bool is_base64,
		   uint8_t *data, size_t *len, struct error *err);

#endif
