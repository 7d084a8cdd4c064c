/* SPDX-License-Identifier: ISC */
/*
 * The ciphers that libcrypto lacks, by nettle. Nothing changes in a key once
 * it is set: all threads share it.
 */
#include "lib/image/cipher_internal.h"

#include "lib/base/error.h"
#include "lib/image/library.h"
#include "lib/image/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state {
	const struct nettle_cipher *sectors, *ivs; /* ivs: of ESSIV; or NULL */
	void *encrypt, *decrypt;
	void *tweak; /* XTS's second key; or NULL */
	void *iv;    /* of ESSIV; or NULL */
};

static const char *name_of(enum cipher_alg alg)
{
	/* CAST-128 is RFC 2144's name of CAST5 with the longest key. */
	return alg == CIPHER_CAST5 ? "cast" : cipher_alg_name(alg);
}

static const struct nettle_cipher *find(enum cipher_alg alg, unsigned key_len)
{
	const struct nettle_cipher *const *all =
		libnettle->nettle_get_ciphers();
	char name[32];

	snprintf(name, sizeof(name), "%s%u", name_of(alg), key_len * 8);
	for (; *all != NULL; all++)
		if (strcmp((*all)->name, name) == 0 &&
		    (*all)->key_size == key_len &&
		    (*all)->block_size == cipher_block_len(alg))
			return *all;
	return NULL;
}

static int find_ciphers(const struct cipher *c, struct state *s,
			struct error *err)
{
	s->sectors = find(c->spec.alg, c->spec.key_len);
	if (c->iv_key_len != 0)
		s->ivs = find(c->spec.alg, c->iv_key_len);
	if (s->sectors != NULL && (c->iv_key_len == 0 || s->ivs != NULL))
		return 0;
	return error_set(err, -ENOTSUP, "Cipher %s-%u is not available",
			 cipher_alg_name(c->spec.alg), c->spec.key_len * 8);
}

static void *set_key(const struct nettle_cipher *cipher,
		     nettle_set_key_func *set, const uint8_t *key)
{
	void *context = malloc(cipher->context_size);

	if (context != NULL)
		set(context, key);
	return context;
}

static int set_keys(const struct cipher *c, struct state *s)
{
	const struct nettle_cipher *sectors = s->sectors;

	s->encrypt = set_key(sectors, sectors->set_encrypt_key, c->key);
	s->decrypt = set_key(sectors, sectors->set_decrypt_key, c->key);
	if (s->encrypt == NULL || s->decrypt == NULL)
		return -ENOMEM;
	if (c->spec.mode == CIPHER_XTS) {
		s->tweak = set_key(sectors, sectors->set_encrypt_key,
				   c->key + c->spec.key_len);
		if (s->tweak == NULL)
			return -ENOMEM;
	}
	if (s->ivs != NULL) {
		s->iv = set_key(s->ivs, s->ivs->set_encrypt_key, c->iv_key);
		if (s->iv == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int open_nettle(struct cipher *c, struct error *err)
{
	struct state *s;
	int rc = library_load_nettle(err);

	if (rc < 0)
		return rc;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	c->state = s;
	rc = find_ciphers(c, s, err);
	return rc < 0 ? rc : set_keys(c, s);
}

static void forget_key(const struct nettle_cipher *cipher, void *context)
{
	if (context != NULL)
		secret_free(context, cipher->context_size);
}

static void close_nettle(struct cipher *c)
{
	struct state *s = c->state;

	if (s == NULL)
		return;
	forget_key(s->sectors, s->encrypt);
	forget_key(s->sectors, s->decrypt);
	forget_key(s->sectors, s->tweak);
	forget_key(s->ivs, s->iv);
	free(s);
}

static void make_iv(const struct cipher *c, uint64_t sector,
		    uint8_t iv[CIPHER_BLOCK_MAX])
{
	const struct state *s = c->state;

	cipher_number(c, sector, iv);
	if (s->iv != NULL)
		s->ivs->encrypt(s->iv, s->ivs->block_size, iv, iv);
}

static void encrypt_sector(const struct cipher *c, uint8_t *iv, uint8_t *buf)
{
	const struct state *s = c->state;
	nettle_cipher_func *f = s->sectors->encrypt;
	size_t block_len = s->sectors->block_size;

	switch (c->spec.mode) {
	case CIPHER_ECB:
		f(s->encrypt, CIPHER_SECTOR, buf, buf);
		break;
	case CIPHER_CBC:
		libnettle->nettle_cbc_encrypt(s->encrypt, f, block_len, iv,
					      CIPHER_SECTOR, buf, buf);
		break;
	case CIPHER_XTS:
		libnettle->nettle_xts_encrypt_message(
			s->encrypt, s->tweak, f, iv, CIPHER_SECTOR, buf, buf);
		break;
	case CIPHER_CTR:
		libnettle->nettle_ctr_crypt(s->encrypt, f, block_len, iv,
					    CIPHER_SECTOR, buf, buf);
		break;
	}
}

static void decrypt_sector(const struct cipher *c, uint8_t *iv, uint8_t *buf)
{
	const struct state *s = c->state;
	nettle_cipher_func *f = s->sectors->decrypt;

	switch (c->spec.mode) {
	case CIPHER_ECB:
		f(s->decrypt, CIPHER_SECTOR, buf, buf);
		break;
	case CIPHER_CBC:
		libnettle->nettle_cbc_decrypt(s->decrypt, f,
					      s->sectors->block_size, iv,
					      CIPHER_SECTOR, buf, buf);
		break;
	case CIPHER_XTS:
		libnettle->nettle_xts_decrypt_message(s->decrypt, s->tweak, f,
						      s->sectors->encrypt, iv,
						      CIPHER_SECTOR, buf, buf);
		break;
	case CIPHER_CTR:
		/* The same both ways. */
		encrypt_sector(c, iv, buf);
		break;
	}
}

static int work(const struct cipher *c, bool encrypts, uint64_t sector,
		uint8_t *buf, size_t len)
{
	for (size_t at = 0; at < len; at += CIPHER_SECTOR) {
		uint8_t iv[CIPHER_BLOCK_MAX];

		make_iv(c, sector++, iv);
		if (encrypts)
			encrypt_sector(c, iv, buf + at);
		else
			decrypt_sector(c, iv, buf + at);
	}
	return 0;
}

const struct cipher_engine cipher_engine_nettle = {
	.open = open_nettle,
	.close = close_nettle,
	.work = work,
};
