/* SPDX-License-Identifier: ISC */
#include "vm-img/object.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/secret.h"
#include "vm-img/keys.h"
#include "vm-img/report.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
	EXIT_NOT_COMPARED = 2,	/* 1 is that of images that differ */
	SECRET_MAX = 64 * 1024, /* bytes: a key, not a file */
};

static struct secrets *secrets;

struct bytes {
	uint8_t data[SECRET_MAX];
	size_t len;
};

const struct secrets *object_secrets(void)
{
	return secrets;
}

void object_deinit(void)
{
	secrets_free(secrets);
	secrets = NULL;
	object_throttle_deinit();
	object_tls_deinit();
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

static int digit_of(uint8_t c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *digit = c != '\0' ? strchr(digits, c) : NULL;

	return digit != NULL ? (int)(digit - digits) : -1;
}

/* RFC 4648 §4, in place; white space, as at a file's end, is passed over. */
static int decode_base64(struct bytes *bytes)
{
	uint32_t group = 0;
	unsigned n = 0, n_padding = 0;
	size_t len = 0;

	for (size_t i = 0; i < bytes->len; i++) {
		uint8_t c = bytes->data[i];
		int digit = digit_of(c);

		if (isspace(c))
			continue;
		if (c == '=' && n >= 2)
			n_padding++;
		else if (digit < 0 || n_padding > 0)
			return -EINVAL;
		group = group << 6 | (digit > 0 ? (uint32_t)digit : 0);
		if (++n < 4)
			continue;
		for (unsigned j = 0; j + n_padding < 3; j++)
			bytes->data[len++] = (uint8_t)(group >> (16 - 8 * j));
		n = 0;
		group = 0;
	}
	bytes->len = len;
	return n == 0 ? 0 : -EINVAL;
}

static bool is_identifier(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	while (isalnum((unsigned char)*id) || strchr("-._", *id) != NULL)
		if (*id++ == '\0')
			return true;
	return false;
}

static int load(struct keys *keys, struct bytes *bytes, struct error *err)
{
	const char *data = keys_take(keys, "data");
	const char *file = keys_take(keys, "file");
	const char *format = keys_take(keys, "format");
	int rc = 0;

	if (format != NULL && strcmp(format, "raw") != 0 &&
	    strcmp(format, "base64") != 0)
		return error_set(err, -EINVAL,
				 "Parameter 'format' does not accept value "
				 "'%s'",
				 format);
	if (keys_take(keys, "keyid") != NULL || keys_take(keys, "iv") != NULL)
		return error_set(err, -ENOTSUP,
				 "A secret that is itself encrypted is not "
				 "supported");
	if (keys_left(keys) != NULL)
		return error_set(err, -EINVAL, "Parameter '%s' is unexpected",
				 keys_left(keys));
	if (data != NULL && file != NULL)
		return error_set(err, -EINVAL,
				 "'file' and 'data' are mutually exclusive");
	if (data == NULL && file == NULL)
		return error_set(err, -EINVAL,
				 "Either 'file' or 'data' must be provided");
	if (file != NULL)
		rc = read_file(file, bytes, err);
	else if (strlen(data) < sizeof(bytes->data))
		memcpy(bytes->data, data, bytes->len = strlen(data));
	else
		rc = error_set(err, -EFBIG, "Secret is too long");
	if (rc == 0 && format != NULL && strcmp(format, "base64") == 0 &&
	    decode_base64(bytes) < 0)
		rc = error_set(err, -EINVAL, "Invalid base64 data in secret");
	return rc;
}

static int add_secret(struct keys *keys, const char *id, struct bytes *bytes,
		      struct error *err)
{
	int rc = load(keys, bytes, err);

	if (rc == 0 && secrets == NULL && (secrets = secrets_new()) == NULL)
		rc = -ENOMEM;
	return rc == 0 ? secrets_add(secrets, id, bytes->data, bytes->len, err)
		       : rc;
}

bool object_is_other(const char *id)
{
	struct secret secret;

	return object_throttle(id) != NULL ||
	       (secrets != NULL &&
		secrets_find(secrets, id, &secret, NULL) == 0);
}

static int add(struct keys *keys, struct bytes *bytes, bool is_json,
	       struct error *err)
{
	const char *type = keys_take(keys, "qom-type");
	const char *id = keys_take(keys, "id");
	int rc;

	if (type == NULL)
		return error_set(err, -EINVAL,
				 "Parameter 'qom-type' is missing");
	if (strcmp(type, "secret") != 0 &&
	    strcmp(type, "throttle-group") != 0 && !object_tls_is_type(type))
		return error_set(err, -EINVAL,
				 "Parameter 'qom-type' does not accept value "
				 "'%s'",
				 type);
	if (id == NULL)
		return error_set(err, -EINVAL, "Parameter 'id' is missing");
	if (!is_identifier(id))
		return error_set(err, -EINVAL,
				 "Parameter 'id' expects an identifier");
	if (object_is_other(id) || object_tls_has(id))
		rc = -EEXIST;
	else if (object_tls_is_type(type))
		rc = object_tls_add(keys, id, type, err);
	else if (strcmp(type, "secret") == 0)
		rc = add_secret(keys, id, bytes, err);
	else
		rc = object_throttle_add(keys, id, is_json, err);
	if (rc == -EEXIST)
		rc = error_set(err, rc,
			       "attempt to add duplicate property '%s' to "
			       "object (type 'container')",
			       id);
	return rc;
}

void object_add(const char *text, const char *verb)
{
	static struct bytes bytes;
	struct keys keys = { .n = 0 };
	struct error err = ERROR_INIT;
	int rc = text[0] == '{' ? keys_parse_json(&keys, text, &err)
				: keys_parse(&keys, text, "qom-type", &err);

	bytes.len = 0;
	if (rc >= 0)
		rc = add(&keys, &bytes, text[0] == '{', &err);
	explicit_bzero(&bytes, sizeof(bytes));
	keys_deinit(&keys);
	if (rc == 0)
		return;
	report_error("%s", error_text(&err, rc));
	report_hint_of(error_text(&err, rc));
	exit(strcmp(verb, "compare") == 0 ? EXIT_NOT_COMPARED : EXIT_FAILURE);
}
