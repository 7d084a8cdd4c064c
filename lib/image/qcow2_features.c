/* SPDX-License-Identifier: ISC */
/*
 * What an image needs that this engine has not: refused by name. The names of
 * bits that this engine never heard of come from the image's own table.
 */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	KNOWN = QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT |
		QCOW2_INCOMPATIBLE_DATA_FILE | QCOW2_INCOMPATIBLE_COMPRESSION |
		QCOW2_INCOMPATIBLE_EXTENDED_L2,
};

/* A name comes from the image: nothing in it may upset a terminal. */
static void append_name(char *list, size_t len, const char *name, size_t n)
{
	size_t at = strlen(list);

	if (at > 0 && at + 2 < len) {
		memcpy(list + at, ", ", 3);
		at += 2;
	}
	for (size_t i = 0; i < n && name[i] != '\0' && at + 1 < len; i++)
		list[at++] = name[i] < ' ' || name[i] > '~' ? '?' : name[i];
	list[at] = '\0';
}

/* Those with a name first, as the table in the file has them, up to one that is
 * empty; what is left as one number. */
static int refuse_unknown(const struct qcow2_header *h, struct error *err)
{
	uint64_t unknown = h->incompatible & ~(uint64_t)KNOWN;
	char list[256] = "", number[48];

	for (uint32_t i = 0; i < h->n_features; i++) {
		const struct qcow2_wire_feature_name *f = &h->features[i];

		if (f->name[0] == '\0')
			break;
		if (f->type != QCOW2_FEATURE_INCOMPATIBLE || f->bit > 63 ||
		    !(unknown >> f->bit & 1))
			continue;
		append_name(list, sizeof(list), f->name, sizeof(f->name));
		unknown &= ~(1ULL << f->bit);
	}
	if (unknown != 0) {
		snprintf(number, sizeof(number),
			 "Unknown incompatible feature: %llx",
			 (unsigned long long)unknown);
		append_name(list, sizeof(list), number, sizeof(number));
	}
	return error_set(err, -ENOTSUP, "Unsupported qcow2 feature(s): %s",
			 list);
}

static int check_compression(const struct qcow2_header *h, struct error *err)
{
	if (h->compression_type > QCOW2_COMPRESSION_ZSTD)
		return error_set(err, -ENOTSUP,
				 "qcow2: unknown compression type: %u",
				 h->compression_type);
	if ((h->compression_type != QCOW2_COMPRESSION_ZLIB) !=
	    !!(h->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION))
		return error_set(err, -EINVAL,
				 "qcow2: Compression type incompatible feature "
				 "bit must %sbe set",
				 h->compression_type != 0 ? "" : "not ");
	return 0;
}

static int refuse_missing(const struct qcow2_header *h, struct error *err)
{
	if (h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2 &&
	    h->cluster_bits < QCOW2_CLUSTER_BITS_MIN + QCOW2_SUBCLUSTER_BITS)
		return error_set(
			err, -EINVAL, "Unsupported subcluster size: %u",
			1U << h->cluster_bits >> QCOW2_SUBCLUSTER_BITS);
	if (h->crypt_method > QCOW2_CRYPT_LUKS)
		return error_set(err, -EINVAL,
				 "Unsupported encryption method %u",
				 h->crypt_method);
	return 0;
}

/* What reading does not harm, but writing would. */
static int refuse_writing(const struct qcow2_header *h, struct error *err)
{
	if (h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT)
		return error_set(err, -EACCES,
				 "qcow2: Image is corrupt; cannot be opened "
				 "read/write");
	return 0;
}

int qcow2_check_features(const struct qcow2_header *header,
			 const struct image *image, struct error *err)
{
	int rc;

	if (header->incompatible & ~(uint64_t)KNOWN)
		return refuse_unknown(header, err);
	rc = check_compression(header, err);
	if (rc == 0)
		rc = refuse_missing(header, err);
	if (rc < 0)
		return rc;
	if (image->flags & (IMAGE_READ_ONLY | IMAGE_CHECK))
		return 0;
	return refuse_writing(header, err);
}
