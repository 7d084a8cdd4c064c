/* SPDX-License-Identifier: ISC */
/*
 * Encrypted images (sections "Header": crypt_method, and "Full disk
 * encryption header pointer"). The tables stay as they are; sectors of data
 * clusters are numbered by where they are in the file (LUKS) or in the disk
 * (the legacy AES). Compressed clusters are not encrypted, and so not made.
 *
 * What a hole, or a cluster that was never written, has in it is no zeroes
 * here: parts of new clusters are always written.
 */
#include "lib/base/error.h"
#include "lib/image/crypt.h"
#include "lib/image/luks.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_create.h"
#include "protocols/luks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char key_option[] = "encrypt.key-secret";

/* Of an image that is encrypted with LUKS, opened with its key or without. */
struct qcow2_luks {
	struct luks luks;
	struct luks_place place;
	char *key_id; /* of the secret that opened it, or NULL */
};

static int unlock_luks(struct qcow2 *q, struct error *err)
{
	struct qcow2_luks *l = q->luks;
	uint8_t key[CIPHER_KEY_MAX];
	struct cipher *cipher = NULL;
	struct secret password;
	int rc = luks_find_password(q->image->secrets, q->image->key_secret,
				    key_option, &password, err);

	if (rc == 0)
		rc = luks_unlock(&l->luks, &l->place, &password, key, NULL,
				 err);
	if (rc == 0)
		rc = cipher_new(&cipher, &l->luks.cipher, key, err);
	explicit_bzero(key, sizeof(key));
	if (rc < 0)
		return rc;
	q->crypt = crypt_new(cipher);
	l->key_id = strdup(q->image->key_secret);
	return q->crypt != NULL && l->key_id != NULL ? 0 : -ENOMEM;
}

/*
 * How much of the file there is for it; its last cluster may be short. A length
 * that reaches further reads as well as the right one, as QEMU has it, but what
 * a check would count by it, or a write put beside it, is not known.
 */
static int find_room(const struct qcow2 *q, uint64_t *room, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	uint64_t file_len;
	int rc = image_file_size(q->file, &file_len);

	if (rc < 0)
		return error_set_errno(err, rc, "Could not get file size");
	file_len = qcow2_round_up(q, file_len);
	*room = h->crypt_offset < file_len ? file_len - h->crypt_offset : 0;
	if (*room == 0 || h->crypt_len < sizeof(struct luks_wire_header) ||
	    (h->crypt_len > *room &&
	     (!q->is_read_only || q->image->flags & IMAGE_CHECK)))
		return error_set(err, -EINVAL, "LUKS header past end of file");
	return 0;
}

static int read_luks(struct qcow2 *q, struct error *err)
{
	struct qcow2_header *h = &q->header;
	struct qcow2_luks *l = calloc(1, sizeof(*l));
	uint64_t room = 0;
	int rc;

	q->luks = l;
	if (l == NULL)
		return -ENOMEM;
	if (h->crypt_offset == 0)
		return error_set(err, -EINVAL,
				 "CRYPTO header required for LUKS encryption "
				 "method");
	if (h->crypt_offset % q->cluster_len != 0)
		return error_set(err, -EINVAL,
				 "Encryption header offset '%llu' is not a "
				 "multiple of cluster size '%u'",
				 (unsigned long long)h->crypt_offset,
				 q->cluster_len);
	rc = find_room(q, &room, err);
	if (rc < 0)
		return rc;
	l->place = (struct luks_place){
		.file = q->file,
		.offset = h->crypt_offset,
		.len = room,
	};
	rc = luks_read(&l->luks, &l->place, err);
	if (rc < 0)
		return rc;
	/* Whatever the extension says: keys may be up to there. */
	if (h->crypt_len < l->luks.payload_offset)
		h->crypt_len = l->luks.payload_offset;
	luks_describe(&l->luks, &q->encryption);
	return 0;
}

/* What is written as zeroes where the raw disk is would be something else. */
static int check_data_file(const struct qcow2 *q, struct error *err)
{
	if (!(q->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) ||
	    !(q->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE))
		return 0;
	return error_set(err, -ENOTSUP,
			 "Encryption with a raw external data file is not "
			 "supported");
}

