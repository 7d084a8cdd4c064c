/* SPDX-License-Identifier: ISC */
/*
 * What is said of an image of some format besides where it is: at the top, under
 * another one ("backing."), or in another one's disk ("file." of raw).
 */
#include "vm-img/source_node.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "vm-img/keys.h"
#include "vm-img/source_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of an image in another's disk, whose name has what it stands on: where that is
 * not as the image itself says. */
static void name_child(struct source_name *name, const char *key,
		       const struct source_name *child)
{
	free(name->exact);
	name->exact = NULL;
	name->is_strong = true;
	source_name_add_child(name, key, child);
}

/* "backing": none, or what is known of it besides its name in the image. */
static int take_backing(struct keys *keys, const char *prefix,
			struct source *source, struct error *err)
{
	const char *backing = keys_take_of(keys, prefix, "backing");
	char under[SOURCE_PREFIX_MAX + 16];
	struct keys *own;
	int rc;

	if (backing != NULL && *backing != '\0')
		return error_set(err, -EINVAL,
				 "Could not open backing file: Cannot find "
				 "device='%s' nor node-name='%s'",
				 backing, backing);
	if (backing != NULL)
		source->flags |= IMAGE_NO_BACKING;
	source->is_backing_empty =
		backing != NULL && keys_is_text(keys, prefix, "backing");
	snprintf(under, sizeof(under), "%sbacking.", prefix);
	if (!keys_has_prefix(keys, under))
		return 0;
	own = calloc(1, sizeof(*own));
	if (own == NULL)
		return -ENOMEM;
	rc = keys_move(keys, under, own, err);
	if (rc == 0)
		rc = text_replace(&source->under_name, own->list[0].name);
	if (rc == 0)
		rc = source_take_under(own, &source->under, err);
	keys_deinit(own);
	free(own);
	return rc < 0 ? error_prefix(err, rc, "Could not open backing file")
		      : 0;
}

/* The driver may have to be found out yet. */
static bool may_be(const char *driver, const char *format)
{
	return driver == NULL || strcmp(driver, format) == 0;
}

int source_take_format(struct source_reader *r, const char *prefix,
		       const char *driver, struct source *image,
		       struct source_name *name, struct error *err)
{
	_cleanup_(source_name_deinit) struct source_name data_file = { .n = 0 };
	struct keys *keys = r->keys;
	const char *vpc_size = NULL;
	bool is_inner = prefix[0] != '\0';
	int rc = take_backing(keys, prefix, image, err);

	if (rc == 0 && is_inner && image->under != NULL &&
	    image->under->path != NULL && !image->under->has_no_driver)
		name_child(name, "backing", &image->under->name);
	if (rc == 0 && may_be(driver, "qcow2"))
		rc = source_read_data_file(r, prefix, image, &data_file, err);
	if (rc == 0 && is_inner && image->data_file != NULL)
		name_child(name, "data-file", &data_file);
	if (rc == 0 && driver != NULL && strcmp(driver, "luks") == 0)
		rc = source_read_header(r, prefix, image, name, err);
	if (rc == 0 && may_be(driver, "vpc"))
		vpc_size = keys_take_of(keys, prefix, "force_size_calc");
	if (vpc_size != NULL)
		rc = text_replace(&image->vpc_size, vpc_size);
	if (rc == 0 && may_be(driver, "qcow2"))
		rc = source_take_qcow2(keys, prefix, image, err);
	if (rc == 0 && may_be(driver, "parallels"))
		rc = source_take_parallels(keys, prefix, image, err);
	if (rc == 0)
		rc = source_take_encryption(keys, prefix, driver, image);
	if (rc < 0)
		return rc;
	return driver != NULL ? text_replace(&image->format, driver) : 0;
}
