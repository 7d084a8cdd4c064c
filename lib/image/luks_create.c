/* SPDX-License-Identifier: ISC */
/* A new LUKS header, laid out as QEMU and cryptsetup lay it out. */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "lib/image/format.h"
#include "lib/image/guid.h"
#include "lib/image/library.h"
#include "lib/image/luks.h"
#include "lib/image/luks_internal.h"

#include <stdio.h>
#include <string.h>

enum {
	OPTION_NAME_MAX = 40,
	/* The master key's digest is tried once for each slot. */
	MASTER_SHARE = 8,
};

/* The value of an option, or what it is where it is not given. */
static const char *find(const struct image_create_options *o,
			const char *prefix, const char *name,
			const char *standard)
{
	char full[OPTION_NAME_MAX];
	const char *value;

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	value = image_option_find(o, full);
	return value != NULL ? value : standard;
}

static int refuse(const char *name, const char *value, struct error *err)
{
	return error_set(err, -EINVAL,
			 "Parameter '%s' does not accept value '%s'", name,
			 value);
}

struct cipher_option {
	const char *value;
	enum cipher_alg alg;
	unsigned key_len; /* 0: LUKS has no name for it */
};

static const struct cipher_option ciphers[] = {
	{ "aes-128", CIPHER_AES, 16 },
	{ "aes-192", CIPHER_AES, 24 },
	{ "aes-256", CIPHER_AES, 32 },
	{ "serpent-128", CIPHER_SERPENT, 16 },
	{ "serpent-192", CIPHER_SERPENT, 24 },
	{ "serpent-256", CIPHER_SERPENT, 32 },
	{ "twofish-128", CIPHER_TWOFISH, 16 },
	{ "twofish-192", CIPHER_TWOFISH, 24 },
	{ "twofish-256", CIPHER_TWOFISH, 32 },
	{ "cast5-128", CIPHER_CAST5, 16 },
	{ .value = "des" },
	{ .value = "3des" },
};

static int set_cipher(struct luks *luks, const struct image_create_options *o,
		      const char *prefix, struct error *err)
{
	const char *value = find(o, prefix, "cipher-alg", "aes-256");
	const char *mode = find(o, prefix, "cipher-mode", "xts");
	const struct cipher_option *c = NULL;

	for (size_t i = 0; c == NULL && i < array_size(ciphers); i++)
		if (strcmp(ciphers[i].value, value) == 0)
			c = &ciphers[i];
	if (c == NULL)
		return refuse("cipher-alg", value, err);
	luks->cipher.alg = c->alg;
	luks->cipher.key_len = c->key_len;
	snprintf(luks->cipher_name, sizeof(luks->cipher_name), "%s",
		 cipher_alg_name(c->alg));
	if (cipher_mode_find(mode, &luks->cipher.mode, NULL) < 0)
		return refuse("cipher-mode", mode, err);
	return 0;
}

static int set_hash(char *to, const struct image_create_options *o,
		    const char *prefix, const char *name, const char *standard,
		    struct error *err)
{
	const char *hash = find(o, prefix, name, standard);

	if (hash == NULL)
		return 0;
	if (strlen(hash) >= LUKS_NAME_LEN ||
	    libcrypto->EVP_get_digestbyname(hash) == NULL)
		return refuse(name, hash, err);
	memcpy(to, hash, strlen(hash) + 1);
	return 0;
}

static int set_iv(struct luks *luks, const struct image_create_options *o,
		  const char *prefix, struct error *err)
{
	const char *iv = find(o, prefix, "ivgen-alg", "plain64");
	int rc, n;

	if (cipher_iv_find(iv, &luks->cipher.iv, NULL) < 0)
		return refuse("ivgen-alg", iv, err);
	rc = set_hash(luks->iv_hash, o, prefix, "ivgen-hash-alg",
		      luks->cipher.iv == CIPHER_ESSIV ? "sha256" : NULL, err);
	if (rc < 0)
		return rc;
	luks->cipher.iv_hash = luks->iv_hash;
	n = snprintf(luks->mode_text, sizeof(luks->mode_text), "%s-%s%s%s",
		     cipher_mode_name(luks->cipher.mode), iv,
		     luks->iv_hash[0] != '\0' ? ":" : "", luks->iv_hash);
	if (n >= (int)sizeof(luks->mode_text))
		return error_set(err, -EINVAL,
				 "Cipher mode is too long for LUKS header");
	return 0;
}

static int find_iter_time(const struct image_create_options *o,
			  const char *prefix, uint64_t *ms, struct error *err)
{
	const char *text = find(o, prefix, "iter-time", NULL);

	*ms = LUKS_ITER_TIME_MS;
	if (text == NULL || number_parse(text, 0, UINT32_MAX, ms) == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "Parameter '%siter-time' expects a number from 0 to "
			 "%u",
			 prefix, UINT32_MAX);
}

