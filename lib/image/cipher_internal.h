/* SPDX-License-Identifier: ISC */
/* Shared by the sources of ciphers: what is known of each, and the library
 * that does the work. */
#ifndef LIB_IMAGE_CIPHER_INTERNAL_H
#define LIB_IMAGE_CIPHER_INTERNAL_H

#include "lib/image/cipher.h"

#include <openssl/evp.h>
#include <stdbool.h>

enum {
	CIPHER_BLOCK_MAX = 16, /* an initial vector's length, too */
};

struct cipher {
	const struct cipher_engine *engine;
	void *state;		 /* the engine's */
	struct cipher_spec spec; /* without its hash, which has done its work */
	uint8_t key[CIPHER_KEY_MAX];
	uint8_t iv_key[EVP_MAX_MD_SIZE];
	unsigned iv_key_len; /* 0: numbers of sectors are not encrypted */
};

struct cipher_engine {
	/* What cipher's spec and keys ask for. -ENOTSUP, by name. */
	int (*open)(struct cipher *cipher, struct error *err);
	/* Of a failed open, too. */
	void (*close)(struct cipher *cipher);
	/* As cipher_encrypt() and cipher_decrypt(), by any thread. */
	int (*work)(const struct cipher *cipher, bool encrypts, uint64_t sector,
		    uint8_t *buf, size_t len);
};

extern const struct cipher_engine cipher_engine_crypto, cipher_engine_nettle;

/* Bytes that it encrypts at a time. */
unsigned cipher_block_len(enum cipher_alg alg);

/* A sector's number as an initial vector, not encrypted yet. */
void cipher_number(const struct cipher *cipher, uint64_t sector,
		   uint8_t iv[CIPHER_BLOCK_MAX]);

#endif
