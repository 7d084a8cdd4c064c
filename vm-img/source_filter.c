/* SPDX-License-Identifier: ISC */
/*
 * Filters over a child, "file": "driver=throttle,throttle-group=ID,file.driver=…".
 * Texts are QEMU's, and so is the order in which errors are found.
 */
#include "vm-img/source_node.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/keys.h"
#include "vm-img/object.h"
#include "vm-img/source_name.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	PREALLOCATE_ALIGNMENT = 1 << 20,
	PREALLOCATE_SIZE = 128 << 20,
	LOG_UPDATE_INTERVAL = 4096,
	OPTIONS_MAX = 4,
};

int source_take_size(struct source_reader *r, const char *prefix,
		     const char *name, uint64_t *size, bool *has,
		     struct error *err)
{
	const char *text = keys_take_of(r->keys, prefix, name);

	*has = text != NULL;
	return text == NULL ? 0 : image_size_parse(name, text, size, err);
}

static int take_throttle(struct source_reader *r, const char *prefix,
			 struct source_layer *layer, struct error *err)
{
	const char *group = keys_take_of(r->keys, prefix, "throttle-group");

	if (group == NULL)
		return error_set(err, -EINVAL,
				 "Please specify a throttle group");
	layer->layer.throttle = object_throttle(group);
	if (layer->layer.throttle == NULL)
		return error_set(err, -EINVAL,
				 "Throttle group '%s' does not exist", group);
	return 0;
}

static int take_preallocate(struct source_reader *r, const char *prefix,
			    struct source_layer *layer, struct error *err)
{
	struct image_preallocate *how = &layer->layer.preallocate;
	bool is_given;
	int rc;

	how->alignment = PREALLOCATE_ALIGNMENT;
	how->size = PREALLOCATE_SIZE;
	rc = source_take_size(r, prefix, "prealloc-align", &how->alignment,
			      &is_given, err);
	if (rc == 0)
		rc = source_take_size(r, prefix, "prealloc-size", &how->size,
				      &is_given, err);
	return rc;
}

static int take_interval(struct source_reader *r, const char *prefix,
			 uint64_t *interval, struct error *err)
{
	static const char name[] = "log-super-update-interval";
	const char *text = keys_take_of(r->keys, prefix, name);

	*interval = LOG_UPDATE_INTERVAL;
	return text != NULL ? image_number_parse(name, text, interval, err) : 0;
}

static int take_log_writes(struct source_reader *r, const char *prefix,
			   struct source_layer *layer, struct error *err)
{
	struct image_log_writes *how = &layer->log_how;
	bool has_size;
	int rc = keys_take_bool_of(r->keys, prefix, "log-append", &how->appends,
				   err);

	layer->layer.log = how;
	if (rc == 0)
		rc = source_take_size(r, prefix, "log-sector-size",
				      &how->sector_size, &has_size, err);
	if (rc == 0 && has_size && how->sector_size == 0)
		rc = error_set(err, -EINVAL, "Invalid log sector size 0");
	return rc < 0 ? rc
		      : take_interval(r, prefix, &how->update_interval, err);
}

/* How long a copy may take is left to it: nobody waits for a guest here. */
static int take_copy_before_write(struct source_reader *r, const char *prefix,
				  struct source_layer *layer, struct error *err)
{
	static const char on_error[] = "on-cbw-error",
			  timeout[] = "cbw-timeout";
	const char *what = keys_take_of(r->keys, prefix, on_error);
	const char *seconds = keys_take_of(r->keys, prefix, timeout);
	uint64_t number;

	layer->layer.copy = &layer->copy_how;
	layer->copy_how.may_lose_copy =
		what != NULL && strcmp(what, "break-snapshot") == 0;
	if (what != NULL && !layer->copy_how.may_lose_copy &&
	    strcmp(what, "break-guest-write") != 0)
		return error_set(err, -EINVAL,
				 "Parameter '%s' does not accept value '%s'",
				 on_error, what);
	if (seconds != NULL &&
	    image_number_parse(timeout, seconds, &number, NULL) < 0)
		return error_set(err, -EINVAL, "Parameter '%s' expects integer",
				 timeout);
	return 0;
}

