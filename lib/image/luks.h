/* SPDX-License-Identifier: ISC */
/*
 * The LUKS header, version 1: which cipher the data is encrypted with, and
 * its key, the master key, in up to eight slots, each encrypted with a
 * password. A file of its own has one at its begin (luks_image.c), a qcow2
 * image inside (qcow2_crypt.c).
 *
 * Nothing here is thread-safe.
 */
#ifndef LIB_IMAGE_LUKS_H
#define LIB_IMAGE_LUKS_H

#include "lib/image/cipher.h"
#include "lib/image/image.h"
#include "lib/image/secret.h"
#include "protocols/luks.h"

#include <stdbool.h>
#include <stdint.h>

struct error;
struct image_file;

/*
 * Work that a header may ask for before it is known whether a password is
 * right: blocks of PBKDF2 (a digest's length of key, times iterations), over
 * all slots. Ten times what QEMU asks of the user's patience by default, for
 * all eight slots, on a quick machine; half a minute there, if it is a trap.
 */
enum {
	LUKS_WORK_MAX = 1 << 28,
};

struct luks_slot {
	bool is_active;
	uint32_t iterations, stripes;
	uint64_t key_offset; /* from the header's begin */
	uint8_t salt[LUKS_SALT_LEN];
};

struct luks {
	struct cipher_spec cipher;
	char cipher_name[LUKS_NAME_LEN], hash[LUKS_NAME_LEN];
	char mode_text[LUKS_NAME_LEN]; /* as it is in the file */
	char iv_hash[LUKS_NAME_LEN];   /* "": none */
	char uuid[LUKS_UUID_LEN + 1];
	/* The payload is in a file of its own, without the header. */
	bool is_detached;
	uint64_t payload_offset;
	uint32_t master_iterations;
	uint8_t master_digest[LUKS_DIGEST_LEN], master_salt[LUKS_SALT_LEN];
	struct luks_slot slots[LUKS_SLOTS];
};

/* Where in a file a header and its key material may be. */
struct luks_place {
	const struct image_file *file;
	uint64_t offset, len;
	bool is_detached;
};

/* All of it is checked, and nothing read beyond the header itself: but where a
 * detached header's payload begins is for the payload's file to bear. */
int luks_read(struct luks *luks, const struct luks_place *place,
	      struct error *err);
/* The same of bytes in memory. */
int luks_parse(struct luks *luks, const struct luks_wire_header *wire,
	       bool is_detached, struct error *err);
/* The header, without key material, as it goes into the file. */
void luks_encode(const struct luks *luks, struct luks_wire_header *wire);

/*
 * The master key, cipher_key_len(&luks->cipher) bytes, which the caller
 * wipes. -EACCES: the password opens no slot. slot: the one that it opens.
 */
int luks_unlock(const struct luks *luks, const struct luks_place *place,
		const struct secret *password, uint8_t *key, unsigned *slot,
		struct error *err);
/*
 * Give a slot the password: its key material is on the disk when this
 * returns, and the header, which the caller is to write, has it active.
 */
int luks_set_slot(struct luks *luks, const struct luks_place *place,
		  unsigned slot, const struct secret *password,
		  const uint8_t *key, uint64_t iter_time_ms, struct error *err);

/*
 * A new header with a new master key, as options say; option names begin with
 * prefix ("" or "encrypt."). key has room for CIPHER_KEY_MAX bytes.
 */
int luks_new(struct luks *luks, const struct image_create_options *options,
	     const char *prefix, uint8_t *key, struct error *err);
/* Write it with the options' password in its first slot. */
int luks_write_new(struct luks *luks, const struct luks_place *place,
		   const struct image_create_options *options,
		   const char *prefix, const uint8_t *key, struct error *err);

/* The password that an option (or an open image's options) names: text in
 * UTF-8. name is the option's, for when id is NULL. */
int luks_find_password(const struct secrets *secrets, const char *id,
		       const char *name, struct secret *password,
		       struct error *err);

/*
 * Slots given a password or erased, as options say, whose names begin with
 * prefix. key_id is the secret that the image was opened with.
 */
int luks_amend(struct luks *luks, const struct luks_place *place,
	       const struct image_amend_options *options, const char *prefix,
	       const char *key_id, struct error *err);
extern const struct image_option_spec luks_amend_specs[];

/* What info says. */
void luks_describe(const struct luks *luks, struct image_info_encryption *info);

#endif
