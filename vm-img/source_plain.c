/* SPDX-License-Identifier: ISC */
/*
 * Names inside images. Who made one must not get more opened by "json:{…}" than
 * by a plain path: it is followed where it says of what format one file is, and
 * perhaps which part of it, or what errors a test has it give. So it is looked
 * at before any of it has an effect, and what is not known here to be harmless
 * is refused: exports, secrets, other files, doing without locks; and an image
 * within an image, as chains inside chains would have no bound.
 */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "vm-img/format_options.h"
#include "vm-img/keys.h"
#include "vm-img/source_node.h"

#include <errno.h>
#include <string.h>

static bool is_listed(const char *text, const char *const *list)
{
	while (*list != NULL && strcmp(*list, text) != 0)
		list++;
	return *list != NULL;
}

/* name without prefix, or NULL. */
static const char *after(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(name, prefix, len) == 0 ? name + len : NULL;
}

/* The option itself, without the nodes on the way to it. */
static const char *skip_nodes(const char *name)
{
	const char *next;

	while ((next = after(name, "file.")) != NULL ||
	       (next = after(name, "image.")) != NULL)
		name = next;
	return name;
}

static bool is_plain(const struct key *key)
{
	static const char *const under[] = { "file", "host_device", "raw",
					     "blkdebug", NULL };
	static const char *const harmless[] = {
		"offset",
		"size",
		"read-only",
		"auto-read-only",
		"node-name",
		"discard",
		"detect-zeroes",
		"cache.direct",
		"cache.no-flush",
		"aio",
		NULL,
	};
	const char *name = skip_nodes(key->name);

	if (strcmp(key->name, "driver") == 0)
		return format_options_is_format(key->value) &&
		       !source_driver_is_file(key->value);
	if (strcmp(name, "driver") == 0)
		return is_listed(key->value, under);
	if (strcmp(name, "filename") == 0)
		return key->value[strcspn(key->value, ":/")] != ':';
	if (strcmp(key->name, "backing") == 0)
		return key->value[0] == '\0';
	return is_listed(name, harmless) ||
	       after(name, "inject-error.") != NULL ||
	       after(name, "set-state.") != NULL;
}

static bool are_plain(const char *text)
{
	struct keys keys = { .n = 0 };
	bool result = keys_parse_json(&keys, text, NULL) > 0;

	for (unsigned i = 0; i < keys.n; i++)
		result = result && is_plain(&keys.list[i]);
	keys_deinit(&keys);
	return result;
}

int source_parse_inside(struct source *source, const char *name,
			const char *format, struct error *err)
{
	const char *json = after(name, "json:");
	int rc;

	if (json == NULL || !are_plain(json))
		return image_backing_name_check(name, err);
	rc = source_parse(source, name, format, false, err);
	source->is_inside = true;
	return rc;
}
