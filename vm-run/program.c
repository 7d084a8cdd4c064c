/* SPDX-License-Identifier: ISC */
#include "vm-run/program.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	       access(path, X_OK) == 0;
}

/* *path becomes "folder/name" and is kept if that is a program. */
static int try_folder(char **path, const char *folder, int folder_len,
		      const char *name)
{
	_cleanup_free_ char *candidate = NULL;

	/* An empty element of PATH is the working directory. */
	if (asprintf(&candidate, "%.*s/%s", folder_len > 0 ? folder_len : 1,
		     folder_len > 0 ? folder : ".", name) < 0)
		return -ENOMEM;
	if (!is_program(candidate))
		return -ENOENT;
	*path = steal_ptr(&candidate);
	return 0;
}

static int try_beside(char **path, const char *name)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *slash;

	if (len < 0)
		return -ENOENT;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (slash == NULL || slash == self)
		return -ENOENT;
	return try_folder(path, self, (int)(slash - self), name);
}

int program_find(char **path, const char *name, struct error *err)
{
	const char *folder = getenv("PATH");
	int ret = try_beside(path, name);

	while (ret == -ENOENT && folder != NULL) {
		size_t len = strcspn(folder, ":");

		ret = try_folder(path, folder, (int)len, name);
		folder = folder[len] == ':' ? folder + len + 1 : NULL;
	}
	if (ret < 0)
		return error_set(err, ret,
				 "%s: neither beside vm-run nor in PATH", name);
	return 0;
}
