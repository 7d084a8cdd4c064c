/* SPDX-License-Identifier: ISC */
/* null-co and null-aio: no file at all. */
#include "vm-img/source.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "vm-img/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	NAME_MAX_LEN = 64,
	SIZE_STANDARD = 1 << 30,
};

bool source_is_null(const char *driver)
{
	return driver != NULL && (strcmp(driver, "null-co") == 0 ||
				  strcmp(driver, "null-aio") == 0);
}

int source_take_null(struct keys *keys, const char *prefix, const char *driver,
		     struct source *source, struct error *err)
{
	const char *size = keys_take_of(keys, prefix, "size");
	const char *latency = keys_take_of(keys, prefix, "latency-ns");
	struct image_null null = { .size = SIZE_STANDARD };
	char name[NAME_MAX_LEN];
	int rc;

	rc = keys_take_bool_of(keys, prefix, "read-zeroes", &null.reads_zeroes,
			       err);
	if (rc < 0)
		return rc;
	if (size != NULL)
		rc = image_size_parse("size", size, &null.size, err);
	if (rc < 0)
		return rc;
	if (latency != NULL &&
	    number_parse(latency, 0, INT64_MAX, &null.latency_ns) < 0)
		return error_set(err, -EINVAL,
				 latency[0] == '-'
					 ? "latency-ns is invalid"
					 : "Parameter 'latency-ns' expects a "
					   "number");
	snprintf(name, sizeof(name), "%s://", driver);
	free(source->path);
	free(source->null);
	source->path = strdup(name);
	source->null = malloc(sizeof(null));
	if (source->path == NULL || source->null == NULL)
		return -ENOMEM;
	*source->null = null;
	return 0;
}
