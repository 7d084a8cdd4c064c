/* SPDX-License-Identifier: ISC */
/*
 * Keys of LUKS (On-Disk Format Specification 1.2.3): the master key, split
 * into stripes that each are needed whole to get it back (§2.4), stands in a
 * slot encrypted with a key that PBKDF2 makes of a password (§2.3).
 */
#include "lib/image/luks.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file.h"
#include "lib/image/library.h"
#include "lib/image/luks_internal.h"

#include <endian.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
	MATERIAL_MAX = CIPHER_KEY_MAX * LUKS_STRIPES,
	TRIAL_NS = 10000000,
	NS_PER_MS = 1000000,
	NS_PER_S = 1000000000,
};

static int random_bytes(uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = getrandom(buf, len, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int derive(const char *hash, const void *password, size_t password_len,
		  const uint8_t *salt, uint32_t iterations, uint8_t *key,
		  size_t key_len)
{
	const EVP_MD *md = libcrypto->EVP_get_digestbyname(hash);

	if (md == NULL || iterations > INT_MAX)
		return -EINVAL;
	return libcrypto->PKCS5_PBKDF2_HMAC(password, (int)password_len, salt,
					    LUKS_SALT_LEN, (int)iterations, md,
					    (int)key_len, key) == 1
		       ? 0
		       : -EIO;
}

/*
 * H of §2.4: each piece of a digest's length becomes the hash of its number
 * and itself, the last one cut off where it ends.
 */
static int diffuse(const EVP_MD *md, EVP_MD_CTX *ctx, uint8_t *block,
		   size_t len)
{
	size_t n = (size_t)libcrypto->EVP_MD_get_size(md);
	uint8_t digest[EVP_MAX_MD_SIZE];

	for (uint32_t i = 0; i * n < len; i++) {
		size_t left = len - i * n;
		uint32_t number = htobe32(i);

		if (left > n)
			left = n;
		if (libcrypto->EVP_DigestInit_ex(ctx, md, NULL) != 1 ||
		    libcrypto->EVP_DigestUpdate(ctx, &number, sizeof(number)) !=
			    1 ||
		    libcrypto->EVP_DigestUpdate(ctx, block + i * n, left) !=
			    1 ||
		    libcrypto->EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
			return -EIO;
		memcpy(block + i * n, digest, left);
	}
	explicit_bzero(digest, sizeof(digest));
	return 0;
}

static void xor_into(uint8_t *block, const uint8_t *with, size_t len)
{
	for (size_t i = 0; i < len; i++)
		block[i] ^= with[i];
}

/* What all stripes but the last come to; key XOR that is the last one. */
static int fold_stripes(const char *hash, const uint8_t *stripes, size_t len,
			uint8_t *block)
{
	const EVP_MD *md = libcrypto->EVP_get_digestbyname(hash);
	EVP_MD_CTX *ctx = libcrypto->EVP_MD_CTX_new();
	int rc = md != NULL && ctx != NULL ? 0 : -ENOMEM;

	memset(block, 0, len);
	for (unsigned i = 0; rc == 0 && i < LUKS_STRIPES - 1; i++) {
		xor_into(block, stripes + i * len, len);
		rc = diffuse(md, ctx, block, len);
	}
	libcrypto->EVP_MD_CTX_free(ctx);
	return rc;
}

/* stripes: as in the file. */
static int merge(const struct luks *luks, uint8_t *stripes, const uint8_t *slot,
		 uint8_t *key, struct error *err)
{
	size_t len = cipher_key_len(&luks->cipher);
	struct cipher *cipher = NULL;
	int rc = cipher_new(&cipher, &luks->cipher, slot, err);

	if (rc < 0)
		return rc;
	rc = cipher_decrypt(cipher, 0, stripes, luks_material_len(luks));
	cipher_free(cipher);
	if (rc == 0)
		rc = fold_stripes(luks->hash, stripes, len, key);
	if (rc == 0)
		xor_into(key, stripes + (LUKS_STRIPES - 1) * len, len);
	return rc;
}

static int split(const struct luks *luks, uint8_t *stripes, const uint8_t *slot,
		 const uint8_t *key, struct error *err)
{
	size_t len = cipher_key_len(&luks->cipher);
	uint8_t *last = stripes + (LUKS_STRIPES - 1) * len;
	struct cipher *cipher = NULL;
	int rc = cipher_new(&cipher, &luks->cipher, slot, err);

	if (rc < 0)
		return rc;
	rc = random_bytes(stripes, (LUKS_STRIPES - 1) * len);
	if (rc == 0)
		rc = fold_stripes(luks->hash, stripes, len, last);
	if (rc == 0) {
		xor_into(last, key, len);
		rc = cipher_encrypt(cipher, 0, stripes,
				    luks_material_len(luks));
	}
	cipher_free(cipher);
	return rc;
}

static int digest_key(const struct luks *luks, const uint8_t *key,
		      uint8_t *digest)
{
	return derive(luks->hash, key, cipher_key_len(&luks->cipher),
		      luks->master_salt, luks->master_iterations, digest,
		      LUKS_DIGEST_LEN);
}

/* 0, -EACCES where it is not this slot's password, or another -errno. */
static int try_slot(const struct luks *luks, const struct luks_place *place,
		    const struct luks_slot *slot, const struct secret *password,
		    uint8_t *stripes, uint8_t *key, struct error *err)
{
	size_t len = cipher_key_len(&luks->cipher);
	uint8_t digest[LUKS_DIGEST_LEN], slot_key[CIPHER_KEY_MAX];
	int rc;

	rc = derive(luks->hash, password->data, password->len, slot->salt,
		    slot->iterations, slot_key, len);
	if (rc == 0)
		rc = image_file_read(place->file,
				     place->offset + slot->key_offset, stripes,
				     luks_material_len(luks));
	if (rc == 0)
		rc = merge(luks, stripes, slot_key, key, err);
	if (rc == 0)
		rc = digest_key(luks, key, digest);
	explicit_bzero(slot_key, sizeof(slot_key));
	if (rc < 0)
		return rc;
	return libcrypto->CRYPTO_memcmp(digest, luks->master_digest,
					sizeof(digest)) == 0
		       ? 0
		       : -EACCES;
}

int luks_unlock(const struct luks *luks, const struct luks_place *place,
		const struct secret *password, uint8_t *key, unsigned *slot,
		struct error *err)
{
	uint8_t *stripes = malloc(MATERIAL_MAX);
	int rc = stripes != NULL ? -EACCES : -ENOMEM;
	unsigned i;

	for (i = 0; rc == -EACCES && i < LUKS_SLOTS; i++)
		if (luks->slots[i].is_active)
			rc = try_slot(luks, place, &luks->slots[i], password,
				      stripes, key, err);
	secret_free(stripes, MATERIAL_MAX);
	if (rc == -EACCES)
		error_set(err, rc,
			  "Invalid password, cannot unlock any keyslot");
	else if (rc == 0 && slot != NULL)
		*slot = i - 1;
	return rc;
}

static uint64_t cpu_time_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int luks_count_iterations(const char *hash, size_t key_len, uint64_t ms,
			  uint32_t *iterations)
{
	static const uint8_t salt[LUKS_SALT_LEN];
	uint8_t key[CIPHER_KEY_MAX];
	uint64_t n = LUKS_ITERATIONS_MIN, ns = 0, wanted;

	for (;;) {
		uint64_t start = cpu_time_ns();
		int rc = derive(hash, "password", 8, salt, (uint32_t)n, key,
				key_len);

		if (rc < 0)
			return rc;
		ns = cpu_time_ns() - start;
		if (ns >= TRIAL_NS)
			break;
		n *= 2;
	}
	if (__builtin_mul_overflow(n * NS_PER_MS, ms, &wanted))
		return -ERANGE;
	wanted /= ns;
	if (wanted > INT_MAX)
		return -ERANGE;
	*iterations = wanted > LUKS_ITERATIONS_MIN ? (uint32_t)wanted
						   : LUKS_ITERATIONS_MIN;
	return 0;
}

int luks_seal_master(struct luks *luks, const uint8_t *key)
{
	int rc = random_bytes(luks->master_salt, LUKS_SALT_LEN);

	return rc < 0 ? rc : digest_key(luks, key, luks->master_digest);
}

static int make_material(const struct luks *luks, const struct luks_slot *slot,
			 const struct secret *password, const uint8_t *key,
			 uint8_t *stripes, struct error *err)
{
	uint8_t slot_key[CIPHER_KEY_MAX];
	int rc = derive(luks->hash, password->data, password->len, slot->salt,
			slot->iterations, slot_key,
			cipher_key_len(&luks->cipher));

	if (rc == 0)
		rc = split(luks, stripes, slot_key, key, err);
	explicit_bzero(slot_key, sizeof(slot_key));
	return rc;
}

/* Salt, iterations and material of a slot that is not in the header yet. */
static int fill_slot(const struct luks *luks, const struct luks_place *place,
		     struct luks_slot *slot, const struct secret *password,
		     const uint8_t *key, struct error *err)
{
	uint8_t *stripes = calloc(1, MATERIAL_MAX);
	int rc = stripes != NULL ? 0 : -ENOMEM;

	if (rc == 0)
		rc = random_bytes(slot->salt, sizeof(slot->salt));
	if (rc == 0)
		rc = make_material(luks, slot, password, key, stripes, err);
	if (rc == 0)
		rc = image_file_write(place->file,
				      place->offset + slot->key_offset, stripes,
				      luks_material_len(luks));
	if (rc == 0)
		rc = image_file_flush(place->file);
	secret_free(stripes, MATERIAL_MAX);
	return rc < 0 ? error_set_errno(err, rc, "Unable to write a key slot")
		      : 0;
}

int luks_set_slot(struct luks *luks, const struct luks_place *place,
		  unsigned slot, const struct secret *password,
		  const uint8_t *key, uint64_t iter_time_ms, struct error *err)
{
	struct luks to = *luks;
	struct luks_slot *s = &to.slots[slot];
	int rc =
		luks_count_iterations(luks->hash, cipher_key_len(&luks->cipher),
				      iter_time_ms, &s->iterations);

	to.cipher.iv_hash = to.iv_hash;
	s->is_active = true;
	if (rc < 0)
		return error_set_errno(err, rc, "Unable to scale iterations");
	rc = luks_check_work(&to, err);
	if (rc == 0)
		rc = fill_slot(&to, place, s, password, key, err);
	if (rc == 0)
		luks->slots[slot] = *s;
	return rc;
}

int luks_new_key(uint8_t *key, size_t len)
{
	return random_bytes(key, len);
}

/* Once is enough where it comes to the medium at all: what stripes are for is
 * that no small part of them may be missing. */
int luks_wipe_slot(const struct luks *luks, const struct luks_place *place,
		   unsigned slot, struct error *err)
{
	size_t len = luks_material_len(luks);
	_cleanup_free_ uint8_t *noise = malloc(len);
	int rc = noise != NULL ? random_bytes(noise, len) : -ENOMEM;

	if (rc == 0)
		rc = image_file_write(place->file,
				      place->offset +
					      luks->slots[slot].key_offset,
				      noise, len);
	if (rc == 0)
		rc = image_file_flush(place->file);
	return rc < 0 ? error_set_errno(err, rc, "Unable to wipe a key slot")
		      : 0;
}
