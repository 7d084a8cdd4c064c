/* SPDX-License-Identifier: ISC */
#include "vm-img/source_node.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/image/file.h"
#include "vm-img/format_options.h"
#include "vm-img/keys.h"
#include "vm-img/source_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is(const char *driver, const char *name)
{
	return driver != NULL && strcmp(driver, name) == 0;
}

static bool is_device(const char *driver)
{
	return is(driver, "host_device") || is(driver, "host_cdrom");
}

static bool is_host_file(const char *driver)
{
	return driver == NULL || is(driver, "file") || is_device(driver);
}

static bool is_protocol(const char *driver)
{
	return is_host_file(driver) || is(driver, "nbd") ||
	       is(driver, "blkdebug") || is(driver, "blkverify") ||
	       source_is_null(driver);
}

const char *source_child_of(const char *driver)
{
	if (is(driver, "blkdebug"))
		return "image";
	return source_is_filter(driver) || is(driver, "copy-on-read") ? "file"
								      : NULL;
}

bool source_driver_is_file(const char *driver)
{
	return driver != NULL &&
	       (is_protocol(driver) || source_child_of(driver) != NULL ||
		is(driver, "quorum"));
}

int source_check_driver(const char *driver, struct error *err)
{
	/* QEMU's, for machines that run or what is no image. */
	static const char *const others[] = {
		"nvme",
		"replication",
		"snapshot-access",
		"vvfat",
	};

	if (driver == NULL || source_driver_is_file(driver) ||
	    format_options_is_format(driver))
		return 0;
	for (unsigned i = 0; i < array_size(others); i++)
		if (is(driver, others[i]))
			return error_set(err, -ENOTSUP,
					 "Driver '%s' is not supported",
					 driver);
	return error_set(err, -EINVAL, "Unknown driver '%s'", driver);
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
static int check_child(struct source_reader *r, const char *prefix,
		       const char *child, const char *under, struct error *err)
{
	const char *name = keys_take_of(r->keys, prefix, child);

	if (name != NULL && *name == '\0')
		name = NULL;
	if (name != NULL && has_any(r->keys, under))
		return error_set(err, -EINVAL,
				 "Cannot reference an existing block device "
				 "with additional options or a new filename");
	if (name != NULL)
		return error_set(err, -EINVAL,
				 "Cannot find device='%s' nor node-name='%s'",
				 name, name);
	if (!has_any(r->keys, under))
		return error_set(err, -EINVAL,
				 "A block device must be specified for "
				 "\"%s\"",
				 child);
	return 0;
}

int source_read_child(struct source_reader *r, const char *prefix,
		      const char *child, struct source_name *name,
		      struct error *err)
{
	char under[SOURCE_PREFIX_MAX + 16];
	int rc;

	snprintf(under, sizeof(under), "%s%s.", prefix, child);
	rc = check_child(r, prefix, child, under, err);
	if (rc == 0 && strlen(under) >= SOURCE_PREFIX_MAX)
		rc = error_set(err, -E2BIG, "Too many nodes");
	return rc < 0 ? rc
		      : source_read_node(r, under,
					 keys_take_of(r->keys, under, "driver"),
					 name, err);
}

struct image_under source_apart(const struct source *source)
{
	return (struct image_under){
		.path = source->path,
		.layers = source_layers(source),
		.nbd_context = source->nbd_context,
		.null = source->null,
		.quorum = source_quorum(source),
		.flags = source->flags,
	};
}

int source_read_apart(struct source_reader *r, const char *prefix,
		      const char *child, struct source **apart,
		      struct image_under *how, struct source_name *name,
		      struct error *err)
{
	struct source *source = r->source, *own = calloc(1, sizeof(*own));
	int rc;

	*apart = own;
	if (own == NULL)
		return -ENOMEM;
	r->source = own;
	rc = source_read_child(r, prefix, child, name, err);
	r->source = source;
	*how = source_apart(own);
	return rc;
}

static int take_locking(struct source_reader *r, const char *prefix,
			struct error *err)
{
	const char *locking = keys_take_of(r->keys, prefix, "locking");

	if (locking == NULL || strcmp(locking, "on") == 0 ||
	    strcmp(locking, "auto") == 0)
		return 0;
	if (strcmp(locking, "off") != 0)
		return error_set(err, -EINVAL, "invalid parameter value: %s",
				 locking);
	r->source->flags |= IMAGE_NO_LOCK;
	return 0;
}

int source_check_file(const char *path, const char *driver, struct error *err)
{
	struct stat st;
	bool is_found;

	if (driver == NULL || stat(path, &st) < 0)
		return 0;
	is_found = image_file_is_device(st.st_mode);
	if (is_device(driver) && !is_found)
		return error_set(err, -EINVAL,
				 "'%s' driver requires '%s' to be either a "
				 "character or block device",
				 driver, path);
	if (!is_device(driver) && is_found)
		return error_set(err, -EINVAL,
				 "'file' driver requires '%s' to be a regular "
				 "file",
				 path);
	return 0;
}

static int read_file(struct source_reader *r, const char *prefix,
		     const char *driver, struct source_name *name,
		     struct error *err)
{
	const char *path = keys_take_of(r->keys, prefix, "filename");
	int rc;

	if (path == NULL)
		return error_set(err, -EINVAL,
				 "The '%s' block driver requires a file name",
				 driver != NULL ? driver : "file");
	rc = source_take_how_of_file(r->keys, prefix, &r->source->flags, err);
	if (rc == 0)
		rc = take_locking(r, prefix, err);
	if (rc == 0)
		rc = source_check_file(path, driver, err);
	if (rc == 0)
		rc = text_replace(&r->source->path, path);
	source_name_add(name, "driver", driver != NULL ? driver : "file");
	source_name_add_option(name, r->keys, prefix, "filename");
	source_name_set_exact(name, "%s", path);
	return rc;
}

static int read_null(struct source_reader *r, const char *prefix,
		     const char *driver, struct source_name *name,
		     struct error *err)
{
	int rc = source_take_null(r->keys, prefix, driver, r->source, err);

	source_name_add(name, "driver", driver);
	source_name_add_option(name, r->keys, prefix, "size");
	source_name_add_option(name, r->keys, prefix, "read-zeroes");
	if (!name->is_strong)
		source_name_set_exact(name, "%s://", driver);
	return rc;
}

static int read_nbd(struct source_reader *r, const char *prefix,
		    struct source_name *name, struct error *err)
{
	static const char *const options[] = { "path",	    "host",
					       "port",	    "export",
					       "tls-creds", "tls-hostname" };
	static const char *const plain[] = { "type", "path", "host", "port" };
	_cleanup_free_ char *uri = NULL;
	char server[SOURCE_PREFIX_MAX + 16];
	int rc = source_take_nbd(r->keys, prefix, r->source, &uri, err);

	if (rc < 0)
		return rc;
	source_name_add(name, "driver", "nbd");
	for (unsigned i = 0; i < array_size(options); i++)
		source_name_add_option(name, r->keys, prefix, options[i]);
	snprintf(server, sizeof(server), "%sserver.", prefix);
	if (source_name_add_server(name, r->keys, server, plain,
				   array_size(plain)) == 0)
		source_name_set_exact(name, "%s", uri);
	return 0;
}

static struct source_layer *push(struct source_reader *r,
				 enum image_layer_kind kind)
{
	return source_push(r->source, kind);
}

static int read_blkdebug(struct source_reader *r, const char *prefix,
			 struct source_name *name, struct error *err)
{
	struct source_layer *layer = push(r, IMAGE_LAYER_BLKDEBUG);
	_cleanup_(source_name_deinit) struct source_name under = { .n = 0 };
	const char *config = keys_take_of(r->keys, prefix, "config");
	unsigned n;
	int rc;

	if (layer == NULL)
		return -ENOMEM;
	rc = source_take_blkdebug(r->keys, prefix, &layer->blkdebug, err);
	layer->layer.blkdebug = layer->blkdebug;
	if (rc == 0)
		rc = source_read_child(r, prefix, "image", &under, err);
	source_name_add(name, "driver", "blkdebug");
	n = source_name_add_all(name, r->keys, prefix, "image.",
				source_how_names, SOURCE_N_HOW);
	source_name_add_child(name, "image", &under);
	if (n == (config != NULL) && under.exact != NULL)
		source_name_set_exact(name, "blkdebug:%s:%s",
				      config != NULL ? config : "",
				      under.exact);
	return rc;
}

static int take_window(struct source_reader *r, const char *prefix,
		       struct error *err)
{
	struct image_window window = { .offset = 0 };
	struct source_layer *layer;
	bool has_offset;
	int rc = source_take_size(r, prefix, "offset", &window.offset,
				  &has_offset, err);

	if (rc == 0)
		rc = source_take_size(r, prefix, "size", &window.size,
				      &window.has_size, err);
	if (rc < 0 || (!has_offset && !window.has_size))
		return rc;
	layer = push(r, IMAGE_LAYER_WINDOW);
	if (layer == NULL)
		return -ENOMEM;
	layer->layer.window = window;
	return 0;
}

/* The name of a format and of what is under it. */
static void name_format(struct source_reader *r, const char *prefix,
			const char *driver, const struct source_name *under,
			struct source_name *name)
{
	static const char *const options[] = { "offset", "size", "key-secret",
					       "encrypt.key-secret" };
	unsigned first = is(driver, "raw") ? 0 : 2;
	unsigned end = is(driver, "raw") ? 2 : array_size(options);

	if (driver != NULL)
		source_name_add(name, "driver", driver);
	if (driver == NULL || is(driver, "vpc"))
		source_name_add_option(name, r->keys, prefix,
				       "force_size_calc");
	for (unsigned i = first; i < end; i++)
		source_name_add_option(name, r->keys, prefix, options[i]);
	source_name_add_child(name, "file", under);
	if (!name->is_strong && under->exact != NULL && under->is_protocol)
		source_name_set_exact(name, "%s", under->exact);
}

/* Is there an option of the child, or the child itself, that begins so? */
static bool has_option(const struct keys *keys, const char *prefix,
		       const char *child, const char *option)
{
	char full[2 * SOURCE_PREFIX_MAX];

	snprintf(full, sizeof(full), "%s%s%s", prefix, child, option);
	return keys_has_prefix(keys, full);
}

/* What stands between a format and what is under it, and what is said of the
 * image. */
static int read_format(struct source_reader *r, const char *prefix,
		       const char *driver, struct source *image,
		       struct source_name *name, struct error *err)
{
	_cleanup_(source_name_deinit) struct source_name under = { .n = 0 };
	bool is_file_known = r->is_under && image == r->source;
	int rc = 0;

	if (is(driver, "raw"))
		rc = take_window(r, prefix, err);
	if (rc == 0 &&
	    (!is_file_known || has_option(r->keys, prefix, "file", "")))
		rc = source_read_child(r, prefix, "file", &under, err);
	if (rc == 0)
		name_format(r, prefix, driver, &under, name);
	if (rc == 0 && image != NULL)
		rc = source_take_format(r, prefix, driver, image, name, err);
	return rc;
}

/* Of a disk that is in another image's. */
static int read_disk(struct source_reader *r, const char *prefix,
		     const char *driver, struct source_name *name,
		     struct error *err)
{
	struct source_node *node = &r->nodes[r->n_nodes - 1];
	struct source_layer *layer;
	int rc;

	if (is(driver, "raw") && has_option(r->keys, prefix, "backing", "."))
		return error_set(err, -EINVAL,
				 "Driver doesn't support backing files");
	if (is(driver, "raw"))
		return read_format(r, prefix, driver, NULL, name, err);
	layer = push(r, IMAGE_LAYER_DISK);
	if (layer == NULL)
		return -ENOMEM;
	layer->image = node->image = calloc(1, sizeof(*layer->image));
	if (layer->image == NULL)
		return -ENOMEM;
	rc = read_format(r, prefix, driver, layer->image, name, err);
	layer->layer.image = source_how(layer->image);
	return rc;
}

static int add_node(struct source_reader *r, const char *prefix,
		    const char *driver, struct error *err)
{
	struct source_node *node = &r->nodes[r->n_nodes];

	if (r->n_nodes == SOURCE_NODES_MAX)
		return error_set(err, -E2BIG, "Too many nodes");
	snprintf(node->prefix, sizeof(node->prefix), "%s", prefix);
	node->driver = driver != NULL ? driver : "file";
	node->is_protocol = is_protocol(driver);
	r->n_nodes++;
	return 0;
}

/* What is above the file cannot be asked for another way to it than that. */
static int take_how(struct source_reader *r, const char *prefix,
		    struct error *err)
{
	bool is_direct = false;
	int rc = source_take_how(r->keys, prefix, err);

	if (rc == 0)
		rc = keys_take_bool_of(r->keys, prefix, "cache.direct",
				       &is_direct, err);
	if (is_direct)
		r->source->flags |= IMAGE_DIRECT;
	return rc;
}

int source_read_node(struct source_reader *r, const char *prefix,
		     const char *driver, struct source_name *name,
		     struct error *err)
{
	int rc = source_check_driver(driver, err);

	if (rc == 0)
		rc = add_node(r, prefix, driver, err);
	if (rc == 0)
		rc = take_how(r, prefix, err);
	if (rc < 0)
		return rc;
	name->is_protocol = is_protocol(driver);
	if (is_host_file(driver))
		return read_file(r, prefix, driver, name, err);
	if (source_is_null(driver))
		return read_null(r, prefix, driver, name, err);
	if (is(driver, "nbd"))
		return read_nbd(r, prefix, name, err);
	if (is(driver, "blkdebug"))
		return read_blkdebug(r, prefix, name, err);
	if (source_is_filter(driver))
		return source_read_filter(r, prefix, driver, name, err);
	if (is(driver, "quorum"))
		return source_read_quorum(r, prefix, name, err);
	if (is(driver, "blkverify"))
		return source_read_blkverify(r, prefix, name, err);
	/* It would write while it reads, which qemu-img never lets it. */
	if (is(driver, "copy-on-read"))
		return error_set(err, -EINVAL, "Block node is read-only");
	return read_disk(r, prefix, driver, name, err);
}

int source_read_top(struct source_reader *r, const char *driver,
		    struct source_name *name, struct error *err)
{
	int rc = add_node(r, "", driver, err);

	r->nodes[0].is_protocol = false;
	r->nodes[0].driver = driver;
	r->nodes[0].image = r->source;
	return rc < 0 ? rc : read_format(r, "", driver, r->source, name, err);
}

/* One whose format is said to be raw is the file under that. prefix has room
 * for SOURCE_PREFIX_MAX. */
static const char *find_file(struct source_reader *r, const char *above,
			     const char *child, char *prefix,
			     const char **driver, struct source_name *name,
			     struct error *err)
{
	_cleanup_(source_name_deinit) struct source_name under = { .n = 0 };
	const char *path;
	bool is_raw;

	snprintf(prefix, SOURCE_PREFIX_MAX, "%s%s.", above, child);
	*driver = keys_take_of(r->keys, prefix, "driver");
	is_raw = is(*driver, "raw");
	if (is_raw) {
		snprintf(prefix, SOURCE_PREFIX_MAX, "%s%s.file.", above, child);
		*driver = keys_take_of(r->keys, prefix, "driver");
	}
	path = keys_take_of(r->keys, prefix, "filename");
	if (source_check_driver(*driver, err) < 0)
		return NULL;
	if (!is_host_file(*driver)) {
		error_set(err, -EINVAL, "A %s must be a plain file", child);
		return NULL;
	}
	if (path == NULL) {
		error_set(err, -EINVAL, "Must specify either driver or file");
		return NULL;
	}
	source_name_add(&under, "driver", *driver != NULL ? *driver : "file");
	source_name_add(&under, "filename", path);
	if (is_raw) {
		source_name_add(name, "driver", "raw");
		source_name_add_child(name, "file", &under);
	} else {
		*name = under;
		under = (struct source_name){ .n = 0 };
	}
	return path;
}

static int read_file_child(struct source_reader *r, const char *above,
			   const char *child, char **to,
			   struct source_name *name, struct error *err)
{
	const char *other = keys_take_of(r->keys, above, child), *driver, *path;
	char prefix[SOURCE_PREFIX_MAX];
	int rc;

	if (other != NULL && *other != '\0')
		return error_set(err, -EINVAL,
				 "Cannot find device='%s' nor node-name='%s'",
				 other, other);
	snprintf(prefix, sizeof(prefix), "%s%s.", above, child);
	if (!has_any(r->keys, prefix))
		return 0;
	path = find_file(r, above, child, prefix, &driver, name, err);
	if (path == NULL)
		return -EINVAL;
	rc = add_node(r, prefix, driver, err);
	if (rc == 0)
		rc = source_take_how(r->keys, prefix, err);
	return rc == 0 ? text_replace(to, path) : rc;
}

int source_read_data_file(struct source_reader *r, const char *prefix,
			  struct source *image, struct source_name *name,
			  struct error *err)
{
	static const char child[] = "data-file";

	if (!has_option(r->keys, prefix, child, ""))
		return 0;
	if (has_option(r->keys, prefix, child, ".") &&
	    !has_option(r->keys, prefix, child, ".driver") &&
	    !has_option(r->keys, prefix, child, ".filename"))
		return error_set(err, -EINVAL,
				 "Must specify either driver or file");
	return source_read_apart(r, prefix, child, &image->data_file,
				 &image->data_how, name, err);
}

int source_read_header(struct source_reader *r, const char *prefix,
		       struct source *image, struct source_name *name,
		       struct error *err)
{
	_cleanup_(source_name_deinit) struct source_name header = { .n = 0 };
	int rc = read_file_child(r, prefix, "header", &image->header_path,
				 &header, err);

	if (rc == 0 && image->header_path != NULL)
		source_name_add_child(name, "header", &header);
	return rc;
}

/* The first one, without the prefix. */
static const char *take_left(struct source_reader *r, const char *prefix)
{
	const char *left = NULL;

	for (unsigned i = 0; i < r->keys->n; i++) {
		struct key *key = &r->keys->list[i];

		if (key->is_taken ||
		    strncmp(key->name, prefix, strlen(prefix)) != 0)
			continue;
		key->is_taken = true;
		if (left == NULL)
			left = key->name + strlen(prefix);
	}
	return left;
}

/* Of the lowest node first, as that is opened first. */
int source_refuse_left(struct source_reader *r, struct error *err)
{
	int rc = 0;

	for (unsigned i = r->n_nodes; rc == 0 && i > 0; i--) {
		const struct source_node *node = &r->nodes[i - 1];
		const char *left = take_left(r, node->prefix);

		if (left != NULL && node->image != NULL)
			rc = text_replace(&node->image->unknown, left);
		else if (left != NULL)
			rc = error_set(err, -EINVAL,
				       node->is_protocol
					       ? "Block protocol '%s' doesn't "
						 "support the option '%s'"
					       : "Block format '%s' does not "
						 "support the option '%s'",
				       node->driver, left);
	}
	return rc;
}
