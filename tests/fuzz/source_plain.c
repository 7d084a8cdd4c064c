/* SPDX-License-Identifier: ISC */
/* A name out of an image: it is refused with a text, or stands for one file by
 * its path, with no more over it than can do no harm. */
#include "vm-img/source.h"

#include "lib/base/error.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As long as a qcow2 image can have it. */
enum {
	NAME_LEN_MAX = 1023,
};

static void check(struct source *source)
{
	const struct image_under *how = source_how(source);
	const struct image_layer *layer = how->layers;
	unsigned others =
		IMAGE_NBD | IMAGE_BLKDEBUG | IMAGE_NO_LOCK | IMAGE_FORCE_SHARE;

	if (how->path == NULL || how->path[strcspn(how->path, ":/")] == ':')
		abort();
	if (how->flags & others || how->key_secret != NULL ||
	    how->data_file != NULL || how->header_path != NULL ||
	    how->nbd_context != NULL || how->null != NULL ||
	    how->quorum != NULL || how->under != NULL)
		abort();
	for (; layer != NULL; layer = layer->under)
		if (layer->kind != IMAGE_LAYER_BLKDEBUG &&
		    layer->kind != IMAGE_LAYER_WINDOW)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source source = { .path = NULL };
	struct error err = ERROR_INIT;
	char name[NAME_LEN_MAX + 1];
	int rc;

	if (size > NAME_LEN_MAX)
		return 0;
	memcpy(name, data, size);
	name[size] = '\0';
	if (image_backing_name_check(name, NULL) == 0)
		return 0; /* a path */
	rc = source_parse_inside(&source, name, NULL, &err);
	if (rc < 0 && rc != -ENOMEM && err.text[0] == '\0')
		abort();
	if (rc == 0)
		check(&source);
	source_deinit(&source);
	return 0;
}
