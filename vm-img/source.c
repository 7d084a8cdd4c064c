/* SPDX-License-Identifier: ISC */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/image.h"
#include "vm-img/format_options.h"
#include "vm-img/keys.h"

#include <stdio.h>
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
	"file.cache.writeback",
	"file.cache.no-flush",
	"file.discard",
	"file.detect-zeroes",
	"file.auto-read-only",
	"file.read-only",
	"file.node-name",
	"file.aio",
	"file.aio-max-batch",
	"file.drop-cache",
	"file.x-check-cache-dropped",
	"file.pr-manager",
	"file.locking",
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
	}
	return 0;
}

static bool is_protocol(const char *driver)
{
	return strcmp(driver, "file") == 0 ||
	       strcmp(driver, "host_device") == 0;
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

/* The file under a format. */
static int take_file(struct keys *keys, struct source *source,
		     struct error *err)
{
	const char *driver = keys_take(keys, "file.driver");
	const char *name = keys_take(keys, "file.filename");
	const char *node = keys_take(keys, "file");

	if (node != NULL)
		return error_set(err, -EINVAL,
				 "Cannot find device='%s' nor node-name='%s'",
				 node, node);
	if (driver != NULL && !is_protocol(driver))
		return error_set(err, -EINVAL, "Unknown driver '%s'", driver);
	if (driver == NULL && name == NULL)
		return error_set(err, -EINVAL,
				 "A block device must be specified for "
				 "\"file\"");
	if (name == NULL)
		return error_set(err, -EINVAL,
				 "The 'file' block driver requires a file "
				 "name");
	ignore(keys, ignored_of_file, array_size(ignored_of_file));
	return replace(&source->path, name);
}

/* "backing": nothing but none at all. */
static int take_backing(struct keys *keys, struct source *source,
			struct error *err)
{
	const char *backing = keys_take(keys, "backing");

	if (keys_has_prefix(keys, "backing.") ||
	    (backing != NULL && *backing != '\0'))
		return error_set(err, -ENOTSUP,
				 "Another backing file than the image's own is "
				 "not supported");
	if (backing != NULL)
		source->flags |= IMAGE_NO_BACKING;
	return 0;
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
			 struct error *err)
{
	const char *name = keys_take(keys, "filename");

	if (name == NULL)
		return error_set(err, -EINVAL,
				 "The 'file' block driver requires a file "
				 "name");
	keys_take(keys, "locking");
	keys_take(keys, "aio");
	if (replace(&source->path, name) < 0 ||
	    replace(&source->format, "raw") < 0)
		return -ENOMEM;
	return 0;
}

static int refuse_left(const struct keys *keys, const char *driver,
		       struct error *err)
{
	const char *left = keys_left(keys);

	if (left == NULL)
		return 0;
	if (strncmp(left, "file.", strlen("file.")) == 0)
		return error_set(err, -EINVAL,
				 "Block protocol 'file' doesn't support the "
				 "option '%s'",
				 left + strlen("file."));
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
	if (driver != NULL && !is_protocol(driver) &&
	    !format_options_is_format(driver))
		return error_set(err, -EINVAL, "Unknown driver '%s'", driver);
	rc = take_flags(keys, source, err);
	if (rc < 0)
		return rc;
	ignore(keys, ignored, array_size(ignored));
	if (driver != NULL && is_protocol(driver))
		rc = take_protocol(keys, source, err);
	else
		rc = take_format(keys, source, driver, err);
	return rc == 0 ? refuse_left(keys, driver, err) : rc;
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

int source_check_protocol(const char *name, struct error *err)
{
	size_t n = strcspn(name, ":/");

	if (name[n] != ':' || image_name_is_nbd(name))
		return 0;
	return error_set(err, -EINVAL, "Unknown protocol '%.*s'", (int)n, name);
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
		rc = keys_parse_json(&keys, name + strlen(JSON_PREFIX), err);
	if (rc == 0 && (is_options || is_json)) {
		rc = take_keys(&keys, source, err);
	} else if (rc == 0) {
		if (strncmp(name, FILE_PREFIX, strlen(FILE_PREFIX)) == 0)
			name += strlen(FILE_PREFIX);
		else
			rc = source_check_protocol(name, err);
		if (rc == 0)
			rc = replace(&source->path, name);
	}
	keys_deinit(&keys);
	if (rc == 0 && format != NULL)
		rc = replace(&source->format, format);
	if (rc < 0)
		source_deinit(source);
	return rc;
}

void source_deinit(struct source *source)
{
	free(source->path);
	free(source->format);
	free(source->key_secret);
	*source = (struct source){ .path = NULL };
}