static void lay_out(struct luks *luks)
{
	uint64_t len = cipher_key_len(&luks->cipher) * LUKS_STRIPES;

	len = (len + LUKS_ALIGN - 1) & ~(uint64_t)(LUKS_ALIGN - 1);
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		luks->slots[i].stripes = LUKS_STRIPES;
		luks->slots[i].key_offset = LUKS_ALIGN + i * len;
	}
	luks->payload_offset = LUKS_ALIGN + LUKS_SLOTS * len;
}

static void set_uuid(struct luks *luks)
{
	uint8_t u[GUID_LEN];

	guid_generate(u);
	snprintf(luks->uuid, sizeof(luks->uuid),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9],
		 u[10], u[11], u[12], u[13], u[14], u[15]);
}

/* That there is such a cipher is better known before a file is made. */
static int try_cipher(const struct luks *luks,
		      const struct image_create_options *o, const char *prefix,
		      struct error *err)
{
	static const uint8_t key[CIPHER_KEY_MAX];
	struct cipher *cipher = NULL;
	int rc;

	if (luks->cipher.key_len == 0)
		return error_set(err, -ENOTSUP, "Algorithm '%s' not supported",
				 find(o, prefix, "cipher-alg", ""));
	rc = cipher_new(&cipher, &luks->cipher, key, err);
	if (rc == 0)
		cipher_free(cipher);
	return rc;
}

static int count_master(struct luks *luks, const struct image_create_options *o,
			const char *prefix, struct error *err)
{
	uint64_t ms;
	int rc = find_iter_time(o, prefix, &ms, err);

	if (rc == 0)
		rc = luks_count_iterations(luks->hash, LUKS_DIGEST_LEN, ms,
					   &luks->master_iterations);
	if (rc == -ERANGE)
		return error_set(err, rc, "%siter-time is too long", prefix);
	luks->master_iterations /= MASTER_SHARE;
	if (luks->master_iterations < LUKS_ITERATIONS_MIN)
		luks->master_iterations = LUKS_ITERATIONS_MIN;
	return rc;
}

int luks_find_password(const struct secrets *secrets, const char *id,
		       const char *name, struct secret *password,
		       struct error *err)
{
	int rc;

	if (id == NULL)
		return error_set(err, -EINVAL,
				 "Parameter '%s' is required for cipher", name);
	rc = secrets_find(secrets, id, password, err);
	if (rc < 0)
		return rc;
	if (!secret_is_text(password))
		return error_set(err, -EINVAL,
				 "Data from secret %s is not valid UTF-8", id);
	return 0;
}

static int find_password(const struct image_create_options *o,
			 const char *prefix, struct secret *password,
			 struct error *err)
{
	char name[OPTION_NAME_MAX];

	snprintf(name, sizeof(name), "%skey-secret", prefix);
	return luks_find_password(o->secrets, image_option_find(o, name), name,
				  password, err);
}

/* What the options say, and that there is a password. */
static int set_all(struct luks *luks, const struct image_create_options *o,
		   const char *prefix, struct error *err)
{
	struct secret password;
	int rc;

	*luks = (struct luks){ .payload_offset = 0 };
	rc = library_load_crypto(err);
	if (rc == 0)
		rc = set_cipher(luks, o, prefix, err);
	if (rc == 0)
		rc = set_hash(luks->hash, o, prefix, "hash-alg", "sha256", err);
	if (rc == 0)
		rc = set_iv(luks, o, prefix, err);
	if (rc == 0)
		rc = find_password(o, prefix, &password, err);
	if (rc == 0)
		rc = try_cipher(luks, o, prefix, err);
	if (rc == 0)
		lay_out(luks);
	return rc;
}

int image_luks_measure(const struct image_create_options *options,
		       const char *prefix, uint64_t *len, struct error *err)
{
	struct luks luks;
	int rc = set_all(&luks, options, prefix, err);

	*len = luks.payload_offset;
	return rc;
}

int luks_new(struct luks *luks, const struct image_create_options *options,
	     const char *prefix, uint8_t *key, struct error *err)
{
	int rc = set_all(luks, options, prefix, err);

	if (rc == 0)
		rc = luks_new_key(key, cipher_key_len(&luks->cipher));
	if (rc == 0)
		rc = count_master(luks, options, prefix, err);
	if (rc < 0)
		return rc;
	set_uuid(luks);
	return luks_seal_master(luks, key);
}

int luks_write_new(struct luks *luks, const struct luks_place *place,
		   const struct image_create_options *options,
		   const char *prefix, const uint8_t *key, struct error *err)
{
	struct secret password;
	uint64_t ms;
	int rc = find_password(options, prefix, &password, err);

	if (rc == 0)
		rc = find_iter_time(options, prefix, &ms, err);
	if (rc == 0)
		rc = luks_set_slot(luks, place, 0, &password, key, ms, err);
	return rc < 0 ? rc : luks_write_header(luks, place, err);
}
