/* SPDX-License-Identifier: ISC */
/* Long names of options of qemu-img 7.2; 10.2 has all but a few of ours. */
#include "vm-img/abbreviation.h"

#include "lib/base/cleanup.h"

#include <string.h>

enum {
	NAMES_MAX = 16,
};

static const struct {
	const char *verb, *names[NAMES_MAX];
} earlier[] = {
	{ "amend", { "force", "image-opts" } },
	{ "bench",
	  { "flush-interval", "force-share", "image-opts", "no-drain",
	    "pattern" } },
	{ "bitmap",
	  { "add", "clear", "disable", "enable", "granularity", "image-opts",
	    "merge", "remove", "source-file", "source-format" } },
	{ "check",
	  { "force-share", "format", "image-opts", "output", "repair" } },
	{ "commit", { "image-opts" } },
	{ "compare", { "force-share", "image-opts" } },
	{ "convert",
	  { "bitmaps", "force-share", "image-opts", "salvage",
	    "skip-broken-bitmaps", "target-image-opts", "target-is-zero" } },
	{ "dd", { "force-share", "image-opts" } },
	{ "info",
	  { "backing-chain", "force-share", "format", "image-opts",
	    "output" } },
	{ "map",
	  { "force-share", "format", "image-opts", "max-length", "output",
	    "start-offset" } },
	{ "measure", { "force-share", "image-opts", "output", "size" } },
	{ "rebase", { "force-share", "image-opts" } },
	{ "resize", { "image-opts", "preallocation", "shrink" } },
	{ "snapshot", { "force-share", "image-opts" } },
};

static const char *const of_all[] = { "help", "object" };
static const char *const ours[] = { "allow-protocols", "compat", "integrity" };

static bool is_listed(const char *name, const char *const *list, unsigned n)
{
	for (unsigned i = 0; i < n && list[i] != NULL; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

bool abbreviation_is_older(const char *verb, const char *name,
			   enum compat compat)
{
	if (compat == COMPAT_10_2)
		return !is_listed(name, ours, array_size(ours));
	for (unsigned i = 0; i < array_size(earlier); i++)
		if (strcmp(earlier[i].verb, verb) == 0 &&
		    is_listed(name, earlier[i].names, NAMES_MAX))
			return true;
	return is_listed(name, of_all, array_size(of_all));
}
