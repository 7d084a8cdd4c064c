/* SPDX-License-Identifier: ISC */
/*
 * The secret of an encrypted image, which LUKS has under one name and qcow2
 * under another, and what the image is said to be encrypted with.
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/image/image.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <string.h>

static const char luks_secret[] = "key-secret";
static const char qcow_secret[] = "encrypt.key-secret";
static const char qcow_format[] = "encrypt.format";

static bool is_luks(const char *format)
{
	return strcmp(format, "luks") == 0;
}

static bool is_qcow(const char *format)
{
	return strcmp(format, "qcow2") == 0 || strcmp(format, "qcow") == 0;
}

int source_take_encryption(struct keys *keys, const char *prefix,
			   const char *driver, struct source *source)
{
	const char *secret = NULL, *format = NULL;

	if (driver == NULL || is_qcow(driver)) {
		source->secret_option = qcow_secret;
		secret = keys_take_of(keys, prefix, qcow_secret);
		format = keys_take_of(keys, prefix, qcow_format);
	}
	if (secret == NULL && (driver == NULL || is_luks(driver))) {
		source->secret_option = luks_secret;
		secret = keys_take_of(keys, prefix, luks_secret);
	}
	if (secret == NULL)
		source->secret_option = NULL;
	if (secret != NULL && text_replace(&source->key_secret, secret) < 0)
		return -ENOMEM;
	return format != NULL ? text_replace(&source->encrypt_format, format)
			      : 0;
}

const char *source_unknown_encryption(const struct source *source,
				      const char *format)
{
	if (source->encrypt_format != NULL && !is_qcow(format))
		return qcow_format;
	if ((source->secret_option == luks_secret && !is_luks(format)) ||
	    (source->secret_option == qcow_secret && !is_qcow(format)))
		return source->secret_option;
	return NULL;
}

int source_check_encryption(const struct source *source, struct image *image,
			    struct error *err)
{
	const char *said = source->encrypt_format, *has;
	struct image_info info;
	int rc;

	if (said == NULL || !is_qcow(image_format_name(image)))
		return 0;
	rc = image_get_info(image, &info, err);
	if (rc < 0)
		return rc;
	if (!info.is_encrypted)
		return error_set(err, -EINVAL,
				 "No encryption in image header, but options "
				 "specified format '%s'",
				 said);
	has = info.encryption != NULL ? info.encryption->format : "aes";
	if (strcmp(said, has) == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "Header reported '%s' encryption format but options "
			 "specify '%s'",
			 has, said);
}
