/* SPDX-License-Identifier: ISC */
/* The header between the file and this machine, and what it may say. */
#include "lib/image/luks.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"
#include "lib/image/library.h"
#include "lib/image/luks_internal.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

enum {
	HEADER_LEN = sizeof(struct luks_wire_header),
};

static int check_text(const char *text, const char *what, struct error *err)
{
	if (memchr(text, '\0', LUKS_NAME_LEN) != NULL)
		return 0;
	return error_set(err, -EINVAL, "LUKS header %s is not NUL terminated",
			 what);
}

static int check_texts(const struct luks_wire_header *w, struct error *err)
{
	int rc = check_text(w->cipher_name, "cipher name", err);

	if (rc == 0)
		rc = check_text(w->cipher_mode, "cipher mode", err);
	if (rc == 0)
		rc = check_text(w->hash_name, "hash spec", err);
	return rc;
}

size_t luks_material_len(const struct luks *luks)
{
	size_t len = cipher_key_len(&luks->cipher) * LUKS_STRIPES;

	return (len + LUKS_SECTOR - 1) & ~(size_t)(LUKS_SECTOR - 1);
}

/* What a slot's material has to itself. */
static uint64_t room_len(const struct luks *luks)
{
	return (luks_material_len(luks) + LUKS_ALIGN - 1) &
	       ~(uint64_t)(LUKS_ALIGN - 1);
}

/* In QEMU's words, as all that follows. */
static int check_slot(const struct luks *luks, unsigned i, struct error *err)
{
	const struct luks_slot *s = &luks->slots[i];

	if (s->stripes != LUKS_STRIPES)
		return error_set(err, -EINVAL,
				 "Keyslot %u is corrupted (stripes %u != %d)",
				 i, s->stripes, LUKS_STRIPES);
	if (s->key_offset < HEADER_LEN)
		return error_set(err, -EINVAL,
				 "Keyslot %u is overlapping with the LUKS "
				 "header",
				 i);
	if (s->is_active && s->iterations == 0)
		return error_set(err, -EINVAL,
				 "Keyslot %u iteration count is zero", i);
	if (!luks->is_detached &&
	    s->key_offset + room_len(luks) > luks->payload_offset)
		return error_set(err, -EINVAL,
				 "Keyslot %u is overlapping with the encrypted "
				 "payload",
				 i);
	return 0;
}

static int check_overlaps(const struct luks *luks, unsigned i,
			  struct error *err)
{
	uint64_t len = room_len(luks);

	for (unsigned j = i + 1; j < LUKS_SLOTS; j++) {
		uint64_t a = luks->slots[i].key_offset;
		uint64_t b = luks->slots[j].key_offset;

		if (a < b + len && b < a + len)
			return error_set(err, -EINVAL,
					 "Keyslots %u and %u are overlapping "
					 "in the header",
					 i, j);
	}
	return 0;
}

/* What a password's trial costs before it is known to be wrong. */
int luks_check_work(const struct luks *luks, struct error *err)
{
	const EVP_MD *md = libcrypto->EVP_get_digestbyname(luks->hash);
	uint64_t digest_len, n_blocks, work = 0;

	if (md == NULL)
		return error_set(err, -ENOTSUP,
				 "Hash algorithm '%s' not supported",
				 luks->hash);
	digest_len = (uint64_t)libcrypto->EVP_MD_get_size(md);
	n_blocks =
		(cipher_key_len(&luks->cipher) + digest_len - 1) / digest_len;
	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		if (luks->slots[i].is_active)
			work += luks->slots[i].iterations * n_blocks +
				2 * (uint64_t)luks->master_iterations;
	if (work <= LUKS_WORK_MAX)
		return 0;
	return error_set(err, -EINVAL,
			 "Key slots ask for %llu iterations of a hash, more "
			 "than the %d that are allowed",
			 (unsigned long long)work, LUKS_WORK_MAX);
}

/* "MODE-IV" or "MODE-IV:HASH". The hash is nothing but ESSIV's, but others
 * may have one all the same (dm-crypt). */
static int parse_mode(struct luks *luks, const struct luks_wire_header *w,
		      struct error *err)
{
	char text[LUKS_NAME_LEN], *iv, *hash;
	int rc;

