/* SPDX-License-Identifier: ISC */
/*
 * A LUKS volume in a file: the header, and the disk, encrypted, up to the
 * file's end. Sectors are numbered from the disk's begin.
 *
 * A detached header is in a file of its own, and most often says that the
 * payload begins where its file does; it may be the copy of one that was not
 * detached, which says otherwise.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/companions.h"
#include "lib/image/crypt.h"
#include "lib/image/file_options.h"
#include "lib/image/format.h"
#include "lib/image/luks.h"
#include "lib/image/raw.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DETACHED_HEADER "detached-header"

struct luks_image {
	struct luks luks;
	struct image_info_encryption info;
	struct image_file *own_header; /* a detached one's; or NULL */
	char *header_path;	       /* of that */
	struct crypt *crypt; /* NULL: nothing but the header is looked at */
	char *key_id;	     /* of the secret that opened it, or NULL */
};

static int probe(const uint8_t *head, size_t len, uint64_t file_size)
{
	static const char magic[] = LUKS_MAGIC "\0\1";

	(void)file_size;
	return len >= 8 && memcmp(head, magic, 8) == 0 ? 100 : 0;
}

static int set_size(struct image *image, struct error *err)
{
	struct luks_image *l = image->state;
	uint64_t size = 0;
	int rc = image_file_size(image->file, &size);

	if (rc < 0)
		return error_set_errno(err, rc,
				       "Could not get the file's size");
	if (l->luks.payload_offset > size)
		return error_set(err, -EINVAL, "LUKS payload past end of file");
	image->size =
		(size - l->luks.payload_offset) & ~(uint64_t)(LUKS_SECTOR - 1);
	return 0;
}

static int unlock(struct image *image, const struct luks_place *place,
		  struct error *err)
{
	struct luks_image *l = image->state;
	uint8_t key[CIPHER_KEY_MAX];
	struct secret password;
	struct cipher *cipher = NULL;
	int rc = luks_find_password(image->secrets, image->key_secret,
				    "key-secret", &password, err);

	if (rc == 0)
		rc = luks_unlock(&l->luks, place, &password, key, NULL, err);
	if (rc == 0)
		rc = cipher_new(&cipher, &l->luks.cipher, key, err);
	explicit_bzero(key, sizeof(key));
	if (rc < 0)
		return rc;
	l->crypt = crypt_new(cipher);
	l->key_id = strdup(image->key_secret);
	return l->crypt != NULL && l->key_id != NULL ? 0 : -ENOMEM;
}

static int open_header(struct image *image, struct error *err)
{
	struct luks_image *l = image->state;
	struct stat header, payload;
	int rc;

	if (image->header_path == NULL)
		return 0;
	l->header_path = strdup(image->header_path);
	if (l->header_path == NULL)
		return -ENOMEM;
	rc = image_file_open(&l->own_header, image->header_path,
			     image_other_file_flags(image), err);
	if (rc < 0)
		return rc;
	if (image_file_identify(l->own_header, &header) == 0 &&
	    image_file_identify(image->file, &payload) == 0 &&
	    header.st_dev == payload.st_dev && header.st_ino == payload.st_ino)
		return error_set(err, -EINVAL,
				 "LUKS header '%s' is the payload itself",
				 image->header_path);
	return 0;
}

/* Of the header and its key slots. */
static int find_place(const struct image *image, struct luks_place *place,
		      struct error *err)
{
	const struct luks_image *l = image->state;
	int rc;

	*place = (struct luks_place){
		.file = l->own_header != NULL ? l->own_header : image->file,
		.is_detached = l->own_header != NULL,
	};
	rc = image_file_size(place->file, &place->len);
	return rc < 0 ? error_set_errno(err, rc,
					"Could not get the file's size")
		      : 0;
}

static int luks_open(struct image *image, struct error *err)
{
	struct luks_image *l = calloc(1, sizeof(*l));
	struct luks_place place;
	int rc;

	if (l == NULL)
		return -ENOMEM;
	image->state = l;
	rc = open_header(image, err);
	if (rc == 0)
		rc = find_place(image, &place, err);
	if (rc == 0)
		rc = luks_read(&l->luks, &place, err);
	if (rc == 0)
		rc = set_size(image, err);
	if (rc == 0 && !(image->flags & IMAGE_METADATA_ONLY))
		rc = unlock(image, &place, err);
	image->cluster_size = LUKS_SECTOR;
	return rc;
}

