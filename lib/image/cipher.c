/* SPDX-License-Identifier: ISC */
#include "lib/image/cipher_internal.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/library.h"
#include "lib/image/secret.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

struct algorithm {
	const char *name;
	const char *title; /* QEMU's, in an error's text */
	unsigned block_len, key_len_max;
};

enum {
	KEY_LEN_MIN = 16,
	KEY_LEN_STEP = 8,
};

static const struct algorithm algorithms[] = {
	[CIPHER_AES] = { "aes", "AES", 16, 32 },
	[CIPHER_SERPENT] = { "serpent", "Serpent", 16, 32 },
	[CIPHER_TWOFISH] = { "twofish", "Twofish", 16, 32 },
	[CIPHER_CAST5] = { "cast5", "CAST5", 8, 16 },
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

bool cipher_alg_find(const char *name, enum cipher_alg *alg)
{
	for (unsigned i = 0; i < array_size(algorithms); i++)
		if (strcmp(algorithms[i].name, name) == 0) {
			*alg = (enum cipher_alg)i;
			return true;
		}
	return false;
}

const char *cipher_alg_name(enum cipher_alg alg)
{
	return algorithms[alg].name;
}

unsigned cipher_block_len(enum cipher_alg alg)
{
	return algorithms[alg].block_len;
}

bool cipher_has_key_len(enum cipher_alg alg, unsigned key_len)
{
	return key_len >= KEY_LEN_MIN && key_len % KEY_LEN_STEP == 0 &&
	       key_len <= algorithms[alg].key_len_max;
}

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

/* In QEMU's words: that a cipher has keys of one length only, it says in
 * others. */
static int refuse_iv_key(const struct cipher_spec *spec, unsigned len,
			 struct error *err)
{
	const struct algorithm *a = &algorithms[spec->alg];

	if (a->key_len_max == KEY_LEN_MIN)
		return error_set(err, -ENOTSUP,
				 "Cipher %s-%u not supported with essiv",
				 a->name, spec->key_len * 8);
	return error_set(err, -ENOTSUP,
			 "No %s cipher with key size %u available", a->title,
			 len);
}

/* ESSIV: the hash of the key is the key that numbers are encrypted with. */
static int check_iv(const struct cipher_spec *spec, struct error *err)
{
	const EVP_MD *md;
	unsigned len;

	if (spec->iv != CIPHER_ESSIV)
		return 0;
	md = libcrypto->EVP_get_digestbyname(spec->iv_hash);
	if (md == NULL)
		return error_set(err, -ENOTSUP,
				 "Hash algorithm '%s' not supported",
				 spec->iv_hash);
	len = (unsigned)libcrypto->EVP_MD_get_size(md);
	return cipher_has_key_len(spec->alg, len)
		       ? 0
		       : refuse_iv_key(spec, len, err);
}

int cipher_check(const struct cipher_spec *spec, struct error *err)
{
	int rc = library_load_crypto(err);

	if (rc == 0)
		rc = check_iv(spec, err);
	if (rc < 0)
		return rc;
	/* XTS is defined for blocks of 16 bytes. */
	if (spec->mode == CIPHER_XTS && cipher_block_len(spec->alg) != 16)
		return error_set(err, -ENOTSUP, "Unsupported cipher mode %s",
				 modes[spec->mode]);
	return 0;
}

static int make_iv_key(struct cipher *c)
{
	const EVP_MD *md;

	if (c->spec.iv != CIPHER_ESSIV)
		return 0;
	md = libcrypto->EVP_get_digestbyname(c->spec.iv_hash);
	return libcrypto->EVP_Digest(c->key, cipher_key_len(&c->spec),
				     c->iv_key, &c->iv_key_len, md, NULL) == 1
		       ? 0
		       : -EIO;
}

/* Of AES-192 libcrypto has no XTS: IEEE 1619 knows none. */
static bool is_of_libcrypto(const struct cipher_spec *spec)
{
	return spec->alg == CIPHER_AES &&
	       (spec->mode != CIPHER_XTS || spec->key_len != 24);
}

int cipher_new(struct cipher **cipher, const struct cipher_spec *spec,
	       const uint8_t *key, struct error *err)
{
	struct cipher *c;
	int rc = cipher_check(spec, err);

	if (rc < 0)
		return rc;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	assert(cipher_key_len(spec) <= sizeof(c->key));
	c->engine = is_of_libcrypto(spec) ? &cipher_engine_crypto
					  : &cipher_engine_nettle;
	c->spec = *spec;
	memcpy(c->key, key, cipher_key_len(spec));
	rc = make_iv_key(c);
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
