/* SPDX-License-Identifier: ISC */
/* New qcow images. */
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/format.h"
#include "lib/image/luks.h"
#include "lib/image/qcow1.h"
#include "protocols/qcow1.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

const char qcow1_key_option[] = "encrypt.key-secret";

const struct image_option_spec qcow1_create_specs[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "backing_file", "str", "File name of a base image", NULL },
	{ "backing_fmt", "str", "Format of the backing image", NULL },
	{ "encryption", "bool (on/off)",
	  "Encrypt the image with format 'aes'. (Deprecated in favor of "
	  "encrypt.format=aes)",
	  NULL },
	{ "encrypt.format", "str", "Encrypt the image, format choices: 'aes'",
	  NULL },
	{ "encrypt.key-secret", "str",
	  "ID of the secret that provides the AES encryption key", NULL },
	{ NULL, NULL, NULL, NULL },
};

/* Clusters over a backing image are small: less has to be copied. */
static int write_image(const struct image_file *file, uint64_t size,
		       const char *backing_name, bool is_encrypted)
{
	struct qcow1_wire_header w = {
		.magic = htobe32(QCOW1_MAGIC),
		.version = htobe32(QCOW1_VERSION),
		.size = htobe64(size),
		.cluster_bits = backing_name != NULL ? 9 : 12,
		.l2_bits = backing_name != NULL ? 12 : 9,
		.crypt_method = htobe32(is_encrypted ? QCOW1_CRYPT_AES : 0),
	};
	uint64_t name_len = backing_name != NULL ? strlen(backing_name) : 0;
	uint64_t end = (sizeof(w) + name_len + 7) & ~UINT64_C(7);
	uint64_t len = qcow1_l1_len(size, (unsigned)w.cluster_bits + w.l2_bits);
	int rc;

	len = (len + IMAGE_SECTOR - 1) & ~(uint64_t)(IMAGE_SECTOR - 1);
	w.l1_offset = htobe64(end);
	rc = image_file_zero(file, 0, end + len, false);
	if (rc == 0 && backing_name != NULL) {
		w.backing_offset = htobe64(sizeof(w));
		w.backing_len = htobe32((uint32_t)name_len);
		rc = image_file_write(file, sizeof(w), backing_name, name_len);
	}
	if (rc == 0)
		rc = image_file_write(file, 0, &w, sizeof(w));
	return rc < 0 ? rc : image_file_flush(file);
}

static int check_encryption(const struct image_create_options *o,
			    bool *is_encrypted, struct error *err)
{
	const char *format = image_option_find(o, "encrypt.format");
	const char *id = image_option_find(o, qcow1_key_option);
	struct secret password;
	int rc = image_option_bool(o, "encryption", is_encrypted, err);

	if (rc < 0)
		return rc;
	if (format != NULL && image_option_find(o, "encryption") != NULL)
		return error_set(err, -EINVAL,
				 "'encrypt.format' and its alias 'encryption' "
				 "can't be used at the same time");
	if (format != NULL && strcmp(format, "luks") == 0)
		return error_set(err, -EINVAL, "Unsupported encryption format");
	if (format != NULL && strcmp(format, "aes") != 0)
		return error_set(err, -EINVAL,
				 "Parameter 'format' does not accept value "
				 "'%s'",
				 format);
	*is_encrypted |= format != NULL;
	if (!*is_encrypted)
		return id == NULL ? 0
				  : error_set(err, -EINVAL,
					      "Parameter 'encrypt.format' is "
					      "missing");
	return luks_find_password(o->secrets, id, qcow1_key_option, &password,
				  err);
}

static int check_create(const struct image_create_options *o,
			bool *is_encrypted, struct error *err)
{
	int rc = image_options_check(o, qcow1_create_specs, err);

	if (rc == 0)
		rc = check_encryption(o, is_encrypted, err);
	if (rc < 0)
		return rc;
	if (o->size == 0)
		return error_set(err, -EINVAL,
				 "Image size is too small, cannot be zero "
				 "length");
	if (o->backing_path != NULL && strlen(o->backing_path) > QCOW1_NAME_MAX)
		return error_set(err, -EINVAL, "Backing file name too long");
	if (o->size >> (9 + 12) >= INT32_MAX / sizeof(uint64_t))
		return error_set(err, -EFBIG,
				 "The image size is too large for file format "
				 "'qcow'");
	return 0;
}

int qcow1_create(const char *path, const struct image_create_options *o,
		 struct error *err)
{
	struct image_file *file;
	bool is_encrypted = false;
	int rc = check_create(o, &is_encrypted, err);

	if (rc < 0)
		return rc;
	rc = new_image_open(&file, path, 0, o, err);
	if (rc < 0)
		return rc;
	rc = write_image(file,
			 (o->size + IMAGE_SECTOR - 1) &
				 ~(uint64_t)(IMAGE_SECTOR - 1),
			 o->backing_path, is_encrypted);
	image_file_close(file);
	return rc < 0 ? error_set_errno(err, rc, "Could not write qcow image")
		      : 0;
}
