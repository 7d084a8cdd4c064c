/* SPDX-License-Identifier: ISC */
/* --object secret,id=ID,data=TEXT|file=PATH[,format=raw|base64][,keyid=ID,
 * iv=BASE64]: see secret.h and secret_cipher.h. Or secret_keyring, whose
 * serial=N is that of a key that the kernel keeps: see keyctl(2). */
#include "vm-img/object.h"

#include "lib/base/base64.h"
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/secret.h"
#include "lib/image/secret_cipher.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

static const char type_secret[] = "secret";
static const char type_keyring[] = "secret_keyring";

enum {
	SECRET_MAX = 64 * 1024, /* bytes: a key, not a file */
};

static struct secrets *secrets;

struct bytes {
	uint8_t data[SECRET_MAX];
	size_t len;
};

/* As the command line gives it; texts are NULL where they were not given. */
struct given {
	const char *id, *data, *file, *keyid, *iv;
	int64_t serial;
	bool is_keyring, is_base64;
};

const struct secrets *object_secrets(void)
{
	return secrets;
}

void object_secret_deinit(void)
{
	secrets_free(secrets);
	secrets = NULL;
}

bool object_secret_has(const char *id)
{
	struct secret secret;

	return secrets_find(secrets, id, &secret, NULL) == 0;
}

static int read_file(const char *path, struct bytes *bytes, struct error *err)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return error_set(err, -errno,
				 "Unable to read %s: Failed to open file "
				 "“%s”: %s",
				 path, path, strerror(errno));
	while ((n = read(fd, bytes->data + bytes->len,
			 sizeof(bytes->data) - bytes->len)) > 0)
		bytes->len += (size_t)n;
	if (n < 0)
		return error_set_errno(err, -errno, "Unable to read %s", path);
	if (bytes->len == sizeof(bytes->data))
		return error_set(err, -EFBIG, "Secret in %s is too long", path);
	return 0;
}

static int read_keyring(int32_t serial, struct bytes *bytes, struct error *err)
{
	long n = syscall(SYS_keyctl, KEYCTL_READ, serial, bytes->data,
			 sizeof(bytes->data));

	if (n < 0)
		return error_set_errno(err, -errno,
				       "Unable to read serial key %08x",
				       (unsigned)serial);
	if (n >= (long)sizeof(bytes->data))
		return error_set(err, -EFBIG, "Key %08x is too long",
				 (unsigned)serial);
	bytes->len = (size_t)n;
	return 0;
}

static int take_serial(struct keys *keys, struct given *given,
		       struct error *err)
{
	static const char name[] = "serial";
	bool is_missing = keys_take(keys, name) == NULL;
	int rc = keys_take_integer(keys, name, &given->serial, err);

	if (rc < 0)
		return rc;
	if (is_missing)
		return error_set(err, -EINVAL, "Parameter '%s' is missing",
				 name);
	if (given->serial < INT32_MIN || given->serial > INT32_MAX)
		return error_set(err, -EINVAL, "Parameter '%s' expects int32_t",
				 name);
	return 0;
}

/* What both types have, and what one has. */
static int take_texts(struct keys *keys, struct given *given,
		      const char **format, struct error *err)
{
	const struct {
		const char *name, **value;
		bool is_not_keyring;
	} texts[] = {
		{ "format", format, false },
		{ "keyid", &given->keyid, false },
		{ "iv", &given->iv, false },
		{ "data", &given->data, true },
		{ "file", &given->file, true },
	};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < array_size(texts); i++)
		if (!given->is_keyring || !texts[i].is_not_keyring)
			rc = keys_take_text(keys, texts[i].name, texts[i].value,
					    err);
	return rc;
}

static int take(struct keys *keys, struct given *given, struct error *err)
{
	const char *format = NULL, *loaded = keys_take(keys, "loaded");
	bool is_loaded;
	int rc = keys_take_bool(keys, "loaded", &is_loaded, err);

	if (rc == 0)
		rc = take_texts(keys, given, &format, err);
	if (rc == 0 && given->is_keyring)
		rc = take_serial(keys, given, err);
	if (rc < 0)
		return rc;
	if (format != NULL && strcmp(format, "raw") != 0 &&
	    strcmp(format, "base64") != 0)
		return error_set(err, -EINVAL,
				 "Parameter 'format' does not accept value "
				 "'%s'",
				 format);
	given->is_base64 = format != NULL && strcmp(format, "base64") == 0;
	if (keys_left(keys) != NULL)
		return error_set(err, -EINVAL, "Parameter '%s' is unexpected",
				 keys_left(keys));
	if (loaded != NULL)
		return error_set(
			err, -EINVAL, "Property '%s.loaded' is not writable",
			given->is_keyring ? type_keyring : type_secret);
	if (given->is_keyring && given->serial == 0)
		return error_set(err, -EINVAL,
				 "'serial' should not be equal to 0");
	return 0;
}

static int read_given(const struct given *given, struct bytes *bytes,
		      struct error *err)
{
	const char *data = given->data;

	if (given->is_keyring)
		return read_keyring((int32_t)given->serial, bytes, err);
	if (data != NULL && given->file != NULL)
		return error_set(err, -EINVAL,
				 "'file' and 'data' are mutually exclusive");
	if (data == NULL && given->file == NULL)
		return error_set(err, -EINVAL,
				 "Either 'file' or 'data' must be provided");
	if (given->file != NULL)
		return read_file(given->file, bytes, err);
	if (strlen(data) >= sizeof(bytes->data))
		return error_set(err, -EFBIG, "Secret is too long");
	memcpy(bytes->data, data, bytes->len = strlen(data));
	return 0;
}

static int find_key(const struct given *given, struct secret *key,
		    struct error *err)
{
	const char *keyid = given->keyid;

	if (strcmp(keyid, given->id) == 0)
		return error_set(err, -EINVAL,
				 "Secret with id '%s' has no data", keyid);
	if (!object_secret_has(keyid) && object_has(keyid))
		return error_set(err, -EINVAL,
				 "Object with id '%s' is not a secret", keyid);
	return secrets_find(secrets, keyid, key, err);
}

/* format is that of what was given: what comes out of decryption is the secret
 * as it is. */
static int load(const struct given *given, struct bytes *bytes,
		struct error *err)
{
	struct secret key;
	int rc = read_given(given, bytes, err);

	if (rc < 0)
		return rc;
	if (given->keyid == NULL)
		return given->is_base64
			       ? base64_decode(bytes->data, &bytes->len, err)
			       : 0;
	rc = find_key(given, &key, err);
	return rc < 0 ? rc
		      : secret_decrypt(&key, given->iv, given->is_base64,
				       bytes->data, &bytes->len, err);
}

bool object_secret_is_type(const char *type)
{
	return strcmp(type, type_secret) == 0 ||
	       strcmp(type, type_keyring) == 0;
}

int object_secret_add(struct keys *keys, const char *id, const char *type,
		      struct error *err)
{
	static struct bytes bytes;
	struct given given = {
		.id = id,
		.is_keyring = strcmp(type, type_keyring) == 0,
	};
	int rc = take(keys, &given, err);

	bytes.len = 0;
	if (rc == 0)
		rc = load(&given, &bytes, err);
	if (rc == 0 && secrets == NULL && (secrets = secrets_new()) == NULL)
		rc = -ENOMEM;
	if (rc == 0)
		rc = secrets_add(secrets, id, bytes.data, bytes.len, err);
	explicit_bzero(&bytes, sizeof(bytes));
	return rc;
}
