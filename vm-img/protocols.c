/* SPDX-License-Identifier: ISC */
#include "vm-img/protocols.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
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

int protocols_parse(struct source *source, const char *name, const char *format,
		    struct error *err)
{
	int rc = are_allowed ? source_parse(source, name, format, false, err)
			     : source_parse_inside(source, name, format, err);

	/* All under an image are read from alone, but for the base of commit;
	 * QEMU writes to that, too. */
	source->flags &= ~(unsigned)IMAGE_READ_ONLY;
	return rc;
}

int protocols_find(const char *name, const char *format,
		   const struct image_under **under, struct error *err)
{
	_cleanup_free_ struct named *named = NULL;
	int rc;

	*under = NULL;
	if (image_backing_name_check(name, NULL) == 0)
		return 0;
	named = calloc(1, sizeof(*named));
	if (named == NULL)
		return -ENOMEM;
	rc = protocols_parse(&named->source, name, format, err);
	if (rc < 0)
		return rc;
	*under = source_how(&named->source);
	named->next = all;
	all = steal_ptr(&named);
	return 0;
}

int protocols_policy(void *context, const char *name, const char *format,
		     const struct image_under **under, struct error *err)
{
	int rc = protocols_find(name, format, under, err);

	(void)context;
	return rc < 0 ? error_prefix(err, rc, "Could not open backing file")
		      : 0;
}
