/* SPDX-License-Identifier: ISC */
/*
 * Sectors of 512 bytes, each encrypted by itself with an initial vector made
 * from its number, as dm-crypt and QEMU do it. AES is libcrypto's work, the
 * other ciphers are nettle's.
 *
 * Thread-safe but for new and free.
 */
#ifndef LIB_IMAGE_CIPHER_H
#define LIB_IMAGE_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cipher;
struct error;

enum {
	CIPHER_SECTOR = 512,
	CIPHER_KEY_MAX = 64, /* bytes */
};

enum cipher_alg {
	CIPHER_AES,
	CIPHER_SERPENT,
	CIPHER_TWOFISH,
	CIPHER_CAST5,
};

enum cipher_mode {
	CIPHER_ECB,
	CIPHER_CBC,
	CIPHER_XTS,
	CIPHER_CTR,
};

/* The initial vector of a sector: its number, little-endian, in 32 or 64
 * bits; or that, encrypted with a hash of the key. */
enum cipher_iv {
	CIPHER_PLAIN,
	CIPHER_PLAIN64,
	CIPHER_ESSIV,
};

struct cipher_spec {
	enum cipher_alg alg;
	/* 16 bytes, or 24 or 32 where it is not CAST5; XTS has two keys. */
	unsigned key_len;
	enum cipher_mode mode;
	enum cipher_iv iv;
	const char *iv_hash; /* of ESSIV */
};

/* Names as LUKS, QEMU and dm-crypt have them: "serpent", "xts", "plain64",
 * "sha256". */
bool cipher_alg_find(const char *name, enum cipher_alg *alg);
const char *cipher_alg_name(enum cipher_alg alg);
/* There is such a cipher. */
bool cipher_has_key_len(enum cipher_alg alg, unsigned key_len);
/* -ENOTSUP, by name. */
int cipher_mode_find(const char *name, enum cipher_mode *mode,
		     struct error *err);
int cipher_iv_find(const char *name, enum cipher_iv *iv, struct error *err);
const char *cipher_mode_name(enum cipher_mode mode);
const char *cipher_iv_name(enum cipher_iv iv);

/* Bytes of key that the spec needs. */
size_t cipher_key_len(const struct cipher_spec *spec);

/* That mode, hash and the cipher go together. -ENOTSUP. */
int cipher_check(const struct cipher_spec *spec, struct error *err);

/* -ENOTSUP, by name: as above, or the library is not installed. */
int cipher_new(struct cipher **cipher, const struct cipher_spec *spec,
	       const uint8_t *key, struct error *err);
void cipher_free(struct cipher *cipher);

/* In place; len bytes, whole sectors, from sector on. 0 or -errno. */
int cipher_encrypt(struct cipher *cipher, uint64_t sector, uint8_t *buf,
		   size_t len);
int cipher_decrypt(struct cipher *cipher, uint64_t sector, uint8_t *buf,
		   size_t len);

#endif