int qcow2_crypt_open(struct qcow2 *q, struct error *err)
{
	uint32_t method = q->header.crypt_method;
	int rc = 0;

	if (method == QCOW2_CRYPT_NONE)
		return 0;
	rc = check_data_file(q, err);
	q->encryption.format = "aes";
	if (rc == 0 && method == QCOW2_CRYPT_LUKS)
		rc = read_luks(q, err);
	/* info and check look at the metadata alone. */
	if (rc < 0 || q->image->flags & (IMAGE_METADATA_ONLY | IMAGE_CHECK))
		return rc;
	if (method == QCOW2_CRYPT_LUKS)
		return unlock_luks(q, err);
	return crypt_new_legacy(&q->crypt, q->image->secrets,
				q->image->key_secret, key_option, err);
}

void qcow2_crypt_close(struct qcow2 *q)
{
	crypt_free(q->crypt);
	if (q->luks != NULL)
		free(q->luks->key_id);
	free(q->luks);
	q->crypt = NULL;
	q->luks = NULL;
}

int qcow2_crypt_amend(struct qcow2 *q,
		      const struct image_amend_options *options,
		      struct error *err)
{
	struct qcow2_luks *l = q->luks;

	return luks_amend(&l->luks, &l->place, options, "encrypt.", l->key_id,
			  err);
}

static int find_method(const struct image_create_options *o, uint32_t *method,
		       struct error *err)
{
	const char *format = image_option_find(o, "encrypt.format");
	const char *alias = image_option_find(o, "encryption");
	bool is_on = false;
	int rc = image_option_bool(o, "encryption", &is_on, err);

	if (rc < 0)
		return rc;
	if (format != NULL && alias != NULL)
		return error_set(err, -EINVAL,
				 "'encrypt.format' and its alias 'encryption' "
				 "can't be used at the same time");
	if (is_on)
		format = "aes";
	*method = QCOW2_CRYPT_NONE;
	if (format == NULL)
		return 0;
	if (strcmp(format, "luks") == 0)
		*method = QCOW2_CRYPT_LUKS;
	else if (strcmp(format, "aes") == 0)
		*method = QCOW2_CRYPT_AES;
	else
		return error_set(err, -EINVAL,
				 "Parameter 'format' does not accept value "
				 "'%s'",
				 format);
	return 0;
}

/* Options that the method does not have. */
static int check_options(const struct image_create_options *o, uint32_t method,
			 struct error *err)
{
	for (unsigned i = 0; i < o->n_options; i++) {
		const char *name = o->options[i].name;

		if (strncmp(name, "encrypt.", strlen("encrypt.")) != 0 ||
		    strcmp(name, "encrypt.format") == 0)
			continue;
		if (method == QCOW2_CRYPT_NONE)
			return error_set(err, -EINVAL,
					 "Parameter 'encrypt.format' is "
					 "missing");
		if (method == QCOW2_CRYPT_AES && strcmp(name, key_option) != 0)
			return error_set(err, -EINVAL,
					 "Parameter '%s' is unexpected", name);
	}
	return 0;
}

int qcow2_plan_crypt(struct qcow2_plan *p, const struct image_create_options *o,
		     struct error *err)
{
	struct secret password;
	int rc = find_method(o, &p->crypt_method, err);

	if (rc == 0)
		rc = check_options(o, p->crypt_method, err);
	if (rc < 0 || p->crypt_method == QCOW2_CRYPT_NONE)
		return rc;
	if (p->is_data_raw)
		return error_set(err, -ENOTSUP,
				 "Encryption with a raw external data file is "
				 "not supported");
	if (p->crypt_method == QCOW2_CRYPT_AES)
		return luks_find_password(o->secrets,
					  image_option_find(o, key_option),
					  key_option, &password, err);
	rc = luks_new(&p->luks, o, "encrypt.", p->master_key, err);
	p->crypt_len = p->luks.payload_offset;
	return rc;
}

int qcow2_plan_write_crypt(struct qcow2_plan *p, const struct image_file *file,
			   uint64_t offset,
			   const struct image_create_options *o,
			   struct error *err)
{
	const struct luks_place place = {
		.file = file,
		.offset = offset,
		.len = p->crypt_len,
	};

	return luks_write_new(&p->luks, &place, o, "encrypt.", p->master_key,
			      err);
}