	memcpy(text, w->cipher_mode, sizeof(text));
	memcpy(luks->mode_text, w->cipher_mode, sizeof(luks->mode_text));
	iv = strchr(text, '-');
	if (iv == NULL)
		return error_set(err, -EINVAL,
				 "Unexpected cipher mode string format '%s'",
				 text);
	*iv++ = '\0';
	hash = strchr(iv, ':');
	if (hash != NULL)
		*hash++ = '\0';
	if (hash != NULL && libcrypto->EVP_get_digestbyname(hash) == NULL)
		return error_set(err, -ENOTSUP,
				 "Hash algorithm '%s' not supported", hash);
	if (hash != NULL)
		memcpy(luks->iv_hash, hash, strlen(hash) + 1);
	rc = cipher_mode_find(text, &luks->cipher.mode, err);
	if (rc == 0)
		rc = cipher_iv_find(iv, &luks->cipher.iv, err);
	if (rc == 0 && luks->cipher.iv == CIPHER_ESSIV && hash == NULL)
		rc = error_set(err, -EINVAL,
			       "Missing IV generator hash specification");
	luks->cipher.iv_hash = luks->iv_hash;
	return rc;
}

static int parse_cipher(struct luks *luks, const struct luks_wire_header *w,
			struct error *err)
{
	uint32_t len = be32toh(w->key_len);
	int rc = parse_mode(luks, w, err);

	if (rc < 0)
		return rc;
	memcpy(luks->cipher_name, w->cipher_name, sizeof(luks->cipher_name));
	if (luks->cipher.mode == CIPHER_XTS) {
		if (len % 2 != 0)
			return error_set(err, -EINVAL,
					 "XTS cipher key length %u is odd",
					 len);
		len /= 2;
	}
	luks->cipher.key_len = len;
	if (cipher_alg_find(luks->cipher_name, &luks->cipher.alg) &&
	    cipher_has_key_len(luks->cipher.alg, len))
		return cipher_check(&luks->cipher, err);
	return error_set(err, -ENOTSUP,
			 "Algorithm '%s' with key size %u bytes not supported",
			 luks->cipher_name, len);
}

static int parse_slot(struct luks_slot *slot, const struct luks_wire_slot *w,
		      unsigned i, struct error *err)
{
	uint32_t state = be32toh(w->state);

	if (state != LUKS_SLOT_ACTIVE && state != LUKS_SLOT_INACTIVE)
		return error_set(err, -EINVAL,
				 "Keyslot %u state (active/disable) is "
				 "corrupted",
				 i);
	slot->is_active = state == LUKS_SLOT_ACTIVE;
	slot->iterations = be32toh(w->iterations);
	slot->stripes = be32toh(w->stripes);
	slot->key_offset = be32toh(w->key_sector) * (uint64_t)LUKS_SECTOR;
	memcpy(slot->salt, w->salt, sizeof(slot->salt));
	return 0;
}

static int parse_fixed(struct luks *luks, const struct luks_wire_header *w,
		       struct error *err)
{
	if (memcmp(w->magic, LUKS_MAGIC, LUKS_MAGIC_LEN) != 0)
		return error_set(err, -EINVAL, "Volume is not in LUKS format");
	if (be16toh(w->version) != LUKS_VERSION)
		return error_set(err, -ENOTSUP,
				 "LUKS version %u is not supported",
				 be16toh(w->version));
	luks->payload_offset =
		be32toh(w->payload_sector) * (uint64_t)LUKS_SECTOR;
	luks->master_iterations = be32toh(w->master_iterations);
	memcpy(luks->master_digest, w->master_digest, LUKS_DIGEST_LEN);
	memcpy(luks->master_salt, w->master_salt, LUKS_SALT_LEN);
	memcpy(luks->uuid, w->uuid, LUKS_UUID_LEN);
	if (!luks->is_detached && luks->payload_offset < HEADER_LEN)
		return error_set(err, -EINVAL,
				 "LUKS payload is overlapping with the header");
	if (luks->master_iterations == 0)
		return error_set(err, -EINVAL,
				 "LUKS key iteration count is zero");
	return 0;
}

int luks_parse(struct luks *luks, const struct luks_wire_header *wire,
	       bool is_detached, struct error *err)
{
	int rc = library_load_crypto(err);

	*luks = (struct luks){ .is_detached = is_detached };
	if (rc == 0)
		rc = parse_fixed(luks, wire, err);
	if (rc == 0)
		rc = check_texts(wire, err);
	if (rc < 0)
		return rc;
	memcpy(luks->hash, wire->hash_name, sizeof(luks->hash));
	rc = parse_cipher(luks, wire, err);
	for (unsigned i = 0; rc == 0 && i < LUKS_SLOTS; i++) {
		rc = parse_slot(&luks->slots[i], &wire->slots[i], i, err);
		if (rc == 0)
			rc = check_slot(luks, i, err);
	}
	for (unsigned i = 0; rc == 0 && i < LUKS_SLOTS; i++)
		rc = check_overlaps(luks, i, err);
	if (rc == 0)
		rc = luks_check_work(luks, err);
	return rc;
}

