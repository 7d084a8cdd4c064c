/* SPDX-License-Identifier: ISC */
/*
 * AES by libcrypto. A context of it belongs to one thread at a time: as many
 * as are needed at once are made, and kept for the next.
 */
#include "lib/image/cipher_internal.h"

#include "lib/base/error.h"
#include "lib/image/library.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* What one thread works with. */
struct context {
	struct context *next;
	EVP_CIPHER_CTX *encrypt, *decrypt;
	EVP_CIPHER_CTX *iv; /* of ESSIV; or NULL */
};

struct state {
	EVP_CIPHER *sectors, *ivs;
	pthread_mutex_t lock;
	struct context *spare;
};

static int fetch(EVP_CIPHER **cipher, unsigned key_len, enum cipher_mode mode,
		 struct error *err)
{
	char name[32];

	snprintf(name, sizeof(name), "AES-%u-%s", key_len * 8,
		 cipher_mode_name(mode));
	*cipher = libcrypto->EVP_CIPHER_fetch(NULL, name, NULL);
	if (*cipher != NULL)
		return 0;
	return error_set(err, -ENOTSUP, "Cipher %s is not available", name);
}

static int open_crypto(struct cipher *c, struct error *err)
{
	struct state *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return -ENOMEM;
	c->state = s;
	pthread_mutex_init(&s->lock, NULL);
	rc = fetch(&s->sectors, c->spec.key_len, c->spec.mode, err);
	if (rc == 0 && c->iv_key_len != 0)
		rc = fetch(&s->ivs, c->iv_key_len, CIPHER_ECB, err);
	return rc;
}

static void free_context(struct context *x)
{
	libcrypto->EVP_CIPHER_CTX_free(x->encrypt);
	libcrypto->EVP_CIPHER_CTX_free(x->decrypt);
	libcrypto->EVP_CIPHER_CTX_free(x->iv);
	free(x);
}

static void close_crypto(struct cipher *c)
{
	struct state *s = c->state;
	struct context *x;

	if (s == NULL)
		return;
	while ((x = s->spare) != NULL) {
		s->spare = x->next;
		free_context(x);
	}
	libcrypto->EVP_CIPHER_free(s->sectors);
	libcrypto->EVP_CIPHER_free(s->ivs);
	pthread_mutex_destroy(&s->lock);
	free(s);
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

static struct context *new_context(const struct cipher *c)
{
	const struct state *s = c->state;
	struct context *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->encrypt = make(s->sectors, c->key, true);
	x->decrypt = make(s->sectors, c->key, false);
	if (s->ivs != NULL)
		x->iv = make(s->ivs, c->iv_key, true);
	if (x->encrypt != NULL && x->decrypt != NULL &&
	    (s->ivs == NULL || x->iv != NULL))
		return x;
	free_context(x);
	return NULL;
}

static struct context *take_context(const struct cipher *c)
{
	struct state *s = c->state;
	struct context *x;

	pthread_mutex_lock(&s->lock);
	x = s->spare;
	if (x != NULL)
		s->spare = x->next;
	pthread_mutex_unlock(&s->lock);
	return x != NULL ? x : new_context(c);
}

static void give_context(const struct cipher *c, struct context *x)
{
	struct state *s = c->state;

	pthread_mutex_lock(&s->lock);
	x->next = s->spare;
	s->spare = x;
	pthread_mutex_unlock(&s->lock);
}

static bool make_iv(const struct cipher *c, const struct context *x,
		    uint64_t sector, uint8_t iv[CIPHER_BLOCK_MAX])
{
	int len;

	cipher_number(c, sector, iv);
	return x->iv == NULL ||
	       libcrypto->EVP_CipherUpdate(x->iv, iv, &len, iv,
					   CIPHER_BLOCK_MAX) == 1;
}

static int work(const struct cipher *c, bool encrypts, uint64_t sector,
		uint8_t *buf, size_t len)
{
	struct context *x = take_context(c);
	EVP_CIPHER_CTX *ctx;
	bool is_good = true;

	if (x == NULL)
		return -ENOMEM;
	ctx = encrypts ? x->encrypt : x->decrypt;
	for (size_t at = 0; is_good && at < len; at += CIPHER_SECTOR) {
		uint8_t iv[CIPHER_BLOCK_MAX];
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

const struct cipher_engine cipher_engine_crypto = {
	.open = open_crypto,
	.close = close_crypto,
	.work = work,
};
