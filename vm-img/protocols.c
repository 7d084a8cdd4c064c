/* SPDX-License-Identifier: ISC */
#include "vm-img/protocols.h"

#include "lib/base/cleanup.h"
#include "vm-img/source.h"

#include <errno.h>
#include <stdlib.h>

/* What names were found to stand for. */
struct named {
	struct source source;
	struct named *next;
};

static bool are_allowed;
static struct named *all;

void protocols_allow(void)
{
	are_allowed = true;
}

static int take(void *context, const char *name, const char *format,
		const struct image_under **under, struct error *err)
{
	_cleanup_free_ struct named *named = calloc(1, sizeof(*named));
	int rc;

	(void)context;
	if (named == NULL)
		return -ENOMEM;
	rc = source_parse(&named->source, name, format, false, err);
	if (rc < 0)
		return rc;
	*under = source_how(&named->source);
	named->next = all;
	all = steal_ptr(&named);
	return 0;
}

image_protocol_policy *protocols_policy(void)
{
	return are_allowed ? take : NULL;
}

int protocols_find(const char *name, const char *format,
		   const struct image_under **under, struct error *err)
{
	*under = NULL;
	if (image_backing_name_check(name, NULL) == 0)
		return 0;
	return are_allowed ? take(NULL, name, format, under, err)
			   : image_backing_name_check(name, err);
}
