/* SPDX-License-Identifier: ISC */
/* Creation options of qcow2: which there are, and what they may be. */
#include "lib/base/error.h"
#include "lib/image/qcow2.h"
#include "lib/image/qcow2_create.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order in which create shows those that are given. */
const struct image_option_spec qcow2_create_specs[] = {
	{ "encryption", "bool (on/off)",
	  "Encrypt the image with format 'aes'. (Deprecated in favor of "
	  "encrypt.format=aes)",
	  NULL },
	{ "encrypt.format", "str",
	  "Encrypt the image, format choices: 'aes', 'luks'", NULL },
	{ "encrypt.key-secret", "str",
	  "ID of secret providing qcow AES key or LUKS passphrase", NULL },
	{ "encrypt.cipher-alg", "str", "Name of encryption cipher algorithm",
	  NULL },
	{ "encrypt.cipher-mode", "str", "Name of encryption cipher mode",
	  NULL },
	{ "encrypt.ivgen-alg", "str", "Name of IV generator algorithm", NULL },
	{ "encrypt.ivgen-hash-alg", "str",
	  "Name of IV generator hash algorithm", NULL },
	{ "encrypt.hash-alg", "str", "Name of encryption hash algorithm",
	  NULL },
	{ "encrypt.iter-time", "num", "Time to spend in PBKDF in milliseconds",
	  NULL },
	{ "cluster_size", "size", "qcow2 cluster size", "65536" },
	{ "extended_l2", "bool (on/off)", "Extended L2 tables", "off" },
	{ "preallocation", "str",
	  "Preallocation mode (allowed values: off, metadata, falloc, full)",
	  NULL },
	{ "compression_type", "str",
	  "Compression method used for image cluster compression", "zlib" },
	{ "size", "size", "Virtual disk size", NULL },
	{ "compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])",
	  NULL },
	{ "backing_file", "str", "File name of a base image", NULL },
	{ "backing_fmt", "str", "Image format of the base image", NULL },
	{ "data_file", "str", "File name of an external data file", NULL },
	{ "data_file_raw", "bool (on/off)",
	  "The external data file must stay valid as a raw image", NULL },
	{ "lazy_refcounts", "bool (on/off)", "Postpone refcount updates",
	  "off" },
	{ "refcount_bits", "num", "Width of a reference count entry in bits",
	  "16" },
	{ NULL, NULL, NULL, NULL },
};

static int set_version(struct qcow2_plan *p, const char *value,
		       struct error *err)
{
	if (strcmp(value, "0.10") == 0 || strcmp(value, "v2") == 0)
		p->version = 2;
	else if (strcmp(value, "1.1") == 0 || strcmp(value, "v3") == 0)
		p->version = 3;
	else
		return error_set(err, -EINVAL,
				 "Parameter 'version' does not accept value "
				 "'%s'",
				 value);
	return 0;
}

static int set_compression(struct qcow2_plan *p, const char *value,
			   struct error *err)
{
	if (strcmp(value, "zlib") == 0)
		p->compression_type = QCOW2_COMPRESSION_ZLIB;
	else if (strcmp(value, "zstd") == 0)
		p->compression_type = QCOW2_COMPRESSION_ZSTD;
	else
		return error_set(err, -EINVAL,
				 "Parameter 'compression-type' does not accept "
				 "value '%s'",
				 value);
	return 0;
}

static int set_number(unsigned *bits, const char *value, uint64_t min,
		      uint64_t max, const char *complaint, struct error *err)
{
	char *end;
	unsigned long long n = strtoull(value, &end, 10);

	if (*end != '\0' || n < min || n > max || (n & (n - 1)) != 0)
		return error_set(err, -EINVAL, "%s", complaint);
	*bits = (unsigned)__builtin_ctzll(n);
	return 0;
}

static int set_switch(bool *is_on, const struct image_option *o,
		      struct error *err)
{
	*is_on = strcmp(o->value, "on") == 0;
	if (!*is_on && strcmp(o->value, "off") != 0)
		return error_set(err, -EINVAL,
				 "Parameter '%s' expects 'on' or 'off'",
				 o->name);
	return 0;
}

static int take(struct qcow2_plan *p, const struct image_option *o,
		struct error *err)
{
	if (strcmp(o->name, "compat") == 0)
		return set_version(p, o->value, err);
	if (strcmp(o->name, "cluster_size") == 0)
		return set_number(&p->cluster_bits, o->value,
				  1 << QCOW2_CLUSTER_BITS_MIN,
				  1 << QCOW2_CLUSTER_BITS_MAX,
				  "Cluster size must be a power of two "
				  "between 512 and 2048k",
				  err);
	if (strcmp(o->name, "refcount_bits") == 0)
		return set_number(&p->refcount_order, o->value, 1, 64,
				  "Refcount width must be a power of two and "
				  "may not exceed 64 bits",
				  err);
	if (strcmp(o->name, "lazy_refcounts") == 0)
		return set_switch(&p->has_lazy_refcounts, o, err);
	if (strcmp(o->name, "compression_type") == 0)
		return set_compression(p, o->value, err);
	if (strcmp(o->name, "preallocation") == 0) {
		p->preallocation = o->value;
		return qcow2_check_preallocation(o->value, err);
	}
	if (strcmp(o->name, "extended_l2") == 0)
		return set_switch(&p->has_extended_l2, o, err);
	if (strcmp(o->name, "data_file") == 0) {
		p->data_file = o->value;
		return 0;
	}
	if (strcmp(o->name, "data_file_raw") == 0)
		return set_switch(&p->is_data_raw, o, err);
	/* qcow2_plan_crypt()'s. */
	if (strcmp(o->name, "encryption") == 0 ||
	    strncmp(o->name, "encrypt.", strlen("encrypt.")) == 0)
		return 0;
	return error_set(err, -EINVAL, "Invalid parameter '%s'", o->name);
}

