/* SPDX-License-Identifier: ISC */
#include "lib/image/secret_cipher.h"

#include "lib/base/base64.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/library.h"
#include "lib/image/secret.h"

#include <limits.h>
#include <string.h>

enum {
	KEY_LEN = 32,
	BLOCK = 16, /* bytes; of the initial vector, too */
};

static int read_iv(const char *text, uint8_t iv[BLOCK], struct error *err)
{
	_cleanup_free_ char *copy = NULL;
	size_t len;
	int rc;

	if (text == NULL)
		return error_set(err, -EINVAL,
				 "IV is required to decrypt secret");
	copy = strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	len = strlen(copy);
	rc = base64_decode((uint8_t *)copy, &len, err);
	if (rc < 0)
		return rc;
	if (len != BLOCK)
		return error_set(err, -EINVAL,
				 "IV should be 16 bytes in length not %zu",
				 len);
	memcpy(iv, copy, BLOCK);
	return 0;
}

static bool decrypt(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
		    const uint8_t *key, const uint8_t *iv, uint8_t *data,
		    int len)
{
	int n;

	return libcrypto->EVP_CipherInit_ex2(ctx, cipher, key, iv, 0, NULL) ==
		       1 &&
	       libcrypto->EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
	       libcrypto->EVP_CipherUpdate(ctx, data, &n, data, len) == 1 &&
	       n == len;
}

static int decrypt_blocks(const uint8_t *key, const uint8_t *iv, uint8_t *data,
			  size_t len, struct error *err)
{
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *ctx;
	bool is_good;
	int rc = library_load_crypto(err);

	if (rc < 0)
		return rc;
	cipher = libcrypto->EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	ctx = libcrypto->EVP_CIPHER_CTX_new();
	is_good = cipher != NULL && ctx != NULL &&
		  decrypt(ctx, cipher, key, iv, data, (int)len);
	/* Wipes its copy of the key. */
	libcrypto->EVP_CIPHER_CTX_free(ctx);
	libcrypto->EVP_CIPHER_free(cipher);
	return is_good ? 0
		       : error_set(err, -EIO, "Unable to decrypt the secret");
}

/* QEMU looks at the last byte only, and takes 0 for no padding: what it opens
 * is opened here. */
static int cut_padding(const uint8_t *data, size_t *len, struct error *err)
{
	unsigned n = *len > 0 ? data[*len - 1] : 0;

	if (n > BLOCK || n > *len)
		return error_set(err, -EINVAL,
				 "Incorrect number of padding bytes (%u) "
				 "found on decrypted data",
				 n);
	*len -= n;
	return 0;
}

int secret_decrypt(const struct secret *key, const char *iv, bool is_base64,
		   uint8_t *data, size_t *len, struct error *err)
{
	uint8_t iv_bytes[BLOCK];
	int rc;

	if (key->len != KEY_LEN)
		return error_set(err, -EINVAL,
				 "Key should be 32 bytes in length");
	rc = read_iv(iv, iv_bytes, err);
	if (rc == 0 && is_base64)
		rc = base64_decode(data, len, err);
	if (rc < 0)
		return rc;
	if (*len % BLOCK != 0 || *len > INT_MAX)
		return error_set(err, -EINVAL,
				 "Length %zu must be a multiple of block size "
				 "16",
				 *len);
	if (*len > 0)
		rc = decrypt_blocks(key->data, iv_bytes, data, *len, err);
	return rc < 0 ? rc : cut_padding(data, len, err);
}
