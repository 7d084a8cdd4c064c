/* SPDX-License-Identifier: ISC */
/*
 * The encryption of qcow and of qcow2's crypt_method 1: AES-128-CBC, the
 * password itself as the key, cut off or filled up with zeroes. It protects
 * little; QEMU keeps it to get at old images.
 */
#include "lib/image/crypt.h"

#include "lib/base/error.h"
#include "lib/image/luks.h"

#include <errno.h>
#include <string.h>

enum {
	KEY_LEN = 16,
};

int crypt_new_legacy(struct crypt **crypt, const struct secrets *secrets,
		     const char *id, const char *name, struct error *err)
{
	static const struct cipher_spec spec = {
		.alg = CIPHER_AES,
		.key_len = KEY_LEN,
		.mode = CIPHER_CBC,
		.iv = CIPHER_PLAIN64,
	};
	uint8_t key[KEY_LEN] = { 0 };
	struct cipher *cipher = NULL;
	struct secret password;
	int rc = luks_find_password(secrets, id, name, &password, err);

	if (rc < 0)
		return rc;
	memcpy(key, password.data,
	       password.len < KEY_LEN ? password.len : KEY_LEN);
	rc = cipher_new(&cipher, &spec, key, err);
	explicit_bzero(key, sizeof(key));
	if (rc < 0)
		return rc;
	*crypt = crypt_new(cipher);
	return *crypt != NULL ? 0 : -ENOMEM;
}