/* A detached header ends where its file does, and slots are within. */
static int check_end(const struct luks *luks, uint64_t len, struct error *err)
{
	if (!luks->is_detached && luks->payload_offset > len)
		return error_set(err, -EINVAL, "LUKS payload past end of file");
	for (unsigned i = 0; luks->is_detached && i < LUKS_SLOTS; i++)
		if (luks->slots[i].key_offset + luks_material_len(luks) > len)
			return error_set(err, -EINVAL,
					 "Keyslot %u past end of file", i);
	return 0;
}

int luks_read(struct luks *luks, const struct luks_place *place,
	      struct error *err)
{
	struct luks_wire_header wire = { 0 };
	int rc;

	if (place->len < sizeof(wire))
		return error_set(err, -EINVAL,
				 place->offset == 0
					 ? "Volume is not in LUKS format"
					 : "LUKS header past end of file");
	rc = image_file_read(place->file, place->offset, &wire, sizeof(wire));
	if (rc < 0)
		return error_set_errno(err, rc, "Unable to read LUKS header");
	rc = luks_parse(luks, &wire, place->is_detached, err);
	return rc < 0 ? rc : check_end(luks, place->len, err);
}

void luks_encode(const struct luks *luks, struct luks_wire_header *wire)
{
	*wire = (struct luks_wire_header){
		.magic = LUKS_MAGIC,
		.version = htobe16(LUKS_VERSION),
		.payload_sector =
			htobe32((uint32_t)(luks->payload_offset / LUKS_SECTOR)),
		.key_len = htobe32((uint32_t)cipher_key_len(&luks->cipher)),
		.master_iterations = htobe32(luks->master_iterations),
	};
	memcpy(wire->cipher_name, luks->cipher_name, LUKS_NAME_LEN);
	memcpy(wire->cipher_mode, luks->mode_text, LUKS_NAME_LEN);
	memcpy(wire->hash_name, luks->hash, LUKS_NAME_LEN);
	memcpy(wire->master_digest, luks->master_digest, LUKS_DIGEST_LEN);
	memcpy(wire->master_salt, luks->master_salt, LUKS_SALT_LEN);
	memcpy(wire->uuid, luks->uuid, LUKS_UUID_LEN);
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const struct luks_slot *s = &luks->slots[i];
		struct luks_wire_slot *w = &wire->slots[i];

		w->state = htobe32(s->is_active ? LUKS_SLOT_ACTIVE
						: LUKS_SLOT_INACTIVE);
		w->iterations = htobe32(s->iterations);
		w->stripes = htobe32(s->stripes);
		w->key_sector =
			htobe32((uint32_t)(s->key_offset / LUKS_SECTOR));
		memcpy(w->salt, s->salt, LUKS_SALT_LEN);
	}
}

int luks_write_header(const struct luks *luks, const struct luks_place *place,
		      struct error *err)
{
	struct luks_wire_header wire;
	int rc;

	luks_encode(luks, &wire);
	rc = image_file_write(place->file, place->offset, &wire, sizeof(wire));
	if (rc == 0)
		rc = image_file_flush(place->file);
	return rc < 0 ? error_set_errno(err, rc, "Unable to write LUKS header")
		      : 0;
}

void luks_describe(const struct luks *luks, struct image_info_encryption *info)
{
	*info = (struct image_info_encryption){
		.format = "luks",
		.iv = cipher_iv_name(luks->cipher.iv),
		.iv_hash =
			luks->cipher.iv == CIPHER_ESSIV ? luks->iv_hash : NULL,
		.hash = luks->hash,
		.mode = cipher_mode_name(luks->cipher.mode),
		.uuid = luks->uuid,
		.has_detached_header = luks->is_detached,
		.payload_offset = luks->payload_offset,
		.master_iterations = luks->master_iterations,
		.n_slots = LUKS_SLOTS,
	};
	snprintf(info->cipher, sizeof(info->cipher), "%s-%u",
		 cipher_alg_name(luks->cipher.alg), luks->cipher.key_len * 8);
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const struct luks_slot *s = &luks->slots[i];

		info->slots[i] = (struct image_info_key_slot){
			.is_active = s->is_active,
			.iterations = s->iterations,
			.stripes = s->stripes,
			.key_offset = s->key_offset,
		};
	}
}
