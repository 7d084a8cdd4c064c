/* SPDX-License-Identifier: ISC */
#include "lib/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int text_replace(char **text, const char *with)
{
	char *copy = NULL;

	if (with != NULL && (copy = strdup(with)) == NULL)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}
