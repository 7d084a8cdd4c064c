/* SPDX-License-Identifier: ISC */
#include "vm-run/run_dir.h"

#include "lib/base/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int run_dir_make(char path[RUN_DIR_MAX], struct error *err)
{
	const char *parent = getenv("XDG_RUNTIME_DIR");

	if (parent == NULL || parent[0] != '/')
		parent = "/tmp";
	if (snprintf(path, RUN_DIR_MAX, "%s/vm-run.XXXXXX", parent) >=
	    RUN_DIR_MAX)
		return error_set(err, -ENAMETOOLONG,
				 "%s: too long for the paths of sockets",
				 parent);
	/* The sockets' paths become suboptions of vm-cpu. */
	if (strchr(path, ',') != NULL)
		return error_set(err, -EINVAL,
				 "XDG_RUNTIME_DIR=%s: has a comma", parent);
	if (mkdtemp(path) == NULL)
		return error_set_errno(err, -errno, "%s", path);
	return 0;
}

void run_dir_remove(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	if (dir != NULL) {
		while ((entry = readdir(dir)) != NULL)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
		closedir(dir);
	}
	(void)rmdir(path);
}