static int luks_flush(struct image *image, struct error *err)
{
	(void)err;
	return image_file_flush(image->file);
}

static int luks_close(struct image *image, struct error *err)
{
	struct luks_image *l = image->state;
	int rc = 0;

	if (l == NULL)
		return 0;
	if (!image->file->is_read_only)
		rc = luks_flush(image, err);
	image_file_close(l->own_header);
	crypt_free(l->crypt);
	free(l->header_path);
	free(l->key_id);
	free(l);
	image->state = NULL;
	return rc;
}

static int check_key(const struct luks_image *l, struct error *err)
{
	if (l->crypt != NULL)
		return 0;
	return error_set(err, -EACCES, "Image was opened without its key");
}

static int luks_readv(struct image *image, uint64_t offset,
		      const struct iovec *iov, unsigned n_iov,
		      struct error *err)
{
	struct luks_image *l = image->state;
	int rc = check_key(l, err);

	if (rc < 0)
		return rc;
	return crypt_readv(l->crypt, image->file, offset,
			   l->luks.payload_offset + offset, iov, n_iov);
}

static int luks_writev(struct image *image, uint64_t offset,
		       const struct iovec *iov, unsigned n_iov,
		       struct error *err)
{
	struct luks_image *l = image->state;
	int rc = check_key(l, err);

	if (rc < 0)
		return rc;
	return crypt_writev(l->crypt, image->file, offset,
			    l->luks.payload_offset + offset, iov, n_iov);
}

/* A hole would not read as zeroes. */
static int luks_write_zeroes(struct image *image, uint64_t offset, uint64_t len,
			     unsigned flags, struct error *err)
{
	struct luks_image *l = image->state;
	int rc = check_key(l, err);

	(void)flags;
	if (rc < 0)
		return rc;
	return crypt_write_zeroes(l->crypt, image->file, offset,
				  l->luks.payload_offset + offset, len);
}

/* Nor would what was given back: and who reads it knows what is not used. */
static int luks_discard(struct image *image, uint64_t offset, uint64_t len,
			struct error *err)
{
	(void)image;
	(void)offset;
	(void)len;
	(void)err;
	return 0;
}

static int luks_map(struct image *image, uint64_t offset, uint64_t len,
		    unsigned flags, struct image_extent *extent,
		    struct error *err)
{
	(void)image;
	(void)flags;
	(void)err;
	extent->kind = IMAGE_EXTENT_DATA;
	extent->offset = offset;
	extent->len = len;
	return 0;
}

static int luks_resize(struct image *image, uint64_t size,
		       const struct image_resize_options *options,
		       struct error *err)
{
	const char *mode = options->preallocation;
	struct luks_image *l = image->state;
	uint64_t before = l->luks.payload_offset + image->size, end;
	int rc = file_options_check_preallocation(mode, err);

	if (rc < 0)
		return rc;
	if (__builtin_add_overflow(size, l->luks.payload_offset, &end) ||
	    end > INT64_MAX)
		return error_set(err, -EFBIG,
				 "The requested file size is too large");
	rc = raw_check_length(image, end, err);
	if (rc < 0)
		return rc;
	rc = image_file_truncate(image->file, end);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not resize file");
	rc = file_options_preallocate(image->file, mode, before, end, err);
	if (rc < 0) {
		image_file_truncate(image->file, before);
		return rc;
	}
	return set_size(image, err);
}

static int luks_image_amend(struct image *image,
			    const struct image_amend_options *options,
			    struct error *err)
{
	struct luks_image *l = image->state;
	struct luks_place place;
	int rc = find_place(image, &place, err);

	/* QEMU may have it open without writing, and keeps the header that it
	 * read then, to write that back when it changes a key itself. */
	if (rc == 0 && !(image->flags & IMAGE_NO_LOCK))
		rc = image_file_lock_alone(
			place.file,
			place.is_detached ? l->header_path : image->path, err);
	if (rc < 0)
		return rc;
	return luks_amend(&l->luks, &place, options, "", l->key_id, err);
}

static int luks_get_info(struct image *image, struct image_info *info,
			 struct error *err)
{
	struct luks_image *l = image->state;
	uint64_t usage;
	int rc;

	luks_describe(&l->luks, &l->info);
	info->is_encrypted = true;
	info->encryption = &l->info;
	if (l->own_header == NULL || info->actual_size == UINT64_MAX)
		return 0;
	rc = image_file_usage(l->own_header, &usage);
	if (rc < 0)
		return error_set_errno(err, rc, "Could not get the disk size");
	info->actual_size += usage;
	return 0;
}

