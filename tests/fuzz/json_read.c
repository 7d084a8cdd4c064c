/* SPDX-License-Identifier: ISC */
/* A name that says it is JSON: it is refused with a text, or gives values
 * with names. */
#include "vm-img/json_read.h"

#include "lib/base/error.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	VALUES_MAX = 64,
};

static int take(void *context, const char *name, const char *value,
		bool is_text, struct error *err)
{
	unsigned *n = context;

	(void)is_text;
	/* Reads all of both. */
	if (strlen(name) + strlen(value) == SIZE_MAX)
		abort();
	return ++*n < VALUES_MAX ? 0 : error_set(err, -E2BIG, "Enough");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	char *text = malloc(size + 1);
	unsigned n = 0;
	int rc;

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	rc = json_read(text, take, &n, &err);
	if (rc < 0 && rc != -ENOMEM && err.text[0] == '\0')
		abort();
	free(text);
	return 0;
}
