/* SPDX-License-Identifier: ISC */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/blkdebug.h"
#include "lib/image/image.h"
#include "vm-img/format_options.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_PREFIX "json:"
#define FILE_PREFIX "file:"

/* What QEMU can be told about how to do its work; here it makes no difference,
 * or is done anyhow. */
static const char *const ignored[] = {
	"cache.writeback", "cache.no-flush", "discard",
	"detect-zeroes",   "auto-read-only", "node-name",
};
static const char *const ignored_of_file[] = {
	"cache.writeback",
	"cache.no-flush",
	"discard",
	"detect-zeroes",
	"auto-read-only",
	"read-only",
	"node-name",
	"aio",
	"aio-max-batch",
	"drop-cache",
	"x-check-cache-dropped",
	"pr-manager",
};
/* Of what stands between the two. */
static const char *const ignored_of_layer[] = {
	"file.cache.writeback", "file.cache.no-flush", "file.discard",
	"file.detect-zeroes",	"file.auto-read-only", "file.read-only",
	"file.node-name",
};
static const char *const ignored_of_qcow2[] = {
	"lazy-refcounts",	  "pass-discard-request",
	"pass-discard-snapshot",  "pass-discard-other",
	"discard-no-unref",	  "overlap-check",
	"overlap-check.template", "cache-size",
	"l2-cache-size",	  "l2-cache-entry-size",
	"refcount-cache-size",	  "cache-clean-interval",
	"encrypt.format",
};

static void ignore(struct keys *keys, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		keys_take(keys, names[i]);
}

static int take_flags(struct keys *keys, struct source *source,
		      struct error *err)
{
	static const struct {
		const char *name;
		unsigned flag;
	} flags[] = {
		{ "read-only", IMAGE_READ_ONLY },
		{ "cache.direct", IMAGE_DIRECT },
		{ "file.cache.direct", IMAGE_DIRECT },
		{ "force-share", IMAGE_FORCE_SHARE },
		{ "file.force-share", IMAGE_FORCE_SHARE },
	};

	for (unsigned i = 0; i < array_size(flags); i++) {
		bool is_on = false;
		int rc = keys_take_bool(keys, flags[i].name, &is_on, err);

		if (rc < 0)
			return rc;
		if (is_on)
			source->flags |= flags[i].flag;
		else if (strcmp(flags[i].name, "force-share") == 0)
			source->is_share_denied =
				keys_take(keys, flags[i].name) != NULL;
	}
	return 0;
}

static bool is_blkdebug(const char *driver)
{
	return strcmp(driver, "blkdebug") == 0;
}

static bool is_protocol(const char *driver)
{
	return strcmp(driver, "file") == 0 ||
	       strcmp(driver, "host_device") == 0 ||
	       strcmp(driver, "nbd") == 0 || source_is_null(driver);
}

