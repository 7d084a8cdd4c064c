/* SPDX-License-Identifier: ISC */
/*
 * A context of libcrypto belongs to one thread at a time: as many as are
 * needed at once are made, and kept for the next.
 */
#include "lib/image/cipher.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/library.h"
#include "lib/image/secret.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	BLOCK_LEN = 16, /* of AES: that is an initial vector's length, too */
};

/* What one thread works with. */
struct context {
	struct context *next;
	EVP_CIPHER_CTX *encrypt, *decrypt;
	EVP_CIPHER_CTX *iv; /* of ESSIV; or NULL */
};

struct cipher {
	struct cipher_spec spec;
	EVP_CIPHER *sectors, *ivs;
	uint8_t key[CIPHER_KEY_MAX];
	uint8_t iv_key[EVP_MAX_MD_SIZE];
	pthread_mutex_t lock;
	struct context *spare;
};

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

static int fetch(EVP_CIPHER **cipher, size_t key_len, enum cipher_mode mode,
		 struct error *err)
{
	char name[32];

	snprintf(name, sizeof(name), "AES-%zu-%s", key_len * 8, modes[mode]);
	*cipher = libcrypto->EVP_CIPHER_fetch(NULL, name, NULL);
	if (*cipher != NULL)
		return 0;
	return error_set(err, -ENOTSUP, "Cipher %s is not available", name);
}

/* ESSIV: the hash of the key is the key that numbers are encrypted with. */
static int init_iv(struct cipher *c, struct error *err)
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
	return fetch(&c->ivs, len, CIPHER_ECB, err);
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
	pthread_mutex_init(&c->lock, NULL);
	c->spec = *spec;
	memcpy(c->key, key, cipher_key_len(spec));
	rc = fetch(&c->sectors, spec->key_len, spec->mode, err);
	if (rc == 0)
		rc = init_iv(c, err);
	/* The name may go away; the hash has done its work. */
	c->spec.iv_hash = NULL;
	if (rc < 0)
		cipher_free(c);
	else
		*cipher = c;
	return rc;
}

static void free_context(struct context *x)
{
	libcrypto->EVP_CIPHER_CTX_free(x->encrypt);
	libcrypto->EVP_CIPHER_CTX_free(x->decrypt);
	libcrypto->EVP_CIPHER_CTX_free(x->iv);
	free(x);
}

void cipher_free(struct cipher *c)
{
	struct context *x;

	if (c == NULL)
		return;
	while ((x = c->spare) != NULL) {
		c->spare = x->next;
		free_context(x);
	}
	libcrypto->EVP_CIPHER_free(c->sectors);
	libcrypto->EVP_CIPHER_free(c->ivs);
	pthread_mutex_destroy(&c->lock);
	secret_free(c, sizeof(*c));
}

static EVP_CIPHER_CTX *make(const EVP_CIPHER *cipher, const uint8_t *key,
			    bool encrypts)
{
	EVP_CIPHER_CTX *ctx = libcrypto->EVP_CIPHER_CTX_new();

	if (ctx != NULL &&
	    libcrypto->EVP_CipherInit_ex2(ctx, cipher, key, NULL, encrypts,
					  NULL) == 1 &&
	    libcrypto->EVP_CIPHER_CTX_set_padding(ctx, 0) == 1)
		return ctx;
	libcrypto->EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

static struct context *new_context(struct cipher *c)
{
	struct context *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->encrypt = make(c->sectors, c->key, true);
	x->decrypt = make(c->sectors, c->key, false);
	if (c->ivs != NULL)
		x->iv = make(c->ivs, c->iv_key, true);
	if (x->encrypt != NULL && x->decrypt != NULL &&
	    (c->ivs == NULL || x->iv != NULL))
		return x;
	free_context(x);
	return NULL;
}

static struct context *take_context(struct cipher *c)
{
	struct context *x;

	pthread_mutex_lock(&c->lock);
	x = c->spare;
	if (x != NULL)
		c->spare = x->next;
	pthread_mutex_unlock(&c->lock);
	return x != NULL ? x : new_context(c);
}

static void give_context(struct cipher *c, struct context *x)
{
	pthread_mutex_lock(&c->lock);
	x->next = c->spare;
	c->spare = x;
	pthread_mutex_unlock(&c->lock);
}

static bool make_iv(const struct cipher *c, struct context *x, uint64_t sector,
		    uint8_t iv[BLOCK_LEN])
{
	int len;

	if (c->spec.iv == CIPHER_PLAIN)
		sector &= UINT32_MAX;
	sector = htole64(sector);
	memset(iv, 0, BLOCK_LEN);
	memcpy(iv, &sector, sizeof(sector));
	return x->iv == NULL ||
	       libcrypto->EVP_CipherUpdate(x->iv, iv, &len, iv, BLOCK_LEN) == 1;
}

static int work(struct cipher *c, bool encrypts, uint64_t sector, uint8_t *buf,
		size_t len)
{
	struct context *x = take_context(c);
	EVP_CIPHER_CTX *ctx;
	bool is_good = true;

	assert(len % CIPHER_SECTOR == 0);
	if (x == NULL)
		return -ENOMEM;
	ctx = encrypts ? x->encrypt : x->decrypt;
	for (size_t at = 0; is_good && at < len; at += CIPHER_SECTOR) {
		uint8_t iv[BLOCK_LEN];
		int n;

		is_good =
			make_iv(c, x, sector++, iv) &&
			libcrypto->EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1,
						      NULL) == 1 &&
			libcrypto->EVP_CipherUpdate(ctx, buf + at, &n, buf + at,
						    CIPHER_SECTOR) == 1 &&
			n == CIPHER_SECTOR;
	}
	give_context(c, x);
	return is_good ? 0 : -EIO;
}

int cipher_encrypt(struct cipher *cipher, uint64_t sector, uint8_t *buf,
		   size_t len)
{
	return work(cipher, true, sector, buf, len);
}

int cipher_decrypt(struct cipher *cipher, uint64_t sector, uint8_t *buf,
		   size_t len)
{
	return work(cipher, false, sector, buf, len);
}
