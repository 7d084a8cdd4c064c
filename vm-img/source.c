/* SPDX-License-Identifier: ISC */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/image/blkdebug.h"
#include "lib/image/image.h"
#include "vm-img/format_options.h"
#include "vm-img/keys.h"
#include "vm-img/protocols.h"
#include "vm-img/source_node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JSON_PREFIX "json:"

static int take_flags(struct keys *keys, struct source *source,
		      struct error *err)
{
	static const struct {
		const char *prefix, *name;
		unsigned flag;
	} flags[] = {
		{ "", "read-only", IMAGE_READ_ONLY },
		{ "", "cache.direct", IMAGE_DIRECT },
		{ "", "force-share", IMAGE_FORCE_SHARE },
		{ "file.", "force-share", IMAGE_FORCE_SHARE },
	};
	const char *node;

	for (unsigned i = 0; i < array_size(flags); i++) {
		bool is_on = false;
		int rc = keys_take_bool_of(keys, flags[i].prefix, flags[i].name,
					   &is_on, err);

		if (rc < 0)
			return rc;
		if (is_on)
			source->flags |= flags[i].flag;
		else if (strcmp(flags[i].name, "force-share") == 0 &&
			 flags[i].prefix[0] == '\0')
			source->is_share_denied =
				keys_take(keys, "force-share") != NULL;
	}
	node = keys_take(keys, "node-name");
	if (node != NULL && text_replace(&source->node_name, node) < 0)
		return -ENOMEM;
	source->needs_unmap = source_needs_unmap(keys);
	source->flags |= source_detects_zeroes(keys);
	return source_take_how(keys, "", err);
}

static int take_protocol(struct source_reader *r, const char *driver,
			 struct error *err)
{
	struct source *source = r->source;
	int rc = source_read_node(r, "", driver, &source->name, err);

	return rc == 0 ? text_replace(&source->format, driver) : rc;
}

/* All of it. The file of an image under another need not be said. */
static int take_keys(struct source_reader *r, struct error *err)
{
	const char *driver = keys_take(r->keys, "driver");
	struct source *source = r->source;
	int rc = source_check_driver(driver, err);

	if (rc == 0)
		rc = take_flags(r->keys, source, err);
	if (rc < 0)
		return rc;
	source->has_name = true;
	source->has_no_driver = driver == NULL;
	if (driver != NULL && source_driver_is_file(driver))
		rc = take_protocol(r, driver, err);
	else
		rc = source_read_top(r, driver, &source->name, err);
	return rc == 0 ? source_refuse_left(r, err) : rc;
}

int source_take_under(struct keys *keys, struct source **under,
		      struct error *err)
{
	struct source *source = calloc(1, sizeof(*source));
	struct source_reader r = { .keys = keys,
				   .source = source,
				   .is_under = true };

	*under = source;
	return source == NULL ? -ENOMEM : take_keys(&r, err);
}

static int take_top(struct keys *keys, struct source *source,
		    const char *format, struct error *err)
{
	struct source_reader r = { .keys = keys, .source = source };

	if (keys_take(keys, "driver") == NULL &&
	    !keys_has_prefix(keys, "file.") && keys_take(keys, "file") == NULL)
		return error_set(err, -EINVAL, "%s",
				 format != NULL
					 ? "A block device must be specified "
					   "for \"file\""
					 : "Must specify either driver or "
					   "file");
	return take_keys(&r, err);
}

unsigned source_path_flags(const struct source *source)
{
	return source->is_inside || source->path == NULL
		       ? 0
		       : IMAGE_NBD | IMAGE_BLKDEBUG;
}

