/* SPDX-License-Identifier: ISC */
/*
 * What a new file can be told whatever format it is to have, before there is
 * anything in it: both matter to the host's file system only, and one that
 * knows nothing of them is no reason to fail (as in QEMU).
 */
#include "lib/image/file_options.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define PREALLOCATION "preallocation"
#define HINT "extent_size_hint"

enum {
	/* XFS otherwise makes thousands of small extents of an image that is
	 * written at random. */
	EXTENT_SIZE_HINT = 1024 * 1024,
};

const struct image_option_spec file_options_of_file[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "nocow", "bool (on/off)",
	  "Turn off copy-on-write (valid only on btrfs)", NULL },
	{ PREALLOCATION, "str",
	  "Preallocation mode (allowed values: off, falloc, full)", NULL },
	{ HINT, "size", "Extent size hint for the image file, 0 to disable",
	  NULL },
	{ NULL, NULL, NULL, NULL },
};

const struct image_option_spec file_options_of_device[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ PREALLOCATION, "str", "Preallocation mode (allowed values: off)",
	  NULL },
	{ NULL, NULL, NULL, NULL },
};

static bool is_device(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && image_file_is_device(st.st_mode);
}

/* The size is the format's business. */
const struct image_option_spec *image_file_specs(const char *path)
{
	bool is_file = path == NULL || image_plain_path(path) != path ||
		       (!image_name_has_protocol(path) && !is_device(path));

	return is_file ? &file_options_of_file[1] : &file_options_of_device[1];
}

bool file_options_has(const char *name)
{
	const struct image_option_spec *specs = image_file_specs(NULL);

	while (specs->name != NULL && strcmp(specs->name, name) != 0)
		specs++;
	return specs->name != NULL;
}

static int set_hint(int fd, uint32_t hint)
{
	struct fsxattr attributes;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0)
		return -errno;
	attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
	attributes.fsx_extsize = hint;
	return ioctl(fd, FS_IOC_FSSETXATTR, &attributes) < 0 ? -errno : 0;
}

/* Who did not ask for one does not miss it. */
static void warn_of_hint(const struct image_create_options *options, int rc)
{
	char line[128];

	if (rc == 0 || options->warned == NULL ||
	    image_option_find(options, HINT) == NULL)
		return;
	snprintf(line, sizeof(line), "Failed to set extent size hint: %s",
		 strerror(-rc));
	options->warned(line);
}

uint32_t file_options_hint(int fd)
{
	struct fsxattr attributes;

	if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0)
		return 0;
	return attributes.fsx_extsize;
}

static void set_nocow(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return;
	flags |= FS_NOCOW_FL;
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

int file_options_check_preallocation(const char *mode, struct error *err)
{
	if (mode == NULL || strcmp(mode, "off") == 0 ||
	    strcmp(mode, "falloc") == 0 || strcmp(mode, "full") == 0)
		return 0;
	if (strcmp(mode, "metadata") == 0)
		return error_set(err, -ENOTSUP,
				 "Unsupported preallocation mode: metadata");
	return error_set(err, -EINVAL, "invalid parameter value: %s", mode);
}

int file_options_preallocate(struct image_file *file, const char *mode,
			     uint64_t from, uint64_t to, struct error *err)
{
	int rc;

	if (mode == NULL || strcmp(mode, "off") == 0 || to <= from)
		return 0;
	if (strcmp(mode, "falloc") == 0)
		rc = image_file_allocate(file, from, to - from);
	else
		rc = image_file_write_zeroes(file, from, to - from);
	return rc < 0 ? error_set_errno(err, rc, "Could not preallocate data")
		      : 0;
}

int file_options_apply(const char *path,
		       const struct image_create_options *options,
		       struct error *err)
{
	bool is_nocow = false;
	uint64_t hint = EXTENT_SIZE_HINT;
	_cleanup_fd_ int fd = -1;
	struct stat st;
	int rc = image_option_bool(options, "nocow", &is_nocow, err);

	if (rc == 0)
		rc = image_option_number(options, HINT, &hint, err);
	if (rc < 0)
		return rc;
	if (hint > UINT32_MAX)
		return error_set(err, -EINVAL, "Extent size hint is too large");
	if (stat(path, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > 0))
		return 0;
	/* That it cannot be made is said, better, by who makes the image. */
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
	if (fd < 0)
		return 0;
	if (is_nocow)
		set_nocow(fd);
	if (hint > 0)
		warn_of_hint(options, set_hint(fd, (uint32_t)hint));
	return 0;
}

unsigned file_options_strip(struct image_option *list, unsigned n,
			    bool keeps_preallocation)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++)
		if (!file_options_has(list[i].name) ||
		    (keeps_preallocation &&
		     strcmp(list[i].name, PREALLOCATION) == 0))
			list[kept++] = list[i];
	return kept;
}