static const struct image_file *luks_other_file(const struct image *image,
						unsigned index,
						struct image_node *node)
{
	const struct luks_image *l = image->state;

	if (index > 0 || l->own_header == NULL)
		return NULL;
	snprintf(node->name, sizeof(node->name), "header");
	node->path = l->header_path;
	return l->own_header;
}

static const struct image_option_spec create_specs[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "key-secret", "str",
	  "ID of the secret that provides the keyslot passphrase", NULL },
	{ "cipher-alg", "str", "Name of encryption cipher algorithm", NULL },
	{ "cipher-mode", "str", "Name of encryption cipher mode", NULL },
	{ "ivgen-alg", "str", "Name of IV generator algorithm", NULL },
	{ "ivgen-hash-alg", "str", "Name of IV generator hash algorithm",
	  NULL },
	{ "hash-alg", "str", "Name of encryption hash algorithm", NULL },
	{ "iter-time", "num", "Time to spend in PBKDF in milliseconds", NULL },
	{ DETACHED_HEADER, "bool (on/off)", NULL, NULL },
	{ NULL, NULL, NULL, NULL },
};

/* There is no metadata that could be: that is as good as none. */
static const char *find_mode(const struct image_create_options *o)
{
	const char *mode = image_option_find(o, "preallocation");

	return mode != NULL && strcmp(mode, "metadata") == 0 ? NULL : mode;
}

static bool is_sizeless(const struct image_create_options *o)
{
	bool is_detached = false;

	return image_option_bool(o, DETACHED_HEADER, &is_detached, NULL) == 0 &&
	       is_detached;
}

/* end: of the file. */
static int write_file(const char *path, const struct image_create_options *o,
		      struct luks *luks, uint64_t end, const uint8_t *key,
		      struct error *err)
{
	struct luks_place place = { .offset = 0, .len = end };
	struct image_file *file;
	int rc = new_image_open(&file, path, IMAGE_FILE_SHARED, o, err);

	if (rc < 0)
		return rc;
	place.file = file;
	rc = image_file_truncate(file, end);
	if (rc < 0)
		error_set_errno(err, rc, "Could not resize file");
	if (rc == 0)
		rc = file_options_preallocate(file, find_mode(o), 0, end, err);
	if (rc == 0)
		rc = luks_write_new(luks, &place, o, "", key, err);
	image_file_close(file);
	return rc;
}

static int luks_create(const char *path, const struct image_create_options *o,
		       struct error *err)
{
	uint64_t size =
		(o->size + LUKS_SECTOR - 1) & ~(uint64_t)(LUKS_SECTOR - 1);
	uint8_t key[CIPHER_KEY_MAX];
	struct luks luks;
	bool is_detached = false;
	uint64_t end = 0;
	int rc = image_options_check(o, create_specs, err);

	if (rc == 0)
		rc = image_option_bool(o, DETACHED_HEADER, &is_detached, err);
	if (rc == 0)
		rc = file_options_check_preallocation(find_mode(o), err);
	if (rc < 0)
		return rc;
	if (is_detached)
		size = 0;
	rc = luks_new(&luks, o, "", key, err);
	if (rc == 0 &&
	    (__builtin_add_overflow(size, luks.payload_offset, &end) ||
	     end > INT64_MAX))
		rc = error_set(err, -EFBIG,
			       "The requested file size is too large");
	luks.is_detached = is_detached;
	if (is_detached)
		luks.payload_offset = 0;
	if (rc == 0)
		rc = write_file(path, o, &luks, end, key, err);
	explicit_bzero(key, sizeof(key));
	return rc;
}

const struct image_format image_format_luks = {
	.name = "luks",
	.is_in_sectors = true,
	.shares_file = true,
	.probe = probe,
	.open = luks_open,
	.close = luks_close,
	.create = luks_create,
	.is_sizeless = is_sizeless,
	.preallocates = true,
	.create_specs = create_specs,
	.readv = luks_readv,
	.writev = luks_writev,
	.write_zeroes = luks_write_zeroes,
	.discard = luks_discard,
	.flush = luks_flush,
	.map = luks_map,
	.amend = luks_image_amend,
	.amend_specs = luks_amend_specs,
	.resize = luks_resize,
	.get_info = luks_get_info,
	.other_file = luks_other_file,
};