static struct image_under *find_log(struct source_layer *layer)
{
	return &layer->log_how.file;
}

static struct image_under *find_target(struct source_layer *layer)
{
	return &layer->copy_how.target;
}

static const struct filter {
	const char *driver;
	enum image_layer_kind kind;
	/* NULL: it has no options. */
	int (*take)(struct source_reader *r, const char *prefix,
		    struct source_layer *layer, struct error *err);
	const char *options[OPTIONS_MAX]; /* that its name tells of */
	/* Another child, and where what is said of it goes; NULL: none. */
	const char *beside;
	const char *beside_missing; /* said where it is not; NULL: as usual */
	struct image_under *(*find_beside)(struct source_layer *layer);
} filters[] = {
	{ .driver = "throttle",
	  .kind = IMAGE_LAYER_THROTTLE,
	  .take = take_throttle,
	  .options = { "throttle-group" } },
	{ .driver = "compress", .kind = IMAGE_LAYER_COMPRESS },
	{ .driver = "preallocate",
	  .kind = IMAGE_LAYER_PREALLOCATE,
	  .take = take_preallocate },
	{ .driver = "blklogwrites",
	  .kind = IMAGE_LAYER_LOG_WRITES,
	  .take = take_log_writes,
	  .options = { "log-append", "log-sector-size",
		       "log-super-update-interval" },
	  .beside = "log",
	  .find_beside = find_log },
	{ .driver = "copy-before-write",
	  .kind = IMAGE_LAYER_COPY_BEFORE_WRITE,
	  .take = take_copy_before_write,
	  .beside = "target",
	  .beside_missing = "Parameter 'target' is missing",
	  .find_beside = find_target },
};

static const struct filter *find(const char *driver)
{
	for (unsigned i = 0; driver != NULL && i < array_size(filters); i++)
		if (strcmp(filters[i].driver, driver) == 0)
			return &filters[i];
	return NULL;
}

/* A file beside what is under it. */
static int read_beside(struct source_reader *r, const char *prefix,
		       const struct filter *filter, struct source_layer *layer,
		       struct source_name *name, struct error *err)
{
	_cleanup_(source_name_deinit) struct source_name beside = { .n = 0 };
	char full[2 * SOURCE_PREFIX_MAX];
	int rc;

	snprintf(full, sizeof(full), "%s%s", prefix, filter->beside);
	if (filter->beside_missing != NULL && !keys_has_prefix(r->keys, full))
		return error_set(err, -EINVAL, "%s", filter->beside_missing);
	rc = source_read_apart(r, prefix, filter->beside, &layer->beside,
			       filter->find_beside(layer), &beside, err);
	if (rc == 0)
		source_name_add_child(name, filter->beside, &beside);
	return rc;
}

bool source_is_filter(const char *driver)
{
	return find(driver) != NULL;
}

int source_read_filter(struct source_reader *r, const char *prefix,
		       const char *driver, struct source_name *name,
		       struct error *err)
{
	_cleanup_(source_name_deinit) struct source_name under = { .n = 0 };
	const struct filter *filter = find(driver);
	struct source_layer *layer = source_push(r->source, filter->kind);
	int rc;

	if (layer == NULL)
		return -ENOMEM;
	rc = source_read_child(r, prefix, "file", &under, err);
	if (rc == 0 && filter->beside != NULL)
		rc = read_beside(r, prefix, filter, layer, name, err);
	if (rc == 0 && filter->take != NULL)
		rc = filter->take(r, prefix, layer, err);
	if (rc < 0)
		return rc;
	source_name_add(name, "driver", driver);
	for (unsigned i = 0; i < OPTIONS_MAX; i++)
		if (filter->options[i] != NULL)
			source_name_add_option(name, r->keys, prefix,
					       filter->options[i]);
	source_name_add_child(name, "file", &under);
	return 0;
}
