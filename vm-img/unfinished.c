/* SPDX-License-Identifier: ISC */
#include "vm-img/unfinished.h"
#include "lib/base/cleanup.h"
#include "lib/image/image.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void unfinished_remove(const char *target, struct image_companions *companions)
{
	_cleanup_free_ char *real = realpath(image_plain_path(target), NULL);
	struct stat st;

	if (real != NULL && stat(real, &st) == 0 && S_ISREG(st.st_mode))
		unlink(real);
	image_companions_remove(companions);
}
