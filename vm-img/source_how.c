/* SPDX-License-Identifier: ISC */
/*
 * What QEMU can be told of any node about how to do its work. Here it makes no
 * difference, or is done anyhow, but a value that is none is a slip.
 */
#include "vm-img/source_node.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "vm-img/keys.h"
#include "vm-img/object.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *const source_how_names[SOURCE_N_HOW] = {
	"driver",    "cache.no-flush", "cache.direct",
	"discard",   "detect-zeroes",  "auto-read-only",
	"read-only", "force-share",    "node-name",
};

static bool is_listed(const char *text, const char *const *list)
{
	while (*list != NULL && strcmp(*list, text) != 0)
		list++;
	return *list != NULL;
}

static int take_switches(struct keys *keys, const char *prefix,
			 const char *const *names, struct error *err)
{
	bool is_on;
	int rc = 0;

	for (; rc == 0 && *names != NULL; names++)
		rc = keys_take_bool_of(keys, prefix, *names, &is_on, err);
	return rc;
}

static int refuse_value(const char *value, struct error *err)
{
	return error_set(err, -EINVAL, "invalid parameter value: %s", value);
}

static bool is_unmap(const char *discard)
{
	return strcmp(discard, "unmap") == 0 || strcmp(discard, "on") == 0;
}

int source_refuse_unmap(struct error *err)
{
	return error_set(
		err, -EINVAL,
		"setting detect-zeroes to unmap is not allowed without "
		"setting discard operation to unmap");
}

bool source_needs_unmap(struct keys *keys)
{
	const char *detect = keys_take(keys, "detect-zeroes");

	return detect != NULL && strcmp(detect, "unmap") == 0 &&
	       keys_take(keys, "discard") == NULL;
}

unsigned source_detects_zeroes(struct keys *keys)
{
	const char *detect = keys_take(keys, "detect-zeroes");

	if (detect == NULL || strcmp(detect, "off") == 0)
		return 0;
	return strcmp(detect, "unmap") == 0
		       ? IMAGE_DETECT_ZEROES | IMAGE_UNMAP_ZEROES
		       : IMAGE_DETECT_ZEROES;
}

int source_take_how(struct keys *keys, const char *prefix, struct error *err)
{
	static const char *const switches[] = {
		"read-only",	  "force-share",    "cache.direct",
		"cache.no-flush", "auto-read-only", NULL,
	};
	static const char *const discards[] = { "ignore", "off", "unmap", "on",
						NULL };
	static const char *const zeroes[] = { "off", "on", "unmap", NULL };
	const char *discard = keys_take_of(keys, prefix, "discard");
	const char *detect = keys_take_of(keys, prefix, "detect-zeroes");
	const char *node = keys_take_of(keys, prefix, "node-name");
	int rc = take_switches(keys, prefix, switches, err);

	keys_take_of(keys, prefix, "driver");
	if (rc < 0)
		return rc;
	if (node != NULL && !object_is_identifier(node))
		return error_set(err, -EINVAL, "Invalid node-name: '%s'", node);
	if (discard != NULL && !is_listed(discard, discards))
		return error_set(err, -EINVAL, "Invalid discard option");
	if (detect != NULL && !is_listed(detect, zeroes))
		return refuse_value(detect, err);
	if (detect != NULL && strcmp(detect, "unmap") == 0 && discard != NULL &&
	    !is_unmap(discard))
		return source_refuse_unmap(err);
	return 0;
}

int source_take_how_of_file(struct keys *keys, const char *prefix,
			    unsigned *flags, struct error *err)
{
	static const char *const switches[] = { "drop-cache",
						"x-check-cache-dropped", NULL };
	static const char *const kinds[] = { "threads", "native", "io_uring",
					     NULL };
	const char *manager = keys_take_of(keys, prefix, "pr-manager");
	const char *aio = keys_take_of(keys, prefix, "aio");
	const char *batch = keys_take_of(keys, prefix, "aio-max-batch");
	uint64_t number;
	int rc = take_switches(keys, prefix, switches, err);

	if (rc == 0 && manager != NULL)
		rc = error_set(err, -EINVAL,
			       "No persistent reservation manager with id '%s'",
			       manager);
	if (rc == 0 && batch != NULL)
		rc = image_number_parse("aio-max-batch", batch, &number, err);
	if (rc == 0 && aio != NULL && !is_listed(aio, kinds))
		rc = refuse_value(aio, err);
	if (aio != NULL && strcmp(aio, "native") == 0)
		*flags |= IMAGE_NATIVE_AIO;
	return rc;
}

/* Parallels grows a file by more than a cluster at a time, and cuts off in the
 * end what is too much. */
int source_take_parallels(struct keys *keys, const char *prefix,
			  struct source *source, struct error *err)
{
	static const char *const modes[] = { "falloc", "truncate", NULL };
	static const char size_name[] = "prealloc-size";
	static const char mode_name[] = "prealloc-mode";
	const char *size = keys_take_of(keys, prefix, size_name);
	const char *mode = keys_take_of(keys, prefix, mode_name);
	uint64_t len;
	int rc = 0;

	if (size != NULL || mode != NULL)
		source->parallels_option = size != NULL ? size_name : mode_name;
	if (size != NULL)
		rc = image_size_parse(size_name, size, &len, err);
	if (rc == 0 && mode != NULL && !is_listed(mode, modes))
		rc = refuse_value(mode, err);
	return rc;
}