static void link_under(struct source *source)
{
	const struct source *under = source->under;

	source->how = (struct image_under){
		.path = source->path,
		.format = source->format,
		.key_secret = source->key_secret,
		.layers = source_layers(source),
		.data_file = source_data_file(source),
		.header_path = source->header_path,
		.nbd_context = source->nbd_context,
		.vpc_size = source->vpc_size,
		.null = source->null,
		.quorum = source_quorum(source),
		.accept = source_accept,
		.accept_context = source,
		.flags = source->flags | source_path_flags(source),
		.under = under != NULL ? &under->how : NULL,
	};
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

/* "host_device:PATH" and "file:PATH": what is after the colon, and by which
 * driver; else NULL. */
static const char *skip_driver(const char *name, const char **driver)
{
	static const char *const drivers[] = { "file", "host_device",
					       "host_cdrom" };

	for (unsigned i = 0; i < array_size(drivers); i++) {
		size_t len = strlen(drivers[i]);

		if (strncmp(name, drivers[i], len) != 0 || name[len] != ':')
			continue;
		*driver = drivers[i];
		return name + len + 1;
	}
	return NULL;
}

static int check_protocol(const char *name, struct error *err)
{
	size_t n = strcspn(name, ":/");
	const char *driver;

	if (name[n] != ':' || source_is_nbd(name) || image_name_is_null(name) ||
	    blkdebug_is_name(name) || source_is_blkverify(name) ||
	    skip_driver(name, &driver) != NULL)
		return 0;
	return error_set(err, -EINVAL, "Unknown protocol '%.*s'", (int)n, name);
}

int source_check_new(const char *name, struct error *err)
{
	const char *driver = NULL;

	if (blkdebug_is_name(name))
		driver = "blkdebug";
	else if (source_is_blkverify(name))
		driver = "blkverify";
	else if (image_name_is_null(name))
		driver = name[strlen("null-")] == 'c' ? "null-co" : "null-aio";
	if (driver != NULL)
		return error_set(err, -ENOTSUP,
				 "Protocol driver '%s' does not support image "
				 "creation",
				 driver);
	return check_protocol(name, err);
}

/* Of a backing file that was not looked at. */
static int check_backing_format(const struct image_create_options *create,
				struct error *err)
{
	const char *format = create->backing_format;

	if (format == NULL)
		return 0;
	if (strcmp(create->format, "vmdk") == 0 && strcmp(format, "vmdk") != 0)
		return error_set(err, -EINVAL,
				 "backing_file must be a vmdk image");
	if (image_driver_is_known(format))
		return 0;
	if (strcmp(create->format, "qcow") == 0)
		return error_set(err, -EINVAL,
				 "unrecognized backing format '%s'", format);
	return error_set(err, -EINVAL,
			 "Parameter 'backing-fmt' does not accept value '%s'",
			 format);
}

/* A device that is named as such must be there. */
static int check_device(const char *path, const char *driver, struct error *err)
{
	int rc = 0;

	if (access(path, F_OK) < 0)
		rc = error_set_errno(err, -errno, "Could not open '%s'", path);
	if (rc == 0)
		rc = source_check_file(path, driver, err);
	return rc == 0 ? 0
		       : error_prefix(err, rc,
				      "Protocol driver '%s' does not support "
				      "image creation, and opening the image "
				      "failed",
				      driver);
}

/* Of what is made beside the image. */
static int check_data_file(const struct image_create_options *create,
			   struct error *err)
{
	for (unsigned i = 0; i < create->n_options; i++)
		if (strcmp(create->options[i].name, "data_file") == 0)
			return check_protocol(create->options[i].value, err);
	return 0;
}

int source_create(const char *name, const struct image_create_options *options,
		  struct error *err)
{
	struct image_create_options create = *options;
	_cleanup_free_ char *uri = NULL;
	const char *driver, *path = skip_driver(name, &driver);
	int rc = check_backing_format(options, err);

	if (rc == 0)
		rc = check_data_file(options, err);
	if (rc == 0 && path != NULL && strcmp(driver, "file") != 0) {
		name = path;
		rc = check_device(path, driver, err);
	}
	if (rc < 0)
		return rc;
	create.protocol = protocols_policy;
	if (source_is_old_nbd(name))
		rc = source_parse_old_nbd(name, &uri, err);
	if (rc < 0)
		return error_prefix(err, rc,
				    "Protocol driver 'nbd' does not support "
				    "image creation, and opening the image "
				    "failed");
	return image_create(uri != NULL ? uri : name, &create, err);
}

static int take_name(struct source *source, const char *name, struct error *err)
{
	const char *plain, *driver = NULL;
	int rc;

	if (source_is_old_nbd(name))
		return source_parse_old_nbd(name, &source->path, err);
	if (source_is_blkverify(name))
		return source_parse_blkverify(source, name, err);
	if (image_name_is_nbd(name))
		return source_parse_nbd(name, &source->path, err);
	rc = check_protocol(name, err);
	if (rc < 0)
		return rc;
	plain = skip_driver(name, &driver);
	if (plain == NULL)
		plain = name;
	if (plain[0] == '\0')
		return error_set(err, -EINVAL,
				 "The '%s' block driver requires a file name",
				 driver != NULL ? driver : "file");
	rc = source_check_file(plain, driver, err);
	if (rc < 0)
		return rc;
	/* Now it must not look like something else. */
	if (plain != name && plain[strcspn(plain, ":/")] == ':' &&
	    asprintf(&source->path, "./%s", plain) >= 0)
		return 0;
	return text_replace(&source->path, plain);
}

/* A file that a filter stands over, which is given as its format: as
 * "driver=throttle,file.filename=PATH". That there is none is what is found
 * first. */
static int parse_file_under(struct keys *keys, const char *name,
			    const char *format, struct error *err)
{
	char child[SOURCE_PREFIX_MAX];
	int rc = keys_add(keys, "driver", format, err);

	if (access(name, F_OK) < 0)
		return error_set_errno(err, -errno, "Could not open '%s'",
				       name);
	snprintf(child, sizeof(child), "%s.filename", source_child_of(format));
	return rc == 0 ? keys_add(keys, child, name, err) : rc;
}

/* Other names are of what can be under no format. */
static bool is_file_under(const char *name, const char *format)
{
	return format != NULL && source_child_of(format) != NULL &&
	       name[strcspn(name, ":/")] != ':';
}

int source_parse(struct source *source, const char *name, const char *format,
		 bool is_options, struct error *err)
{
	bool is_under = is_file_under(name, format);
	bool is_json = strncmp(name, JSON_PREFIX, strlen(JSON_PREFIX)) == 0;
	struct keys keys = { .n = 0 };
	int rc = 0;

	*source = (struct source){ .path = NULL };
	if (is_options)
		rc = parse_options(&keys, name, err);
	else if (is_json)
		rc = parse_json(&keys, name + strlen(JSON_PREFIX), err);
	else if (is_under)
		rc = parse_file_under(&keys, name, format, err);
	if (rc == 0 && (is_options || is_json || is_under)) {
		rc = take_top(&keys, source, format, err);
	} else if (rc == 0) {
		rc = take_name(source, name, err);
	}
	keys_deinit(&keys);
	if (rc == 0 && format != NULL)
		rc = source_check_driver(format, err);
	if (rc == 0 && format != NULL)
		rc = text_replace(&source->format, format);
	if (rc < 0)
		source_deinit(source);
	return rc;
}

const struct image_under *source_how(struct source *source)
{
	source_under(source);
	link_under(source);
	return &source->how;
}

const struct image_under *source_under(struct source *source)
{
	return source->under != NULL ? source_how(source->under) : NULL;
}

struct source_layer *source_push(struct source *source,
				 enum image_layer_kind kind)
{
	struct source_layer *layer = calloc(1, sizeof(*layer));
	struct source_layer *above = source->layers;

	if (layer == NULL)
		return NULL;
	layer->layer.kind = kind;
	while (above != NULL && above->under != NULL)
		above = above->under;
	if (above == NULL) {
		source->layers = layer;
	} else {
		above->under = layer;
		above->layer.under = &layer->layer;
	}
	return layer;
}

const struct image_layer *source_layers(const struct source *source)
{
	return source->layers != NULL ? &source->layers->layer : NULL;
}

const struct image_quorum *source_quorum(const struct source *source)
{
	return source->quorum != NULL ? &source->quorum->how : NULL;
}

const struct image_under *source_data_file(const struct source *source)
{
	return source->data_file != NULL ? &source->data_how : NULL;
}

unsigned source_count_empty_backings(const struct source *source)
{
	const struct source_quorum *quorum;
	const struct source_layer *layer;
	unsigned n = 0;

	if (source == NULL)
		return 0;
	for (layer = source->layers; layer != NULL; layer = layer->under)
		n += source_count_empty_backings(layer->image) +
		     source_count_empty_backings(layer->beside);
	quorum = source->quorum;
	for (unsigned i = 0; quorum != NULL && i < quorum->how.n; i++)
		n += source_count_empty_backings(quorum->children[i]);
	return n + source->is_backing_empty +
	       source_count_empty_backings(source->under);
}

static void free_quorum(struct source_quorum *quorum)
{
	for (unsigned i = 0; quorum != NULL && i < IMAGE_QUORUM_MAX; i++) {
		if (quorum->children[i] != NULL)
			source_deinit(quorum->children[i]);
		free(quorum->children[i]);
	}
	free(quorum);
}

static void pop_all(struct source *source)
{
	while (source->layers != NULL) {
		struct source_layer *layer = source->layers;

		source->layers = layer->under;
		blkdebug_free(layer->blkdebug);
		if (layer->image != NULL)
			source_deinit(layer->image);
		free(layer->image);
		if (layer->beside != NULL)
			source_deinit(layer->beside);
		free(layer->beside);
		free(layer);
	}
}

void source_deinit(struct source *source)
{
	free(source->path);
	free(source->format);
	free(source->key_secret);
	free(source->header_path);
	free(source->node_name);
	free(source->vpc_size);
	free(source->qcow2_option);
	free(source->encrypt_format);
	free(source->nbd_context);
	free(source->unknown);
	free(source->null);
	free_quorum(source->quorum);
	pop_all(source);
	source_name_deinit(&source->name);
	free(source->under_name);
	if (source->data_file != NULL)
		source_deinit(source->data_file);
	free(source->data_file);
	if (source->under != NULL)
		source_deinit(source->under);
	free(source->under);
	*source = (struct source){ .path = NULL };
}
