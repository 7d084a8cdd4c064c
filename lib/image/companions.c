/* SPDX-License-Identifier: ISC */
#include "lib/image/companions.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/file.h"
#include "lib/image/image.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void image_companions_deinit(struct image_companions *companions)
{
	for (unsigned i = 0; i < companions->n; i++)
		free(companions->paths[i]);
	free(companions->paths);
	*companions = (struct image_companions)IMAGE_COMPANIONS_INIT;
}

void image_companions_remove(struct image_companions *companions)
{
	for (unsigned i = 0; i < companions->n; i++)
		unlink(companions->paths[i]);
	image_companions_deinit(companions);
}

/* The file itself, if path is a link to where there was none. NULL: a device, an
 * NBD server's, or there is none. To be freed. */
static char *find_file(const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	struct stat st;

	if (real == NULL || stat(real, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	return steal_ptr(&real);
}

void image_remove_unfinished(const char *path,
			     struct image_companions *companions)
{
	_cleanup_free_ char *real = find_file(path);

	if (real != NULL)
		unlink(real);
	image_companions_remove(companions);
}

static int note(struct image_companions *companions, const char *path)
{
	_cleanup_free_ char *real = find_file(path);
	char **paths;

	if (real == NULL)
		return 0;
	paths = reallocarray(companions->paths, companions->n + 1U,
			     sizeof(*paths));
	if (paths == NULL) {
		unlink(real);
		return -ENOMEM;
	}
	companions->paths = paths;
	paths[companions->n++] = steal_ptr(&real);
	return 0;
}

int companion_open(struct image_file **file, const char *path,
		   const struct image_create_options *options,
		   struct error *err)
{
	bool existed = access(path, F_OK) == 0;
	int rc = image_file_open(file, path, IMAGE_FILE_CREATE, err);

	if (existed)
		return rc;
	if (note(options->companions, path) < 0 && rc == 0) {
		image_file_close(*file);
		rc = -ENOMEM;
	}
	return rc;
}

int new_image_open(struct image_file **file, const char *path, unsigned flags,
		   const struct image_create_options *options,
		   struct error *err)
{
	int rc = image_file_open(file, path, flags | IMAGE_FILE_CREATE, err);

	options->companions->is_emptied |= rc == 0;
	return rc;
}