static int replace(char **text, const char *with)
{
	char *copy = strdup(with);

	if (copy == NULL)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

/* The value of prefix and name in one. */
static const char *take(struct keys *keys, const char *prefix, const char *name)
{
	char full[64];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	return keys_take(keys, full);
}

static bool has_any(const struct keys *keys, const char *prefix)
{
	for (unsigned i = 0; i < keys->n; i++)
		if (!keys->list[i].is_taken &&
		    strncmp(keys->list[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

/* A child by the name of node, whose options begin with prefix. */
static int check_child(struct keys *keys, const char *node, const char *prefix,
		       struct error *err)
{
	const char *name = keys_take(keys, node);

	if (name != NULL && *name == '\0')
		name = NULL;
	if (name != NULL && has_any(keys, prefix))
		return error_set(err, -EINVAL,
				 "Cannot reference an existing block device "
				 "with additional options or a new filename");
	if (name != NULL)
		return error_set(err, -EINVAL,
				 "Cannot find device='%s' nor node-name='%s'",
				 name, name);
	if (!has_any(keys, prefix))
		return error_set(err, -EINVAL,
				 "A block device must be specified for "
				 "\"%s\"",
				 strrchr(node, '.') != NULL
					 ? strrchr(node, '.') + 1
					 : node);
	return 0;
}

static int take_locking(struct keys *keys, const char *prefix,
			struct source *source, struct error *err)
{
	const char *locking = take(keys, prefix, "locking");

	if (locking == NULL || strcmp(locking, "on") == 0 ||
	    strcmp(locking, "auto") == 0)
		return 0;
	if (strcmp(locking, "off") != 0)
		return error_set(err, -EINVAL, "invalid parameter value: %s",
				 locking);
	source->flags |= IMAGE_NO_LOCK;
	return 0;
}

static int take_path(struct keys *keys, const char *prefix, const char *driver,
		     struct source *source, struct error *err)
{
	const char *name;

	if (driver != NULL && !is_protocol(driver))
		return error_set(err, -EINVAL, "Unknown driver '%s'", driver);
	if (source_is_null(driver))
		return source_take_null(keys, prefix, driver, source, err);
	for (unsigned i = 0; i < array_size(ignored_of_file); i++)
		take(keys, prefix, ignored_of_file[i]);
	if (driver != NULL && strcmp(driver, "nbd") == 0) {
		free(source->path);
		source->path = NULL;
		return source_take_nbd(keys, prefix, &source->path, err);
	}
	name = take(keys, prefix, "filename");
	if (name == NULL)
		return error_set(err, -EINVAL,
				 "The 'file' block driver requires a file "
				 "name");
	if (take_locking(keys, prefix, source, err) < 0)
		return -EINVAL;
	return replace(&source->path, name);
}

/* blkdebug, whose options begin with prefix, and the file under it. */
static int take_blkdebug(struct keys *keys, const char *prefix,
			 struct source *source, struct error *err)
{
	char image[32], under[32];
	int rc = source_take_blkdebug(keys, prefix, source, err);

	snprintf(image, sizeof(image), "%simage", prefix);
	snprintf(under, sizeof(under), "%simage.", prefix);
	if (rc == 0)
		rc = check_child(keys, image, under, err);
	if (rc < 0)
		return rc;
	return take_path(keys, under, take(keys, under, "driver"), source, err);
}

/* The file under a format. */
static int take_file(struct keys *keys, struct source *source,
		     struct error *err)
{
	const char *driver;
	int rc = check_child(keys, "file", "file.", err);

	if (rc < 0)
		return rc;
	driver = keys_take(keys, "file.driver");
	if (driver == NULL || !is_blkdebug(driver))
		return take_path(keys, "file.", driver, source, err);
	ignore(keys, ignored_of_layer, array_size(ignored_of_layer));
	return take_blkdebug(keys, "file.", source, err);
}

static int take_under(struct keys *keys, struct source **under,
		      struct error *err);

/* "backing": none, or what is known of it besides its name in the image. */
static int take_backing(struct keys *keys, struct source *source,
			struct error *err)
{
	const char *backing = keys_take(keys, "backing");
	static const char prefix[] = "backing.";
	struct keys *own;
	int rc;

	if (backing != NULL && *backing != '\0')
		return error_set(err, -EINVAL,
				 "Could not open backing file: Cannot find "
				 "device='%s' nor node-name='%s'",
				 backing, backing);
	if (backing != NULL)
		source->flags |= IMAGE_NO_BACKING;
	source->is_backing_empty = backing != NULL;
	if (!keys_has_prefix(keys, prefix))
		return 0;
	own = calloc(1, sizeof(*own));
	if (own == NULL)
		return -ENOMEM;
	rc = keys_move(keys, prefix, own, err);
	if (rc == 0)
		rc = replace(&source->under_name, own->list[0].name);
	if (rc == 0)
		rc = take_under(own, &source->under, err);
	keys_deinit(own);
	free(own);
	return rc < 0 ? error_prefix(err, rc, "Could not open backing file")
		      : 0;
}

static int take_format(struct keys *keys, struct source *source,
		       const char *driver, struct error *err)
{
	bool is_luks = driver != NULL && strcmp(driver, "luks") == 0;
	const char *secret;
	int rc = take_file(keys, source, err);

	if (rc == 0)
		rc = take_backing(keys, source, err);
	if (rc < 0)
		return rc;
	ignore(keys, ignored_of_qcow2, array_size(ignored_of_qcow2));
	secret = keys_take(keys, is_luks ? "key-secret" : "encrypt.key-secret");
	if (secret != NULL && replace(&source->key_secret, secret) < 0)
		return -ENOMEM;
	return driver != NULL ? replace(&source->format, driver) : 0;
}

static int take_protocol(struct keys *keys, struct source *source,
			 const char *driver, struct error *err)
{
	int rc;

	if (is_blkdebug(driver))
		rc = take_blkdebug(keys, "", source, err);
	else
		rc = take_path(keys, "", driver, source, err);
	return rc == 0 ? replace(&source->format,
				 source_is_null(driver) ? driver : "raw")
		       : rc;
}

static int refuse_left(const struct keys *keys, const char *driver,
		       bool has_blkdebug, struct error *err)
{
	static const char *const under[] = { "file.image.", "image.", "file." };
	const char *left = keys_left(keys);

	if (left == NULL)
		return 0;
	for (unsigned i = has_blkdebug ? 0 : 2; i < array_size(under); i++)
		if (strncmp(left, under[i], strlen(under[i])) == 0)
			return error_set(err, -EINVAL,
					 "Block protocol '%s' doesn't support "
					 "the option '%s'",
					 has_blkdebug && i == 2 ? "blkdebug"
								: "file",
					 left + strlen(under[i]));
	return error_set(err, -EINVAL,
			 "Block format '%s' does not support the option '%s'",
			 driver != NULL ? driver : "raw", left);
}

static int take_keys(struct keys *keys, struct source *source,
		     struct error *err)
{
	const char *driver = keys_take(keys, "driver");
	int rc;

	if (driver == NULL && !keys_has_prefix(keys, "file.") &&
	    keys_take(keys, "file") == NULL)
		return error_set(err, -EINVAL,
				 "Must specify either driver or file");
	if (driver != NULL && !is_protocol(driver) && !is_blkdebug(driver) &&
	    !format_options_is_format(driver))
		return error_set(err, -EINVAL, "Unknown driver '%s'", driver);
	rc = take_flags(keys, source, err);
	if (rc < 0)
		return rc;
	ignore(keys, ignored, array_size(ignored));
	if (driver != NULL && (is_protocol(driver) || is_blkdebug(driver)))
		rc = take_protocol(keys, source, driver, err);
	else
		rc = take_format(keys, source, driver, err);
	return rc == 0 ? refuse_left(keys, driver, source->blkdebug != NULL,
				     err)
		       : rc;
}

static void link_under(struct source *source)
{
	const struct source *under = source->under;

	source->how = (struct image_under){
		.path = source->path,
		.format = source->format,
		.key_secret = source->key_secret,
		.blkdebug = source->blkdebug,
		.null = source->null,
		.flags = source->flags,
		.under = under != NULL ? &under->how : NULL,
	};
}

/* What the image above says of the file and the format need not be said. */
static int fill_under(struct keys *keys, struct source *source,
		      struct error *err)
{
	const char *driver = keys_take(keys, "driver"), *secret, *other;
	bool has_file = keys_has_prefix(keys, "file");
	int rc;

	if (driver != NULL && !is_protocol(driver) && !is_blkdebug(driver) &&
	    !format_options_is_format(driver))
		return error_set(err, -EINVAL, "Unknown driver '%s'", driver);
	rc = take_flags(keys, source, err);
	if (rc < 0)
		return rc;
	ignore(keys, ignored, array_size(ignored));
	ignore(keys, ignored_of_qcow2, array_size(ignored_of_qcow2));
	if (driver != NULL && (is_protocol(driver) || is_blkdebug(driver)))
		return take_protocol(keys, source, driver, err);
	if (has_file)
		rc = take_file(keys, source, err);
	if (rc == 0)
		rc = take_backing(keys, source, err);
	if (rc == 0 && driver != NULL)
		rc = replace(&source->format, driver);
	secret = keys_take(keys, "encrypt.key-secret");
	other = keys_take(keys, "key-secret");
	if (rc == 0 && (secret != NULL || other != NULL))
		rc = replace(&source->key_secret,
			     secret != NULL ? secret : other);
	return rc == 0 ? refuse_left(keys, driver != NULL ? driver : "qcow2",
				     source->blkdebug != NULL, err)
		       : rc;
}

static int take_under(struct keys *keys, struct source **under,
		      struct error *err)
{
	struct source *source = calloc(1, sizeof(*source));

	*under = source;
	if (source == NULL)
		return -ENOMEM;
	return fill_under(keys, source, err);
}

/* One word alone is the name of a device, and there are none. */
static int parse_options(struct keys *keys, const char *name, struct error *err)
{
	if (*name != '\0' && strchr(name, '=') == NULL)
		return error_set(err, -EINVAL,
				 "Cannot find device='%s' nor node-name='%s'",
				 name, name);
	return keys_parse(keys, name, NULL, err);
}

static int parse_json(struct keys *keys, const char *text, struct error *err)
{
	int rc = keys_parse_json(keys, text, err);

	if (rc < 0)
		return error_prefix(err, rc,
				    "Could not parse the JSON options");
	return rc > 0 ? 0
		      : error_set(err, -EINVAL, "Invalid JSON object given");
}

static int check_protocol(const char *name, struct error *err)
{
	size_t n = strcspn(name, ":/");

	if (name[n] != ':' || image_name_is_nbd(name) ||
	    image_name_is_null(name) || blkdebug_is_name(name))
		return 0;
	return error_set(err, -EINVAL, "Unknown protocol '%.*s'", (int)n, name);
}

int source_check_new(const char *name, struct error *err)
{
	const char *driver = NULL;

	if (blkdebug_is_name(name))
		driver = "blkdebug";
	else if (image_name_is_null(name))
		driver = name[strlen("null-")] == 'c' ? "null-co" : "null-aio";
	if (driver != NULL)
		return error_set(err, -ENOTSUP,
				 "Protocol driver '%s' does not support image "
				 "creation",
				 driver);
	return check_protocol(name, err);
}

static int take_name(struct source *source, const char *name, struct error *err)
{
	int rc = 0;

	if (source_is_old_nbd(name))
		return source_parse_old_nbd(name, &source->path, err);
	if (strncmp(name, FILE_PREFIX, strlen(FILE_PREFIX)) == 0)
		name += strlen(FILE_PREFIX);
	else
		rc = check_protocol(name, err);
	return rc == 0 ? replace(&source->path, name) : rc;
}

int source_parse(struct source *source, const char *name, const char *format,
		 bool is_options, struct error *err)
{
	bool is_json = strncmp(name, JSON_PREFIX, strlen(JSON_PREFIX)) == 0;
	struct keys keys = { .n = 0 };
	int rc = 0;

	*source = (struct source){ .path = NULL };
	if (is_options)
		rc = parse_options(&keys, name, err);
	else if (is_json)
		rc = parse_json(&keys, name + strlen(JSON_PREFIX), err);
	if (rc == 0 && (is_options || is_json)) {
		rc = take_keys(&keys, source, err);
	} else if (rc == 0) {
		rc = take_name(source, name, err);
	}
	keys_deinit(&keys);
	if (rc == 0 && format != NULL)
		rc = replace(&source->format, format);
	if (rc < 0)
		source_deinit(source);
	return rc;
}

const struct image_under *source_under(struct source *source)
{
	if (source->under == NULL)
		return NULL;
	source_under(source->under);
	link_under(source->under);
	return &source->under->how;
}

void source_deinit(struct source *source)
{
	free(source->path);
	free(source->format);
	free(source->key_secret);
	blkdebug_free(source->blkdebug);
	free(source->null);
	free(source->under_name);
	if (source->under != NULL)
		source_deinit(source->under);
	free(source->under);
	*source = (struct source){ .path = NULL };
}
