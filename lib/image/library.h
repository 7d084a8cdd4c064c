/* SPDX-License-Identifier: ISC */
/*
 * Shared libraries that are loaded when they are first needed: to map them,
 * with all that they bring along, takes several times as long as the rest of
 * a program's start, and most images need neither encryption nor a network.
 *
 * A function is called as libcrypto->EVP_Digest(…) or libnbd->nbd_create(),
 * by whoever has loaded the library or works with what needed it.
 */
#ifndef LIB_IMAGE_LIBRARY_H
#define LIB_IMAGE_LIBRARY_H

#include <libnbd.h>
#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/nettle-meta.h>
#include <nettle/xts.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

struct error;

#define LIBCRYPTO_FUNCTIONS(X) \
	X(CRYPTO_memcmp) \
	X(EVP_CIPHER_CTX_free) \
	X(EVP_CIPHER_CTX_new) \
	X(EVP_CIPHER_CTX_set_padding) \
	X(EVP_CIPHER_fetch) \
	X(EVP_CIPHER_free) \
	X(EVP_CipherInit_ex2) \
	X(EVP_CipherUpdate) \
	X(EVP_Digest) \
	X(EVP_DigestFinal_ex) \
	X(EVP_DigestInit_ex) \
	X(EVP_DigestUpdate) \
	X(EVP_MD_CTX_free) \
	X(EVP_MD_CTX_new) \
	X(EVP_MD_get_size) \
	X(EVP_get_digestbyname) \
	X(PKCS5_PBKDF2_HMAC)

#define LIBNBD_FUNCTIONS(X) \
	X(nbd_add_meta_context) \
	X(nbd_aio_block_status) \
	X(nbd_aio_connect_uri) \
	X(nbd_aio_flush) \
	X(nbd_aio_get_direction) \
	X(nbd_aio_get_fd) \
	X(nbd_aio_is_closed) \
	X(nbd_aio_is_dead) \
	X(nbd_aio_is_ready) \
	X(nbd_aio_notify_read) \
	X(nbd_aio_notify_write) \
	X(nbd_aio_pread_structured) \
	X(nbd_aio_pwrite) \
	X(nbd_aio_trim) \
	X(nbd_aio_zero) \
	X(nbd_can_flush) \
	X(nbd_can_meta_context) \
	X(nbd_can_trim) \
	X(nbd_can_zero) \
	X(nbd_clear_debug_callback) \
	X(nbd_close) \
	X(nbd_create) \
	X(nbd_get_block_size) \
	X(nbd_get_debug) \
	X(nbd_get_errno) \
	X(nbd_get_error) \
	X(nbd_get_size) \
	X(nbd_is_read_only) \
	X(nbd_poll) \
	X(nbd_set_debug) \
	X(nbd_set_debug_callback) \
	X(nbd_set_pread_initialize) \
	X(nbd_set_uri_allow_local_file)

#define LIBNETTLE_FUNCTIONS(X) \
	X(nettle_cbc_decrypt) \
	X(nettle_cbc_encrypt) \
	X(nettle_ctr_crypt) \
	X(nettle_get_ciphers) \
	X(nettle_xts_decrypt_message) \
	X(nettle_xts_encrypt_message)

#define LIBRARY_MEMBER(name) __typeof__(name) *name;
struct library_crypto {
	LIBCRYPTO_FUNCTIONS(LIBRARY_MEMBER)
};
struct library_nbd {
	LIBNBD_FUNCTIONS(LIBRARY_MEMBER)
};
struct library_nettle {
	LIBNETTLE_FUNCTIONS(LIBRARY_MEMBER)
};
#undef LIBRARY_MEMBER

/* NULL before the first load. They stay. */
extern const struct library_crypto *libcrypto;
extern const struct library_nbd *libnbd;
extern const struct library_nettle *libnettle;

/* -ENOTSUP, by name: it is not installed. Thread-safe. */
int library_load_crypto(struct error *err);
int library_load_nbd(struct error *err);
int library_load_nettle(struct error *err);

#endif
