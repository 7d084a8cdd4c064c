/* SPDX-License-Identifier: ISC */
/* A unit test's own file. */
#ifndef TESTS_SUPPORT_TEMP_FILE_H
#define TESTS_SUPPORT_TEMP_FILE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A new and empty one. path has room for the template, which ends with XXXXXX,
 * and gets its name; the caller unlinks it. */
static inline bool temp_file_make(char *path, const char *template)
{
	int fd;

	strcpy(path, template);
	fd = mkstemp(path);
	return fd >= 0 && close(fd) == 0;
}

#endif