int qcow2_check_preallocation(const char *mode, struct error *err)
{
	if (mode == NULL || strcmp(mode, "off") == 0 ||
	    strcmp(mode, "metadata") == 0 || strcmp(mode, "falloc") == 0 ||
	    strcmp(mode, "full") == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "Parameter 'preallocation' does not accept value "
			 "'%s'",
			 mode);
}

static int check_version_2(const struct qcow2_plan *p, struct error *err)
{
	if (p->version >= 3)
		return 0;
	if (p->has_lazy_refcounts)
		return error_set(err, -EINVAL,
				 "Lazy refcounts only supported with "
				 "compatibility level 1.1 and above (use "
				 "version=v3 or greater)");
	if (p->refcount_order != QCOW2_REFCOUNT_ORDER_V2)
		return error_set(err, -EINVAL,
				 "Different refcount widths than 16 bits "
				 "require compatibility level 1.1 or above "
				 "(use version=v3 or greater)");
	if (p->compression_type != QCOW2_COMPRESSION_ZLIB)
		return error_set(err, -EINVAL,
				 "Non-zlib compression type is only supported "
				 "with compatibility level 1.1 and above (use "
				 "version=v3 or greater)");
	if (p->data_file != NULL)
		return error_set(err, -EINVAL,
				 "External data files are only supported with "
				 "compatibility level 1.1 and above (use "
				 "version=v3 or greater)");
	return 0;
}

static int check_extended_l2(const struct qcow2_plan *p, struct error *err)
{
	unsigned bits = QCOW2_CLUSTER_BITS_MIN + QCOW2_SUBCLUSTER_BITS;

	if (!p->has_extended_l2)
		return 0;
	if (p->version < 3)
		return error_set(err, -EINVAL,
				 "Extended L2 entries are only supported with "
				 "compatibility level 1.1 and above (use "
				 "version=v3 or greater)");
	if (p->cluster_bits < bits)
		return error_set(err, -EINVAL,
				 "Extended L2 entries are only supported with "
				 "cluster sizes of at least %u bytes",
				 1U << bits);
	return 0;
}

/* As QEMU, which drops "file:" unless what is behind it looks the same. */
static void strip_data_file(struct qcow2_plan *p)
{
	const char *plain = image_plain_path(p->data_file);

	if (plain != p->data_file && image_name_has_protocol(plain)) {
		snprintf(p->data_name, sizeof(p->data_name), "./%s", plain);
		plain = p->data_name;
	}
	p->data_file = plain;
}

static int check_data_file(struct qcow2_plan *p, struct error *err)
{
	if (p->is_data_raw && p->data_file == NULL)
		return error_set(err, -EINVAL,
				 "data-file-raw requires data-file");
	if (p->is_data_raw && p->backing_name != NULL)
		return error_set(err, -EINVAL,
				 "Backing file and data-file-raw cannot be "
				 "used at the same time");
	if (p->data_file != NULL &&
	    strlen(p->data_file) > QCOW2_BACKING_NAME_MAX)
		return error_set(err, -EINVAL, "Data file name too long");
	if (p->data_file != NULL)
		strip_data_file(p);
	/* Without its entries the metadata would say other than the file. */
	if (p->is_data_raw && strcmp(p->preallocation, "off") == 0)
		p->preallocation = "metadata";
	return 0;
}

int qcow2_plan_refuse_backing(const struct qcow2_plan *p, int code,
			      struct error *err)
{
	if (p->backing_format == NULL)
		return error_set_errno(err, code,
				       "Could not assign backing file '%s'",
				       p->backing_name);
	return error_set_errno(err, code,
			       "Could not assign backing file '%s' with format "
			       "'%s'",
			       p->backing_name, p->backing_format);
}

static int check_backing(const struct qcow2_plan *p, struct error *err)
{
	if (p->backing_name == NULL && p->backing_format != NULL)
		return error_set(err, -EINVAL,
				 "Backing format cannot be used without "
				 "backing file");
	if (p->backing_name == NULL)
		return 0;
	if (!p->has_extended_l2 && strcmp(p->preallocation, "off") != 0)
		return error_set(err, -EINVAL,
				 "Backing file and preallocation can only be "
				 "used at the same time if extended_l2 is on");
	if (strlen(p->backing_name) > QCOW2_BACKING_NAME_MAX)
		return qcow2_plan_refuse_backing(p, -EINVAL, err);
	return 0;
}

int qcow2_plan_init(struct qcow2_plan *plan,
		    const struct image_create_options *o, struct error *err)
{
	int rc = 0;

	*plan = (struct qcow2_plan){
		.version = 3,
		.cluster_bits = 16,
		.refcount_order = 4,
		.preallocation = "off",
		.backing_name = o->backing_path,
		.backing_format = o->backing_format,
	};
	for (unsigned i = 0; rc == 0 && i < o->n_options; i++)
		rc = take(plan, &o->options[i], err);
	if (rc == 0)
		rc = check_backing(plan, err);
	if (rc == 0)
		rc = check_version_2(plan, err);
	if (rc == 0)
		rc = check_extended_l2(plan, err);
	if (rc == 0)
		rc = check_data_file(plan, err);
	if (rc == 0)
		rc = qcow2_plan_crypt(plan, o, err);
	if (rc < 0)
		return rc;
	/* Sizes are in sectors, as QEMU has them. */
	plan->size = (o->size + QCOW2_SECTOR_LEN - 1) &
		     ~(uint64_t)(QCOW2_SECTOR_LEN - 1);
	return 0;
}
