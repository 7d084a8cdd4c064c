/* SPDX-License-Identifier: ISC */
#include "lib/image/cipher_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/library.h"
#include "lib/image/secret.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

static const char *const modes[] = {
	[CIPHER_ECB] = "ecb",
	[CIPHER_CBC] = "cbc",
	[CIPHER_XTS] = "xts",
	[CIPHER_CTR] = "ctr",
};

static const char *const ivs[] = {
	[CIPHER_PLAIN] = "plain",
	[CIPHER_PLAIN64] = "plain64",
	[CIPHER_ESSIV] = "essiv",
};

int cipher_mode_find(const char *name, enum cipher_mode *mode,
		     struct error *err)
{
	for (unsigned i = 0; i < array_size(modes); i++)
		if (strcmp(modes[i], name) == 0) {
			*mode = (enum cipher_mode)i;
			return 0;
		}
	return error_set(err, -ENOTSUP, "Cipher mode '%s' not supported", name);
}

int cipher_iv_find(const char *name, enum cipher_iv *iv, struct error *err)
{
	for (unsigned i = 0; i < array_size(ivs); i++)
		if (strcmp(ivs[i], name) == 0) {
			*iv = (enum cipher_iv)i;
			return 0;
		}
	return error_set(err, -ENOTSUP, "IV generator '%s' not supported",
			 name);
}

const char *cipher_mode_name(enum cipher_mode mode)
{
	return modes[mode];
}

const char *cipher_iv_name(enum cipher_iv iv)
{
	return ivs[iv];
}

size_t cipher_key_len(const struct cipher_spec *spec)
{
	return spec->mode == CIPHER_XTS ? 2 * (size_t)spec->key_len
					: spec->key_len;
}

/* ESSIV: the hash of the key is the key that numbers are encrypted with. */
static int make_iv_key(struct cipher *c, struct error *err)
{
	const EVP_MD *md;
	unsigned len = 0;

	if (c->spec.iv != CIPHER_ESSIV)
		return 0;
	md = libcrypto->EVP_get_digestbyname(c->spec.iv_hash);
	if (md == NULL)
		return error_set(err, -ENOTSUP,
				 "Hash algorithm '%s' not supported",
				 c->spec.iv_hash);
	if (libcrypto->EVP_Digest(c->key, cipher_key_len(&c->spec), c->iv_key,
				  &len, md, NULL) != 1)
		return -EIO;
	if (len != 16 && len != 24 && len != 32)
		return error_set(err, -ENOTSUP,
				 "No AES cipher with key size %u available",
				 len);
	c->iv_key_len = len;
	return 0;
}

int cipher_new(struct cipher **cipher, const struct cipher_spec *spec,
	       const uint8_t *key, struct error *err)
{
	struct cipher *c;
	int rc = library_load_crypto(err);

	if (rc < 0)
		return rc;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	assert(cipher_key_len(spec) <= sizeof(c->key));
	c->engine = &cipher_engine_crypto;
	c->spec = *spec;
	memcpy(c->key, key, cipher_key_len(spec));
	rc = make_iv_key(c, err);
	/* The name may go away. */
	c->spec.iv_hash = NULL;
	if (rc == 0)
		rc = c->engine->open(c, err);
	if (rc < 0)
		cipher_free(c);
	else
		*cipher = c;
	return rc;
}

void cipher_free(struct cipher *c)
{
	if (c == NULL)
		return;
	c->engine->close(c);
	secret_free(c, sizeof(*c));
}

void cipher_number(const struct cipher *c, uint64_t sector,
		   uint8_t iv[CIPHER_BLOCK_MAX])
{
	if (c->spec.iv == CIPHER_PLAIN)
		sector &= UINT32_MAX;
	sector = htole64(sector);
	memset(iv, 0, CIPHER_BLOCK_MAX);
	memcpy(iv, &sector, sizeof(sector));
}

int cipher_encrypt(struct cipher *c, uint64_t sector, uint8_t *buf, size_t len)
{
	assert(len % CIPHER_SECTOR == 0);
	return c->engine->work(c, true, sector, buf, len);
}

int cipher_decrypt(struct cipher *c, uint64_t sector, uint8_t *buf, size_t len)
{
	assert(len % CIPHER_SECTOR == 0);
	return c->engine->work(c, false, sector, buf, len);
}
